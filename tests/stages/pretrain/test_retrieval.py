import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.pretrain.retrieval import evaluate, retrieval_metrics, stated_set
from stages.pretrain.two_towers import TwoTowers
from tests.stages.pretrain.pretrain_toys import attribute, config, row, table

YES, NO = True, False


@pytest.mark.parametrize(
    ("similarity", "relevant", "r1", "r5", "ap"),
    [
        pytest.param([0.9, 0.5, 0.1], [YES, NO, NO], 1, 1, 1.0, id="first"),
        pytest.param([0.9, 0.5, 0.1], [NO, NO, YES], 0, 1, 1 / 3, id="last"),
        pytest.param([0.9, 0.5, 0.1, 0.0], [YES, NO, YES, NO], 1, 1, (1 + 2 / 3) / 2, id="two answers"),
        pytest.param([0.5, 0.5, 0.1], [YES, NO, NO], 0, 1, 1 / 2, id="a tie goes to the wrong image"),
        pytest.param([0.3] * 6, [YES] + [NO] * 5, 0, 0, 1 / 6, id="constant scores earn nothing"),
        pytest.param([0.5, 0.5, 0.5], [YES, YES, NO], 0, 1, (1 / 2 + 2 / 3) / 2, id="two answers in a tie"),
        pytest.param([0.2, 0.2], [YES, YES], 1, 1, 1.0, id="a tie of answers"),
    ],
)
def test_metrics_by_hand(similarity: list[float], relevant: list[bool], r1: float, r5: float, ap: float) -> None:
    found = retrieval_metrics(np.array([similarity]), np.array([relevant]))
    assert found == pytest.approx({"r1": r1, "r5": r5, "r10": 1, "map": ap})


def test_metrics_equal_the_reference() -> None:
    golden = json.loads(Path(__file__).with_name("golden.json").read_text())["ranking"]
    draw = np.random.RandomState(6)
    distances = draw.rand(30, 80)
    (query, gallery), (query_camera, gallery_camera) = (
        (draw.randint(0, high, 30), draw.randint(0, high, 80)) for high in (9, 3)
    )
    gallery[:5] = 0
    same, camera = query[:, None] == gallery, query_camera[:, None] == gallery_camera
    # Images that the protocol leaves out come last and answer nothing, which is the same.
    similarity = np.where(same & camera, -np.inf, -distances)
    found = retrieval_metrics(similarity, same & ~camera)
    assert found == pytest.approx({name: golden[name] for name in found}, rel=1e-6)


def test_metrics_average_over_queries() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2], [0.3, 0.2, 0.1]])
    relevant = np.array([[YES, NO, NO], [NO, YES, NO], [NO, NO, NO]])
    found = retrieval_metrics(similarity, relevant)
    assert found == pytest.approx({"r1": 1 / 2, "r5": 1, "r10": 1, "map": (1 + 1 / 3) / 2})


def test_metrics_without_an_answer_are_not_numbers() -> None:
    assert np.isnan(list(retrieval_metrics(np.zeros((1, 2)), np.zeros((1, 2), bool)).values())).all()


@pytest.mark.parametrize("similarity", [np.zeros((2, 3)), np.zeros(2), np.array([[np.nan, 0.0]])])
def test_metrics_refuse_wrong_similarities(similarity: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must both be|NaN"):
        retrieval_metrics(similarity, np.zeros((1, 2), bool))


def test_stated_set_holds_what_captions_state() -> None:
    stated = stated_set([attribute("hat", "hat"), attribute("bag", "none", used=False)])
    assert stated == {("hat", "hat")}
    assert stated_set(None) == frozenset()


def test_evaluation_queries_a_text_once_and_skips_broken_crops(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path)).eval()
    rows = [row(0), row(0) | {"crop_id": "b"}, row(1), row(2) | {"jpeg": b"no image"}]
    batches = table(rows).to_batches()
    with torch.inference_mode():
        found = evaluate(towers, towers.inputs(), batches, device="cpu", size=2)
    assert found["gallery"] == 3
    assert found["queries"] == 4
    assert 0 < found["map"] <= 1


def test_a_text_is_answered_by_the_stated_sets_of_all_crops_that_have_it(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path)).eval()
    # One image for all, so scores tie and a crop that is not relevant would come first.
    rows = [row(n) | {"jpeg": row(0)["jpeg"], "captions": ["a person"]} for n in range(3)]
    with torch.inference_mode():
        found = evaluate(towers, towers.inputs(), table(rows).to_batches(), device="cpu", size=8)
    assert (found["queries"], found["gallery"]) == (1, 3)
    assert found["map"] == found["r1"] == 1


def test_crops_without_attributes_answer_their_own_captions(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path)).eval()
    rows = [row(n) | {"attributes": None, "captions": [f"number {n}"]} for n in range(3)]
    with torch.inference_mode():
        found = evaluate(towers, towers.inputs(), table(rows).to_batches(), device="cpu", size=8)
    assert found["queries"] == 3
    assert found["r5"] == 1


def test_evaluation_of_an_empty_split(tmp_path: Path) -> None:
    towers = TwoTowers(config(tmp_path)).eval()
    with torch.inference_mode():
        found = evaluate(towers, towers.inputs(), [], device="cpu", size=8)
    assert found["queries"] == 0
    assert np.isnan(found["map"])
