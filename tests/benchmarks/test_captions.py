"""The benchmarks of captions run, say what they measured, and refuse what they cannot read."""

from pathlib import Path

import pytest

from benchmarks.captions import labelled, rendered, speed
from tests.evaluation.captions.test_labelled_sets import pa100k
from tests.runs import tiny_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip(tmp_path_factory.mktemp("clip") / "model"))


def test_renders_are_read_side_by_side(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rendered.main(["--crops", "12", "--model", clip, "--threads", "1"]) == 0
    output = capsys.readouterr().out
    assert all(
        word in output for word in ("faithful", "default", "with prior", "upper_colour", "ECE", "12 crops", "cores")
    )
    assert "colour bleed, faithful: one colour read for both garments of" in output


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--bank", "nosuch"], "rendered: caption.bank: no bank 'nosuch'"),
        (["--recipe", "nosuch.yaml"], "rendered: recipe nosuch.yaml: no such file"),
        (["--recipe", "recipes/demo.yaml"], "was fitted on model reidforge-clip-s, and embed.model is tiny"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line(
    options: list[str], line: str, clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rendered.main(["--crops", "2", "--model", clip, "--threads", "1", *options]) == 2
    output = capsys.readouterr().err
    assert line in output
    assert output.count("\n") == 1


def test_a_labelled_set_is_read_side_by_side(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pa100k(tmp_path, {"Female", "Backpack", "Trousers"}, {"AgeOver60", "Hat", "Shorts"})
    assert labelled.main(["pa100k", str(tmp_path), "--model", clip, "--threads", "1"]) == 0
    output = capsys.readouterr().out
    assert "gender" in output
    assert "2 crops" in output
    assert "upper_colour" not in output


def test_a_recipes_bank_is_read(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("corpus: nowhere\ncaption:\n  bank: street\n")
    pa100k(tmp_path, {"Female", "Front"}, {"Back", "Hat"})
    asked = ["pa100k", str(tmp_path), "--model", clip, "--threads", "1"]
    assert labelled.main(asked) == 0
    assert "view" not in capsys.readouterr().out  # unipt14 has none
    assert labelled.main([*asked, "--recipe", str(tmp_path / "r.yaml")]) == 0
    assert "view" in capsys.readouterr().out


def test_the_demos_captions_tell_the_truth_of_its_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert labelled.main(["street", "--threads", "2", "--recipe", "recipes/demo.yaml"]) == 0
    output = capsys.readouterr().out
    assert "75 crops; " in output
    lines = (
        line.removeprefix("stated, ").partition(": ") for line in output.splitlines() if line.startswith("stated, ")
    )
    values = {name: words.split() for name, _, words in lines}
    count, right = ({name: float(words[at].rstrip("%")) for name, words in values.items()} for at in (0, 5))
    assert list(count) == ["faithful", "default", "recipe"]
    assert right["faithful"] < right["default"] < right["recipe"]
    assert right["recipe"] >= 90
    assert count["recipe"] >= 225


def test_a_set_of_others_needs_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        labelled.main(["peta"])
    assert "peta is not part of the repository; give its folder" in capsys.readouterr().err


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert labelled.main(["peta", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"labelled: {tmp_path}: contains neither PETA.mat nor any archive/Label.txt; give the folder of PETA\n"
    )


def test_speed_is_told_against_its_goals(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--captions", "64", "--crops", "8", "--batch-size", "4", "--repeats", "1", "--threads", "1"]
    assert speed.main(["--model", clip, *small]) == 0
    output = capsys.readouterr().out
    assert all(word in output for word in ("conquer", "combine", "bare forward", "goal 20,000/s", "goal 0.95", "cores"))
    assert speed.verdict(0.5, "7") == "goal 7 missed (50% of it)"
    assert speed.verdict(1.0, "7") == "goal 7 reached"
