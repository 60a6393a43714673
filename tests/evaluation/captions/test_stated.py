import pytest

from evaluation.captions.stated import random_stated, stated_values
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from tests.stages.caption.captioning import WALKER, describe, unipt


def test_a_caption_states_what_is_true_and_nothing_else() -> None:
    for text in describe(WALKER, "crop", bank=unipt(), n=50):
        assert "shirt" in text
        assert "blue" in text
        assert any(word in text for word in ("dark", "black"))
        assert not any(
            word in text for word in ("hat", "phone", "umbrella", "glove", "smok", "none", " no ", "without")
        )
        assert not any(word in text.split() for word in ("she", "her", "they", "She", "They"))


@pytest.mark.parametrize(
    ("change", "said", "unsaid"),
    [
        ({"upper": "dress"}, ["dress"], ["pants", "trousers"]),
        ({"vehicle": "bicycle"}, ["on a bi", "rid"], ["walk", "stroll", "on foot"]),
        ({"gender": "child"}, ["child", "kid"], ["young", "youthful", " he ", "He ", " she ", "She ", "His"]),
        ({"gender": "woman"}, ["woman", "lady", "female"], [" he ", "He ", "His", " man", " male"]),
        ({"hat": "hat", "gloves": "gloves"}, ["hat"], ["a gloves"]),
        ({"smoke": "smoking"}, ["smoking"], []),
    ],
)
def test_values_that_change_the_sentence(change: dict[str, str], said: list[str], unsaid: list[str]) -> None:
    for text in describe({**WALKER, **change}, 7, bank=unipt(), n=50):
        assert any(word in text for word in said), text
        assert not any(word in text for word in unsaid), text


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"upper_colour": "blue"}, "blue top"),
        ({"lower_colour": "orange"}, "orange bottoms"),
        ({"upper": "coat"}, "coat"),
        ({"lower": "skirt", "lower_colour": "green"}, "skirt"),
        ({}, "person|pedestrian"),
        ({"upper_pattern": "striped"}, "top"),
    ],
)
def test_little_known_still_makes_a_sentence(attributes: dict[str, str], said: str) -> None:
    for text in describe(attributes, "x", bank=unipt(), n=20):
        assert any(word in text for word in said.split("|")), text
        assert "None" not in text


def test_the_key_and_the_seed_fix_the_sentence() -> None:
    first = describe(WALKER, 3, bank=unipt(), n=4)
    assert describe(WALKER, "3", bank=unipt(), n=4) == first
    assert describe(WALKER, 4, bank=unipt(), n=4) != first
    assert describe(WALKER, 3, bank=unipt(), n=4, config=CaptionConfig(seed=1)) != first


def test_sentences_of_one_person_differ() -> None:
    assert len(set(describe(WALKER, "x", bank=unipt(), n=64))) == 64


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"shoes": "boots"}, "no attribute 'shoes' in bank unipt14; accepted: age"),
        ({"hat": "crown"}, "hat: no value 'crown' in bank unipt14; accepted: none, hat, helmet"),
        ({"age": "none"}, "age: no value 'none'"),
    ],
)
def test_what_the_bank_does_not_know_is_refused(attributes: dict[str, str], fault: str) -> None:
    with pytest.raises(BankError, match=fault):
        describe(attributes, "x", bank=unipt())


def test_random_persons_state_required_and_optional_attributes_as_often_as_asked() -> None:
    hat, hair = unipt().column["hat"], unipt().column["hair"]
    all_of_them = random_stated(unipt(), 4_000, known=1.0, seed=1, optional=1.0)
    assert (all_of_them[:, hair] >= 0).all()
    assert set(all_of_them[:, hat]) == {-1, *range(1, len(unipt().by_name["hat"].phrases))}
    rare = random_stated(unipt(), 4_000, known=0.8, seed=1, optional=0.1)
    usual = random_stated(unipt(), 4_000, known=0.8, seed=1)
    assert (rare[:, hair] >= 0).mean() == pytest.approx(0.8, abs=0.03)
    present = 1 - 1 / len(unipt().by_name["hat"].phrases)
    assert (rare[:, hat] >= 0).mean() == pytest.approx(0.1 * present, abs=0.03)
    assert (usual[:, hat] >= 0).mean() == pytest.approx(0.4 * present, abs=0.03)


def test_stated_values_leave_out_what_a_value_hides() -> None:
    row = stated_values({"upper": "dress", "lower": "skirt", "hat": "none"}, unipt())[0]
    stated = {name: row[column] for name, column in unipt().column.items() if row[column] >= 0}
    assert stated == {"upper": unipt().by_name["upper"].index["dress"]}
