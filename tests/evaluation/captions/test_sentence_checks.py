import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.captions.sentence_checks import lint, words
from evaluation.captions.vocabulary import finite_verbs, vocabulary
from stages.caption.config import CaptionConfig
from stages.caption.write.combine import write_sentences
from stages.caption.write.templates import load_templates
from tests.stages.caption.captioning import random_stated, unipt

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("He has <hair_length>.", "unfilled blank"),
        ("A<hair_length> guy is walking.", "unfilled blank"),
        ("A man is {action}.", "unfilled blank"),
        ('He has long hair."', "stray quote"),
        ("The man has long hair hair.", "doubled word"),
        ("The the man is walking.", "doubled word"),
        ("A a man is walking.", "doubled word"),
        ("The man is go for a walk.", "verb after be"),
        ("The man is walk.", "verb after be"),
        ("He leggings.", "no verb"),
        ("This is a man who is standing. Wearing a coat.", "no verb"),
        ("The man is going on foot by tricycle.", "missing article"),
        ("The man is wearing hat.", "missing article"),
        ("There is an woman.", "article: an woman"),
        ("A old man is walking.", "article: A old"),
        ("He wears a orange coat.", "article: a orange"),
        ("He wears an uniform.", "article: an uniform"),
        ("The senior woman is walking. He has long hair.", "disagreeing words"),
        ("The kid is walking. She has long hair.", "disagreeing words"),
        ("The man is walking. They have long hair.", "disagreeing words"),
        ("The man is walking. The woman has long hair.", "disagreeing words"),
        ("The person is walking. He has her bag.", "disagreeing words"),
        ("The child is walking. They has a bag.", "singular verb with they"),
        ("The child is walking. They also wears a bag.", "singular verb with they"),
        ("The man is walking. He have a bag.", "plural verb"),
        ("This is a man who wear a coat.", "plural verb"),
        ("A man  is walking.", "stray space"),
        ("A man is walking.\n", "stray space"),
        ("A man is walking , wearing a coat.", "broken punctuation"),
        ("A man is walking,, wearing a coat.", "broken punctuation"),
        ("A man is walking,wearing a coat.", "broken punctuation"),
        ("A man is walking", "no single full stop"),
        ("A man is walking..", "no single full stop"),
        ("a man is walking.", "no capital"),
        ("A man is walking. he has a bag.", "no capital"),
        ("A man is walking and.", "clause without an end"),
        ("A man is wearing, carrying a bag.", "clause without an end"),
        ("A man wears a coat and and a hat.", "doubled word"),
        ("A man wears a blue jeans.", "article before a plural"),
        ("A man is dressed in coat.", "missing article"),
        ("He push a stroller.", "plural verb"),
        ("The fellow is walking. She has long hair.", "disagreeing words"),
        ("", "no single full stop"),
    ],
)
def test_planted_defects_are_found(text: str, fault: str) -> None:
    assert any(problem.startswith(fault) for problem in lint(text)), lint(text)


@pytest.mark.parametrize("word", ["maxiskit", "load", "kahki"])
def test_words_outside_the_vocabulary_are_found(word: str) -> None:
    known = vocabulary(unipt(), load_templates("english"))
    assert lint(f"The man wears a {word}.", known) == [f"unknown word: {word}"]


@pytest.mark.parametrize(
    "text",
    [
        "A man is walking.",
        "An elderly woman in a uniform is walking. She has long hair, wears a hat, and carries an umbrella.",
        "The child is on a bicycle. They have a one-piece dress and their bag.",
        "There is a person. The person wears a T-shirt.",
        "A uniform-wearing man is wearing dress shoes and a pair of blue jeans.",
        "The scene features a man. The man wears jeans.",
        "An honest man walks for an hour past a European shop on a one-way street.",
    ],
)
def test_sound_sentences_pass(text: str) -> None:
    assert lint(text) == []


@pytest.mark.parametrize("known", [1.0, 0.7, 0.3, 0.05])
def test_captions_have_no_problem(known: float) -> None:
    stated = random_stated(13_000, known=known, seed=int(known * 100))
    texts = write_sentences(stated, [str(i) for i in range(len(stated))], unipt(), CaptionConfig()).texts
    allowed = vocabulary(unipt(), load_templates("english"))
    assert [(problem, text) for text in texts for problem in lint(text, allowed)] == []


def test_verbs_of_a_bank_make_a_sentence() -> None:
    bank = unipt()
    assert lint("The man dons a coat.", verbs=finite_verbs(bank)) == ["no verb: 'The man dons a coat'"]
    assert lint("The man dons a coat.", verbs={"dons"}) == []
    assert {"wear", "wears", "carry", "carries"} <= finite_verbs(bank)


def test_the_vocabulary_has_the_words_of_the_bank_and_of_the_templates_without_their_blanks() -> None:
    templates = load_templates("english")
    known = vocabulary(unipt(), templates)
    assert {"wearing", "wears", "pair", "t-shirt", "pedestrian", "person"} <= known, "verbs, our own words, wordings"
    blanks = {blank for template in templates for blank in re.findall(r"\{([^{}]*)\}", template.text)}
    assert blanks
    assert not {blank for blank in blanks if "_" in blank} & known
    # Captions leave out what is absent: "no hat", "not smoking".
    assert not {"no", "not"} & known


def test_words() -> None:
    assert words("A T-shirt, khaki.") == ["a", "t-shirt", "khaki"]


def test_the_check_of_many_captions_runs_as_a_script() -> None:
    script = ROOT / "benchmarks" / "captions" / "lint.py"
    command = [sys.executable, str(script), "--count", "400", "--workers", "1", "--bank", "unipt14"]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (run.returncode, run.stdout.split(" in ")[0]) == (0, "400 captions of bank unipt14"), run.stderr


def test_a_bank_that_does_not_exist_ends_the_check_in_one_line() -> None:
    script = ROOT / "benchmarks" / "captions" / "lint.py"
    command = [sys.executable, str(script), "--bank", "nowhere.yaml"]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith(
        "no bank 'nowhere.yaml'; accepted: street, unipt14, or the path of a YAML file"
    )
