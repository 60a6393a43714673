"""How long a further variant takes over a corpus of the size of LUPerson-T: other templates, stored embeddings.

    python -m benchmarks.captions.variant_million
    python -m benchmarks.captions.variant_million --crops 64000 --keep /tmp/million

A corpus of synthetic embeddings is written once, then captioned by ``reidforge variant create`` as a user does it: Ray,
Parquet in, Parquet out, ledger. Measured are the wall time of the command and the largest memory of all its processes
together (proportional set size, so that shared pages count once). The first variant of a corpus also encodes the bank;
with ``--keep``, the second run and those after it measure a further one.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

from benchmarks.captions.reading import about, root
from benchmarks.captions.speed import embeddings_table, verdict
from pipeline.corpus.files import Corpus, digest
from pipeline.corpus.ledger import Ledger
from stages.embed.clip_model import ClipModel
from stages.embed.config import EMBEDDED, EmbedConfig

CROPS_PER_FILE = 20_000
GOAL_SECONDS = 120.0


def write_corpus(uri: str, crops: int, regions: Sequence[str], model: str) -> Corpus:
    """A corpus that holds nothing but embeddings, in files of the size that embed writes, vouched for by its ledger."""
    config = EmbedConfig(model=model, pretrained=None)
    corpus, dim = Corpus(uri), ClipModel(config).dim
    rows = []
    for number, start in enumerate(range(0, crops, CROPS_PER_FILE)):
        table = embeddings_table(min(CROPS_PER_FILE, crops - start), dim, regions, seed=number)
        path = f"embeddings/{config.slug}/{digest('synthetic', str(number))}.parquet"
        unit = table["unit_id"][0].as_py()
        corpus.write_table(table, path)
        rows.append(
            {
                "scope": config.slug, "unit_id": unit, "fingerprint": "synthetic", "inputs": "synthetic",
                "status": "ok", "attempts": 1, "outputs": [path], "rows_out": table.num_rows, "seconds": 0.0,
                "run_id": "synthetic",
            }
        )  # fmt: skip
    Ledger(corpus, "embed").append(rows)
    return corpus


def watched(command: Sequence[str]) -> tuple[float, float, int]:
    """Run a command; returns wall seconds, largest memory of its process tree in MB, and its exit code.

    Memory is read every two seconds: adding up the pages of Ray's processes costs some tenths of a second each time.
    """
    began, most = time.perf_counter(), 0.0
    process = subprocess.Popen(command, cwd=root())
    while process.poll() is None:
        most = max(most, _memory(process.pid))
        time.sleep(2)
    return time.perf_counter() - began, most / 1e6, process.returncode


def _memory(pid: int) -> float:
    """Proportional set size of a process and all below it, bytes; those that end meanwhile do not count."""
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        return 0.0
    return float(total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the corpus, make a variant, print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crops", type=int, default=1_280_000)
    parser.add_argument("--regions", nargs="+", default=["whole"])
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--model", default=EMBEDDED, help="model folder whose text tower encodes the bank")
    parser.add_argument("--keep", type=Path, help="corpus folder to make and keep; one that is there is used again")
    options = parser.parse_args(arguments)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="reidforge-million-"))
    try:
        if not (folder / "ledger").exists():
            write_corpus(str(folder), options.crops, options.regions, options.model)
        size = sum(path.stat().st_size for path in (folder / "embeddings").rglob("*.parquet")) / 1e6
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(_recipe(str(folder), options)))
        name = f"v{int(time.time())}"
        make = [sys.executable, "-m", "pipeline", "variant", "create", str(folder), name, "--from", str(recipe)]
        seconds, megabytes, code = watched(make)
        _show(options, size, seconds, megabytes)
        return code
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _recipe(corpus: str, options: argparse.Namespace) -> dict[str, object]:
    return {
        "corpus": corpus,
        "embed": {"model": options.model, "pretrained": None, "regions": options.regions},
        "caption": {"styles": ["plain", "long"], "seed": 1},
        "run": {"cpus": options.cpus},
    }


def _show(options: argparse.Namespace, size: float, seconds: float, megabytes: float) -> None:
    rate = options.crops / seconds
    goal = GOAL_SECONDS * options.crops / 1_280_000
    print(
        f"crops                {options.crops:,} in {size:,.0f} MB of embeddings, regions {' '.join(options.regions)}"
    )
    print(f"wall                 {seconds:.1f} s, {verdict(goal / seconds, f'{goal:.0f} s')}")
    print(f"captions a second    {rate:,.0f} on {options.cpus} cores, start of Ray included")
    print(f"largest memory       {megabytes:,.0f} MB, all processes together")
    print(f"load while measured  {os.getloadavg()[0]:.1f}; {about()}")


if __name__ == "__main__":
    sys.exit(main())
