import pytest

from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from tests.stages.caption.captioning import WALKER, describe, unipt


def test_a_sentence_tells_what_is_true_and_nothing_else() -> None:
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
