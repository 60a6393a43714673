"""The bare forward pass on prepared tensors: no decoding, no letterbox, no boxes, no crops.

``python -m benchmarks.detect.contenders.bare BACKEND PROCESSES SECONDS`` prints frames per second of all processes
together; threads are divided among the cores that this process may use.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.detect.measure import WEIGHTS

_CANVAS = (1, 480, 640, 3)  # the canvas of a 768x576 frame


def forward(backend: str, threads: int) -> Callable[[], object]:
    """One forward pass of the model over a prepared canvas."""
    canvas = np.random.default_rng(0).integers(0, 255, _CANVAS, np.uint8)
    if backend == "onnx":
        import onnxruntime

        from stages.detect.families.ultralytics.backends.exported import exported

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(exported(WEIGHTS, WEIGHTS.name)), options)
        return lambda: session.run(None, {"canvases": canvas})
    import torch
    from ultralytics.nn.autobackend import AutoBackend

    model = AutoBackend(str(WEIGHTS), device=torch.device("cpu"), verbose=False).eval()
    torch.set_num_threads(threads)
    pixels = torch.from_numpy(canvas).permute(0, 3, 1, 2).float().div(255)

    def run() -> object:
        with torch.inference_mode():
            return model(pixels)

    return run


def rate(backend: str, threads: int, seconds: float) -> float:
    """Frames per second of one process."""
    run = forward(backend, threads)
    run()
    frames, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        run()
        frames += 1
    return frames / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print the sum."""
    backend, processes, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        rates = pool.starmap(rate, [(backend, threads, seconds)] * processes, chunksize=1)
    print(json.dumps(sum(rates)))


if __name__ == "__main__":
    main()
