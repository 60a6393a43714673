import pickle
from pathlib import Path

import pytest
import yaml

from stages.caption.bank.bank import SHIPPED, Bank, block_prompts, load_bank, parse_bank
from stages.caption.bank.problems import BankError
from tests.stages.caption.captioning import WALKER, describe, unipt

TEXT = (SHIPPED / "unipt14.yaml").read_text()

SHOES = """
  - name: shoes
    kind: optional
    region: feet
    group: clothes
    verb: dress
    prompts: ["a photo of a person wearing {phrase}"]
    phrases:
      - {value: none, text: no shoes, prompts: ["a photo of a person with bare feet"]}
      - {value: sneakers, text: white sneakers, number: plural}
      - {value: boots, text: boots, number: plural}
"""


def test_fourteen_attributes_of_unipt() -> None:
    kinds = [block.kind for block in unipt().attributes]
    assert (kinds.count("required"), kinds.count("optional")) == (6, 8)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", "young middle-aged old"),
        ("gender", "man woman child"),
        ("action", "standing walking running sitting squatting"),
        ("hair", "short medium long bald"),
        ("upper_pattern", "plain striped plaid patterned"),
        ("upper_colour", "black white gray brown blue pink yellow red khaki purple green orange"),
        ("lower_colour", "black white gray brown blue pink yellow red khaki purple green orange"),
        ("glasses", "none glasses sunglasses"),
        ("vehicle", "none bicycle motorcycle tricycle"),
        ("smoke", "none smoking"),
    ],
)
def test_values(name: str, values: str) -> None:
    assert " ".join(unipt().by_name[name].index) == values


def test_composed_prompts_are_the_product_of_their_factors() -> None:
    upper = next(block for block in unipt().attributes if block.name == "upper")
    prompts = block_prompts(upper)
    assert len(prompts) == 11 * 12 * 4
    assert [
        "a photo of a person wearing an orange striped coat",
        "a photo of a person in an orange striped coat",
    ] in prompts
    assert len({texts[0] for texts in prompts}) == len(prompts)


def test_every_optional_attribute_has_prompts_for_its_absence() -> None:
    for block in unipt().attributes:
        if block.kind == "optional":
            none = block_prompts(block)[[phrase.value for phrase in block.phrases].index("none")]
            assert none
            assert not any("{" in text for text in none)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "kind: required\n    region: head",
            "kind: needed\n    region: head",
            ["hair.kind", "'needed'", "'required' or 'optional'"],
        ),
        ("verb: have", "verbb: have", ["hair.verbb", "'have'", "unknown key; accepted: name, kind, region"]),
        ("verb: have", "verb: hav", ["hair.verb", "'hav'", "accepted: wear, dress, have"]),
        ("hides: [lower]", "hides: [loer]", ["upper.dress.hides", "'loer'", "accepted: age, gender"]),
        ("head: garment", "head: cut", ["attributes.upper", "'cut'", "accepted: garment, colour, pattern"]),
        ("value: skirt,", "value: shorts,", ["attributes.lower", "'shorts', 'shorts'", "must differ"]),
        ("none, text: no hat", "nothing, text: no hat", ["attributes.hat", "'nothing'", "the value 'none'"]),
        ("wearing {a_phrase}", "wearing {b}", ["upper.prompts", "{b}", "accepted: {a_phrase}, {phrase}"]),
        ("weight: 3", "weight: -1", ["weight", "-1", "greater than 0"]),
        ("{value: backpack,", "{valu: backpack,", ["bag.phrases", "valu", "accepted: value, text"]),
        ('compose: "{colour} {garment}"', 'compose: "{garment}"', ["attributes.lower", "'{garment}'", "{colour}"]),
        ("number: plural}", "number: many}", ["number", "'many'", "'singular', 'plural' or 'mass'"]),
        ("pronoun: he,", "", ["attributes.gender", "pronoun"]),
        ("version: 1", "version: x: y", ["not valid YAML"]),
        ("person, pronoun: they,", "person,", ["person needs a pronoun"]),
        ("name: hair", "name: age", ["attribute names must differ", "'age'"]),
        ("group: adjective", "group: noun", ["attributes.age", "pronoun"]),
        ("    verb: have\n", "", ["attributes.hair", "group 'looks' needs a verb"]),
        ("      - {value: smoking, text: smoking", "      # {", ["attributes.smoke", "at least two values", "'none'"]),
        ("head: garment", "head: garment\n    kind: optional", ["only a required attribute"]),
        (
            "head: garment",
            "head: garment\n    phrases: [{value: a, text: a}, {value: b, text: b}]",
            ["either phrases or"],
        ),
    ],
)
def test_faults_name_key_value_and_what_is_accepted(old: str, new: str, expected: list[str]) -> None:
    assert old in TEXT
    with pytest.raises(BankError) as caught:
        parse_bank(TEXT.replace(old, new, 1), "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: ")
    for part in expected:
        assert part in str(caught.value)


def test_a_bank_has_one_noun() -> None:
    noun = TEXT[TEXT.index("  - name: gender") : TEXT.index("  - name: action")].replace("name: gender", "name: role")
    with pytest.raises(BankError, match="only one attribute may be of the group 'noun'"):
        parse_bank(TEXT + "\n" + noun)


def test_a_bank_that_does_not_exist_names_the_shipped_ones() -> None:
    with pytest.raises(BankError, match="no bank 'unipt15'; accepted: street, unipt14"):
        load_bank("unipt15")


def test_a_user_adds_an_attribute_in_yaml_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT + SHOES)
    bank = load_bank(str(path))
    sentences = describe({**WALKER, "shoes": "sneakers"}, "crop", bank=bank, n=20)
    assert all("white sneakers" in text for text in sentences)
    assert not any("shoes" in text or "sneakers" in text for text in describe(WALKER, "crop", bank=bank, n=20))
    assert block_prompts(bank.by_name["shoes"].block) == [
        ["a photo of a person with bare feet"],
        ["a photo of a person wearing white sneakers"],
        ["a photo of a person wearing boots"],
    ]


def test_an_attribute_more_leaves_the_choices_of_the_others() -> None:
    assert describe(WALKER, "crop", bank=parse_bank(TEXT + SHOES), n=20) == describe(WALKER, "crop", bank=unipt(), n=20)


def test_digest_is_of_the_content() -> None:
    reflowed = yaml.safe_dump(yaml.safe_load(TEXT), sort_keys=False)
    assert parse_bank(reflowed).digest == parse_bank("# a comment\n" + TEXT).digest == unipt().digest
    assert parse_bank(TEXT.replace("text: walking", "text: strolling")).digest != unipt().digest


def test_a_bank_travels_between_processes() -> None:
    bank: Bank = pickle.loads(pickle.dumps(unipt()))
    assert bank == unipt()
    assert hash(bank) == hash(unipt())
