"""Memory does not grow with the length of a video."""

import subprocess
import threading
import time
from pathlib import Path

import av
import psutil
import pytest

from tests.runs import CLIP, ROOT, ask, command, environment, serve, tiny_clip, write_recipe


def loop_clip(path: Path, times: int) -> None:
    """The street video again and again, packets copied."""
    with av.open(str(CLIP)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        span = max(packet.pts + packet.duration for packet in packets) - min(packet.pts for packet in packets)
        starts = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(times):
            for packet, (pts, dts) in zip(packets, starts, strict=True):
                packet.pts, packet.dts, packet.stream = pts + turn * span, dts + turn * span, out
                target.mux(packet)


def peak_memory(arguments: list[str]) -> float:
    """Run a command; largest proportional set size of its whole process tree, MB."""
    process = subprocess.Popen(command(*arguments), cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    peaks = [0.0]
    sampler = threading.Thread(target=_sample, args=(process, peaks))
    sampler.start()
    assert process.wait(900) == 0
    sampler.join()
    return max(peaks)


def _sample(process: "subprocess.Popen[bytes]", peaks: list[float]) -> None:
    while process.poll() is None:
        total = 0
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            try:
                total += one.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        peaks.append(total / 1e6)
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_half_an_hour_takes_no_more_memory_than_two_minutes(tmp_path: Path) -> None:
    clip = tiny_clip(tmp_path / "clip")
    peaks = {}
    for name, times in (("short", 2), ("long", 23)):
        (tmp_path / name).mkdir()
        loop_clip(tmp_path / name / "street.mp4", times)
        corpus = tmp_path / f"corpus-{name}"
        with serve(tmp_path / name) as address:
            recipe = write_recipe(tmp_path / f"{name}.yaml", corpus, [f"{address}/street.mp4"], clip)
            fast = ["--set", "detect.image_size=160", "--set", "detect.chunk_seconds=20"]
            peaks[name] = peak_memory(["run", str(recipe), "--until", "detect", *fast])
        ((seconds,),) = ask(corpus, "SELECT duration_s FROM videos")
        assert seconds == pytest.approx(79.5 * times, abs=1)
    print(f"peak memory: {peaks['short']:.0f} MB over two minutes, {peaks['long']:.0f} MB over half an hour")
    # Memory rises in the first minutes and then stays constant: two hours took as much as half an hour.
    assert peaks["long"] < 1.2 * peaks["short"]
