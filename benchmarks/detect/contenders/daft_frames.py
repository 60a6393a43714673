"""Daft, after the video object detection benchmark that its authors publish.

``benchmarking/ai/video_object_detection`` of github.com/Eventual-Inc/Daft: frames by ``read_video_frames``, a class of
UDFs with YOLO, boxes exploded, crops cut and encoded, Parquet written. Changed so that the same crops come out: frames
of the video's own size, every n-th of them, boxes judged by the same rules, JPEG in place of PNG, torch on one thread
per instance with one instance per core (theirs has one per GPU). All copies of the video are in one file: given three
files, Daft 0.7.26 hung.
"""

from collections.abc import Iterable
from typing import Any

import av
import cv2
import daft
import numpy as np
import torch
from daft import DataType

from benchmarks.detect.measure import FLOOR, JPEG_QUALITY, Task, keeps, report

TASK = Task.given()


@daft.cls(max_concurrency=TASK.cores)
class Detector:
    """Detects persons in a batch of frames."""

    def __init__(self) -> None:
        from ultralytics.models import YOLO

        self.model = YOLO(TASK.weights)
        self.model.predict(np.zeros((64, 64, 3), np.uint8), device="cpu", verbose=False)
        torch.set_num_threads(1)

    @daft.method.batch(return_dtype=DataType.list(DataType.list(DataType.float32())))
    def boxes(self, frames: daft.Series) -> list[list[list[float]]]:
        """Boxes that the rules keep, of each frame."""
        images = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames.to_pylist()]
        if not images:
            return []
        results: Iterable[Any] = self.model.predict(
            images, imgsz=640, conf=FLOOR, classes=[0], device="cpu", verbose=False
        )
        return [[box[:4] for box in result.boxes.data.tolist() if keeps(*box[:5])] for result in results]


@daft.func(return_dtype=DataType.binary())
def crop(frame: np.ndarray, box: list[float] | None) -> bytes | None:
    """JPEG of a box; None for a frame without boxes."""
    if box is None:
        return None
    x1, y1, x2, y2 = (round(value) for value in box)
    pixels = np.ascontiguousarray(frame[y1:y2, x1:x2, ::-1])
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def repeat(video: str, path: str, times: int) -> None:
    """Write a video ``times`` times into one file by copying its packets."""
    with av.open(video) as source, av.open(path, "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        # Any: PyAV also allows for packets without times, which this file does not have.
        packets: list[Any] = [packet for packet in source.demux(stream) if packet.size]
        times_of = [(packet.pts, packet.dts) for packet in packets]
        span = max(packet.pts + packet.duration for packet in packets) - min(packet.pts for packet in packets)
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, times_of, strict=True):
                packet.pts, packet.dts, packet.stream = pts + turn * span, dts + turn * span, out
                target.mux(packet)


def main() -> None:
    """Run the task, and report."""
    with av.open(TASK.video) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        height, width, fps = stream.height, stream.width, float(stream.average_rate)
    repeat(TASK.video, "street.mp4", TASK.copies)
    frames = daft.read_video_frames(
        ["street.mp4"], image_height=height, image_width=width, sample_interval_seconds=TASK.every / fps
    )
    found = frames.with_column("box", Detector().boxes(frames["data"])).explode("box")
    crops = found.with_column("object", crop(found["data"], found["box"])).exclude("data")
    crops.write_parquet("crops")
    written = daft.read_parquet("crops/*.parquet")
    looked = written.select("path", "frame_index").distinct().count_rows()
    report(looked, written.where(written["object"].not_null()).count_rows())


if __name__ == "__main__":
    main()
