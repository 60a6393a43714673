"""Time, memory and recall of the search for duplicates across videos, on synthetic crops.

    python -m benchmarks.dedup.across --crops 500000
    python -m benchmarks.dedup.across --crops 500000 --distance none

Every step runs as on a cluster, but one task after another, each in a process of its own, whose processor time and
largest memory are read when it ends. Recall is the share of pairs that comparing with all crops finds, for a sample of
crops, and which the buckets find, too.

The crops: a fifth are pictures that another video shows as well, with a cosine of 0.95 to 1 and a hash with up to six
changed bits; the others are several views of one person. Features have a common direction and a spectrum that falls,
and the bits of hashes depend on each other, as with real crops.
"""

import argparse
import functools
import itertools
import multiprocessing
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.files import Corpus
from pipeline.flow import dedup_buckets
from pipeline.flow.crop_features import PIECE
from pipeline.run.stage import units
from pipeline.run.stream import Operator
from pipeline.run.units import Row, run_step, start
from schemas.tables import CROPS, embeddings
from stages.dedup.bucket_rows import features_of
from stages.dedup.buckets import by_hash
from stages.dedup.config import DedupConfig
from stages.dedup.duplicate_rows import rule_across

CROPS_PER_FILE: Final = 20_000
CROPS_PER_VIDEO: Final = 90
VIEWS: Final = 5

Floats = npt.NDArray[np.float32]


def write_crops(corpus: Corpus, crops: int, dim: int) -> list[Row]:
    """Files of crops and of features; returns pieces as ``pipeline.flow.crop_features`` has them."""
    pieces = []
    earlier = _scene(CROPS_PER_FILE, dim, seed=0)
    for number, first in enumerate(range(0, crops, CROPS_PER_FILE)):
        count = min(CROPS_PER_FILE, crops - first)
        hashes, features = _scene(count, dim, seed=number)
        rng = np.random.default_rng([number, 1])
        copied = np.flatnonzero(rng.random(count) < 0.2)
        source = rng.integers(0, len(earlier[0]), size=len(copied))
        hashes[copied] = _changed(earlier[0][source], rng)
        features[copied] = _near(earlier[1][source], rng.uniform(0.95, 1, size=len(copied)), rng)
        earlier = hashes, features
        rows = np.arange(first, first + count)
        pieces.append(_write(corpus, number, rows, hashes, features, rng))
    return pieces


def _scene(count: int, dim: int, seed: int) -> tuple[npt.NDArray[np.uint64], Floats]:
    """Hashes and features of crops, ``VIEWS`` of each person one after another."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng([seed, 0])
    spectrum = np.arange(1, dim + 1) ** -0.35
    common = fixed.normal(size=dim)
    common *= 1.2 * np.linalg.norm(spectrum) / np.linalg.norm(common)
    persons = np.repeat(rng.normal(size=(-(-count // VIEWS), dim)), VIEWS, axis=0)[:count]
    features = _unit(common + spectrum * (persons + 0.6 * rng.normal(size=(count, dim))))
    factors = rng.normal(size=(count, 16)) @ fixed.normal(size=(16, 64)) / 4
    bits = factors + fixed.normal(size=64) + rng.normal(size=(count, 64)) > 0
    return np.packbits(bits, axis=1).view(np.uint64).ravel(), features


def _unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _near(vectors: Floats, cosine: npt.NDArray[np.float64], rng: np.random.Generator) -> Floats:
    """Other vectors at the given cosines."""
    drawn = rng.normal(size=vectors.shape)
    noise = _unit(drawn - (drawn * vectors).sum(1, keepdims=True) * vectors)
    return _unit(cosine[:, None] * vectors + np.sqrt(1 - cosine[:, None] ** 2) * noise)


def _changed(hashes: npt.NDArray[np.uint64], rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    for _ in range(6):
        bit = np.uint64(1) << rng.integers(0, 64, size=len(hashes), dtype=np.uint64)
        hashes = hashes ^ np.where(rng.random(len(hashes)) < 0.5, bit, 0).astype(np.uint64)
    return hashes


def _write(
    corpus: Corpus, number: int, rows: npt.NDArray[np.int64], hashes: Any, features: Floats, rng: np.random.Generator
) -> Row:
    count = len(rows)
    videos = [f"synthetic:{row // CROPS_PER_VIDEO:08d}" for row in rows]
    names = [f"{row:016x}" for row in rng.permutation(count) + rows[0]]
    unit = f"synthetic:{number}/0"
    columns: dict[str, Any] = {
        "crop_id": names, "video_id": videos, "unit_id": pa.repeat(unit, count), "phash": hashes,
        "confidence": rng.random(count, np.float32), "width": rng.integers(40, 200, count, np.int32),
        "height": rng.integers(80, 400, count, np.int32), "sharpness": rng.uniform(10, 900, count).astype(np.float32),
    }  # fmt: skip
    schema = pa.schema([CROPS.field(name) for name in columns])
    corpus.write_table(pa.table(columns, schema=schema), f"crops/{number}.parquet")
    dim = features.shape[1]
    numbers: dict[str, Any] = {
        "crop_id": names, "video_id": videos, "unit_id": pa.repeat(unit, count), "region": pa.repeat("whole", count),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(features.astype(np.float16).ravel()), dim),
    }  # fmt: skip
    corpus.write_table(pa.table(numbers, schema=embeddings(dim)), f"embeddings/{number}.parquet")
    return _pack(f"crops/{number}.parquet", unit) | {"features": _pack(f"embeddings/{number}.parquet", unit)}


def _pack(path: str, unit: str) -> Row:
    return {"path": path, "file": path, "first_row": None, "num_rows": None, "live": [unit]}


MEASURED: Final[dict[str, list[tuple[float, float]]]] = defaultdict(list)
"""Processor seconds and megabytes of each task, by step."""


def parts(rows: Sequence[Row], fields: pa.Schema, operator: Operator) -> list[Row]:
    """As ``pipeline.run.stream.parts``, one process after another."""
    named = [{"unit_id": str(index), "inputs": ""} | row for index, row in enumerate(rows)]
    return [_measured(block, operator) for block in start(units(named, fields), "")]


def _measured(block: pa.Table, operator: Operator) -> Row:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        row, name, seconds, megabytes = pool.submit(_task, block, operator).result()
    MEASURED[name].append((seconds, megabytes))
    return row


def _task(block: pa.Table, operator: Operator) -> tuple[Row, str, float, float]:
    began = time.process_time()
    (row,) = run_step(block, operator.make_step(), operator.fields).to_pylist()
    name = operator.make_step.func.__name__.removeprefix("_make_")  # type: ignore[attr-defined]
    return row, name, time.process_time() - began, _largest()


def _largest() -> float:
    """Megabytes of the process at its largest. ``getrusage`` would count its parent before the start, too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def recall(corpus: Corpus, found: dedup_buckets.Found, config: DedupConfig, sample: int) -> Iterator[str]:
    """Share of a sample's pairs that were found, by their cosine."""
    rule = rule_across(config)
    assert rule.min_cosine is not None
    paths = found.gathered.paths
    tables = [corpus.read_table(path) for path in paths]
    ranks = dedup_buckets._column(corpus, [found.order], "rank").astype(np.int64)  # noqa: SLF001
    features = np.concatenate([features_of(table) for table in tables])
    rows = pa.concat_tables(table.select(["video_id", "phash"]) for table in tables)
    hashes = rows["phash"].to_numpy()
    videos = np.unique(np.asarray(rows["video_id"].to_pylist()), return_inverse=True)[1]
    asked = np.sort(np.random.default_rng(7).choice(len(features), sample, replace=False))
    everything = dedup_buckets._read_pairs(corpus, found.pairs, 0, len(features))  # noqa: SLF001
    keys = everything.worse << 32 | everything.better
    wanted: list[npt.NDArray[np.int64]] = []
    cosines: list[Floats] = []
    for start_row in range(0, len(features), 8192):
        block = slice(start_row, start_row + 8192)
        cosine = (features[asked].astype(np.float32) @ features[block].astype(np.float32).T).round(5)
        near = cosine >= np.float32(rule.min_cosine)
        near &= videos[asked][:, None] != videos[block][None, :]
        if rule.cosine_hash_distance is not None:
            near &= np.bitwise_count(hashes[asked][:, None] ^ hashes[block][None, :]) <= rule.cosine_hash_distance
        one, other = np.nonzero(near)
        pair = np.sort(np.stack([ranks[asked[one]], ranks[other + start_row]]), axis=0)
        wanted.append(pair[1] << 32 | pair[0])
        cosines.append(cosine[one, other])
    pairs, values = np.concatenate(wanted), np.concatenate(cosines)
    there = np.isin(pairs, keys)
    yield f"{there.sum():,} of {len(pairs):,} pairs of {sample:,} crops found: recall {there.mean():.4f}"
    edges = np.array([rule.min_cosine, 0.95, 0.97, 0.98, 0.99, 1.01])
    for low, high in itertools.pairwise(edges):
        chosen = (values >= low) & (values < high)
        if low < high and chosen.any():
            yield f"  cosine {low:.2f} to {min(high, 1):.2f}: {there[chosen].mean():.4f} of {chosen.sum():,}"


def main() -> None:
    """Write the crops, compare them, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=500_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--cosine", type=float, default=0.98)
    parser.add_argument("--distance", default="4", help="cosine_hash_distance, or none")
    parser.add_argument("--probes", type=int, default=4)
    parser.add_argument("--sample", type=int, default=2000, help="crops whose pairs are compared with all; 0 = none")
    parser.add_argument("--folder", type=Path, help="where the corpus is written; kept and used again")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp())
    distance = None if chosen.distance == "none" else int(chosen.distance)
    config = DedupConfig(min_cosine_across=chosen.cosine, cosine_hash_distance=distance, probes=chosen.probes)
    corpus = Corpus(str(folder))
    vars(dedup_buckets)["parts"] = parts
    try:
        _measure(corpus, config, chosen)
    finally:
        if not chosen.folder:
            shutil.rmtree(folder)


def _measure(corpus: Corpus, config: DedupConfig, chosen: argparse.Namespace) -> None:
    pieces = _known(corpus, chosen.crops, chosen.dim)
    print(f"{chosen.crops:,} crops of {chosen.dim} numbers, by {'hash' if by_hash(rule_across(config)) else 'cells'}")
    with dedup_buckets.scratch(corpus) as folder:
        gathered = dedup_buckets.gather(corpus, folder, pieces, [])
        found = dedup_buckets.compare(corpus, folder, gathered, config)
        written = sum(info.size for info in corpus.files(folder))
        follow = Operator(
            make_step=functools.partial(_make_follow, corpus, found), fields=pa.schema([("rows", pa.int64())])
        )
        (row,) = parts([{}], pa.schema([]), follow)
        for name, tasks in MEASURED.items():
            seconds, megabytes = zip(*tasks, strict=True)
            print(f"{name:8} {len(tasks):5} tasks {sum(seconds):9.1f} processor s, at most {max(megabytes):6.0f} MB")
        pairs = sum(part["pairs"] for part in found.pairs)
        print(f"{pairs:,} pairs, {row['rows']:,} duplicates, {written / 1e9:.2f} GB of temporary files")
        if chosen.sample:
            print(*recall(corpus, found, config, chosen.sample), sep="\n")


def _known(corpus: Corpus, crops: int, dim: int) -> list[Row]:
    """Pieces of the corpus, written if they are not there."""
    name = f"{crops}-{dim}.parquet"
    if not corpus.exists(name):
        corpus.write_table(pa.Table.from_pylist(write_crops(corpus, crops, dim), schema=pa.schema(list(PIECE))), name)
    return corpus.read_table(name).to_pylist()


def _make_follow(corpus: Corpus, found: dedup_buckets.Found) -> Any:
    return lambda _: {"rows": len(dedup_buckets.follow(corpus, found, "across"))}


if __name__ == "__main__":
    main()
