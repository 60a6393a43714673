"""Reads damaged copies of a clip, one after another, and tells of each what became of it: one JSON line per seed.

Run as a process of its own (``python -m tests.stages.video.mutants CLIP FIRST LAST``), for a decoder may crash it.
"""

import io
import json
import random
import sys
import time
from pathlib import Path

from stages.errors import UnitError
from stages.video.frames import read_frames
from stages.video.limits import VideoLimits
from stages.video.probe import probe

FRAMES = 3
LIMITS = VideoLimits()


def mutant(content: bytes, seed: int) -> bytes:
    """The clip with damage: some bits, a stretch of noise, a hole, or bytes of its index, as the seed decides."""
    chance = random.Random(seed)
    damaged = bytearray(content)
    kind = seed % 4
    index = content.index(b"moov")
    length = int.from_bytes(content[index - 4 : index])
    places = range(len(content)) if kind == 0 else range(index, index + length)
    if kind in (0, 1):
        for _ in range(chance.randint(1, 200)):
            damaged[chance.choice(places)] ^= 1 << chance.randrange(8)
    else:
        start, size = chance.randrange(len(content)), chance.randint(1, 200_000)
        stretch = damaged[start : start + size]
        damaged[start : start + size] = chance.randbytes(len(stretch)) if kind == 2 else b""
    return bytes(damaged)


def read(content: bytes, seed: int) -> dict[str, object]:
    """Probe it, and decode some frames of a chunk: ``frames`` that came out, or ``kind`` and ``message``."""
    file = io.BytesIO(content)
    try:
        facts = probe(file, LIMITS)
        start = random.Random(seed).randrange(max(facts.frames - 200, 1))
        wanted = sorted({min(start + step, facts.frames - 1) for step in range(0, 20 * FRAMES, 20)})
        found = list(read_frames(file, facts, wanted[0], wanted[-1] + 1, wanted, limits=LIMITS))
    except UnitError as error:
        return {"kind": error.kind, "message": str(error)}
    return {"frames": len(found)}


def main(clip: str, first: int, last: int) -> None:
    content = Path(clip).read_bytes()
    for seed in range(first, last):
        print(json.dumps({"begins": seed}), flush=True)
        began = time.monotonic()
        done = read(mutant(content, seed), seed)
        print(json.dumps(done | {"seed": seed, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
