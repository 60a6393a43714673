"""What the first bytes of a file look like, in words, for errors that the user can act on."""

from stages.errors import UnitError
from stages.video.media import MediaFile

_MAGIC = [
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"#EXTM3U", "an M3U playlist"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"{", "JSON text"),
    (b"[", "JSON text"),
]
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def size_of(file: MediaFile) -> int:
    """Bytes of ``file``; leaves it at its end."""
    return file.seek(0, 2)


def unreadable(file: MediaFile, reason: str) -> UnitError:
    """The error for a file in which FFmpeg finds no media: what the file is, or where it was cut.

    Args:
        file: The file, seekable.
        reason: FFmpeg's message.
    """
    size = size_of(file)
    file.seek(0)
    head = file.read(4096)
    if head[4:8] in _MP4_BOXES:
        return _unreadable_mp4(file, size, reason)
    if head.startswith((b"\x1aE\xdf\xa3", b"RIFF")):
        return UnitError(f"a video file of {size:,} bytes that FFmpeg cannot read ({reason})", kind="damaged")
    return UnitError(f"not a video: {describe(head)}", kind="not_a_video")


def describe(head: bytes) -> str:
    """Describe the kind of file that begins with ``head``."""
    if not head:
        return "the file is empty"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, name in _MAGIC:
        if head.startswith(magic) or text.startswith(magic.lower()):
            return f"the file looks like {name}"
    if b"<html" in text:
        return "the file looks like an HTML page"
    if b"\0" not in head and sum(byte < 9 for byte in head) == 0:
        return f"the file looks like plain text that begins {head[:40].decode('utf-8', 'replace')!r}"
    return f"no video container begins with the bytes {head[:8].hex(' ')}"


def _unreadable_mp4(file: MediaFile, size: int, reason: str) -> UnitError:
    names, announced = _top_boxes(file, size)
    if b"moov" in names and announced <= size:
        return UnitError(f"an MP4 file of {size:,} bytes that FFmpeg cannot read ({reason})", kind="damaged")
    lacks = "inside its index" if b"moov" in names else "before its index (the moov box)"
    more = f", of {announced:,} bytes announced at least" if announced > size else ""
    return UnitError(f"the MP4 ends {lacks}: it holds {size:,} bytes{more}; download it again", kind="truncated")


def _top_boxes(file: MediaFile, size: int) -> tuple[set[bytes], int]:
    """Names of the top-level boxes of an MP4 (ISO/IEC 14496-12, 4.2) and the end of the last one announced."""
    names: set[bytes] = set()
    position = 0
    while position + 8 <= size and len(names) < 64:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4])
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:])
        names.add(header[4:8])
        if length < 8:
            break
        position += length
    return names, position
