"""Files that ship with reidforge, and those of the user that go before them."""

from pathlib import Path

import pytest

from stages.resources import locate
from tests.runs import ROOT


def test_a_file_of_the_working_directory_goes_before_the_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(locate("demo/street.mp4")) == ROOT / "demo/street.mp4"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/street.mp4").write_bytes(b"mine")
    assert Path(locate("demo/street.mp4")).read_bytes() == b"mine"
    assert locate("ViT-B-16") == "ViT-B-16"
    assert locate(str(tmp_path)) == str(tmp_path)
