"""Pretrain on Ray Train: one unit = one run over a variant's manifest."""

import logging
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

import schemas.tables
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.live import live_files
from pipeline.flow import publish
from pipeline.flow.manifest_stream import TRAIN_COLUMNS, VAL_COLUMNS, Share, count_rows, stream_split
from pipeline.recipe import Recipe
from pipeline.run.stage import Job, Stage, units
from pipeline.run.units import LOST, OUTCOME, Row
from pipeline.run.weights import weights_digest
from schemas.declaration import Table
from stages.errors import UnitError

METRICS = Table(
    name="metrics",
    folder="checkpoints",
    schema=schemas.tables.METRICS,
    row="one row per metric that pre-training reported",
    scope="variant",
)

log = logging.getLogger("reidforge")

_STATE = re.compile(r"checkpoints/(step-\d+)/")


def _wanted(corpus: Corpus, recipe: Recipe) -> pa.Table:
    files = _manifest(corpus, recipe)
    rows = [{"unit_id": recipe.caption.variant, "inputs": digest(*files)}] if files else []
    return units(rows, pa.schema([]))


def _manifest(corpus: Corpus, recipe: Recipe) -> list[str]:
    return list(live_files(corpus, publish.STAGE.name, publish.MANIFEST, recipe.caption.variant))


def _execute(job: Job) -> Iterator[pa.Table]:
    import ray.train
    from ray.train.torch import TorchTrainer

    (unit,) = job.todo.to_pylist()
    folder = f"{METRICS.under(job.scope)}/{digest(job.fingerprint, unit['inputs'])}"
    config = job.recipe.pretrain
    settings = {"corpus": job.corpus, "recipe": job.recipe, "folder": folder, "unit": unit["unit_id"]}
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config=settings,
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.workers, use_gpu=_on_gpu(job.recipe), resources_per_worker=_resources(job.recipe)
        ),
        run_config=ray.train.RunConfig(
            name="ray-train",
            storage_path=job.corpus.path(folder),
            storage_filesystem=job.corpus.fs,
            # A lost worker is replaced and goes on from the last checkpoint; an error of ours would only come again.
            failure_config=ray.train.FailureConfig(max_failures=job.recipe.run.max_attempts - 1),
        ),
    )
    job.corpus.fs.create_dir(job.corpus.path(folder), recursive=True)
    began = time.perf_counter()
    try:
        trainer.fit()
        facts = _finished(job.corpus, folder)
    except ray.train.TrainingFailedError as error:
        facts = _explain(error)
    yield _outcome(unit, job, facts | {"seconds": time.perf_counter() - began})


def _train_worker(settings: dict[str, Any]) -> None:
    """Body of one training worker."""
    import ray.train

    from stages.pretrain.loop import train

    corpus, recipe, folder = settings["corpus"], settings["recipe"], settings["folder"]
    context = ray.train.get_context()
    share = Share(rank=context.get_world_rank(), world=context.get_world_size())
    files, config = _manifest(corpus, recipe), recipe.pretrain
    validate = count_rows(corpus, files, "val") > 0
    with tempfile.TemporaryDirectory(prefix="reidforge-") as scratch:
        keeper = _Keeper(corpus, folder, Path(scratch), config.keep_checkpoints)
        result = train(
            config,
            stream_split(corpus, files, "train", TRAIN_COLUMNS, share=share, seed=config.seed),
            _whole_split(corpus, files, "val") if validate else None,
            Path(scratch),
            keeper.report,
            rows=count_rows(corpus, files, "train"),
            resume_from=keeper.fetch_latest(),
        )
        if share.rank == 0:
            keeper.keep_results(settings["unit"], result.metrics)


def _whole_split(corpus: Corpus, files: list[str], split: str) -> Any:
    stream = stream_split(corpus, files, split, VAL_COLUMNS, share=Share(), seed=0)
    return lambda: stream(0)


class _Keeper:
    """Keeps a worker's files in the corpus, and brings the last checkpoint back."""

    def __init__(self, corpus: Corpus, folder: str, scratch: Path, keep: int) -> None:
        self.corpus, self.folder, self.scratch, self.keep = corpus, folder, scratch, keep

    def report(self, entry: dict[str, Any], checkpoint: Path | None) -> None:
        """Upload a checkpoint, if there is one, then tell Ray Train: what it knows of is safe."""
        import ray.train

        if checkpoint is not None:
            self._upload(checkpoint)
            for old in self._stored()[: -self.keep]:
                self.corpus.delete(old)
        ray.train.report({name: value for name, value in entry.items() if isinstance(value, int | float)})

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


def _finished(corpus: Corpus, folder: str) -> Row:
    paths = sorted(corpus.relative(info.path) for info in corpus.files(folder))
    outputs = [path for path in paths if "/ray-train/" not in path]
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
    version=1,
    identity=_identity,
    wanted=_wanted,
    execute=_execute,
    scope=lambda recipe: recipe.caption.variant,
)
