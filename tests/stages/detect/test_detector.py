import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import ultralytics

from stages.detect.chunks import sampled
from stages.detect.config import DetectConfig
from stages.detect.detection_rows import detect_chunk
from stages.detect.families.ultralytics.yolo_detector import YoloDetector
from stages.detect.sampling import read_sampled
from stages.detect.second_pass import SecondPass
from stages.video.frames import read_frames
from stages.video.limits import VideoLimits
from stages.video.probe import probe
from tests.stages.crawl.serving import CLIP
from tests.stages.detect.test_chunks import spans_of

SHIPPED = Path(__file__).resolve().parents[3] / "models" / "yolo26n.pt"
DIGEST = "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef"
BUS = Path(ultralytics.__file__).parent / "assets" / "bus.jpg"

Frames = list[tuple[int, float, np.ndarray]]


@pytest.fixture(scope="module")
def frames() -> Frames:
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())
        return list(
            read_frames(file, facts, 0, facts.frames, sampled(0, facts.frames, DetectConfig().sampling, facts.fps))
        )


@pytest.fixture(scope="module")
def detector() -> YoloDetector:
    return YoloDetector(DetectConfig(device="cpu"))


def bus() -> np.ndarray:
    import cv2

    return cv2.imread(str(BUS))


def test_four_people_at_the_bus(detector: YoloDetector) -> None:
    image = bus()
    found = detector([image])[0].persons
    assert found.shape == (4, 5)
    assert found.dtype == np.float32
    assert list(found[:, 4]) == sorted(found[:, 4], reverse=True)
    assert (found[:, :4] >= 0).all()
    assert (found[:, [0, 2]] <= image.shape[1]).all()
    assert (found[:, [1, 3]] <= image.shape[0]).all()
    assert (found[:, 2] > found[:, 0]).all()
    assert (found[:, 3] > found[:, 1]).all()


def test_objects_are_found_beside_persons(detector: YoloDetector) -> None:
    [found] = detector([bus()])
    assert found.persons.shape == (4, 5)
    assert found.keypoints is None
    assert found.objects is not None
    assert found.objects.shape[1] == 6


@pytest.mark.slow
def test_the_street_of_the_demo(frames: Frames, detector: YoloDetector) -> None:
    found = [frame.persons for frame in detector([image for *_, image in frames])]
    assert len(found) == 40
    assert 230 <= sum(map(len, found)) <= 246
    assert min(map(len, found)) >= 2


@pytest.mark.parametrize("batch_size", [1, 4])
def test_boxes_do_not_depend_on_the_company(batch_size: int, frames: Frames) -> None:
    detector = YoloDetector(DetectConfig(device="cpu", batch_size=batch_size))
    images = [image for *_, image in frames[:5]]
    mixed = [images[3], bus(), images[1], images[0][:400], images[4], images[2]]
    one_by_one = [detector([image])[0].persons for image in images]
    together = [found.persons for found in detector(images)]
    among_others = [found.persons for found in detector(mixed)]
    for position, expected in enumerate(one_by_one):
        np.testing.assert_array_equal(together[position], expected)
    for position, original in ((0, 3), (2, 1), (4, 4), (5, 2)):
        np.testing.assert_array_equal(among_others[position], one_by_one[original])


def test_a_batch_is_close_to_single_images(frames: Frames, detector: YoloDetector) -> None:
    images = [image for *_, image in frames[:4]]
    batched = YoloDetector(DetectConfig(device="cpu", batch_size=4))(images)
    for one, other in zip(detector(images), batched, strict=True):
        np.testing.assert_allclose(one.persons, other.persons, atol=0.01)


@pytest.mark.parametrize("shape", [(48, 64, 3), (575, 767, 3), (64, 4000, 3)])
def test_odd_and_empty_pictures_hold_no_persons(shape: tuple[int, int, int], detector: YoloDetector) -> None:
    [found] = detector([np.full(shape, 114, np.uint8)])
    assert found.persons.shape == (0, 5)
    assert detector([]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling",
    [
        {"every_frames": 20},
        {"every_seconds": 1.3},
        {"key_frames": True},
        {"every_frames": 5, "adaptive": 16, "adaptive_reset": 6},
    ],
)
def test_the_length_of_chunks_changes_no_row(sampling: dict[str, object], detector: YoloDetector) -> None:
    config = DetectConfig.model_validate(
        {"device": "cpu", "sampling": sampling, "rules": {"min_width": 22}, "pose": {"source": "second_pass"}}
    )
    second = SecondPass(config)
    with CLIP.open("rb") as file:
        facts = probe(file, VideoLimits())

        def rows(seconds: float) -> list[dict[str, object]]:
            found = []
            for start, stop in spans_of(120, facts.fps, seconds):
                read = list(read_sampled(file, facts, start, stop, config.sampling, config.limits))
                images = [image for *_, image in read]
                boxes = [found.persons for found in detector(images)]
                points = second(images, boxes)
                tables = detect_chunk(read, boxes, video_id="v", unit_id="u", config=config, keypoints=points)
                found += [row for table in tables for row in table.to_pylist()]
            return sorted(found, key=lambda row: (str(row["detection_id"]), "jpeg" in row))

        whole = rows(20)
        assert sum("jpeg" in row for row in whole) > 2
        assert rows(3.3) == whole


def test_a_checkpoint_with_another_digest_is_refused(tmp_path: Path) -> None:
    changed = tmp_path / "yolo26n.pt"
    changed.write_bytes(SHIPPED.read_bytes() + b"\0")
    for config in (DetectConfig(model=str(changed)), DetectConfig(model=str(changed), model_sha256=DIGEST)):
        with pytest.raises(ValueError, match=f"its SHA-256 is [0-9a-f]{{64}}, expected {DIGEST}"):
            YoloDetector(config)


def test_a_checkpoint_of_unknown_digest_is_refused(tmp_path: Path) -> None:
    unknown = tmp_path / "mine.pt"
    shutil.copy(SHIPPED, unknown)
    with pytest.raises(ValueError, match=f"set detect.model_sha256: {DIGEST}"):
        YoloDetector(DetectConfig(model=str(unknown)))
    assert (
        len(YoloDetector(DetectConfig(model=str(unknown), model_sha256=DIGEST, device="cpu"))([bus()])[0].persons) == 4
    )


@pytest.mark.parametrize(
    ("model", "said"), [("yolo26x.pt", "YOLO_OFFLINE is set"), ("weights/none.pt", "no such file, and a path is not")]
)
def test_missing_weights_tell_where_to_get_them(model: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("went online"))
    with pytest.raises(ValueError, match=f"detect.model {model}: .*{said}.*releases has them"):
        YoloDetector(DetectConfig(model=model))


def test_loading_and_looking_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    YoloDetector(DetectConfig(device="cpu"))([bus()])
    assert capfd.readouterr() == ("", "")
