"""The bank and the grammar ``street``, and what a user adds to them in YAML alone."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.captions.sentence_checks import lint, words
from evaluation.captions.stated import random_stated
from evaluation.captions.vocabulary import finite_verbs, vocabulary
from stages.caption.bank.bank import SHIPPED, Bank, block_prompts, load_bank, parse_bank
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.variant import variant_digests
from stages.caption.write.combine import templates_of, write_sentences
from stages.caption.write.grammar import load_grammar
from stages.caption.write.templates import load_templates, make_templates
from tests.stages.caption.captioning import WALKER, describe, street, unipt

ROOT = Path(__file__).parents[3]
TEXT = (SHIPPED / "street.yaml").read_text()
CONFIG = CaptionConfig(bank="street", seed=4)
STATED = random_stated(street(), 300, known=0.9, seed=2)
IDS = [f"{i:016x}" for i in range(len(STATED))]

PASSER = {"gender": "woman", "upper": "coat", "upper_colour": "red", "lower": "jeans", "lower_colour": "blue"}

PET = """
  - name: pet
    kind: optional
    regions: {lower: 0.8, whole: 0.2}
    group: company
    verb: lead
    prompts: ["a photo of a person walking {a_phrase}"]
    phrases:
      - {value: none, text: no pet, prompts: ["a photo of a person without an animal"]}
      - {value: dog, text: dog, synonyms: [{text: dog on a leash, weight: 2}]}
      - {value: poodles, text: poodles, number: mass, verb: carry}
"""

COMPANY = """
name: mine
version: 1
extends: street
groups: {company: {}}
clauses:
  company: ["{he} {now company}", "..., {ing company}", "By the way, {the} {verb company}"]
"""


def _write(stated: np.ndarray, ids: list[str], config: CaptionConfig = CONFIG) -> list[str]:
    return write_sentences(stated, ids, street(), config).texts


def test_values_of_unipt_keep_their_names() -> None:
    for name, facet in unipt().by_name.items():
        assert set(facet.index) <= set(street().by_name[name].index), name


@pytest.mark.parametrize(
    ("name", "count"),
    [("upper", 16), ("lower", 10), ("upper_colour", 12), ("lower_colour", 12), ("upper_pattern", 4), ("shoes", 6)],
)
def test_garments_colours_and_patterns_are_composed(name: str, count: int) -> None:
    assert len(street().by_name[name].phrases) == count


def test_it_has_the_attributes_that_unipt_lacks() -> None:
    names = {block.name for block in street().attributes}
    assert names - {block.name for block in unipt().attributes} == {
        "shoes", "upper_pattern", "lower_length", "carried", "view", "stroller", "wheelchair", "uniform"
    }  # fmt: skip


def test_every_optional_attribute_has_prompts_for_its_absence() -> None:
    for block in street().attributes:
        if block.kind == "optional":
            none = block_prompts(block)[[phrase.value for phrase in block.phrases].index("none")]
            assert len(none) == 2, block.name


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"shoes": "boots", "shoes_colour": "black"}, ["boots"]),
        ({"shoes_colour": "green"}, ["shoes"]),
        ({"view": "back"}, ["behind", "away", "rear", "back"]),
        ({"lower_length": "knee"}, ["knee", "calf", "mid-length"]),
        ({"upper_pattern": "plaid"}, ["plaid", "check", "tartan", "chequered"]),
        ({"carried": "suitcase"}, ["case", "luggage", "baggage"]),
        ({"stroller": "stroller"}, ["stroller", "pushchair", "buggy", "pram", "carriage"]),
        ({"wheelchair": "wheelchair", "action": "walking"}, ["wheelchair", "rolling chair"]),
        ({"uniform": "uniform"}, ["uniform"]),
        ({"umbrella": "umbrella"}, ["umbrella", "parasol", "brolly"]),
    ],
)
def test_each_new_attribute_is_stated_in_every_caption(stated: dict[str, str], said: list[str]) -> None:
    for text in describe({**PASSER, **stated}, "crop", bank=street(), n=30):
        assert any(word in text for word in said), text
        assert "walk" not in text
        assert lint(text) == []


def test_what_is_unknown_leaves_no_trace() -> None:
    for text in describe({"gender": "man"}, "crop", bank=street(), n=60):
        assert text.rstrip(".").split()[-1] in ("man", "male", "guy", "gentleman", "fellow"), text


def test_length_is_not_stated_of_garments_that_say_it_themselves() -> None:
    person = {**PASSER, "lower": "shorts", "lower_length": "long"}
    assert not any("long" in text for text in describe(person, "crop", bank=street(), n=40))


def test_a_dress_hides_the_length_of_what_is_below() -> None:
    person = {**PASSER, "upper": "dress", "lower_length": "knee"}
    assert not any("bottoms" in text or "knee" in text for text in describe(person, "crop", bank=street(), n=40))


def test_more_templates_than_the_paper_and_the_short_ones_of_one_sentence() -> None:
    pools = templates_of(street(), CONFIG)
    assert len({template.id for pool in pools for template in pool}) == sum(len(pool) for pool in pools)
    assert sum(len(pool) for pool in pools) >= 456
    assert all(". " not in template.text for template in pools[0])


def test_the_bank_names_its_grammar_and_a_recipe_may_name_another() -> None:
    assert variant_digests(CONFIG)["grammar"] == load_grammar("street").digest
    with pytest.raises(BankError, match=r"attributes.view.group: 'view' is not in the grammar english; accepted: noun"):
        variant_digests(CaptionConfig(bank="street", grammar="english"))


@pytest.mark.parametrize("known", [1.0, 0.7, 0.3, 0.05])
def test_captions_have_no_problem(known: float) -> None:
    stated = random_stated(street(), 5_000, known=known, seed=int(known * 100))
    allowed = vocabulary(street(), itertools.chain(*templates_of(street(), CONFIG)))
    texts = _write(stated, [str(i) for i in range(len(stated))])
    assert [(problem, text) for text in texts for problem in lint(text, allowed)] == []


def test_captions_use_more_words_than_those_of_luperson_t() -> None:
    stated = random_stated(street(), 6_000, known=0.9, seed=5, optional=0.2)
    texts = _write(stated, [f"{i:016x}" for i in range(len(stated))], CaptionConfig(bank="street"))
    assert len({word for text in texts for word in words(text)}) > 459
    assert len(set(texts)) > 0.999 * len(texts)


def test_order_batch_and_process_do_not_matter() -> None:
    texts = _write(STATED, IDS)
    assert _write(STATED[::-1], IDS[::-1])[::-1] == texts
    assert [text for i in range(0, len(IDS), 7) for text in _write(STATED[i : i + 7], IDS[i : i + 7])] == texts
    script = (
        "from tests.stages.caption.test_street import _write, STATED, IDS; import hashlib;"
        "print(hashlib.sha256('|'.join(_write(STATED, IDS)).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "7"}, cwd=ROOT, capture_output=True, text=True
    )
    assert other.stdout.strip() == hashlib.sha256("|".join(texts).encode()).hexdigest()


def test_an_attribute_with_a_clause_of_its_own_in_yaml_alone(tmp_path: Path) -> None:
    bank_file, grammar_file = tmp_path / "bank.yaml", tmp_path / "grammar.yaml"
    verbs = "verbs:\n  lead: [{plain: lead, third: leads, joined: leading, progressive: true}]\n"
    bank_file.write_text(
        TEXT.replace("verbs:\n", verbs, 1).replace("grammar: street", f"grammar: {grammar_file}") + PET
    )
    grammar_file.write_text(COMPANY)
    bank = load_bank(str(bank_file))
    texts = describe({**PASSER, "pet": "dog"}, "crop", bank=bank, n=60)
    assert [text for text in texts if "dog" not in text or lint(text, verbs=finite_verbs(bank))] == []
    assert {"is leading a dog", ", leading a dog", "By the way, the"} <= {
        part for part in ("is leading a dog", ", leading a dog", "By the way, the") if any(part in t for t in texts)
    }
    carried = describe({**PASSER, "pet": "poodles"}, "crop", bank=bank, n=60)
    assert [text for text in carried if "poodles" not in text or lint(text)] == []
    assert any("carrying poodles" in text or "carries poodles" in text for text in carried)
    assert not any("dog" in text or "By the way" in text for text in describe(PASSER, "crop", bank=bank, n=60))


def test_a_grammar_takes_what_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(COMPANY)
    mine = load_grammar(str(path))
    assert len(make_templates(mine)) == len(load_templates("street"))
    assert list(mine.all_groups)[-2:] == ["view", "company"]


def test_a_grammar_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nversion: 1\nextends: b.yaml")
    (tmp_path / "b.yaml").write_text("name: b\nversion: 1\nextends: a.yaml")
    with pytest.raises(BankError, match=r"'a.yaml' extends itself"):
        load_grammar(str(tmp_path / "a.yaml"))


def test_regions_are_one_or_a_blend() -> None:
    blends = {block.name: block.blend for block in street().attributes}
    assert blends["shoes"] == {"feet": 0.7, "lower": pytest.approx(0.3)}
    assert blends["hair"] == {"head": 1.0}
    blocks = {block.name: block for block in street().attributes}
    assert blocks["shoes"].region == "feet"
    assert Bank.model_validate(street().model_dump()) == street()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{feet: 0.7, lower: 0.3}", "{foot: 0.7}", ["shoes.regions", "'feet'"]),
        ("{feet: 0.7, lower: 0.3}", "{feet: 0}", ["shoes.regions.feet", "greater than 0"]),
        ("{feet: 0.7, lower: 0.3}", "{feet: 1}\n    region: head", ["shoes", "either region or regions"]),
        ("{feet: 0.7, lower: 0.3}", "{}", ["shoes.region"]),
        ("    region: head\n", "    region: hat\n", ["hair.region", "'hat'", "'head'"]),
        ("modifies: lower", "modifies: hair", ["lower_length.modifies", "'hair'", "accepted: upper, lower, shoes"]),
        ("    modifies: lower\n", "", ["lower_length", "group 'modifier' needs the key 'modifies'"]),
        ("{lower_length} {colour}", "{colour}", ["attributes.lower", "{lower_length}"]),
        ("{upper_pattern} {colour} {garment}", "{colour} {garment}", ["attributes.upper", "{upper_pattern}"]),
        ("verb: pull", "verb: tow", ["carried.suitcase.verb", "'tow'", "accepted: wear"]),
    ],
)
def test_faults_of_a_bank_are_named(old: str, new: str, expected: list[str]) -> None:
    assert old in TEXT
    with pytest.raises(BankError) as caught:
        parse_bank(TEXT.replace(old, new, 1), "mine.yaml")
    for part in expected:
        assert part in str(caught.value), str(caught.value)


def test_walker_of_unipt_in_street_words() -> None:
    for text in describe(WALKER, "crop", bank=street(), n=30):
        assert lint(text) == []
