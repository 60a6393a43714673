"""Pictures as every stage reads them."""

import numpy as np
import numpy.typing as npt


def decode(jpeg: bytes) -> npt.NDArray[np.uint8] | None:
    """RGB uint8 [H, W, 3] of an encoded image; None when it cannot be decoded."""
    import cv2

    if not jpeg:
        return None
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
