import pytest

from stages.caption.bank.english import article, clauses, listed, squeeze, with_article


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("orange coat", "an"),
        ("old man", "an"),
        ("umbrella", "an"),
        ("uninteresting hat", "an"),
        ("uniform", "a"),
        ("used bag", "a"),
        ("one-piece dress", "a"),
        ("European", "a"),
        ("hour", "an"),
        ("helmet", "a"),
        ("T-shirt", "a"),
    ],
)
def test_article_follows_the_sound(text: str, due: str) -> None:
    assert article(text) == due


@pytest.mark.parametrize(
    ("number", "said"), [("singular", "an orange hat"), ("plural", "orange hat"), ("mass", "orange hat")]
)
def test_only_singular_nouns_take_an_article(number: str, said: str) -> None:
    assert with_article("orange hat", number) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("items", "nouns", "verbs"),
    [
        (["a"], "a", "a"),
        (["a", "b"], "a and b", "a and b"),
        (["a", "b", "c"], "a, b and c", "a, b, and c"),
        (["has a and b", "c"], "has a and b and c", "has a and b, and c"),
    ],
)
def test_rows_of_words(items: list[str], nouns: str, verbs: str) -> None:
    assert listed(items) == nouns
    assert clauses(items) == verbs


def test_squeeze() -> None:
    assert squeeze("  blue   shirt ") == "blue shirt"
