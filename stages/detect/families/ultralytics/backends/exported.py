"""The detector as an ONNX file, built on first use and kept in the user's cache."""

import contextlib
import hashlib
import importlib.metadata
import io
import os
import tempfile
import warnings
from pathlib import Path

from stages.weights import file_sha256

# Part of the file's name; incremented when the exported graph changes.
_FORM = 2
_OPSET = 18

# Packages whose version may change the exported graph.
_MAKERS = ("torch", "ultralytics", "onnx")

# The name of the graph's output states what it holds: candidates with duplicates or final boxes, of persons only or of
# objects as well.
_OUTPUTS = {
    (False, False): "candidate_persons",
    (False, True): "candidates",
    (True, False): "persons",
    (True, True): "boxes",
}


class ExportError(ValueError):
    """The weights are a detector of persons, but the exporter cannot translate them."""


def exported(path: Path, name: str) -> Path:
    """The ONNX file of a model's weights, from the cache if it exists there.

    Several processes may ask at once: each builds its own file and renames it into place; the files are identical.

    Args:
        path: Weights (.pt) that may be loaded.
        name: What the recipe calls them, for messages.

    Returns:
        A file with one input, uint8 [B, H, W, 3] canvases in BGR with sides that are multiples of 32, and one output,
        float32 [B, N, 6] as ``Persons`` returns it.

    Raises:
        ExportError: The weights cannot be exported.
        ValueError: They are not those of a person detector.
    """
    target = _folder() / f"{path.stem}-{_digest(path)}.onnx"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            draft = Path(scratch) / target.name
            _build(path, name, draft)
            draft.replace(target)
    return target


def output_facts(output: str) -> tuple[bool, bool]:
    """Whether duplicates are suppressed already, and whether the model knows objects, by the name of its output."""
    return {name: facts for facts, name in _OUTPUTS.items()}[output]


def _folder() -> Path:
    """``$REIDFORGE_CACHE``, or the user's cache folder; a temporary folder if that is not writable."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("REIDFORGE_CACHE") or Path(caches) / "reidforge") / "detectors"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        return folder
    return Path(tempfile.mkdtemp(prefix="reidforge-detectors-"))


def _digest(path: Path) -> str:
    makers = [f"{package} {importlib.metadata.version(package)}" for package in _MAKERS]
    return hashlib.sha256("\n".join([file_sha256(path), f"form {_FORM}", *makers]).encode()).hexdigest()[:16]


def _build(path: Path, name: str, target: Path) -> None:
    import torch

    from stages.detect.families.ultralytics.backends.persons import load_persons

    persons = load_persons(path, name, "cpu", torch.float32)
    for module in persons.modules():
        if hasattr(module, "export") and hasattr(module, "dynamic"):
            # The head: anchors for any size of canvas, and no outputs but the decoded ones.
            vars(module).update(export=True, dynamic=True, format="onnx")
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                persons.to(memory_format=torch.contiguous_format),
                (torch.zeros(1, 64, 96, 3, dtype=torch.uint8),),
                str(target),
                opset_version=_OPSET,
                input_names=["canvases"],
                output_names=[_OUTPUTS[persons.final, persons.knows_objects]],
                dynamic_axes={"canvases": {0: "pictures", 1: "height", 2: "width"}},
                dynamo=False,
            )
    except (RuntimeError, ImportError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"detect.model {name}: it cannot be exported to ONNX: {reason}") from error
