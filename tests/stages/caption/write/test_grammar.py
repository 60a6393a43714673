from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evaluation.captions.stated import stated_values
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.write.combine import styled_templates
from stages.caption.write.grammar import load_grammar
from stages.caption.write.lexicon import lexicon
from stages.caption.write.templates import load_templates, make_templates, parse_template
from tests.stages.caption.captioning import WALKER, unipt

REQUIRED = {name: WALKER[name] for name in ("age", "gender", "action", "hair", "upper", "upper_colour", "lower")}


def _forms(attributes: dict[str, str]) -> Counter[str]:
    """One person, one wording, every template."""
    words, hashes = lexicon(unipt()), np.array([5], dtype=np.uint64)
    parts = next(iter(words.parts(stated_values(attributes, unipt()), hashes)))
    return Counter(words.renderer.render(template, *parts) for template in load_templates("english"))


def test_all_templates_differ_in_form() -> None:
    forms = _forms({**WALKER, "hat": "hat", "umbrella": "umbrella"})
    assert len(forms) == len(load_templates("english")) >= 456


def test_as_many_forms_as_the_paper_even_where_nothing_optional_is_stated() -> None:
    assert len(_forms(REQUIRED)) >= 456


def test_templates_are_the_same_every_time() -> None:
    first, second = (make_templates(load_grammar("english")) for _ in range(2))
    assert [(t.id, t.text) for t in first] == [(t.id, t.text) for t in second]
    assert len({template.id for template in first}) == len(first)
    assert (
        parse_template("{a} {with looks} {now activity}, {ing clothes accessories things}", "short").id == first[0].id
    )


def test_every_style_has_templates() -> None:
    assert all(len(pool) >= 100 for pool in styled_templates("english", ("short", "plain", "long"), None))


@pytest.mark.parametrize("limit", [3, 100, 228, 456])
def test_a_smaller_number_of_templates_is_part_of_a_larger(limit: int) -> None:
    styles = CaptionConfig().styles
    few, more = (
        {template.id for pool in styled_templates("english", styles, count) for template in pool}
        for count in (limit, limit + 100)
    )
    assert len(few) == limit
    assert few < more


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{a} {now activity}", "it must state each of activity, clothes, looks, accessories, things once"),
        ("{he} {with looks} {now activity}, {ing clothes accessories things}", "the first subject is {he}"),
        ("{a} {with looks} {runs activity}, {ing clothes accessories things}", "accepted: a form (verb, now"),
        ("{a} {with look} {now activity}, {ing clothes accessories things}", "blank {with look}"),
        ("{a} {verb looks} {now activity}, {ing clothes accessories things}", "may hold one"),
        ("{with looks} {now activity}, {ing clothes accessories things}", "needs one of {a}, {the}"),
        ("{a} {with looks} {now activity}, {ing clothes accessories things} here", "no words after the last blank"),
        ("{a} {} {with looks} {now activity}, {ing clothes accessories things}", "blank {}"),
    ],
)
def test_faulty_templates_are_refused(text: str, fault: str) -> None:
    with pytest.raises(BankError) as caught:
        parse_template(text, "plain")
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: x\nversion: 1\nstyles: {plain: ['<what>']}", "rule <what>"),
        ("name: x\nversion: 1\nrules: {loop: ['<loop>']}\nstyles: {plain: ['<loop>']}", "rule <loop>"),
        (
            "name: x\nversion: 1\nstyle: {}",
            "x.yaml: style: unknown key; accepted: name, version, extends",
        ),
        ("name: x\nversion: 1\nstyles: {loud: ['{a}']}", "'short', 'plain' or 'long'"),
        ("name: x\nversion: 1\nextends: klingon", "extends: no grammar 'klingon'; accepted: english, street"),
        ("name: x\nversion: 1", "styles: none given"),
        ("name: x\nversion: 1\nextends: street\ngroups: {pets: {}}", "each of activity"),
        (
            "name: x\nversion: 1\nextends: street\ngroups: {pets: {}}\nclauses: {pets: ['{ing pets}, ...']}",
            "no clause of pets fits",
        ),
        ("name: x\nversion: 1\nextends: street\ngroups: {pets: {word: in}}", "unknown key; accepted: preposition"),
    ],
)
def test_faulty_grammars_are_refused(text: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(BankError) as caught:
        make_templates(load_grammar(str(path)))
    assert fault in str(caught.value)


def test_a_grammar_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nversion: 1\nrules: {o: ['', 'Now, ']}\n"
        "styles: {plain: ['<o>{a} {now activity}, {ing clothes}. {he} {verb looks accessories things}']}"
    )
    config = CaptionConfig(grammar=str(path), styles=("plain",))
    assert [t.text[:3] for t in styled_templates(config.grammar, config.styles, None)[0]] == ["{a}", "Now"]
    assert load_grammar(str(path)).digest != load_grammar("english").digest


def test_a_grammar_replaces_rules_and_adds_templates(tmp_path: Path) -> None:
    rest = "{a} {now activity}, {ing clothes}. {he} {verb looks accessories things}"
    (tmp_path / "base.yaml").write_text(
        f"name: b\nversion: 1\nrules: {{o: ['Old, ']}}\nstyles: {{plain: ['<o>{rest}']}}"
    )
    (tmp_path / "mine.yaml").write_text(
        f"name: m\nversion: 1\nextends: base.yaml\nrules: {{o: ['New, ']}}\nstyles: {{plain: ['Here <o>{rest}']}}"
    )
    (pool,) = styled_templates(str(tmp_path / "mine.yaml"), ("plain",), None)
    assert [template.text.split("{")[0] for template in pool] == ["New, ", "Here New, "]


def test_every_template_may_be_asked_for_by_number() -> None:
    styles = CaptionConfig().styles
    everything = styled_templates("english", styles, None)
    total = sum(len(pool) for pool in everything)
    asked = styled_templates("english", styles, total)
    assert [{template.id for template in pool} for pool in asked] == [{t.id for t in pool} for pool in everything]
    with pytest.raises(BankError, match=f"accepted: 3 to {total} in these styles"):
        styled_templates("english", styles, total + 1)


@pytest.mark.parametrize(
    ("styles", "limit", "fault"),
    [
        (("plain", "plain"), None, "accepted: each once"),
        (("plain",), 10**6, "accepted: 1 to"),
        (("plain", "long"), 1, "accepted: 2 to"),
    ],
)
def test_styles_and_limits_that_cannot_be(styles: tuple[str, ...], limit: int | None, fault: str) -> None:
    with pytest.raises(BankError, match=fault):
        styled_templates("english", styles, limit)  # type: ignore[arg-type]


def test_an_unknown_grammar_names_the_shipped_ones() -> None:
    with pytest.raises(BankError, match="no grammar 'klingon'; accepted: english"):
        load_grammar("klingon")
