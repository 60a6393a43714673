"""``reidforge calibrate``: temperatures from renders or a labelled set, in a file that a recipe takes."""

import math
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from scipy.io import savemat

from evaluation.render.rendered_crops import render_table
from pipeline.cli import execute
from stages.pictures import decode

pytestmark = pytest.mark.timeout(300)


def calibrate(out: Path, *options: str) -> dict[str, object]:
    assert execute(["calibrate", "demo", str(out), *options]) == 0
    content = yaml.safe_load(out.read_text())
    assert isinstance(content, dict)
    return content


def test_the_file_lowers_the_loss_and_a_recipe_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, reference = tmp_path / "temperatures.yaml", tmp_path / "reference.parquet"
    content = calibrate(out, "--count", "12", "--reference", str(reference), "--set", "caption.bank=unipt14")
    assert (content["model"], content["bank"], content["crops"]) == ("reidforge-clip-s", "unipt14", 12)
    losses = content["nll"]
    assert isinstance(losses, dict)
    assert {"gender", "upper", "lower", "hat"} <= set(losses)
    assert all(after <= before + 1e-4 for before, after in losses.values())
    assert any(after < before - 0.01 for before, after in losses.values())
    shown = capsys.readouterr().out
    assert "12 crops" in shown
    assert f"caption.calibration: {out}" in shown
    embedded = pq.read_table(reference, columns=["crop_id", "region"])
    assert len(set(embedded["crop_id"].to_pylist())) == 12
    assert set(embedded["region"].to_pylist()) == {"whole", "head", "upper", "lower"}
    # The reference must not hold the crops that the temperatures were fitted on.
    fitted = set(render_table(101, 0, 12)["crop_id"].to_pylist())
    assert not fitted & set(embedded["crop_id"].to_pylist())
    takes = ["--set", f"caption.calibration={out}", "--set", f"caption.reference={reference}"]
    assert (
        execute(["plan", "demo", "--corpus", str(tmp_path / "corpus"), *takes, "--set", "caption.prior=reference"]) == 0
    )


def test_the_seed_and_the_count_decide_which_renders(tmp_path: Path) -> None:
    first = calibrate(tmp_path / "a.yaml", "--count", "6", "--seed", "7")
    assert calibrate(tmp_path / "b.yaml", "--count", "6", "--seed", "7") == first
    assert calibrate(tmp_path / "c.yaml", "--count", "6", "--seed", "8")["nll"] != first["nll"]
    assert calibrate(tmp_path / "d.yaml", "--count", "5", "--seed", "7")["crops"] == 5


@pytest.fixture(scope="module")
def peta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Renders in the layout of PETA, labelled by what they show."""
    folder = tmp_path_factory.mktemp("peta")
    archive = folder / "subset" / "archive"
    archive.mkdir(parents=True)
    lines = []
    for number, row in enumerate(render_table(3, 0, 10).to_pylist()):
        values = {item["attribute"]: item["value"] for item in row["attributes"]}
        cv2.imwrite(str(archive / f"{number}_1.png"), cv2.cvtColor(decode(row["jpeg"]), cv2.COLOR_RGB2BGR))
        lines.append(f"{number} {'personalFemale' if values['gender'] == 'woman' else 'personalMale'} personalLess45")
    (archive / "Label.txt").write_text("\n".join(lines))
    return folder


def test_a_labelled_set_takes_the_place_of_renders(peta: Path, tmp_path: Path) -> None:
    content = calibrate(tmp_path / "t.yaml", "--labelled", "peta", str(peta), "--count", "8")
    temperatures = content["temperatures"]
    assert isinstance(temperatures, dict)
    assert content["crops"] == 8
    assert {"gender", "hat"} <= set(temperatures)
    # Below 45 is young or middle-aged: such a label does not say which reading is right. PETA labels no action.
    assert not {"age", "action"} & set(temperatures)
    assert all(math.isfinite(value) for value in temperatures.values())


def test_the_split_of_a_labelled_set_is_the_one_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    savemat(tmp_path / "annotation.mat", {"attributes": np.array([["Female"]], dtype=object)})
    arguments = ["calibrate", "demo", str(tmp_path / "t.yaml"), "--labelled", "pa100k", str(tmp_path)]
    for split, options in {"val": ["--split", "val"], "train": []}.items():
        assert execute([*arguments, *options]) == 2
        assert f"the MATLAB file has no {split}_images_name; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/t.yaml", "--labelled", "petra", "{tmp}"], "accepted are pa100k, peta, market1501"),
        (["{tmp}/t.yaml", "--labelled", "peta", "{tmp}"], "give the folder of PETA"),
        (["{tmp}/nowhere/t.yaml", "--count", "1"], "the folder {tmp}/nowhere does not exist"),
        (["{tmp}/t.yaml", "--count", "0"], "'--count': Input should be greater than or equal to 1"),
        (["{tmp}/t.yaml", "--set", "embed.model=/nope"], "/nope"),
        (["{tmp}/t.yaml", "--set", "caption.bank=/nope.yaml"], "/nope.yaml"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["calibrate", "demo", *(argument.format(tmp=tmp_path) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert said.format(tmp=tmp_path) in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(tmp_path.iterdir())
