import logging
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import ultralytics
from ultralytics.data.augment import LetterBox

from stages.boxes import Boxes, iou
from stages.detect.config import DetectConfig
from stages.detect.detector import Found
from stages.detect.families.ultralytics.backends import onnx as onnx_backend
from stages.detect.families.ultralytics.backends.exported import ExportError, exported
from stages.detect.families.ultralytics.backends.letterbox import Letterbox
from stages.detect.families.ultralytics.backends.pick_backend import pick_backend
from stages.detect.families.ultralytics.yolo_detector import YoloDetector
from stages.detect.suppress import above_floor, suppress
from stages.video.frames import read_frames
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.runs import ROOT
from tests.stages.crawl.serving import CLIP

BUILD = "stages.detect.families.ultralytics.backends.exported._build"
WEIGHTS = ROOT / "models" / "yolo26n.pt"
BUS = cv2.imread(str(Path(ultralytics.__file__).parent / "assets" / "bus.jpg"))
FLOOR = 0.1
SIZES = [(1080, 810), (576, 768), (575, 767), (300, 768), (64, 4000), (3000, 40), (48, 64), (640, 640)]


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [BUS, BUS[:, :600], cv2.resize(BUS, (500, 333)), np.full((200, 300, 3), 114, np.uint8)]


@pytest.fixture(scope="module")
def expected(pictures: list[np.ndarray]) -> list[Boxes]:
    """What ultralytics' own predict says."""
    model = ultralytics.YOLO(str(WEIGHTS))
    options = {"imgsz": 640, "conf": 0.25, "classes": [0], "max_det": 300, "device": "cpu", "verbose": False}
    found = [model.predict(picture, **options)[0].boxes.data[:, :5].numpy() for picture in pictures]
    return [boxes[np.lexsort((boxes[:, 0], -boxes[:, 4]))] for boxes in found]


def detector(backend: str, **changes: object) -> YoloDetector:
    return YoloDetector(DetectConfig.model_validate({"device": "cpu", "backend": backend} | changes))


def persons(found: list[Found]) -> list[Boxes]:
    return [image.persons for image in found]


@pytest.mark.parametrize(
    ("backend", "pixels", "score"), [("torch", 0, 0), ("onnx", 0.01, 1e-4), ("openvino", 0.01, 1e-4)]
)
def test_every_backend_finds_what_ultralytics_finds(
    backend: str, pixels: float, score: float, pictures: list[np.ndarray], expected: list[Boxes]
) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    find = detector(backend)
    assert find.backend == backend
    for boxes, others in zip(persons(find(pictures)), expected, strict=True):
        assert boxes.shape == others.shape
        np.testing.assert_allclose(boxes[:, :4], others[:, :4], atol=pixels)
        np.testing.assert_allclose(boxes[:, 4], others[:, 4], atol=score)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_batch_gives_what_single_pictures_give(backend: str, pictures: list[np.ndarray]) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    [alone] = persons(detector(backend)([BUS]))
    [_, second] = persons(detector(backend, batch_size=4)([cv2.flip(BUS, 1), BUS]))
    np.testing.assert_allclose(alone, second, atol=0.01)


@pytest.fixture(scope="module")
def street() -> list[np.ndarray]:
    """Seven images with some 40 persons, several of them cut off by the border."""
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())
        frames = [image for *_, image in read_frames(file, facts, 0, 800, list(range(0, 800, 200)))]
    return [BUS, BUS[:, :600], cv2.flip(BUS, 1), *frames]


@pytest.fixture(scope="module")
def in_full(street: list[np.ndarray]) -> list[Boxes]:
    return persons(detector("torch", precision="fp32", confidence_floor=FLOOR)(street))


@pytest.mark.parametrize(("precision", "score", "pixels"), [("bf16", 0.05, 0.5), ("fp16", 0.01, 0.1)])
def test_half_precision_finds_the_same_persons(
    precision: str, score: float, pixels: float, street: list[np.ndarray], in_full: list[Boxes]
) -> None:
    """The promise of docs/speed.md, "Half precision"; it holds whatever units the processor has."""
    halves = persons(detector("torch", precision=precision, confidence_floor=FLOOR)(street))
    moves, likenesses, changes = [], [], []
    for image, full, half in zip(street, in_full, halves, strict=True):
        for ours, others in ((full, half), (half, full)):
            for person in ours[ours[:, 4] > FLOOR + score]:
                likeness = iou(person, others)
                assert likeness.max() > 0.65
                near = others[likeness.argmax()]
                likenesses.append(likeness.max())
                changes.append(abs(near[4] - person[4]))
                if ours is full:
                    moves.append((near[:4] - person[:4]) * 640 / max(image.shape))
    assert len(moves) >= 30
    assert np.quantile(likenesses, 0.1) > 0.95
    assert np.quantile(changes, 0.9) < score
    np.testing.assert_array_less(np.abs(np.median(moves, axis=0)), pixels)
    np.testing.assert_array_less(np.median(np.abs(moves), axis=0), pixels)


@pytest.mark.parametrize("size", SIZES)
def test_the_letterbox_is_that_of_ultralytics(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    for square in (False, True):
        box = Letterbox.fit(size, 640, square=square)
        [canvas] = box.place([image])
        np.testing.assert_array_equal(canvas, LetterBox((640, 640), auto=not square, stride=32)(image=image))
        corners = np.array([[0, 0, *size[::-1]]], np.float32)
        onto = corners * np.tile(np.divide(box.scaled, size)[::-1], 2) + np.tile(box.origin[::-1], 2)
        np.testing.assert_allclose(box.undo(onto.astype(np.float32)), corners, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_a_letterbox_made_by_tensors_differs_by_one_grey_level_at_most(size: tuple[int, int]) -> None:
    smooth = cv2.resize(BUS, size[::-1], interpolation=cv2.INTER_AREA)
    box = Letterbox.fit(size, 640)
    [canvas] = box.place_tensor(torch.from_numpy(smooth)[None]).numpy()
    [other] = box.place([smooth])
    assert np.abs(canvas.astype(int) - other).max() <= 1


def test_doubles_are_suppressed_as_in_torchvision() -> None:
    from torchvision.ops import nms

    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 60, (400, 2))
    boxes = np.column_stack((corners, corners + rng.uniform(20, 60, (400, 2)), rng.random(400))).astype(np.float32)
    kept = nms(torch.from_numpy(boxes[:, :4]), torch.from_numpy(boxes[:, 4]), 0.7)
    np.testing.assert_array_equal(suppress(boxes, 1000), boxes[kept.numpy()])
    np.testing.assert_array_equal(suppress(boxes, 7), boxes[kept.numpy()[:7]])
    assert suppress(boxes[:0], 5).shape == (0, 5)


def test_only_scores_above_the_floor_are_candidates() -> None:
    scores = np.array([0.5, 0.25, np.nextafter(np.float32(0.25), np.float32(1)), 0.2], np.float32)
    found = np.zeros((1, 4, 6), np.float32)
    found[0, :, 4] = scores
    [rows] = above_floor(found, 0.25)
    assert rows[:, 4].tolist() == scores[[0, 2]].tolist()


@pytest.mark.parametrize(
    ("changes", "device", "picked"),
    [
        ({}, "cpu", "onnx"),
        ({"precision": "fp32"}, "cpu", "onnx"),
        ({"precision": "bf16"}, "cpu", "torch"),
        ({"model": "yolo26n.engine"}, "cpu", "torch"),
        ({}, "cuda", "torch"),
        ({"backend": "torch"}, "cpu", "torch"),
    ],
)
def test_auto_picks_what_suits_the_machine(changes: dict[str, str], device: str, picked: str) -> None:
    assert pick_backend(DetectConfig.model_validate(changes), device) == picked


@pytest.mark.parametrize(
    ("changes", "device", "said"),
    [
        ({"precision": "bf16"}, "cpu", "detect.backend onnx computes in fp32; set detect.precision"),
        ({}, "cuda", "detect.backend onnx runs on a CPU only; set detect.device"),
        ({"model": "persons.engine"}, "cpu", "detect.backend onnx starts from a .pt file, not persons.engine"),
    ],
)
def test_a_backend_that_cannot_do_it_says_what_to_change(changes: dict[str, str], device: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pick_backend(DetectConfig.model_validate({"backend": "onnx"} | changes), device)


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert pick_backend(DetectConfig(), "cpu") == "torch"
    with pytest.raises(ValueError, match=r"detect[.]backend openvino needs onnx and openvino: pip"):
        pick_backend(DetectConfig(backend="openvino"), "cpu")


def test_the_exported_model_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REIDFORGE_CACHE", str(tmp_path))
    first = exported(WEIGHTS, "yolo26n.pt")
    written = first.stat().st_mtime_ns
    assert exported(WEIGHTS, "yolo26n.pt") == first
    assert first.stat().st_mtime_ns == written
    assert list((tmp_path / "detectors").iterdir()) == [first]
    changed = tmp_path / "yolo26n.pt"
    changed.write_bytes(WEIGHTS.read_bytes() + b"\0")
    monkeypatch.setattr(BUILD, lambda path, name, target: target.touch())
    assert exported(changed, "yolo26n.pt") != first


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REIDFORGE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(BUILD, lambda path, name, target: target.touch())
    assert exported(WEIGHTS, "yolo26n.pt").exists()


def test_auto_falls_back_to_torch_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path, name: str) -> Path:
        raise ExportError(f"detect.model {name}: it cannot be exported to ONNX: no such operator")

    monkeypatch.setattr(onnx_backend, "exported", fail)
    with caplog.at_level(logging.WARNING, "reidforge"):
        assert detector("auto").backend == "torch"
    assert caplog.messages == [
        "detect.model models/yolo26n.pt: it cannot be exported to ONNX: no such operator; PyTorch runs it instead"
    ]
    with pytest.raises(ExportError, match="no such operator"):
        detector("onnx")


def test_an_exported_model_runs_without_pytorch() -> None:
    code = (
        "import sys, numpy as np; from stages.detect.config import DetectConfig; "
        "from stages.detect.families.ultralytics.yolo_detector import YoloDetector; "
        "print(YoloDetector(DetectConfig(device='cpu'))([np.zeros((48, 64, 3), np.uint8)])[0].persons.shape, "
        "[name for name in ('torch', 'ultralytics') if name in sys.modules])"
    )
    exported(WEIGHTS, "yolo26n.pt")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=os.environ, check=True
    )
    assert done.stdout == "(0, 5) []\n"
