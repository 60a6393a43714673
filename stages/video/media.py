"""Opening untrusted media: known containers only, no second file or URL, frames of limited size."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from stages.errors import UnitError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Playlists (HLS, DASH, concat) are excluded: they make FFmpeg open whatever file or URL their text names, in the
# internal network too. Audio formats are included, so that "audio only" can be distinguished from "no media".
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mxf,rm,ivf,dv,mp3,wav,flac,aac"

# Each refill of FFmpeg's buffer is one ranged request if the media is in an object store.
_BUFFER_BYTES = 1 << 20


class MediaFile(Protocol):
    """A seekable binary file, local or in an object store: what Python's and Arrow's files have in common."""

    def read(self, size: int = ..., /) -> bytes:
        """Read up to ``size`` bytes."""
        ...

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Move to an offset."""
        ...

    def tell(self) -> int:
        """Return the offset."""
        ...


def media_options(max_pixels: int) -> dict[str, str]:
    """Options for FFmpeg's demuxer, which passes them to the decoders that it opens to probe the streams."""
    return {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none", "max_pixels": str(max_pixels)}


@contextmanager
def open_video(file: MediaFile, max_pixels: int, threads: int = 1) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Open ``file`` at its start and pick its video stream.

    Args:
        file: Seekable binary file; it stays open.
        max_pixels: The decoder refuses larger frames before it allocates memory for them.
        threads: Threads of the decoder.

    Raises:
        UnitError: The file has no video stream that this build of FFmpeg can decode.
        av.FFmpegError: FFmpeg does not recognise the file.
    """
    import av

    file.seek(0)
    options = media_options(max_pixels)
    with av.open(file, "r", options=options, buffer_size=_BUFFER_BYTES, metadata_errors="replace") as container:
        stream = _video_stream(container)
        context = stream.codec_context
        context.options = {"max_pixels": str(max_pixels)}
        context.thread_count, context.thread_type = threads, "AUTO"
        yield container, stream


def _video_stream(container: "InputContainer") -> "VideoStream":
    """The first video stream that is not a cover image."""
    import av

    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        names = {"cover image" if stream.disposition & covers else stream.type for stream in container.streams}
        kinds = " and ".join(sorted(names))
        raise UnitError(f"the file has no video, only {kinds or 'no'} streams", kind="no_video_stream")
    if streams[0].codec_context is None:
        raise UnitError("the video's codec is unknown to this build of FFmpeg", kind="unsupported_codec")
    return streams[0]


def stamp(timed: "av.Packet[Any] | av.VideoFrame") -> int | None:
    """Presentation time in ticks, or the decoding time if the stream has no other."""
    pts: int | None = timed.pts if timed.pts is not None else timed.dts
    return pts
