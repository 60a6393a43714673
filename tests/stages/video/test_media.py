"""Hostile and odd files: no second file is opened, no other format is read, no frame is larger than allowed."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stages.errors import UnitError
from stages.video.frames import read_frames
from stages.video.limits import VideoLimits
from stages.video.media import media_options
from stages.video.probe import probe
from tests.stages.video.clips import make_clip, picture

SMALL, LARGE = (64, 128), (128, 192)


def test_a_format_that_ffmpeg_could_read_as_video_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.gif"), "w") as output:
        stream = output.add_stream("gif", rate=10)
        (stream.height, stream.width), stream.pix_fmt = LARGE, "rgb8"
        for index in range(4):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        output.mux(stream.encode(None))
    content = (tmp_path / "a.gif").read_bytes()
    with av.open(io.BytesIO(content)) as container:
        assert next(container.decode(video=0)).width == 192, "FFmpeg does read it"
    with pytest.raises(UnitError, match="not a video: the file looks like a GIF image") as caught:
        probe(io.BytesIO(content), VideoLimits())
    assert caught.value.kind == "not_a_video"


def test_no_file_that_a_playlist_names_is_opened(tmp_path: Path) -> None:
    """The second barrier, behind the list of containers: whatever a demuxer asks for, it gets no file."""
    clip = make_clip(tmp_path / "secret.mp4", frames=3)
    playlist = f"ffconcat version 1.0\nfile file:{clip}\n".encode()
    formats = {"format_whitelist": "concat,mov", "safe": "0"}
    with av.open(io.BytesIO(playlist), options=formats) as container:
        assert container.streams.video[0].codec_context.width == 192, "FFmpeg does open it"
    with pytest.raises(av.FFmpegError):
        av.open(io.BytesIO(playlist), options=media_options(10**6) | formats)


def test_frames_that_outgrow_the_limit_are_not_decoded(tmp_path: Path) -> None:
    base = Fraction(1, 10)
    with av.open(str(tmp_path / "a.avi"), "w") as output:
        stream = output.add_stream("mjpeg", rate=10)
        (stream.height, stream.width), stream.pix_fmt = SMALL, "yuvj420p"
        larger = av.CodecContext.create("mjpeg", "w")
        (larger.height, larger.width), larger.pix_fmt, larger.time_base = LARGE, "yuvj420p", base
        for index in range(12):
            (height, width), encoder = (SMALL, stream) if index < 6 else (LARGE, larger)
            image = np.ascontiguousarray(picture(index)[:height, :width])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, base
            for packet in encoder.encode(frame):
                packet.stream = stream
                output.mux(packet)
    content = (tmp_path / "a.avi").read_bytes()
    limits = VideoLimits(max_pixels=SMALL[0] * SMALL[1])
    facts = probe(io.BytesIO(content), limits)
    for allowed, shapes in ((limits, [SMALL] * 6), (VideoLimits(), [SMALL] * 6 + [LARGE] * 6)):
        frames = read_frames(io.BytesIO(content), facts, 0, 12, range(12), limits=allowed)
        assert [(index, image.shape[:2]) for index, _, image in frames] == list(enumerate(shapes))


def test_the_cover_of_a_sound_file_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.flac"), "w") as output:
        stream = output.add_stream("flac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.rate, frame.pts = 8000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    content = (tmp_path / "a.flac").read_bytes()
    png = cv2.imencode(".png", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    # A metadata block PICTURE (RFC 9639, 8.8) after STREAMINFO, which is always first and has 34 bytes.
    body = struct.pack(">II9sI", 3, 9, b"image/png", 0) + struct.pack(">5I", 64, 64, 24, 0, len(png)) + png
    block = bytes([content[4] & 0x80 | 6]) + len(body).to_bytes(3) + body
    covered = content[:4] + bytes([content[4] & 0x7F]) + content[5:42] + block + content[42:]
    with pytest.raises(UnitError) as caught:
        probe(io.BytesIO(covered), VideoLimits())
    said = "the file has no video, only audio and cover image streams"
    assert (caught.value.kind, str(caught.value)) == ("no_video_stream", said)
