"""Small real runs: a server for the street video, a tiny CLIP of random numbers, recipes that end in seconds."""

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from pipeline.audit.catalog import connect
from pipeline.corpus.files import Corpus
from pipeline.demo import serve_folder

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "demo/street.mp4"

# Columns that may differ between two runs over the same input: clocks, hosts, and ids made of file names.
VOLATILE = {
    "videos": "crawled_at", "detections": "", "crops": "", "embeddings": "unit_id", "captions": "unit_id",
}  # fmt: skip

# Tables with the columns that the catalog leaves in Parquet.
WHOLE = {
    "crops": "crops JOIN jpegs_of((SELECT list(crop_id) FROM crops)) USING (crop_id)",
    "embeddings": "embeddings JOIN embedding_vectors() USING (model, crop_id, video_id, region)",
}


def serve(folder: Path) -> AbstractContextManager[str]:
    """Serve a folder over HTTP on this machine; gives its address."""
    return serve_folder(folder)


def tiny_clip(folder: Path) -> Path:
    """A model folder with an open_clip model of random numbers: sound in form, and quick."""
    from stages.pretrain.config import PretrainConfig
    from stages.pretrain.two_towers import TwoTowers, export

    size: dict[str, Any] = {"image_size": [64, 32], "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 64, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1, "no_causal_mask": True}
    spec = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": size, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    }
    folder.mkdir(parents=True)
    (folder / "arch.json").write_text(json.dumps(spec))
    export(TwoTowers(PretrainConfig(model=str(folder / "arch.json"))), folder / "tiny")
    return folder / "tiny"


def write_recipe(path: Path, corpus: Path, urls: list[str], clip: Path, **changes: Any) -> Path:
    """A recipe over the given addresses that ends in seconds."""
    recipe: dict[str, Any] = {
        "corpus": str(corpus),
        "crawl": {"urls": urls, "allow_private_addresses": True, "sleep_s": 0, "retries": 0},
        "detect": {
            "model": "models/yolo26n.pt", "image_size": 320, "chunk_seconds": 10, "units_per_file": 2, "threads": 2,
            "sampling": {"every_frames": 20}, "confidence_floor": 0.1,
            "rules": {"min_confidence": 0.2, "min_width": 16},
        },
        "embed": {"model": str(clip), "pretrained": None},
        "caption": {"variant": "test", "unknown": {"probability": 0.0, "margin": 0.0}},
        "publish": {"splits": {"train": 0.7, "val": 0.3}},
        "pretrain": {"model": str(clip), "batch_size": 16, "max_steps": 4, "learning_rate": 1e-3, "threads": 1},
    }  # fmt: skip
    for key, block in changes.items():
        recipe[key] = recipe.get(key, {}) | block
    path.write_text(yaml.safe_dump(recipe))
    return path


def reidforge(*arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False, env=environment()
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}


def rows(corpus: Path, view: str) -> list[tuple[Any, ...]]:
    """Every row of a view but for what may differ between two runs, in a fixed order."""
    volatile = f"EXCLUDE ({VOLATILE[view]})" if VOLATILE[view] else ""
    with connect(Corpus(str(corpus))) as connection:
        return connection.sql(f"SELECT * {volatile} FROM {WHOLE.get(view, view)} ORDER BY ALL").fetchall()


def ask(corpus: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query over a corpus."""
    with connect(Corpus(str(corpus))) as connection:
        return connection.sql(sql).fetchall()


def empty_street(path: Path, seconds: int = 4) -> Path:
    """A video without people: grey noise."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(seconds * 10):
            picture = rng.integers(100, 140, (240, 320, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path
