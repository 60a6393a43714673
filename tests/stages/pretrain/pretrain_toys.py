"""A small model and a small manifest that the pretrain tests share."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from schemas.tables import ATTRIBUTE
from stages.pretrain.config import PretrainConfig

PAINTS = {
    "red": (210, 40, 40),
    "green": (40, 190, 60),
    "blue": (40, 60, 210),
    "yellow": (230, 220, 50),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}

ARCHITECTURE = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": [32, 16]},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1, "mlp_ratio": 2.0},
}

SCHEMA = pa.schema(
    [
        ("crop_id", pa.string()),
        ("jpeg", pa.binary()),
        ("captions", pa.list_(pa.string())),
        ("attributes", pa.list_(ATTRIBUTE)),
    ]
)


def architecture(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.json"
    path.write_text(json.dumps(ARCHITECTURE | changes))
    return str(path)


def config(folder: Path, **changes: Any) -> PretrainConfig:
    settings: dict[str, Any] = {
        "model": architecture(folder),
        "batch_size": 12,
        "epochs": 2,
        "learning_rate": 3e-3,
        "equal_texts": "positives",
        "device": "cpu",
        "threads": 1,
        "log_every_steps": 1,
        "checkpoint_every_steps": 3,
    }
    return PretrainConfig(**settings | changes)


def jpeg(upper: str, lower: str, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    image = np.empty((40, 20, 3), np.uint8)
    image[:20], image[20:] = PAINTS[upper], PAINTS[lower]
    noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy[:, :, ::-1])[1])


def attribute(name: str, value: str, *, used: bool = True) -> dict[str, Any]:
    blank = {"region": "whole", "phrase": value, "probability": 0.9, "margin": 0.5}
    return {"attribute": name, "value": value, "used": used, **blank}


def row(number: int) -> dict[str, Any]:
    upper, lower = (list(PAINTS)[index] for index in (number % 6, number // 6 % 6))
    return {
        "crop_id": hashlib.sha1(str(number).encode()).hexdigest()[:16],
        "jpeg": jpeg(upper, lower, number),
        "captions": [f"a {upper} shirt and {lower} pants", f"{lower} pants below a {upper} shirt"],
        "attributes": [attribute("upper_colour", upper), attribute("lower_colour", lower)],
    }


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def stream_of(rows: Sequence[dict[str, Any]]) -> Any:
    whole = table(rows)

    def stream(epoch: int = 0) -> Iterator[pa.RecordBatch]:
        return iter(whole.to_batches(max_chunksize=7))

    return stream
