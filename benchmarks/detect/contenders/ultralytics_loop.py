"""The plain loop: ``predict(stream=True)``, crop, imwrite.

Ultralytics looks at the last of every n frames where the others look at the first, so its crops are those of the
neighbouring frames; there are about as many.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
from ultralytics.models import YOLO

from benchmarks.detect.measure import FLOOR, JPEG_QUALITY, Task, keeps, report


def main() -> None:
    """Run the task, and report."""
    task = Task.given()
    model = YOLO(task.weights)
    frames = crops = 0
    folder = Path("crops")
    folder.mkdir()
    for copy in range(task.copies):
        results: Iterable[Any] = model.predict(
            task.video,
            stream=True,
            vid_stride=task.every,
            imgsz=640,
            conf=FLOOR,
            classes=[0],
            device="cpu",
            verbose=False,
        )
        for result in results:
            frames += 1
            for number, (x1, y1, x2, y2, confidence, _) in enumerate(result.boxes.data.tolist()):
                if keeps(x1, y1, x2, y2, confidence):
                    crop = result.orig_img[round(y1) : round(y2), round(x1) : round(x2)]
                    path = folder / f"{copy}-{frames}-{number}.jpg"
                    cv2.imwrite(str(path), crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                    crops += 1
    report(frames, crops)


if __name__ == "__main__":
    main()
