"""The detector in OpenVINO, for Intel's CPUs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.families.ultralytics.backends.exported import exported, output_facts
from stages.detect.families.ultralytics.backends.letterbox import Letterbox
from stages.detect.suppress import above_floor

# The videos of one crawl have dozens of frame sizes; each compiled size takes about 50 MB.
_SHAPES = 8


class OpenvinoBackend:
    """Runs the exported model in OpenVINO, in fp32; compiled for each canvas size."""

    name = "openvino"
    square = False

    def __init__(self, path: Path, config: DetectConfig) -> None:
        import openvino

        self._core = openvino.Core()
        self._model = self._core.read_model(exported(path, config.model))
        # By default OpenVINO uses a CPU's bf16 units, and boxes would depend on the machine.
        self._options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": config.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._floor = config.confidence_floor
        self.final, self.knows_objects = output_facts(self._model.output(0).get_any_name())

    def __call__(self, images: Sequence[Image], letterbox: Letterbox) -> list[Boxes]:
        """Candidates of each image."""
        canvases = letterbox.place(images)
        found = self._for(canvases.shape).infer({0: canvases}, share_inputs=True, share_outputs=True)[0]
        return above_floor(np.asarray(found, np.float32), self._floor)

    def _for(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._compiled:
            while len(self._compiled) >= _SHAPES:
                del self._compiled[next(iter(self._compiled))]
            model = self._model.clone()
            model.reshape(shape)
            self._compiled[shape] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        return self._compiled[shape]
