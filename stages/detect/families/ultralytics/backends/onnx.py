"""The detector in ONNX Runtime, the fastest on a CPU without matrix units."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.arrays import Image
from stages.boxes import Boxes
from stages.detect.config import DetectConfig
from stages.detect.families.ultralytics.backends.exported import exported, output_facts
from stages.detect.families.ultralytics.backends.letterbox import Letterbox
from stages.detect.suppress import above_floor


class OnnxBackend:
    """Runs the exported model in ONNX Runtime, in fp32."""

    name = "onnx"
    square = False

    def __init__(self, path: Path, config: DetectConfig) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.threads
        options.inter_op_num_threads = 1
        # A thread that spins while it waits takes the core from the decoders beside it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file = exported(path, config.model)
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._floor = config.confidence_floor
        self.final, self.knows_objects = output_facts(self._session.get_outputs()[0].name)

    def __call__(self, images: Sequence[Image], letterbox: Letterbox) -> list[Boxes]:
        """Candidates of each image."""
        (found,) = self._session.run(None, {"canvases": letterbox.place(images)})
        return above_floor(np.asarray(found, np.float32), self._floor)
