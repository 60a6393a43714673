"""Pretrain on Ray Train: one unit = one training on a variant's manifest."""

import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import TEMPORARY, Corpus, digest
from pipeline.corpus.snapshot import Snapshot
from pipeline.flow import publish
from pipeline.flow.manifest_pictures import ManifestFiles, manifest_files
from pipeline.flow.manifest_stream import Share, Split, find_split, stream_split
from pipeline.recipe import Recipe
from pipeline.run.progress import Part
from pipeline.run.stage import Job, Stage, units
from pipeline.run.units import LOST, OUTCOME, Row
from pipeline.run.weights_digest import weights_digest
from schemas.declaration import Table
from stages.errors import UnitError

if TYPE_CHECKING:
    from stages.pretrain.loop import Pace

METRICS = Table(
    name="metrics",
    folder="checkpoints",
    schema=schemas.tables.METRICS,
    row="one row per value of a metric that pre-training reported",
    scope="variant",
    # Its file lies beside the model of the same training.
    compacted=False,
)

# How often the driver asks how far the training is.
POLL_SECONDS = 1.0

_STATE = re.compile(r"checkpoints/(step-\d+)/")


def _wanted(snapshot: Snapshot, recipe: Recipe) -> pa.Table:
    files = _manifest(snapshot, recipe)
    rows = [{"unit_id": recipe.caption.variant, "inputs": digest(*files)}] if files else []
    return units(rows, pa.schema([]))


def _manifest(snapshot: Snapshot, recipe: Recipe) -> list[str]:
    packs = snapshot.packs(publish.NAME, publish.MANIFEST, recipe.caption.variant)
    return [str(path) for path in packs["path"].to_pylist()]


def _execute(job: Job) -> Iterator[pa.Table]:
    import ray.train

    (unit,) = job.todo.to_pylist()
    folder = f"{METRICS.under(job.scope)}/{digest(job.fingerprint, unit['inputs'])}"
    job.corpus.fs.create_dir(job.corpus.path(folder), recursive=True)
    began = time.perf_counter()
    try:
        with _watched(job.progress) as board:
            _trainer(job, folder, unit["unit_id"], board).fit()
        facts = finished(job.corpus, folder)
    except ray.train.TrainingFailedError as error:
        facts = _explain(error)
    yield _outcome(unit, job, facts | {"seconds": time.perf_counter() - began})


def _trainer(job: Job, folder: str, unit: str, board: Any) -> Any:
    import ray.train
    from ray.train.torch import TorchTrainer

    workers = job.recipe.pretrain.workers
    return TorchTrainer(
        _train_worker,
        train_loop_config={
            "board": board,
            "arguments": {
                "corpus": job.corpus,
                "files": manifest_files(job.snapshot, job.scope),
                "recipe": job.recipe,
                "folder": folder,
                "unit": unit,
            },
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=_on_gpu(job.recipe), resources_per_worker=_resources(job.recipe)
        ),
        run_config=ray.train.RunConfig(
            name="ray-train",
            storage_path=job.corpus.path(folder),
            storage_filesystem=job.corpus.fs,
            # A lost worker is replaced and resumes from the last checkpoint; an error of ours would only recur.
            failure_config=ray.train.FailureConfig(max_failures=job.recipe.run.max_attempts - 1),
        ),
    )


class _Board:
    """Actor that holds the last progress of a training: it runs in actors of Ray Train, out of the driver's reach."""

    def __init__(self) -> None:
        self.part: Part | None = None

    def put(self, part: Part) -> None:
        self.part = part

    def get(self) -> Part | None:
        return self.part


@contextmanager
def _watched(progress: Callable[[Part], None]) -> Iterator[Any]:
    """Start a board, and pass on what is new on it every second until the block ends."""
    import ray

    board: Any = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()
    ended = threading.Event()

    def follow() -> None:
        passed_on, going = None, True
        while going:
            going = not ended.wait(POLL_SECONDS)
            try:
                part = ray.get(board.get.remote(), timeout=10 * POLL_SECONDS)
            except ray.exceptions.RayError:
                # The board restarts elsewhere if its node dies; the training does not depend on it.
                continue
            if part is not None and part != passed_on:
                progress(part)
                passed_on = part

    follower = threading.Thread(target=follow, name="pretrain-progress", daemon=True)
    follower.start()
    try:
        yield board
    finally:
        ended.set()
        follower.join()
        ray.kill(board)


def _train_worker(settings: dict[str, Any]) -> None:
    """Body of one training worker."""
    import ray.train

    context = ray.train.get_context()
    share = Share(rank=context.get_world_rank(), world=context.get_world_size())
    put = settings["board"].put.remote
    train_share(share=share, report=ray.train.report, progress=put, **settings["arguments"])


def train_share(
    *,
    corpus: Corpus,
    files: ManifestFiles,
    recipe: Recipe,
    folder: str,
    unit: str,
    share: Share,
    report: Callable[[dict[str, Any]], None],
    progress: Callable[[Part], None],
) -> None:
    """Train on one worker's share of the manifest, and keep checkpoints, model and metrics in the corpus.

    Args:
        corpus: Holds the manifest and the crops.
        files: Where they are.
        recipe: Names the method and the variant.
        folder: Below the corpus; a checkpoint found there is resumed.
        unit: unit_id of the metrics' rows.
        share: This worker's part of the training split.
        report: Takes the figures of a step after a checkpoint of it, if any, is safe.
        progress: Takes the progress of the training every second or so, on the first worker.
    """
    from stages.pretrain.loop import train
    from stages.pretrain.methods import METHODS

    config = recipe.pretrain
    method = METHODS[config.method]
    splits = {name: find_split(corpus, files, name) for name in ("train", "val")}
    validate = bool(method.evaluation_columns) and len(splits["val"]) > 0
    with tempfile.TemporaryDirectory(prefix="reidforge-") as scratch:
        keeper = _Keeper(corpus, folder, Path(scratch), config.keep_checkpoints, report)
        result = train(
            config,
            stream_split(corpus, splits["train"], method.columns, share=share, seed=config.seed),
            _whole_split(corpus, splits["val"], method.evaluation_columns) if validate else None,
            Path(scratch),
            keeper.report,
            rows=len(splits["train"]),
            resume_from=keeper.fetch_latest(),
            pace=lambda pace: progress(_part(pace)),
        )
        if share.rank == 0:
            keeper.keep_results(unit, result.metrics)


def _part(pace: "Pace") -> Part:
    note = f"loss {pace.loss:.4g}, {pace.rate:,.0f} crops/s"
    return Part(step="step", done=pace.step, total=pace.total, note=note, seconds_left=pace.seconds_left)


def _whole_split(corpus: Corpus, split: Split, columns: Sequence[str]) -> Any:
    stream = stream_split(corpus, split, columns, share=Share(), seed=0)
    return lambda: stream(0)


class _Keeper:
    """Keeps a worker's files in the corpus, and fetches the last checkpoint."""

    def __init__(
        self, corpus: Corpus, folder: str, scratch: Path, keep: int, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self.corpus, self.folder, self.scratch, self.keep, self._report = corpus, folder, scratch, keep, report

    def report(self, entry: dict[str, Any], checkpoint: Path | None) -> None:
        """Upload a checkpoint, if there is one, then report to Ray Train: what it knows of is safe."""
        if checkpoint is not None:
            self._upload(checkpoint)
            for old in self._stored()[: -self.keep]:
                self.corpus.delete(old)
        self._report({name: value for name, value in entry.items() if isinstance(value, int | float)})

    def fetch_latest(self) -> Path | None:
        """Copy the newest checkpoint of an earlier attempt to the scratch folder."""
        stored = self._stored()
        if not stored:
            return None
        target = self.scratch / stored[-1].removeprefix(f"{self.folder}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.corpus.read(stored[-1]))
        return target.parent

    def keep_results(self, unit: str, metrics: list[dict[str, Any]]) -> None:
        """Upload the exported model and the metrics."""
        for name in ("model", "tensorboard"):
            if (self.scratch / name).exists():
                self._upload(self.scratch / name)
        rows = [{"unit_id": unit} | row for row in metrics]
        table = pa.Table.from_pylist(rows, schema=schemas.tables.METRICS)
        self.corpus.write_table(table, f"{self.folder}/metrics.parquet")

    def _upload(self, folder: Path) -> None:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            self.corpus.upload(path, f"{self.folder}/{path.relative_to(self.scratch).as_posix()}")

    def _stored(self) -> list[str]:
        paths = (self.corpus.relative(info.path) for info in self.corpus.files(f"{self.folder}/checkpoints"))
        return sorted(path for path in paths if _STATE.search(path) and path.endswith("state.pt"))


def _on_gpu(recipe: Recipe) -> bool:
    import ray

    if recipe.pretrain.device == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= recipe.pretrain.workers)
    return recipe.pretrain.device == "cuda"


def _resources(recipe: Recipe) -> dict[str, float]:
    import ray

    share = ray.cluster_resources().get("CPU", 1.0) / recipe.pretrain.workers
    cpus = {"CPU": float(max(1, min(recipe.pretrain.threads, int(share))))}
    return cpus | ({"GPU": 1.0} if _on_gpu(recipe) else {})


def finished(corpus: Corpus, folder: str) -> Row:
    """Outcome of a training whose files are in a folder of the corpus."""
    paths = sorted(corpus.relative(info.path) for info in corpus.files(folder))
    # A worker that was killed while it copied a checkpoint leaves a temporary file, which gc removes.
    outputs = [path for path in paths if "/ray-train/" not in path and TEMPORARY not in path]
    rows = corpus.read_table(f"{folder}/metrics.parquet", columns=["step"]).num_rows
    return {"status": "ok", "outputs": outputs, "rows_out": rows}


def _explain(error: Exception) -> Row:
    failures = getattr(error, "worker_failures", None) or {0: error}
    cause = next(iter(failures.values()))
    cause = getattr(cause, "cause", None) or cause
    known = isinstance(cause, UnitError)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or ["no message"]
    return {
        "status": "failed",
        "error_type": cause.kind if known else type(cause).__name__,
        "error_message": lines[-1],
        "retryable": cause.retryable if known else True,
    }


def _outcome(unit: Row, job: Job, facts: Row) -> pa.Table:
    empty = LOST | {"error_type": None, "error_message": None, "scope": job.scope}
    return pa.Table.from_pylist([empty | unit | facts], schema=OUTCOME)


def _identity(recipe: Recipe) -> dict[str, Any]:
    config = recipe.pretrain
    start = config.init and weights_digest(config.init)
    return config.identity() | {"model": weights_digest(config.model), "init": start}


STAGE = Stage(
    name="pretrain",
    tables=(METRICS,),
    unit="run",
    version=2,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    scope=lambda recipe: recipe.caption.variant,
    files=lambda recipe: {"pretrain.model": recipe.pretrain.model, "pretrain.init": recipe.pretrain.init},
)
