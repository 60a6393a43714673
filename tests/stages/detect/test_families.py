from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ultralytics

from pipeline.flow import detect as detect_flow
from pipeline.recipe import Recipe
from pipeline.run.weights_digest import weights_digest
from stages.boxes import iou
from stages.detect.config import DetectConfig
from stages.detect.families import known_families
from stages.detect.families.known_families import check_detector, load_detector
from stages.detect.families.ultralytics.backends.exported import exported
from tests.runs import ROOT
from tests.stages.detect import onnx_family

BUS = cv2.imread(str(Path(ultralytics.__file__).parent / "assets" / "bus.jpg"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> str:
    """``detect.model`` of the second family, which is added as a new one would be: by one entry of the table."""
    monkeypatch.setitem(known_families.FAMILIES, "onnx", onnx_family)
    return f"onnx:{exported(ROOT / 'models' / 'yolo26n.pt', 'yolo26n.pt')}"


def test_another_family_finds_the_same_persons(model: str) -> None:
    [theirs] = load_detector(DetectConfig(model=model, device="cpu"))([BUS])
    [ours] = load_detector(DetectConfig(device="cpu"))([BUS])
    whole = ours.persons[ours.persons[:, 4] > 0.7]
    assert len(whole) >= 3
    for person in whole:
        assert iou(person, theirs.persons).max() > 0.8
    assert theirs.objects is None


def test_another_family_runs_through_the_stage(model: str) -> None:
    config = DetectConfig.model_validate(
        {"model": model, "device": "cpu", "pose": {"source": "second_pass"}, "rules": {"min_confidence": 0.5}}
    )
    row = {
        "video_id": "v",
        "unit_id": "u",
        "index": [0, 20],
        "pts_s": [0.0, 0.8],
        "shapes": [BUS.shape, BUS.shape],
        "pixels": pa.array([BUS.tobytes(), BUS.tobytes()], pa.large_binary()),
    }
    written = detect_flow._make_detect_and_cut(config)(row)
    detections, crops = (pa.ipc.open_stream(table["ipc"]).read_all() for table in written["tables"])
    first, second = (detections.filter(pc.field("frame_index") == index) for index in (0, 20))
    assert first.num_rows == second.num_rows >= 3
    assert first.select(["x1", "y1", "x2", "y2"]) == second.select(["x1", "y1", "x2", "y2"])
    assert crops.num_rows >= 4
    assert crops["keypoints"].null_count < crops.num_rows
    assert crops["objects"].null_count == crops.num_rows


def test_another_family_is_part_of_the_fingerprint(model: str) -> None:
    theirs, ours = (Recipe.model_validate({"corpus": "c", "detect": detect}) for detect in ({"model": model}, {}))
    digest = weights_digest(model.removeprefix("onnx:"))
    assert detect_flow.STAGE.identity(theirs)["model"] == f"onnx:{digest}"
    assert detect_flow.STAGE.identity(ours)["model"] == weights_digest("models/yolo26n.pt")
    assert detect_flow.STAGE.fingerprint(theirs) != detect_flow.STAGE.fingerprint(ours)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"backend": "onnx"}, None),
        ({"backend": "openvino"}, "detect.backend openvino: onnx models accept auto, onnx"),
        ({"model": "onnx:/nope.onnx"}, "detect.model onnx:/nope.onnx: no such file"),
        ({"pose": {"source": "detector"}}, "detect.pose.source detector: onnx models give no keypoints"),
        ({"pose": {"source": "second_pass", "model": "/nope.pt"}}, "detect.pose.model /nope.pt: no such file"),
    ],
)
def test_what_a_family_cannot_do_is_refused_before_a_run(
    model: str, changes: dict[str, object], says: str | None
) -> None:
    config = DetectConfig.model_validate({"model": model} | changes)
    if says is None:
        check_detector(config)
        return
    with pytest.raises(ValueError, match=says):
        check_detector(config)


def test_a_colon_in_a_path_names_no_family(tmp_path: Path) -> None:
    config = DetectConfig(model=f"{tmp_path}/a:b/yolo.pt")
    assert known_families.choose(config) == (
        known_families.DEFAULT,
        known_families.FAMILIES[known_families.DEFAULT],
        config,
    )
