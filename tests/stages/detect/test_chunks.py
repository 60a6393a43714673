import random
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages.detect.chunks import cut_chunks, sampled
from stages.detect.config import DetectConfig, RulesConfig, SamplingConfig, read_preset


def spans_of(frames: int, fps: float, seconds: float) -> list[tuple[int, int]]:
    """Start and stop of the chunks of a video."""
    chunks = cut_chunks(pa.table({"video_id": ["v"], "frames": [frames], "fps": [fps]}), seconds)
    return [(row["start"], row["stop"]) for row in chunks.to_pylist()]


@pytest.mark.parametrize(
    ("frames", "fps", "seconds", "expected"),
    [
        (795, 10.0, 20.0, [(0, 200), (200, 400), (400, 600), (600, 795)]),
        (400, 10.0, 20.0, [(0, 200), (200, 400)]),
        (3, 10.0, 20.0, [(0, 3)]),
        (3, 0.01, 20.0, [(0, 1), (1, 2), (2, 3)]),
        (60, 29.97, 1.0, [(0, 30), (30, 60)]),
        (0, 10.0, 20.0, []),
    ],
)
def test_chunks_cover_a_video_once(frames: int, fps: float, seconds: float, expected: list[tuple[int, int]]) -> None:
    assert spans_of(frames, fps, seconds) == expected


def test_a_chunk_is_named_by_video_and_frames() -> None:
    videos = pa.table({"video_id": ["youtube:abc", "youtube:d"], "frames": [250, 3], "fps": [10.0, 30.0]})
    assert cut_chunks(videos, 20).to_pylist() == [
        {"unit_id": "youtube:abc/00000000-00000200", "start": 0, "stop": 200, "video": 0},
        {"unit_id": "youtube:abc/00000200-00000250", "start": 200, "stop": 250, "video": 0},
        {"unit_id": "youtube:d/00000000-00000003", "start": 0, "stop": 3, "video": 1},
    ]


def test_no_videos_have_no_chunks() -> None:
    videos = pa.table({"video_id": ["v"], "frames": [1], "fps": [10.0]}).slice(0, 0)
    assert cut_chunks(videos, 20).num_rows == 0


@pytest.mark.parametrize(
    ("sampling", "fps", "expected"),
    [
        ({}, 10.0, [0, 20, 40, 60, 80]),
        ({"every_frames": 30}, 10.0, [0, 30, 60, 90]),
        ({"every_frames": 1}, 10.0, list(range(100))),
        ({"every_seconds": 2.5}, 10.0, [0, 25, 50, 75]),
        ({"every_seconds": 1}, 29.97, [0, 30, 60, 90]),
        ({"every_seconds": 0.1}, 30.0, list(range(0, 100, 3))),
        ({"every_seconds": 0.01}, 10.0, list(range(100))),
        ({"every_seconds": 0.15}, 10.0, [0, 2, 3, 5, 6, 8, 9, *(k for k in range(11, 100) if k % 3 != 1)]),
        ({"every_seconds": 3600}, 10.0, [0]),
        ({"key_frames": True}, 10.0, [0, 12, 50, 51]),
        ({"adaptive": 8}, 10.0, [0, 20, 40, 60, 80]),
    ],
)
def test_sampled_frames(sampling: dict[str, float], fps: float, expected: list[int]) -> None:
    assert sampled(0, 100, SamplingConfig.model_validate(sampling), fps, [0, 12, 50, 51, 100]) == expected


@pytest.mark.parametrize(
    "sampling", [{}, {"every_frames": 7}, {"every_seconds": 0.77}, {"every_seconds": 0.1}, {"key_frames": True}]
)
@pytest.mark.parametrize("fps", [10.0, 23.976, 29.97, 60.0])
def test_the_length_of_chunks_changes_no_sample(sampling: dict[str, float], fps: float) -> None:
    config = SamplingConfig.model_validate(sampling)
    keys = sorted(random.Random(0).sample(range(5000), 200))
    whole = sampled(0, 5000, config, fps, keys)
    for seconds in (0.01, 1.3, 20, 400):
        spans = spans_of(5000, fps, seconds)
        assert [index for start, stop in spans for index in sampled(start, stop, config, fps, keys)] == whole


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"sampling": {"every_frames": 5, "every_seconds": 1}}, "give one of every_frames, every_seconds and"),
        ({"sampling": {"every_frames": None, "every_seconds": None}}, "give one of every_frames, every_seconds and"),
        ({"sampling": {"every_frames": 5, "key_frames": True}}, "give one of every_frames, every_seconds and"),
        ({"sampling": {"key_frames": False}}, "give one of every_frames, every_seconds and key_frames"),
        ({"sampling": {"adaptive": 300}}, "less than or equal to 255"),
        ({"rules": {"min_brightness": 200, "max_brightness": 50}}, "min_brightness 200.0 is above max_brightness 50"),
        ({"rules": {"preset": "best"}}, "preset 'best' cannot be read .* give luperson, webperson, or a YAML file"),
        ({"pose": {"source": "yes"}}, "'none', 'second_pass' or 'detector'"),
        ({"faces": "hide"}, "'keep' or 'blur'"),
        ({"sampling": {"every_frames": 0}}, "greater than or equal to 1"),
        ({"sampling": {"every_frame": 5}}, "Extra inputs are not permitted"),
        ({"rules": {"min_aspect": 6}}, "min_aspect 6.0 is above max_aspect 5.0"),
        ({"image_size": 600}, "multiple of 32"),
        ({"model_sha256": "abc"}, "should match pattern"),
    ],
)
def test_mistakes_are_told(block: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DetectConfig.model_validate(block)


def test_the_defaults_are_lupersons() -> None:
    config = DetectConfig()
    assert (config.sampling.every_frames, config.sampling.every_seconds, config.chunk_seconds) == (20, None, 20)
    assert (config.rules.min_confidence, config.rules.min_width) == (0.72, 48)
    assert (config.rules.min_aspect, config.rules.max_aspect) == (1.5, 5)
    assert RulesConfig.model_validate(read_preset("luperson")) == config.rules
    assert DetectConfig.model_validate({"sampling": {"every_seconds": 2}}).sampling.every_frames is None


def test_how_fast_it_goes_does_not_change_what_it_is() -> None:
    other = DetectConfig(batch_size=4, threads=2, actors=3, units_per_file=2, device="cpu")
    assert other.identity() == DetectConfig().identity()
    assert DetectConfig(confidence_floor=0.3).identity() != DetectConfig().identity()
    assert set(DetectConfig.model_fields) >= DetectConfig.operational


def test_webpersons_rules_are_a_preset_that_single_keys_override() -> None:
    rules = RulesConfig.model_validate({"preset": "webperson", "min_width": 60})
    assert (rules.min_confidence, rules.min_width, rules.min_aspect, rules.max_aspect) == (0.85, 60, 2, 4)
    assert (rules.min_head_points, rules.min_hip_points, rules.min_points) == (2, 1, 8)


def test_a_file_of_ones_own_is_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("min_width: 30\nmax_overlap: 0.5\n")
    rules = RulesConfig.model_validate({"preset": str(path)})
    assert (rules.min_width, rules.max_overlap, rules.min_confidence) == (30, 0.5, 0.72)
    for content, said in (("- 1", "must hold keys"), ("a: [", "is not YAML"), ("min_widht: 3", "Extra inputs")):
        path.write_text(content)
        with pytest.raises(ValidationError, match=said):
            RulesConfig.model_validate({"preset": str(path)})


def test_the_values_of_a_preset_count_and_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "same.yaml"
    path.write_text("min_width: 48\n")
    assert RulesConfig.model_validate({"preset": str(path)}).identity() == RulesConfig().identity()
    again = RulesConfig.model_validate(RulesConfig.model_validate({"preset": "webperson"}).model_dump())
    assert again.min_width == 90


def test_what_has_no_effect_is_no_part_of_the_identity() -> None:
    idle = DetectConfig.model_validate({"pose": {"image_height": 256}, "sampling": {"adaptive_reset": 3}})
    assert idle.identity() == DetectConfig().identity()
    for change in (
        {"pose": {"source": "second_pass", "image_height": 256}},
        {"pose": {"source": "detector"}},
        {"sampling": {"adaptive": 8, "adaptive_reset": 3}},
        {"faces": "blur"},
        {"rules": {"max_overlap": 0.5}},
    ):
        assert DetectConfig.model_validate(change).identity() != DetectConfig().identity()
