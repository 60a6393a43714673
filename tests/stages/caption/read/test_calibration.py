from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig, Thresholds, UnknownConfig
from stages.caption.read.calibration import Calibration, load_temperatures
from stages.caption.read.conquer import BankFeatures
from stages.caption.read.exact import in_units
from stages.caption.read.fit_temperatures import fit_temperatures, label_codes
from tests.stages.caption.captioning import DIM, decided, look, persons, unipt, unipt_features

Noisy = tuple[dict[str, np.ndarray], list[dict[str, str]]]


@pytest.fixture(scope="module")
def noisy() -> Noisy:
    """Crops whose attributes cannot be read for sure, and the truth."""
    people = [dict(person) for person in persons(600, seed=3)]
    clean = np.stack([look(person) for person in people])
    noise = np.random.default_rng(4).standard_normal(clean.shape) * 0.08
    return {"whole": (clean + noise).astype(np.float32)}, people


def _nll(features: dict[str, np.ndarray], truth: list[dict[str, str]], config: CaptionConfig, name: str) -> float:
    """Of the value that was read: how well the probability fits how often it is right."""
    readings, column = decided(features, unipt_features(), config), unipt().column[name]
    right = readings.choice[:, column] == label_codes(truth, unipt())[:, column]
    probability = readings.probability[:, column].clip(1e-6, 1 - 1e-6)
    return float(-np.where(right, np.log(probability), np.log(1 - probability)).mean())


def test_fitted_temperatures_make_probabilities_truer(
    noisy: tuple[dict[str, np.ndarray], list[dict[str, str]]],
) -> None:
    features, truth = noisy
    half = {"whole": features["whole"][:300]}
    fits = fit_temperatures(half, unipt_features(), label_codes(truth[:300], unipt()), CaptionConfig())
    assert set(fits) == {block.name for block in unipt().attributes}
    assert all(fit.after <= fit.before + 1e-9 for fit in fits.values())
    fitted = CaptionConfig(calibration={name: fit.temperature for name, fit in fits.items()})
    other = {"whole": features["whole"][300:]}
    for name in ("age", "gender", "hair"):
        assert _nll(other, truth[300:], fitted, name) < _nll(other, truth[300:], CaptionConfig(), name)


def test_a_known_temperature_is_found_again() -> None:
    """Labels drawn from the softmax at temperature 3: the fit gives 3 back."""
    rng, bank = np.random.default_rng(5), unipt()
    crops = rng.standard_normal((3000, DIM)).astype(np.float32)
    crops /= np.linalg.norm(crops, axis=1, keepdims=True)
    logits = 100 * crops @ unipt_features().matrices["action"].T / 3
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.full((3000, len(bank.facets)), -1)
    labels[:, bank.column["action"]] = (shares.cumsum(axis=1) > rng.random((3000, 1))).argmax(axis=1)
    fits = fit_temperatures({"whole": crops}, unipt_features(), labels, CaptionConfig())
    assert set(fits) == {"action"}
    assert fits["action"].temperature == pytest.approx(3, rel=0.1)
    assert fits["action"].crops == 3000


def test_temperatures_are_fitted_from_scratch_and_within_a_wide_range(noisy: Noisy) -> None:
    features, truth = {"whole": noisy[0]["whole"][:100]}, label_codes(noisy[1][:100], unipt())
    plain = fit_temperatures(features, unipt_features(), truth, CaptionConfig())
    again = fit_temperatures(features, unipt_features(), truth, CaptionConfig(calibration={"age": 3.0}))
    assert again == plain
    sharp = fit_temperatures(features, unipt_features(), truth, CaptionConfig(logit_scale=1000.0))
    assert sharp["age"].temperature == pytest.approx(10 * plain["age"].temperature, rel=1e-3)
    assert sharp["age"].temperature > 4


def test_temperatures_are_fitted_with_the_prior_that_the_recipe_reads_with(noisy: Noisy) -> None:
    features, truth = {"whole": noisy[0]["whole"][:100]}, label_codes(noisy[1][:100], unipt())
    means = {"whole": np.rint(in_units(features["whole"]).mean(axis=0))}
    config = CaptionConfig(prior="corpus", prior_strength=1.0)
    plain, corrected = (fit_temperatures(features, unipt_features(), truth, config, m)["age"] for m in (None, means))
    assert corrected.before != plain.before


def test_of_a_composed_attribute_one_factor_may_be_known() -> None:
    crops = {"whole": np.stack([look(person) for person in persons(50)])}
    truth = [{"upper_colour": person["upper_colour"]} for person in persons(50)]
    assert set(fit_temperatures(crops, unipt_features(), label_codes(truth, unipt()), CaptionConfig())) == {"upper"}
    assert (label_codes([{"upper": "toga", "age": "old"}], unipt()) >= 0).sum() == 1


def test_a_file_of_temperatures_is_read_as_a_mapping_is(
    tmp_path: Path, noisy: tuple[dict[str, np.ndarray], object]
) -> None:
    content = Calibration(model="m", bank="unipt14", crops=3, temperatures={"age": 4.0})
    path = tmp_path / "calibration.yaml"
    path.write_text(yaml.safe_dump(content.model_dump(mode="json")))
    from_file = decided(noisy[0], unipt_features(), CaptionConfig(calibration=str(path)))
    given = decided(noisy[0], unipt_features(), CaptionConfig(calibration={"age": 4.0}))
    assert (from_file.probability == given.probability).all()
    path.write_text("temperatures: {age: 4.0}\nmodell: m\n")
    with pytest.raises(BankError, match=r"modell: unknown key; accepted: model, bank"):
        load_temperatures(CaptionConfig(calibration=str(path)), unipt())


def test_thresholds_of_one_attribute_make_it_alone_unknown() -> None:
    crops = {"whole": np.stack([look(person) for person in persons(100)])}
    high = UnknownConfig(attributes={"upper_colour": Thresholds(probability=0.99), "bag": Thresholds(margin=0.99)})
    plain = decided(crops, unipt_features(), CaptionConfig())
    strict = decided(crops, unipt_features(), CaptionConfig(unknown=high))
    colour, bag = (unipt().column[name] for name in ("upper_colour", "bag"))
    sure = {colour: plain.probability[:, colour] >= 0.99, bag: plain.margin[:, bag] >= 0.99}
    for column, rows in sure.items():
        assert (strict.used[:, column] == plain.used[:, column] & rows).all()
        assert strict.used[:, column].sum() < plain.used[:, column].sum()
    assert (np.delete(strict.used, [colour, bag], 1) == np.delete(plain.used, [colour, bag], 1)).all()
    low = UnknownConfig(attributes={"hat": Thresholds(probability=0.0, margin=0.0)})
    keen = decided(crops, unipt_features(), CaptionConfig(unknown=low))
    hat = unipt().column["hat"]
    assert keen.used[:, hat].sum() >= plain.used[:, hat].sum()


def test_the_features_of_a_bank_come_back_as_they_were_packed() -> None:
    from stages.caption.read.conquer import pack_bank, unpack_bank

    packed: BankFeatures = unipt_features()
    back = unpack_bank(pack_bank(packed), unipt())
    assert back.logit_scale == packed.logit_scale
    assert all((back.matrices[name] == matrix).all() for name, matrix in packed.matrices.items())
