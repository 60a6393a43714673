"""Features as whole numbers, so that results are the same on every machine and in every batch."""

from typing import Final

import numpy as np
import numpy.typing as npt

from stages.arrays import Doubles

# Features are scaled by this and rounded to whole numbers before they are multiplied. Products and sums of whole
# numbers below 2**53 are exact in float64, in any order. With float32 products, the last bits of a crop's similarities
# depended on its position in the batch and on the processor, and occasionally its caption did, too.
UNITS: Final = 2.0**24


def normalised(features: npt.NDArray[np.floating]) -> Doubles:
    """Rows of unit L2 norm, float64; zero rows stay zero."""
    wide = features.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    wide /= np.where(norms > 0, norms, 1)
    return wide


def in_units(features: npt.NDArray[np.floating]) -> Doubles:
    """Features [n, D], normalised, in whole UNITS."""
    wholes = normalised(features)
    wholes *= UNITS
    return np.rint(wholes, out=wholes)
