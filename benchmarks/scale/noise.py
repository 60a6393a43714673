"""Random numbers that follow from a seed, a name and a position, so that any part of a corpus can be made alone."""

import hashlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
Doubles = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def bits(seed: int, name: str, positions: Ints | Bits) -> Bits:
    """64 random bits per position (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).

    Args:
        seed: Seed of the corpus.
        name: What the numbers are for; each name has a stream of its own.
        positions: int64 or uint64 [N]; equal positions give equal bits.
    """
    stream = np.uint64(int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        mixed = (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN + stream
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), np.uint64)


def uniform(seed: int, name: str, positions: Ints | Bits) -> Doubles:
    """As ``bits``, numbers from 0 to below 1."""
    return np.asarray((bits(seed, name, positions) >> np.uint64(11)) * (1.0 / (1 << 53)), np.float64)


def below(seed: int, name: str, positions: Ints | Bits, limit: int | Ints) -> Ints:
    """As ``bits``, whole numbers from 0 to below ``limit``."""
    return np.asarray(np.floor(uniform(seed, name, positions) * limit), np.int64)
