from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import schemas.tables
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig
from stages.caption.read.exact import UNITS
from stages.caption.read.prior import mean_features, reference_digest, reference_means
from tests.stages.caption.captioning import DIM, decided, look, persons, unipt, unipt_features, unit

CORPUS = CaptionConfig(prior="corpus", prior_strength=1.0)


def embeddings(features: np.ndarray, region: str = "whole") -> pa.Table:
    columns = {
        "crop_id": [f"{i:016x}" for i in range(len(features))],
        "video_id": ["v"] * len(features),
        "unit_id": ["u"] * len(features),
        "region": [region] * len(features),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.astype(np.float16).ravel()), DIM),
    }
    return pa.table(columns, schema=schemas.tables.embeddings(DIM))


@pytest.fixture(scope="module")
def people() -> list[dict[str, str]]:
    return [dict(person) for person in persons(300)]


@pytest.fixture(scope="module")
def biased(people: list[dict[str, str]]) -> np.ndarray:
    """Crops that all look a good deal like an old person."""
    old = unipt_features().matrices["age"][2]
    return np.stack([unit(look(person) + 1.2 * old) for person in people])


def test_the_mean_is_the_same_to_the_last_bit_in_any_order_and_batch(biased: np.ndarray) -> None:
    order = np.random.default_rng(0).permutation(len(biased))
    table, shuffled = embeddings(biased), embeddings(biased[order])
    whole = mean_features([table])["whole"]
    parts = mean_features(shuffled.slice(start, 37) for start in range(0, 300, 37))["whole"]
    assert (whole == parts).all()
    assert whole / UNITS == pytest.approx(biased.astype(np.float16).astype(float).mean(axis=0), abs=1e-3)


def test_each_region_has_a_mean_of_its_own(biased: np.ndarray) -> None:
    found = mean_features([embeddings(biased), embeddings(-biased, "head")])
    assert sorted(found) == ["head", "whole"]
    assert np.abs(found["head"] + found["whole"]).max() <= 1
    assert mean_features([]) == {}


def test_a_phrase_that_wins_everywhere_is_damped(people: list[dict[str, str]], biased: np.ndarray) -> None:
    age, index = unipt().column["age"], unipt().by_name["age"].index
    truth = np.array([index[person["age"]] for person in people])
    plain = decided({"whole": biased}, unipt_features(), CaptionConfig())
    damped = decided({"whole": biased}, unipt_features(), CORPUS, means=mean_features([embeddings(biased)]))
    assert (plain.choice[:, age] == 2).mean() > 0.9
    assert (plain.choice[:, age] == truth).mean() < 0.5
    assert (damped.choice[:, age] == truth).mean() > 0.9


def test_the_prior_of_a_corpus_leaves_optional_attributes_alone(biased: np.ndarray) -> None:
    means = mean_features([embeddings(biased)])
    plain = decided({"whole": biased}, unipt_features(), CaptionConfig())
    own = decided({"whole": biased}, unipt_features(), CORPUS, means=means)
    other = CaptionConfig(prior="reference", reference="r.parquet", prior_strength=1.0)
    reference = decided({"whole": biased}, unipt_features(), other, means=means)
    hat = unipt().column["hat"]
    assert (own.probability[:, hat] == plain.probability[:, hat]).all()
    assert (reference.probability[:, hat] != plain.probability[:, hat]).any()
    required = [facet.block.kind == "required" for facet in unipt().facets]
    assert (own.probability[:, required] == reference.probability[:, required]).all()


def test_without_a_prior_the_means_do_not_count(biased: np.ndarray) -> None:
    means = mean_features([embeddings(biased)])
    plain = decided({"whole": biased}, unipt_features(), CaptionConfig())
    given = decided({"whole": biased}, unipt_features(), CaptionConfig(), means=means)
    assert (plain.probability == given.probability).all()


def test_the_strength_is_the_share_of_the_mean_that_is_subtracted(biased: np.ndarray) -> None:
    means = mean_features([embeddings(biased)])
    half = CaptionConfig(prior="corpus", prior_strength=0.5)
    weaker = {region: np.rint(mean / 2) for region, mean in means.items()}
    found = decided({"whole": biased}, unipt_features(), half, means=means)
    assert (found.probability == decided({"whole": biased}, unipt_features(), CORPUS, means=weaker).probability).all()
    assert (found.probability != decided({"whole": biased}, unipt_features(), CORPUS, means=means).probability).any()


def test_readings_with_a_prior_do_not_depend_on_the_batch(biased: np.ndarray) -> None:
    means = mean_features([embeddings(biased)])
    whole = decided({"whole": biased}, unipt_features(), CORPUS, means=means)
    parts = [decided({"whole": biased[i : i + 50]}, unipt_features(), CORPUS, means=means) for i in (0, 50)]
    assert (np.concatenate([part.probability for part in parts]) == whole.probability[:100]).all()


def test_a_reference_set_is_a_file_of_embeddings(tmp_path: Path, biased: np.ndarray) -> None:
    path = tmp_path / "reference.parquet"
    pq.write_table(embeddings(biased), path)
    config = CaptionConfig(prior="reference", reference=str(path))
    assert (reference_means(config)["whole"] == mean_features([embeddings(biased)])["whole"]).all()
    before = reference_digest(config)
    pq.write_table(embeddings(biased[:10]), path)
    assert reference_digest(config) != before
    path.write_bytes(b"something else")
    with pytest.raises(BankError, match="is not a Parquet file of embeddings"):
        reference_means(config)
    with pytest.raises(BankError, match="those of the model"):
        decided({"whole": biased}, unipt_features(), config, means={"whole": np.zeros(7)})


@pytest.mark.parametrize("given", [{"prior": "reference"}, {"reference": "r.parquet"}])
def test_a_reference_belongs_to_its_prior(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"a reference file if prior is .reference., and only then"):
        CaptionConfig.model_validate(given)
