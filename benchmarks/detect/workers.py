"""How the detect stage's flow scales: 1, 2 and 4 nodes of one machine, with operators that sleep; one table.

Usage::

    python -m benchmarks.detect.workers --nodes 1 2 4

Nodes are started by Ray's test utility. Operators sleep instead of decoding and detecting, as the nodes share the
cores; so the figure shows the overhead of the flow itself (scheduling, blocks, ledger) as workers are added.
"""

import argparse
import functools
import tempfile
import time

import numpy as np
import pyarrow as pa

from benchmarks.detect.measure import machine, table
from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.recipe import Recipe
from pipeline.run import cluster
from pipeline.run.stage import Job, units
from pipeline.run.stream import Operator, stream
from pipeline.run.units import PICTURES, RESULT, Row, Step, result
from schemas.declaration import Table

_PIXELS = pa.schema([pa.field("pixels", PICTURES)])
_WANTED = pa.schema([pa.field("number", pa.int64())])
_BYTES = 1 << 20  # about one frame; transfer is not measured
_THINGS = Table(
    name="things", folder="things", schema=pa.schema([pa.field("unit_id", pa.string())]), row="one row per unit"
)


def main() -> None:
    """Run each size of cluster, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--units", type=int, default=20, help="units per node")
    parser.add_argument(
        "--seconds", type=float, default=3, help="seconds a model needs for a unit: 40 frames on a core"
    )
    given = parser.parse_args()
    rates = {nodes: _rate(nodes, given.units * nodes, given.seconds) for nodes in given.nodes}
    base = rates[given.nodes[0]] / given.nodes[0]
    rows = [[f"{nodes}", f"{rate:.2f}", f"{rate / nodes / base:.2f}"] for nodes, rate in rates.items()]
    print(f"{machine(1)}\nnodes with one model each, {given.seconds} s per unit\n")
    print(table(["nodes", "units/s", "share of linear"], rows))


def _rate(nodes: int, count: int, seconds: float) -> float:
    """Units per second over the second half of the units, when all workers are running."""
    import ray
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": cluster.SYSTEM})
    try:
        for _ in range(nodes):
            machines.add_node(num_cpus=1, object_store_memory=200 << 20)
        cluster.connect(machines.address, Recipe.model_validate({"corpus": "unused"}).run)
        with tempfile.TemporaryDirectory(prefix="reidforge-bench-") as folder:
            return _run(folder, nodes, count, seconds)
    finally:
        ray.shutdown()
        machines.shutdown()


def _run(folder: str, nodes: int, count: int, seconds: float) -> float:
    todo = units([{"unit_id": f"{number:06d}", "inputs": "", "number": number} for number in range(count)], _WANTED)
    job = Job(
        snapshot=Snapshot(Corpus(folder)),
        recipe=Recipe.model_validate({"corpus": folder}),
        fingerprint="bench",
        scope="",
        tables=(_THINGS,),
        todo=todo,
    )
    operators = [
        Operator(make_step=functools.partial(_make_decode, seconds / 5), fields=_PIXELS, cpus=0.25, tasks=2 * nodes),
        Operator(make_step=functools.partial(_make_look, seconds), fields=RESULT, cpus=0.5, actors=nodes),
    ]
    done, moments = 0, []
    for outcomes in stream(job, operators, units_per_file=1):
        done += outcomes.num_rows
        moments.append((time.perf_counter(), done))
    (began, before), (ended, after) = next(each for each in moments if each[1] >= count / 2), moments[-1]
    if after != count:
        raise SystemExit(f"{count - after} of {count} units were not returned")
    return float(after - before) / (ended - began)


def _make_decode(seconds: float) -> Step:
    def decode(_: Row) -> Row:
        time.sleep(seconds)
        return {"pixels": [np.zeros(_BYTES, np.uint8)]}

    return decode


def _make_look(seconds: float) -> Step:
    def look(row: Row) -> Row:
        time.sleep(seconds)
        return result({"things": pa.table({"unit_id": [row["unit_id"]]})}, "")

    return look


if __name__ == "__main__":
    main()
