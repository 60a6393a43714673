"""Units whose process is killed: the first process that gets the doomed unit waits until it dies.

Also a script, ``python -m tests.pipeline.run.faulty FOLDER WHERE``: a run on a cluster of three nodes. The node that
holds the doomed unit, in a task or an actor, is killed.
"""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Container
from pathlib import Path

import pyarrow as pa

from pipeline.corpus.files import Corpus
from pipeline.run.stage import Stage
from pipeline.run.stream import Operator
from pipeline.run.units import RESULT, Row, Step, result
from tests.pipeline.run.toys import BLOB, run, toy_stage

# A busy machine may take minutes to start a worker.
PATIENCE_S = 240.0

# Time for other units to come as far as the doomed one, so that they wait for the dead node's actor, too.
QUEUE_S = 8.0


def make_load(folder: Path, doomed: str, size: int) -> Step:
    """First step: bytes; the first process that gets the doomed unit waits to be killed."""

    def load(row: Row) -> Row:
        if row["name"] == doomed:
            wait_to_be_killed(folder)
        return {"name": row["name"], "blob": bytes(size)}

    return load


def make_measure(folder: Path, doomed: str, deadly: Container[str] = ()) -> Step:
    """Second step: one row of a table; a deadly unit ends each process that comes to it."""

    def measure(row: Row) -> Row:
        if row["name"] == doomed:
            wait_to_be_killed(folder)
        if row["name"] in deadly:
            time.sleep(1)  # the next unit is sent to this actor meanwhile
            os._exit(1)
        return result({"things": pa.table({"unit_id": [row["unit_id"]], "bytes": [len(row["blob"])]})}, "")

    return measure


def wait_to_be_killed(folder: Path) -> None:
    """Write down the process, once, and wait; a process that comes after the kill continues."""
    try:
        note = os.open(folder / "pid", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return
    os.write(note, f"{os.getpid()} {_node()}\n".encode())
    os.close(note)
    time.sleep(PATIENCE_S)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def stage(
    folder: Path, count: int, *, in_task: str = "", in_actor: str = "", deadly: Container[str] = (), size: int = 10
) -> Stage:
    """A stage of ``count`` units through a task and an actor; ``in_task`` or ``in_actor`` names the doomed one."""
    load = functools.partial(make_load, folder, in_task, size)
    measure = functools.partial(make_measure, folder, in_actor, deadly)
    operators = [
        Operator(make_step=load, fields=BLOB, cpus=0.5, tasks=2),
        Operator(make_step=measure, fields=RESULT, cpus=0.5, actors=1),
    ]
    return toy_stage([f"{n:02d}" for n in range(count)], operators)


def noted(folder: Path) -> list[str]:
    """Process and node that came to the doomed unit; waits for it."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if (folder / "pid").exists() and (content := (folder / "pid").read_text()).endswith("\n"):
            return content.split()
        time.sleep(0.1)
    raise TimeoutError("no process got the doomed unit")


def killer(folder: Path, kill: Callable[[list[str]], None]) -> threading.Thread:
    """A thread that kills what came to the doomed unit."""
    thread = threading.Thread(target=lambda: kill(noted(folder)), daemon=True)
    thread.start()
    return thread


def kill_process(found: list[str]) -> None:
    """SIGKILL, as the kernel does when memory ends."""
    os.kill(int(found[0]), signal.SIGKILL)


def kill_a_node(folder: Path, where: str) -> None:
    """Run on a head without CPUs and two workers, and kill the worker that holds the doomed unit."""
    import ray
    from ray.cluster_utils import Cluster

    from pipeline.recipe import RunConfig
    from pipeline.run import cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
    workers = [nodes.add_node(num_cpus=1, object_store_memory=100 << 20) for _ in range(2)]
    cluster.connect(nodes.address, RunConfig())
    by_id = {worker.node_id: worker for worker in workers}

    def kill(found: list[str]) -> None:
        time.sleep(QUEUE_S)
        nodes.remove_node(by_id[found[-1]], allow_graceful=False)

    thread = killer(folder, kill)
    run(Corpus(str(folder / "corpus")), stage(folder, 12, **{where: "05"}))
    thread.join()
    alive = sum(node["Alive"] for node in ray.nodes())
    print(f"{alive} nodes alive")
    ray.shutdown()
    nodes.shutdown()


if __name__ == "__main__":
    kill_a_node(Path(sys.argv[1]), sys.argv[2])
