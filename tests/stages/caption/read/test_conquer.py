import numpy as np
import pytest
from pydantic import ValidationError

from schemas.tables import ATTRIBUTE
from stages.caption.bank.bank import SHIPPED, parse_bank
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig, UnknownConfig
from stages.caption.read.conquer import BankFeatures, encode_bank, read_attributes
from stages.caption.read.decisions import Decisions
from stages.errors import UnitError
from tests.stages.caption.captioning import (
    DIM,
    WALKER,
    decided,
    encode_texts,
    look,
    persons,
    street,
    unipt,
    unipt_features,
    unit,
)

FAITHFUL = CaptionConfig(faithful=True)


# The whole crop alone cannot keep the two garments' colours apart; a person of one colour needs no regions.
PLAIN = {**WALKER, "lower_colour": "blue"}


@pytest.fixture(scope="module")
def bank_features() -> BankFeatures:
    return unipt_features()


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    clean = np.stack([look(person) for person in persons(300)])
    noise = np.random.default_rng(0).standard_normal(clean.shape) * 0.01
    return (clean + noise).astype(np.float32)


def _only(name: str, values: dict[str, float]) -> tuple[Decisions, int]:
    """Decisions of one crop in which the values of a simple attribute have these probabilities."""
    bank, matrices = unipt(), dict(unipt_features().matrices)
    cosines = [1 + np.log(values[value]) / 100 for value in bank.by_name[name].index]
    matrices[name] = np.zeros((len(cosines), DIM), np.float32)
    matrices[name][:, 0], matrices[name][:, 1] = cosines, np.sqrt(1 - np.square(cosines))
    crop = np.zeros((1, DIM), np.float32)
    crop[0, 0] = 1
    return decided({"whole": crop}, BankFeatures(bank, matrices, 100.0), CaptionConfig()), bank.column[name]


def test_text_features_are_unit_and_ensemble_averaged(bank_features: BankFeatures) -> None:
    assert bank_features.dim == DIM
    assert bank_features.matrices["upper"].shape == (528, DIM)
    for matrix in bank_features.matrices.values():
        assert matrix.dtype == np.float32
        assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    prompts = ["a photo of a young person", "a street photo of a young pedestrian"]
    assert np.allclose(bank_features.matrices["age"][0], unit(encode_texts(prompts).mean(axis=0)), atol=1e-6)


def test_each_prompt_is_encoded_once_and_in_one_call() -> None:
    calls: list[list[str]] = []

    def encode(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        return encode_texts(texts)

    encode_bank(unipt(), encode)
    assert len(calls) == 1
    assert len(set(calls[0])) == len(calls[0])


def test_a_true_person_is_read(bank_features: BankFeatures) -> None:
    readings = decided({"whole": look(PLAIN)[None]}, bank_features, FAITHFUL)
    row = {item["attribute"]: item for item in readings.to_arrow()[0].as_py()}
    seen = {name: value for name, value in PLAIN.items() if value != "none"}
    assert {name: row[name]["value"] for name in seen} == seen
    assert row["upper_colour"]["phrase"] == "blue"
    assert {item["region"] for item in row.values()} == {"whole"}


@pytest.mark.parametrize("config", [FAITHFUL, CaptionConfig()])
def test_probabilities_and_margins(bank_features: BankFeatures, crops: np.ndarray, config: CaptionConfig) -> None:
    readings = decided({"whole": crops}, bank_features, config)
    assert readings.probability.min() >= 0
    assert readings.probability.max() <= 1 + 1e-5
    assert (readings.margin <= readings.probability + 1e-6).all()
    assert config.faithful or (readings.margin >= 0).all()


def test_marginals_of_a_composed_attribute_sum_to_one(bank_features: BankFeatures, crops: np.ndarray) -> None:
    """Against a plain computation, value by value."""
    unit = crops / np.linalg.norm(crops, axis=1, keepdims=True)
    logits = 100 * unit @ bank_features.matrices["upper"].T
    joint = np.exp(logits - logits.max(axis=1, keepdims=True))
    joint = (joint / joint.sum(axis=1, keepdims=True)).reshape(-1, 11, 12, 4)
    colours = joint.sum(axis=(1, 3))
    assert np.allclose(colours.sum(axis=1), 1, atol=1e-5)
    readings, column = decided({"whole": crops}, bank_features, CaptionConfig()), unipt().column["upper_colour"]
    assert np.allclose(readings.probability[:, column], colours.max(axis=1), atol=1e-4)
    assert np.allclose(readings.margin[:, column], np.diff(np.sort(colours, axis=1)[:, -2:])[:, 0], atol=1e-4)
    best = joint.reshape(len(joint), -1).argmax(axis=1)
    chosen = decided({"whole": crops}, bank_features, FAITHFUL).choice
    found = [chosen[:, unipt().column[name]] for name in ("upper", "upper_colour", "upper_pattern")]
    assert (np.stack(found) == np.stack(np.unravel_index(best, (11, 12, 4)))).all()


def test_readings_do_not_depend_on_order_or_batch(bank_features: BankFeatures, crops: np.ndarray) -> None:
    """To the last bit, across the boundaries of the internal chunks too."""
    many = np.concatenate([crops] * 5)
    order = np.random.default_rng(1).permutation(len(many))
    config = CaptionConfig()
    whole = decided({"whole": many}, bank_features, config)
    shuffled = decided({"whole": many[order]}, bank_features, config)
    single = [decided({"whole": many[i : i + 60]}, bank_features, config) for i in range(0, 300, 60)]
    assert (whole.probability[order] == shuffled.probability).all()
    assert (whole.margin[order] == shuffled.margin).all()
    assert (np.concatenate([part.probability for part in single])[:300] == whole.probability[:300]).all()


def test_faithful_takes_every_required_attribute(bank_features: BankFeatures, crops: np.ndarray) -> None:
    required = [facet.block.kind == "required" for facet in unipt().facets]
    vague = np.random.default_rng(2).standard_normal(crops.shape)
    faithful = decided({"whole": vague}, bank_features, FAITHFUL)
    default = decided({"whole": vague}, bank_features, CaptionConfig())
    visible = [
        name
        for name, need in zip(unipt().column, required, strict=True)
        if need and name in ("gender", "hair", "upper")
    ]
    assert all(faithful.used[:, unipt().column[name]].all() for name in visible)
    assert not any(default.used[:, unipt().column[name]].all() for name in visible)
    low = default.probability < 0.4
    assert not default.used[:, required][low[:, required]].any()


@pytest.mark.parametrize(
    ("none", "hat", "stated"), [(0.08, 0.91, True), (0.11, 0.88, False), (0.0995, 0.8995, False), (0.95, 0.04, False)]
)
def test_an_optional_attribute_is_stated_above_nine_tenths(none: float, hat: float, stated: bool) -> None:
    readings, column = _only("hat", {"none": none, "hat": hat, "helmet": 1 - none - hat})
    assert readings.probability[0, column] == pytest.approx(max(none, hat), abs=1e-3)
    assert readings.used[0, column] == stated


@pytest.mark.parametrize("config", [FAITHFUL, CaptionConfig(unknown=UnknownConfig(probability=0, margin=0))])
def test_a_dress_hides_the_lower_garment(bank_features: BankFeatures, config: CaptionConfig) -> None:
    crop = look({**PLAIN, "upper": "dress", "upper_pattern": "plain"})[None]
    readings = decided({"whole": crop}, bank_features, config)
    row = {item["attribute"]: item for item in readings.to_arrow()[0].as_py()}
    assert (row["upper"]["value"], row["upper"]["used"]) == ("dress", True)
    assert row["lower"]["value"] == "long pants"
    assert not row["lower"]["used"]
    assert not row["lower_colour"]["used"]


def test_each_attribute_is_read_from_its_region(bank_features: BankFeatures) -> None:
    """Colours bleed over the whole crop; regions keep them apart."""
    person = {**WALKER, "upper_colour": "red", "lower_colour": "green"}
    regions = {"whole": look({**person, "lower_colour": "red"})[None], "lower": look(person, "lower")[None]}
    row = {i["attribute"]: i for i in decided(regions, bank_features, CaptionConfig()).to_arrow()[0].as_py()}
    assert (row["lower_colour"]["value"], row["lower_colour"]["region"]) == ("green", "lower")
    assert (row["upper_colour"]["value"], row["upper_colour"]["region"]) == ("red", "whole")
    row = {i["attribute"]: i for i in decided(regions, bank_features, FAITHFUL).to_arrow()[0].as_py()}
    assert (row["lower_colour"]["value"], row["lower_colour"]["region"]) == ("red", "whole")


def test_temperature_and_scale_change_how_sure_not_what(bank_features: BankFeatures, crops: np.ndarray) -> None:
    plain = decided({"whole": crops}, bank_features, CaptionConfig())
    warm = decided({"whole": crops}, bank_features, CaptionConfig(calibration={"age": 4.0}))
    cool = decided({"whole": crops}, bank_features, CaptionConfig(logit_scale=25.0))
    age = unipt().column["age"]
    assert (warm.choice[:, age] == plain.choice[:, age]).all()
    assert (warm.probability[:, age] < plain.probability[:, age]).all()
    assert np.allclose(warm.probability[:, age], cool.probability[:, age], atol=1e-5)
    assert (np.delete(warm.probability, age, 1) == np.delete(plain.probability, age, 1)).all()


def test_the_models_own_scale_counts_unless_the_recipe_gives_one(crops: np.ndarray) -> None:
    own = BankFeatures(unipt(), unipt_features().matrices, 25.0)
    given = decided({"whole": crops}, unipt_features(), CaptionConfig(logit_scale=25.0))
    assert (decided({"whole": crops}, own, CaptionConfig()).probability == given.probability).all()
    over = decided({"whole": crops}, own, CaptionConfig(logit_scale=100.0))
    assert (over.probability == decided({"whole": crops}, unipt_features(), CaptionConfig()).probability).all()


def test_a_blend_weighs_its_regions_and_drops_those_that_are_missing() -> None:
    bank_features = encode_bank(street(), encode_texts)
    rng = np.random.default_rng(7)
    parts = {region: rng.standard_normal((50, DIM)) for region in ("whole", "feet", "lower")}
    cosines = {
        region: part / np.linalg.norm(part, axis=1, keepdims=True) @ bank_features.matrices["shoes"].T
        for region, part in parts.items()
    }

    def shoes(*regions: str) -> tuple[str, np.ndarray]:
        given = {region: parts[region] for region in regions}
        readings = read_attributes(given, bank_features, CaptionConfig(bank="street"))
        column = street().column["shoes"]
        return readings.regions[column], readings.probability[:, column]

    def expected(similarity: np.ndarray) -> np.ndarray:
        powers = np.exp(100 * (similarity - similarity.max(axis=1, keepdims=True)))
        joint = (powers / powers.sum(axis=1, keepdims=True)).reshape(50, *_sizes("shoes"))
        axis = [facet.name for facet in street().facets if facet.block.name == "shoes"].index("shoes")
        marginal = joint.sum(axis=tuple(other for other in range(1, joint.ndim) if other != axis + 1))
        return np.asarray(marginal.max(axis=1))

    both, alone = shoes("whole", "feet", "lower"), shoes("whole", "lower")
    assert (both[0], alone[0]) == ("feet+lower", "lower")
    assert both[1] == pytest.approx(expected(0.7 * cosines["feet"] + 0.3 * cosines["lower"]), abs=1e-4)
    assert alone[1] == pytest.approx(expected(cosines["lower"]), abs=1e-4)
    assert shoes("whole")[0] == "whole"


def _sizes(name: str) -> list[int]:
    return [len(facet.phrases) for facet in street().facets if facet.block.name == name]


def test_a_factor_without_its_head_needs_a_generic_word(bank_features: BankFeatures) -> None:
    text = (SHIPPED / "unipt14.yaml").read_text().replace("    generic: {value: top, text: top}\n", "")
    features = BankFeatures(parse_bank(text), bank_features.matrices, 100.0)
    vague = unit(look({**PLAIN, "upper": "coat"}, "upper") + look(PLAIN, "upper"))[None]
    with_word = decided({"whole": vague}, bank_features, CaptionConfig(unknown=UnknownConfig(probability=0.8)))
    without = decided({"whole": vague}, features, CaptionConfig(unknown=UnknownConfig(probability=0.8)))
    head, colour = unipt().column["upper"], unipt().column["upper_colour"]
    assert not with_word.used[0, head]
    assert with_word.used[0, colour]
    assert not without.used[0, colour]


@pytest.mark.parametrize(
    ("features", "kind", "text"),
    [
        ({"head": np.ones((2, DIM))}, "missing_region", "no embedding of region whole; present: head"),
        ({"whole": np.ones((2, DIM + 1))}, "embedding_shape", f"text features of length {DIM}"),
        ({"whole": np.ones((2, DIM)), "head": np.ones((3, DIM))}, "embedding_shape", "do not fit"),
        ({"whole": np.full((2, DIM), np.nan)}, "embedding_value", "NaN or infinity"),
        ({"whole": np.where(np.eye(2, DIM), -np.inf, 0.5)}, "embedding_value", "NaN or infinity"),
    ],
)
def test_features_that_do_not_fit(
    bank_features: BankFeatures, features: dict[str, np.ndarray], kind: str, text: str
) -> None:
    with pytest.raises(UnitError, match=text) as caught:
        decided(features, bank_features, CaptionConfig())
    assert caught.value.kind == kind


def test_no_crops(bank_features: BankFeatures) -> None:
    readings = decided({"whole": np.zeros((0, DIM), np.float16)}, bank_features, CaptionConfig())
    assert len(readings.to_arrow()) == 0


def test_attributes_column_has_the_schema(bank_features: BankFeatures, crops: np.ndarray) -> None:
    column = decided({"whole": crops}, bank_features, CaptionConfig()).to_arrow()
    assert column.type.value_type == ATTRIBUTE
    assert [item["attribute"] for item in column[7].as_py()] == [facet.name for facet in unipt().facets]
    column.validate(full=True)


@pytest.mark.parametrize(
    "stray",
    [
        {"optional_threshold": 0.8},
        {"unknown": {"probability": 0.3}},
        {"unknown": {"attributes": {"age": {"margin": 0.1}}}},
        {"calibration": {"age": 2}},
        {"prior": "corpus"},
    ],
)
def test_faithful_admits_no_other_thresholds(stray: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=f"faithful: true fixes {next(iter(stray))}"):
        CaptionConfig(faithful=True, **stray)  # type: ignore[arg-type]


def test_a_temperature_for_an_unknown_attribute_is_refused(bank_features: BankFeatures) -> None:
    with pytest.raises(BankError, match="no attribute 'shoes'"):
        decided({"whole": np.ones((1, DIM))}, bank_features, CaptionConfig(calibration={"shoes": 1.0}))
