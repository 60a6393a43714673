"""The contact sheet: which crops it shows, and that the picture holds them."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from stages.pictures import decode
from stages.publish.contact_sheet import CARD, PHOTO, contact_sheet, to_png
from stages.publish.gallery import choose_rows
from tests.corpora import person_jpeg

COLOURS = ("red", "blue", "black", "gray")


def row(number: int, upper: str = "red", sharpness: float | None = 1.0, video: str = "v", **changes) -> dict:
    return {
        "crop_id": f"{number:04}",
        "video_id": video,
        "pts_s": float(number),
        "width": 40,
        "height": 100,
        "sharpness": sharpness,
        "split": "train",
        "captions": [f"A man in a {upper} jacket."],
        "jpeg": person_jpeg(upper, "blue"),
        **changes,
    }


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def test_choice_is_spread_over_time():
    chosen = choose_rows(table([row(number) for number in range(100)]), 10)["pts_s"].to_pylist()
    assert [int(moment) // 10 for moment in chosen] == list(range(10))


def test_the_sharper_crop_is_taken_where_the_person_is_the_same():
    rows = [row(number, sharpness=5.0 if number % 10 == 3 else 1.0) for number in range(40)]
    assert choose_rows(table(rows), 4)["pts_s"].to_pylist() == [3.0, 13.0, 23.0, 33.0]


def test_another_person_is_taken_before_one_shown_already():
    rows = [row(number, upper=COLOURS[number % 4]) for number in range(16)]
    captions = choose_rows(table(rows), 4)["captions"].to_pylist()
    assert len({texts[0] for texts in captions}) == 4


def test_choice_is_the_same_whatever_the_order():
    rows = [row(number, upper=COLOURS[number % 3], sharpness=number % 5) for number in range(30)]
    ids = [choose_rows(table(order), 6)["crop_id"].to_pylist() for order in (rows, rows[::-1])]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(("have", "wanted", "got"), [(3, 10, 3), (0, 5, 0), (5, 0, 0), (1, 1, 1)])
def test_fewer_rows_than_wanted(have, wanted, got):
    rows = table([row(number) for number in range(max(have, 1))]).slice(0, have)
    assert len(choose_rows(rows, wanted)) == got


def test_unreadable_crops_and_missing_sharpness_do_not_stop_it():
    rows = [row(0, jpeg=b"no picture"), row(1, jpeg=b""), row(2, sharpness=None), row(3)]
    assert len(choose_rows(table(rows), 4)) == 4
    assert contact_sheet(table(rows), title="t").ndim == 3


def test_sheet_shows_the_crop_beside_its_caption():
    picture = contact_sheet(table([row(0, upper="red")]), title="Corpus", footer=["by nobody"])
    assert picture.dtype == np.uint8
    red = (picture[..., 0] > 150) & (picture[..., 1] < 90)
    assert red.sum() > 0.05 * PHOTO[0] * PHOTO[1]
    columns = np.flatnonzero(red.any(axis=0))
    assert columns.max() - columns.min() < PHOTO[0]


def test_sheet_grows_by_rows_of_cards():
    heights = [
        contact_sheet(table([row(n) for n in range(count)]), title="t", columns=3).shape for count in (1, 3, 4, 7)
    ]
    assert heights[0] == heights[1]
    assert heights[2][0] - heights[1][0] == heights[3][0] - heights[2][0] == CARD[1] + 16


def test_long_captions_stay_inside_their_card():
    words = "A very long caption that goes on and on about a coat " * 8
    long = contact_sheet(table([row(0, captions=[words])]), title="t", columns=1)
    none = contact_sheet(table([row(0, captions=[])]), title="t", columns=1)
    assert long.shape == none.shape
    edge = long[:, -36:]
    assert (edge == none[:, -36:]).all()


def test_png_reads_back():
    picture = contact_sheet(table([row(0)]), title="t")
    assert (np.asarray(Image.open(io.BytesIO(to_png(picture)))) == picture).all()


def test_decode_gives_rgb():
    image = decode(person_jpeg("red", "blue"))
    assert image is not None
    assert image[40, 20, 0] > image[40, 20, 2]
    assert decode(b"\xff\xd8\xff broken") is None
