import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

import schemas.tables
from stages.caption.bank.problems import BankError
from stages.caption.captions import caption_table
from stages.caption.config import CaptionConfig, EvidenceConfig
from stages.caption.read.decisions import Decisions
from stages.caption.read.evidence import DETECTOR, PIXELS, check_evidence, evidence_sources, read_evidence
from stages.caption.read.reader import CropBatch
from stages.caption.write.combine import TemplateWriter
from tests.stages.caption.captioning import WALKER, decided, look, persons, unipt, unipt_features

PERSON = {**WALKER, "upper_colour": "red", "lower_colour": "green", "bag": "shoulder bag"}


def colour(region: str, name: str, share: float = 0.9) -> dict[str, object]:
    return {"region": region, "name": name, "share": share, "margin": share - 0.1}


def thing(label: str, confidence: float = 0.8, overlap: float = 0.9) -> dict[str, object]:
    box = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
    return {"label": label, "confidence": confidence, "overlap": overlap, **box}


def evidence(*rows: tuple[str, list[dict[str, object]], list[dict[str, object]] | None]) -> pa.Table:
    content = [
        {"crop_id": crop, "video_id": "v", "unit_id": "u", "colours": colours, "objects": things}
        for crop, colours, things in rows
    ]
    return pa.Table.from_pylist(content, schema=schemas.tables.EVIDENCE)


def read(table: pa.Table | None, crop_ids: list[str], config: CaptionConfig) -> Decisions:
    features = {region: np.stack([look(PERSON, part)] * len(crop_ids)) for region, part in REGIONS.items()}
    said = read_evidence(table, crop_ids, unipt(), config)
    return decided(features, unipt_features(), config, evidence=said)


REGIONS = {"whole": None, "head": "head", "upper": "upper", "lower": "lower"}


def rows_of(decisions: Decisions) -> list[dict[str, dict[str, object]]]:
    return [{item["attribute"]: item for item in crop} for crop in decisions.to_arrow().to_pylist()]


def test_agreement_stands_beside_what_clip_read_and_changes_nothing() -> None:
    table = evidence(("a", [colour("upper", "red"), colour("lower", "blue")], [thing("handbag"), thing("umbrella")]))
    [row] = rows_of(read(table, ["a"], CaptionConfig()))
    [plain] = rows_of(read(None, ["a"], CaptionConfig()))
    agrees = {name: item["agrees"] for name, item in row.items() if item["agrees"] is not None}
    assert agrees == {"upper_colour": True, "lower_colour": False, "bag": True, "umbrella": False}
    assert row["lower_colour"]["evidence"] == "blue"
    assert row["bag"]["evidence"] == "handbag"
    assert row["gender"]["evidence"] is None
    kept = ("value", "probability", "margin", "used", "phrase", "region")
    assert all(row[name][key] == plain[name][key] for name in row for key in kept)
    assert {item["source"] for item in row.values()} == {"clip"}
    assert all(item["clip_value"] == item["value"] for item in row.values())


def test_a_demand_turns_a_disagreement_into_unknown_and_the_sentence_leaves_it_out() -> None:
    table = evidence(("a", [colour("upper", "red"), colour("lower", "blue")], []), ("b", [], None))
    config = CaptionConfig(evidence=EvidenceConfig(demand=("upper_colour", "lower_colour")), captions_per_crop=8)
    readings = read(table, ["a", "b"], config)
    contradicted, without = rows_of(readings)
    assert contradicted["upper_colour"]["used"]
    assert not contradicted["lower_colour"]["used"]
    assert without["lower_colour"]["used"]
    batch = CropBatch(["a", "b"], pa.array(["v", "v"]))
    captions = caption_table(batch, readings, TemplateWriter(unipt(), config), "u", seed=0)["captions"].to_pylist()
    texts = [" ".join(caption["text"] for caption in crop) for crop in captions]
    assert "red" in texts[0]
    assert "green" not in texts[0]
    assert "green" in texts[1]


def test_preferred_evidence_takes_the_place_of_what_clip_read_and_says_so() -> None:
    table = evidence(("a", [colour("upper", "red", 0.7), colour("lower", "blue", 0.6)], [thing("umbrella", 0.55)]))
    config = CaptionConfig(evidence=EvidenceConfig(prefer=("upper_colour", "lower_colour", "umbrella", "vehicle")))
    readings = read(table, ["a"], config)
    [row] = rows_of(readings)
    stated = {
        name: (row[name]["value"], row[name]["source"], row[name]["clip_value"]) for name in config.evidence.prefer
    }
    assert stated["upper_colour"] == ("red", "pixels", "red")
    assert stated["lower_colour"] == ("blue", "pixels", "green")
    assert stated["umbrella"] == ("umbrella", "detector", "none")
    assert stated["vehicle"][1] == "clip"
    assert row["lower_colour"]["probability"] == pytest.approx(0.6)
    assert row["lower_colour"]["phrase"] == "blue"
    assert row["lower_colour"]["agrees"] is False
    assert row["umbrella"]["used"]


def test_where_the_detector_knows_no_finer_name_clips_own_stands() -> None:
    config = CaptionConfig(evidence=EvidenceConfig(prefer=("bag",)))
    [row] = rows_of(read(evidence(("a", [], [thing("handbag")])), ["a"], config))
    assert (row["bag"]["value"], row["bag"]["source"], row["bag"]["used"]) == ("shoulder bag", "detector", True)


@pytest.mark.parametrize(
    ("colours", "things"),
    [
        ([colour("upper", "blue", 0.3)], []),
        ([], [thing("backpack", confidence=0.4)]),
        ([], [thing("backpack", overlap=0.3)]),
        ([colour("head", "blue")], [thing("dog")]),
        ([], None),
    ],
)
def test_weak_evidence_is_none(colours: list[dict[str, object]], things: list[dict[str, object]] | None) -> None:
    readings = read(evidence(("a", colours, things)), ["a"], CaptionConfig())
    assert (readings.evidence == -1).all()
    assert (readings.agrees == -1).all()


HALF = np.float32(0.5)
BELOW = float(np.nextafter(HALF, np.float32(0)))


@pytest.mark.parametrize(
    ("name", "at", "below"),
    [
        ("upper_colour", [colour("upper", "red", 0.5)], [colour("upper", "red", BELOW)]),
        ("bag", [thing("backpack", confidence=0.5)], [thing("backpack", confidence=BELOW)]),
        ("bag", [thing("backpack", overlap=0.5)], [thing("backpack", overlap=BELOW)]),
        ("umbrella", [thing("umbrella", overlap=0.1)], [thing("umbrella", overlap=0.0999)]),
    ],
    ids=["share of the pixels", "confidence", "overlap of what is carried", "overlap of what is held up"],
)
def test_evidence_counts_from_its_threshold_on(
    name: str, at: list[dict[str, object]], below: list[dict[str, object]]
) -> None:
    config = CaptionConfig(evidence=EvidenceConfig(colour_share=0.5, object_confidence=0.5))
    split = [(found, []) if name == "upper_colour" else ([], found) for found in (at, below)]
    table = evidence(*((crop, *found) for crop, found in zip("ab", split, strict=True)))
    value = read_evidence(table, ["a", "b"], unipt(), config).value
    assert (value[:, unipt().column[name]] >= 0).tolist() == [True, False]


def test_an_object_weighs_as_much_as_the_detector_is_sure_of_it() -> None:
    table = evidence(("a", [], [thing("backpack", confidence=0.75, overlap=0.9)]))
    found, column = read_evidence(table, ["a"], unipt(), CaptionConfig()), unipt().column["bag"]
    assert (found.weight[0, column], found.margin[0, column]) == (0.75, 0.75)


def test_a_colour_weighs_its_share_and_keeps_its_margin() -> None:
    item = {"region": "lower", "name": "green", "share": 0.75, "margin": 0.5}
    found, column = read_evidence(evidence(("a", [item], [])), ["a"], unipt(), CaptionConfig()), unipt().column
    assert (found.weight[0, column["lower_colour"]], found.margin[0, column["lower_colour"]]) == (0.75, 0.5)
    assert found.value[0, column["upper_colour"]] == -1


def test_of_two_equally_sure_objects_the_same_one_counts_in_any_order() -> None:
    objects = [thing("backpack", 0.75), thing("handbag", 0.75)]
    rows = [rows_of(read(evidence(("a", [], found)), ["a"], CaptionConfig())) for found in (objects, objects[::-1])]
    assert [row[0]["bag"]["evidence"] for row in rows] == ["handbag", "handbag"]


def test_of_two_things_the_surer_speaks() -> None:
    for order in (1, -1):
        things = [thing("backpack", 0.6), thing("handbag", 0.9)][::order]
        [row] = rows_of(read(evidence(("a", [], things)), ["a"], CaptionConfig()))
        assert row["bag"]["evidence"] == "handbag"


def test_rows_find_their_crops_in_any_order() -> None:
    names = ["red", "blue", "green", "black", "white"]
    crops = [f"c{i}" for i in range(40)]
    content = [(crop, [colour("upper", names[i % 5])], [thing("dog")] * (i % 3)) for i, crop in enumerate(crops)]
    shuffled = evidence(*(content[i] for i in np.random.default_rng(0).permutation(40)), ("stranger", [], []))
    found = read_evidence(shuffled, crops, unipt(), CaptionConfig())
    column = unipt().column["upper_colour"]
    index = unipt().by_name["upper_colour"].index
    assert found.value[:, column].tolist() == [index[names[i % 5]] for i in range(40)]
    assert (np.delete(found.value, column, 1) == -1).all()


def test_faithful_stores_the_evidence_and_heeds_none() -> None:
    table = evidence(("a", [colour("upper", "blue")], [thing("umbrella")]))
    faithful = read(table, ["a"], CaptionConfig(faithful=True))
    alone = read(None, ["a"], CaptionConfig(faithful=True))
    assert (faithful.used == alone.used).all()
    assert (faithful.choice == alone.choice).all()
    assert rows_of(faithful)[0]["upper_colour"]["evidence"] == "blue"
    with pytest.raises(ValidationError, match=r"faithful: true fixes evidence\.demand"):
        CaptionConfig(faithful=True, evidence=EvidenceConfig(demand=("upper_colour",)))


def test_what_can_be_told_beside_clip() -> None:
    able = dict(zip(unipt().column, evidence_sources(unipt()), strict=True))
    assert able["upper_colour"] == able["lower_colour"] == PIXELS
    assert able["bag"] == able["umbrella"] == able["vehicle"] == able["cellphone"] == DETECTOR
    assert able["gender"] is able["upper"] is None
    with pytest.raises(BankError, match="pixels and detector cannot read 'upper'"):
        check_evidence(unipt(), CaptionConfig(evidence=EvidenceConfig(prefer=("upper",))))
    with pytest.raises(ValidationError, match="bag cannot be both"):
        CaptionConfig(evidence=EvidenceConfig(prefer=("bag",), demand=("bag",)))


def test_persons_of_all_kinds_keep_the_schema() -> None:
    crops = [f"c{i}" for i in range(20)]
    features = {"whole": np.stack([look(person) for person in persons(20)])}
    said = read_evidence(evidence(("c3", [colour("upper", "red")], None)), crops, unipt(), CaptionConfig())
    column = decided(features, unipt_features(), CaptionConfig(), evidence=said).to_arrow()
    column.validate(full=True)
    assert column.type.value_type == schemas.tables.ATTRIBUTE
