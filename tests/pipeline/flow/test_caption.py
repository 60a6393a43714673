"""What makes captions stale, and what they are made from, without a cluster."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import schemas.tables as tables
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow import attribute_readers, caption
from pipeline.flow.attribute_readers import ReaderKind
from pipeline.recipe import Recipe
from pipeline.run.units import JointStep
from stages.caption.bank.bank import load_bank
from stages.caption.read.conquer import pack_bank, unpack_bank
from tests.corpora import crop_rows, ledger_row, person_jpeg
from tests.local import run_here
from tests.runs import tiny_clip
from tests.stages.caption.colour_reader import ColourReader

DIM = 16


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


def recipe_of(corpus: Corpus, clip: Path, **block: Any) -> Recipe:
    given = {"embed": {"model": str(clip), "pretrained": None}, "caption": {"variant": "test"} | block}
    return Recipe.model_validate({"corpus": corpus.root, **given})


def add_file(corpus: Corpus, name: str, recipe: Recipe, *, beside: bool = True) -> None:
    """A finished unit of embed: one file of embeddings, one of evidence."""
    slug, rng = recipe.embed.slug, np.random.default_rng(len(name))
    crops = [f"{name}{i}" for i in range(5)]
    shared = {"crop_id": crops, "video_id": ["v"] * 5, "unit_id": [f"{slug}/{name}"] * 5}
    features = rng.standard_normal((5, DIM)).astype(np.float16)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), DIM)
    found = pa.table(shared | {"region": ["whole"] * 5, "embedding": vectors}, schema=tables.embeddings(DIM))
    colours = [[{"region": "upper", "name": "red", "share": 0.9, "margin": 0.8}]] * 5
    said = pa.table(shared | {"colours": colours, "objects": [[]] * 5}, schema=tables.EVIDENCE)
    paths = [f"embeddings/{slug}/{name}.parquet", f"evidence/{slug}/{name}.parquet"][: 2 if beside else 1]
    for path, table in zip(paths, (found, said), strict=False):
        corpus.write_table(table, path)
    Ledger(corpus, "embed").append([ledger_row(f"{slug}/{name}", paths, scope=slug)])


def add_crops(corpus: Corpus, name: str, jpegs: dict[str, bytes]) -> None:
    """A finished unit of detect."""
    rows = crop_rows("web:1", name, range(len(jpegs)))
    rows = [row | {"crop_id": crop, "jpeg": jpeg} for row, (crop, jpeg) in zip(rows, jpegs.items(), strict=True)]
    corpus.write_table(pa.Table.from_pylist(rows, tables.CROPS), f"crops/{name}.parquet")
    Ledger(corpus, "detect").append([ledger_row(name, [f"crops/{name}.parquet"])])


def add_evidence(corpus: Corpus, name: str, recipe: Recipe, crops: list[str]) -> None:
    """What embed found on the crops of a file: the lower garment is blue."""
    blue = [{"region": "lower", "name": "blue", "share": 0.9, "margin": 0.8}]
    unit, path = f"{recipe.embed.slug}/{name}", f"evidence/{recipe.embed.slug}/other-name.parquet"
    rows = [{"crop_id": crop, "video_id": "v", "unit_id": unit, "colours": blue, "objects": []} for crop in crops]
    corpus.write_table(pa.Table.from_pylist(rows, tables.EVIDENCE), path)
    Ledger(corpus, "embed").append([ledger_row(unit, [path], scope=recipe.embed.slug)])


def wanted(corpus: Corpus, recipe: Recipe) -> dict[str, dict[str, Any]]:
    return {row["path"].rpartition("/")[2]: row for row in caption.STAGE.wanted(Snapshot(corpus), recipe).to_pylist()}


def test_each_file_of_embeddings_finds_the_evidence_of_its_unit(tmp_path: Path, clip: Path) -> None:
    corpus = Corpus(str(tmp_path))
    recipe = recipe_of(corpus, clip)
    add_file(corpus, "a", recipe)
    add_file(corpus, "b", recipe, beside=False)
    units = wanted(corpus, recipe)
    assert units["a.parquet"]["evidence"]["path"] == f"evidence/{recipe.embed.slug}/a.parquet"
    assert units["b.parquet"]["evidence"] is None


def test_captions_with_the_corpuss_prior_are_stale_when_the_corpus_grows(tmp_path: Path, clip: Path) -> None:
    corpus = Corpus(str(tmp_path))
    plain, prior = recipe_of(corpus, clip), recipe_of(corpus, clip, prior="corpus")
    add_file(corpus, "a", plain)
    before = {recipe.caption.prior: wanted(corpus, recipe)["a.parquet"]["inputs"] for recipe in (plain, prior)}
    assert wanted(corpus, prior)["a.parquet"]["inputs"] == before["corpus"]
    add_file(corpus, "b", plain)
    assert wanted(corpus, plain)["a.parquet"]["inputs"] == before["none"]
    assert wanted(corpus, prior)["a.parquet"]["inputs"] != before["corpus"]


def test_the_prior_is_the_mean_of_the_live_embeddings(tmp_path: Path, clip: Path) -> None:
    corpus = Corpus(str(tmp_path))
    recipe = recipe_of(corpus, clip, prior="corpus")
    for name in ("a", "bb"):
        add_file(corpus, name, recipe)
    stray = pq.read_table(tmp_path / "embeddings" / recipe.embed.slug / "a.parquet")
    corpus.write_table(stray, f"embeddings/{recipe.embed.slug}/stray.parquet")
    means = attribute_readers.prior_means(Snapshot(corpus), recipe)
    rows = np.concatenate([np.random.default_rng(n).standard_normal((5, DIM)).astype(np.float16) for n in (1, 2)])
    unit = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    assert means["whole"] / 2**24 == pytest.approx(unit.mean(axis=0), abs=1e-6)
    assert attribute_readers.prior_means(Snapshot(corpus), recipe_of(corpus, clip)) == {}


def test_the_text_bank_is_encoded_once_per_model_and_kept_in_the_corpus(tmp_path: Path, clip: Path) -> None:
    corpus, bank = Corpus(str(tmp_path)), load_bank("unipt14")
    recipe = recipe_of(corpus, clip)
    first = attribute_readers.encode_texts(corpus, recipe)
    [kept] = (tmp_path / "texts" / recipe.embed.slug).iterdir()
    assert (unpack_bank(kept.read_bytes(), bank).matrices["age"] == first.matrices["age"]).all()
    # What is kept is what is read: a mark that no model would give comes back.
    kept.write_bytes(pack_bank(type(first)(bank, first.matrices, 7.5)))
    assert attribute_readers.encode_texts(corpus, recipe).logit_scale == 7.5
    other = bank.model_dump(mode="json")
    other["version"] = 99
    (tmp_path / "bank.yaml").write_text(json.dumps(other))
    assert (
        attribute_readers.encode_texts(corpus, recipe_of(corpus, clip, bank=str(tmp_path / "bank.yaml"))).logit_scale
        != 7.5
    )


def test_what_a_calibration_file_says_decides_and_not_its_name(tmp_path: Path, clip: Path) -> None:
    corpus = Corpus(str(tmp_path / "corpus"))
    prints = []
    for name, temperature in (("one", 2.0), ("other", 2.0), ("other", 3.0)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"{{model: m, bank: unipt14, crops: 9, temperatures: {{age: {temperature}}}}}")
        prints.append(caption.STAGE.fingerprint(recipe_of(corpus, clip, calibration=str(path))))
    prints.append(caption.STAGE.fingerprint(recipe_of(corpus, clip, calibration={"age": 2.0})))
    assert prints[0] == prints[1] == prints[3] != prints[2]


def test_temperatures_of_another_model_are_refused(tmp_path: Path, clip: Path) -> None:
    corpus, path = Corpus(str(tmp_path / "corpus")), tmp_path / "calibration.yaml"
    path.write_text("{model: ViT-B-16_openai, bank: unipt14, crops: 9, temperatures: {age: 2.0}}")
    with pytest.raises(UserError) as caught:
        caption.STAGE.check(recipe_of(corpus, clip, calibration=str(path)))
    assert str(caught.value) == (
        f"caption.calibration: {path} was fitted on model ViT-B-16_openai, and embed.model is tiny; "
        "fit temperatures for it: reidforge calibrate RECIPE FILE"
    )
    path.write_text("{model: tiny, bank: unipt14, crops: 9, temperatures: {age: 2.0}}")
    caption.STAGE.check(recipe_of(corpus, clip, calibration=str(path)))


def test_a_reader_of_crops_gets_files_of_crops_and_the_evidence_of_the_same_crops(tmp_path: Path, clip: Path) -> None:
    corpus = Corpus(str(tmp_path))
    recipe = recipe_of(corpus, clip, evidence={"demand": ["lower_colour"]})
    kind = ReaderKind(
        needs="crops",
        prepare=lambda _, recipe: load_bank(recipe.caption.bank),
        make=lambda bank, _: ColourReader(bank),
    )
    add_crops(corpus, "chunk", {"a": person_jpeg("red", "blue"), "b": person_jpeg("black", "red")})
    [unit] = caption.wanted_by(kind, Snapshot(corpus), recipe).to_pylist()
    assert (unit["unit_id"], unit["path"], unit["evidence"]) == ("test/chunk", "crops/chunk.parquet", None)
    add_evidence(corpus, "chunk", recipe, ["a", "b"])
    [unit] = caption.wanted_by(kind, Snapshot(corpus), recipe).to_pylist()
    assert unit["evidence"]["path"] == f"evidence/{recipe.embed.slug}/other-name.parquet"
    step = caption.caption_step(corpus, recipe, kind, kind.prepare(Snapshot(corpus), recipe))
    captions = pa.ipc.open_stream(step.run([unit])[0]["tables"][0]["ipc"]).read_all()
    rows = [{item["attribute"]: item for item in items} for items in captions["attributes"].to_pylist()]
    assert [row["upper_colour"]["value"] for row in rows] == ["red", "black"]
    # The evidence says blue: both stand beside each other, and only where they differ is the colour unknown.
    assert [row["lower_colour"]["used"] for row in rows] == [True, False]
    assert "red" in captions["captions"][0].as_py()[0]["text"]


def captioned(step: JointStep, units: list[dict[str, Any]]) -> list[pa.Table]:
    return [pa.ipc.open_stream(found["tables"][0]["ipc"]).read_all() for found in step.run(units)]


def test_files_captioned_together_get_the_captions_that_each_gets_alone(tmp_path: Path, clip: Path) -> None:
    corpus = Corpus(str(tmp_path))
    recipe = recipe_of(corpus, clip, evidence={"demand": ["upper_colour"]}, unknown={"probability": 0, "margin": 0})
    for name in ("a", "bb", "cccc"):
        add_file(corpus, name, recipe, beside=name != "bb")
    prepared = attribute_readers.CLIP.prepare(Snapshot(corpus), recipe)
    step = caption.caption_step(corpus, recipe, attribute_readers.CLIP, prepared)
    units = caption.STAGE.wanted(Snapshot(corpus), recipe).to_pylist()
    alone = [captioned(step, [unit])[0] for unit in units]
    together = captioned(step, units)
    assert [part.equals(one) for part, one in zip(together, alone, strict=True)] == [True] * 3
    assert [set(part["unit_id"].to_pylist()) for part in together] == [{unit["unit_id"]} for unit in units]


@pytest.mark.usefixtures("ray_cluster")
def test_files_of_captions_hold_neighbours(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus(str(tmp_path))
    recipe = recipe_of(corpus, clip)
    # The names of packs are digests: their order is not that of their videos.
    for name, video in {"d": "x:1", "a": "x:2", "c": "x:3", "b": "x:4"}.items():
        rows = crop_rows(video, f"{video}/0", range(5))
        corpus.write_table(pa.Table.from_pylist(rows, tables.CROPS), f"crops/{name}.parquet")
        Ledger(corpus, "detect").append([ledger_row(f"{video}/0", [f"crops/{name}.parquet"])])
        add_file(corpus, name, recipe)
    monkeypatch.setattr(caption, "_units_per_task", lambda *_: 2)
    run_here(monkeypatch, corpus, recipe, caption)
    packs = Snapshot(corpus).packs("caption", caption.CAPTIONS, "test").to_pylist()
    assert {tuple(pack["live"]) for pack in packs} == {("test/a", "test/d"), ("test/b", "test/c")}
