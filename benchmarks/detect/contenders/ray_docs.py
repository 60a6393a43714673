"""As in Ray Data's documentation: frames as rows, a class of actors in ``map_batches``, crops as rows."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.detect.measure import FLOOR, JPEG_QUALITY, Task, keeps, report

Batch = dict[str, Any]
_BATCH = 16


class Detector:
    """Detects persons in a batch of frames."""

    def __init__(self, weights: str) -> None:
        from ultralytics.models import YOLO

        self.model = YOLO(weights)

    def __call__(self, batch: Batch) -> Batch:
        """Add the boxes of each frame."""
        images = list(batch["frame"])
        found = self.model.predict(images, imgsz=640, conf=FLOOR, classes=[0], device="cpu", verbose=False)
        results: list[Any] = list(found)
        boxes = np.empty(len(results), np.object_)
        boxes[:] = [result.boxes.data.numpy()[:, :5].tolist() for result in results]
        return batch | {"boxes": boxes}


def frames_of(row: Batch, every: int) -> Iterator[Batch]:
    """The frames of a video."""
    video = cv2.VideoCapture(row["path"])
    index = 0
    while video.grab():
        if index % every == 0:
            yield {"copy": row["copy"], "index": index, "frame": video.retrieve()[1]}
        index += 1


def crops_of(row: Batch) -> Iterator[Batch]:
    """The crops of a frame; a frame without crops leaves a row without an image."""
    yield {"copy": row["copy"], "index": row["index"], "jpeg": None}
    for x1, y1, x2, y2, confidence in row["boxes"]:
        if keeps(x1, y1, x2, y2, confidence):
            crop = row["frame"][round(y1) : round(y2), round(x1) : round(x2)]
            _, jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            yield {"copy": row["copy"], "index": row["index"], "jpeg": jpeg.tobytes()}


def main() -> None:
    """Run the task, and report."""
    import pyarrow.parquet as pq
    import ray
    import ray.data

    task = Task.given()
    ray.init(num_cpus=task.cores, log_to_driver=False, include_dashboard=False)
    videos = ray.data.from_items([{"path": task.video, "copy": copy} for copy in range(task.copies)])
    crops = (
        videos.repartition(task.copies)
        .flat_map(partial(frames_of, every=task.every), num_cpus=0.5)
        .map_batches(
            Detector,
            fn_constructor_kwargs={"weights": task.weights},
            batch_size=_BATCH,
            compute=ray.data.ActorPoolStrategy(size=task.cores),
            num_cpus=0.5,
        )
        .flat_map(crops_of, num_cpus=0.25)
    )
    crops.write_parquet(str(Path("crops").resolve()))
    written = pq.read_table("crops", columns=["jpeg"])["jpeg"]
    report(written.null_count, len(written) - written.null_count)


if __name__ == "__main__":
    main()
