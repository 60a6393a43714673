from hashlib import sha256
from pathlib import Path

import pytest

from stages.weights import KNOWN, check_weights

MINE = sha256(b"mine").hexdigest()


@pytest.mark.parametrize(
    ("name", "given", "runs_code", "says"),
    [
        ("mine.pt", MINE, True, None),
        ("mine.pt", None, False, None),
        ("mine.onnx", None, True, None),
        ("mine.pt", None, True, f"can run code, .* set detect.model_sha256: {MINE}"),
        ("mine.pth", None, True, f"set detect.model_sha256: {MINE}"),
        ("mine.pt", "0" * 64, False, f"its SHA-256 is {MINE}, expected {'0' * 64}. .* Ask the author."),
        ("yolo26n.pt", None, False, f"its SHA-256 is {MINE}, expected {KNOWN['yolo26n.pt']}"),
        ("yolo26n.pt", MINE, True, None),
    ],
)
def test_weights_are_refused_by_their_digest(
    name: str, given: str | None, runs_code: bool, says: str | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(b"mine")
    arguments = (path, "detect.model", name, given)
    if says is None:
        check_weights(*arguments, runs_code=runs_code)
        return
    with pytest.raises(ValueError, match=f"^detect.model {name}: .*{says}") as refused:
        check_weights(*arguments, origin="Ask the author.", runs_code=runs_code)
    assert "\n" not in str(refused.value)
