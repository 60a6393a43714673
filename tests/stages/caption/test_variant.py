from pathlib import Path

import pytest

from stages.caption.bank.bank import SHIPPED
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.variant import variant_digests
from tests.stages.caption.captioning import unipt


def test_digests_follow_the_files(tmp_path: Path) -> None:
    default = variant_digests(CaptionConfig())
    assert default["bank"] == unipt().digest
    mine = tmp_path / "mine.yaml"
    mine.write_text((SHIPPED / "unipt14.yaml").read_text().replace("text: walking", "text: strolling"))
    changed = variant_digests(CaptionConfig(bank=str(mine)))
    assert changed["bank"] != default["bank"]
    assert changed["grammar"] == default["grammar"]


def test_grammar_and_reference_set_count_by_their_content(tmp_path: Path) -> None:
    grammar, reference = tmp_path / "mine.yaml", tmp_path / "reference.parquet"
    grammar.write_text("name: mine\nversion: 1\nextends: english\n")
    reference.write_bytes(b"one")
    config = CaptionConfig(grammar=str(grammar), prior="reference", reference=str(reference))
    first, default = variant_digests(config), variant_digests(CaptionConfig())
    assert first["grammar"] != default["grammar"]
    assert first["reference"] != default["reference"]
    reference.write_bytes(b"other")
    assert variant_digests(config) == first | {"reference": variant_digests(config)["reference"]} != first


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"bank": "nowhere.yaml"}, "caption.bank: no bank 'nowhere.yaml'; accepted: street, unipt14"),
        ({"grammar": "nowhere.yaml"}, "caption.grammar: no grammar 'nowhere.yaml'; accepted: english"),
        ({"calibration": {"shoes": 2.0}}, "caption.calibration: no attribute 'shoes'"),
        ({"calibration": "nowhere.yaml"}, "caption.calibration: no file 'nowhere.yaml'"),
        ({"prior": "reference", "reference": "nowhere.parquet"}, "caption.reference: no file 'nowhere.parquet'"),
        ({"unknown": {"attributes": {"shoes": {"margin": 0.2}}}}, "caption.unknown.attributes: no attribute 'shoes'"),
        (
            {"evidence": {"demand": ["gender"]}},
            "caption.evidence.demand: pixels and detector cannot read 'gender'",
        ),
        ({"styles": ("short", "short")}, "caption.styles: short, short"),
        ({"templates": 10**6}, "caption.templates: 1000000"),
    ],
)
def test_faults_are_found_before_anything_runs(given: dict[str, object], text: str) -> None:
    with pytest.raises(BankError) as caught:
        variant_digests(CaptionConfig(**given))  # type: ignore[arg-type]
    assert text in str(caught.value)
