"""Labelled data sets of pedestrians, with their labels mapped to the values of our banks.

Each reader yields crops with the acceptable values of each attribute. A label that fits several of our values maps to
all of them, and attributes that a set does not label are absent, so that scores count only what the labels decide.
"""

import functools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from evaluation.captions.scores import Truth
from stages.caption.bank.phrases import NONE


class LabelError(ValueError):
    """A labelled set is missing or not in its format; the message names the file and what is expected."""


@dataclass(frozen=True)
class Labelled:
    """One labelled crop.

    Args:
        name: Name within the set.
        truth: Acceptable values by attribute.
        read: Reads the encoded image.
    """

    name: str
    truth: Truth
    read: Callable[[], bytes]


COLOURS: Final = ("black", "white", "gray", "brown", "blue", "pink", "yellow", "red", "purple", "green", "orange")
SHORT_SLEEVES: Final = ("t-shirt", "shirt", "sleeveless top", "dress")
LONG_SLEEVES: Final = (
    "long sleeve", "shirt", "jacket", "suit", "coat", "wind coat", "down coat", "sweater", "dress",
)  # fmt: skip
SKIRTS: Final = ("skirt", "long skirt")


def read_pa100k(folder: Path, split: str = "test") -> Iterator[Labelled]:
    """PA-100K (Liu et al., HydraPlus-Net, ICCV 2017).

    ``annotation.mat`` (MATLAB 5) holds ``attributes``, a 26x1 cell of names, and for each split
    ``<split>_images_name``, an Nx1 cell of file names, and ``<split>_label``, Nx26 of 0 and 1. The images are in
    ``release_data/release_data`` or ``data`` beside it.

    Args:
        folder: Folder with ``annotation.mat`` or ``annotation/annotation.mat``.
        split: train, val or test.

    Raises:
        LabelError: A file is missing, or not of this format.
    """
    mat = _load(_first(folder, ("annotation.mat", "annotation/annotation.mat")))
    names = _cells(mat, "attributes")
    files, labels = _cells(mat, f"{split}_images_name"), _field(mat, f"{split}_label")
    images = _first(folder, ("release_data/release_data", "data/release_data/release_data", "release_data", "data"))
    for file, row in zip(files, labels, strict=True):
        given = {name for name, flag in zip(names, row, strict=True) if flag}
        yield Labelled(file, _pa100k(given), (images / file).read_bytes)


def _pa100k(given: set[str]) -> Truth:
    child = {"child"} if "AgeLess18" in given else set()
    ages = {"AgeOver60": ["old"], "Age18-60": ["young", "middle-aged"], "AgeLess18": ["young"]}
    bags = {"HandBag": ["handbag"], "ShoulderBag": ["shoulder bag"], "Backpack": ["backpack"]}
    patterns = {
        "UpperStride": ["striped"], "UpperPlaid": ["plaid"], "UpperLogo": ["patterned"], "UpperSplice": ["patterned"],
    }  # fmt: skip
    uppers = {"LongCoat": ["coat", "wind coat", "down coat"], "ShortSleeve": SHORT_SLEEVES, "LongSleeve": LONG_SLEEVES}
    views = {"Front": ["front"], "Side": ["side"], "Back": ["back"]}
    return _truth(
        gender={"woman" if "Female" in given else "man"} | child,
        age=_any(given, ages),
        hat=["hat", "helmet"] if "Hat" in given else [NONE],
        glasses=["glasses", "sunglasses"] if "Glasses" in given else [NONE],
        bag=_any(given, bags) or [NONE],
        upper=next((values for name, values in uppers.items() if name in given), ()),
        upper_pattern=_any(given, patterns) or ["plain"],
        lower=_any(given, {"Trousers": ["long pants"], "Shorts": ["shorts"], "Skirt&Dress": SKIRTS}),
        shoes=["boots"] if "boots" in given else (),
        view=_any(given, views),
    )


def read_peta(folder: Path) -> Iterator[Labelled]:
    """PETA (Deng et al., ACM MM 2014), in either of its two formats.

    As published, each subset has ``archive/Label.txt``: lines of an id and the names of the attributes that hold,
    such as ``12 personalMale upperBodyBlack``; the id is what stands before the first ``_`` or ``.`` in the names of
    its images. Re-packed, ``PETA.mat`` (MATLAB 5) holds ``peta``, a struct whose first field is an Nx(4+A) matrix
    with A labels of 0 and 1 from the fifth column on, and whose second an Ax1 cell of names; image n is ``images/<n
    as five digits>.png``.

    Args:
        folder: Folder with ``PETA.mat``, or with the subsets.

    Raises:
        LabelError: Neither format is present.
    """
    if (folder / "PETA.mat").is_file():
        yield from _peta_mat(folder)
        return
    lists = sorted(folder.glob("**/Label.txt"))
    if not lists:
        raise LabelError(f"{folder}: contains neither PETA.mat nor any archive/Label.txt; give the folder of PETA")
    for path in lists:
        images: dict[str, list[Path]] = {}
        for image in sorted(path.parent.iterdir()):
            images.setdefault(image.name.split("_")[0].split(".")[0].lstrip("0"), []).append(image)
        for line in filter(None, map(str.split, path.read_text(encoding="utf-8").splitlines())):
            for image in images.get(line[0].split(".")[0].lstrip("0"), []):
                yield Labelled(f"{path.parent.parent.name}/{image.name}", _peta(set(line[1:])), image.read_bytes)


def _peta_mat(folder: Path) -> Iterator[Labelled]:
    record = _field(_load(folder / "PETA.mat"), "peta")[0][0]
    matrix, names = record[0], [str(cell[0][0]) for cell in record[1]]
    for number, row in enumerate(matrix, 1):
        given = {name for name, flag in zip(names, row[4 : 4 + len(names)], strict=True) if flag == 1}
        image = folder / "images" / f"{number:05d}.png"
        yield Labelled(image.name, _peta(given), image.read_bytes)


def _peta(given: set[str]) -> Truth:
    child = {"child"} if "personalLess15" in given else set()
    genders = {"personalMale": ["man"], "personalFemale": ["woman"]}
    ages = {
        "personalLess15": ["young"], "personalLess30": ["young"], "personalLess45": ["young", "middle-aged"],
        "personalLess60": ["middle-aged"], "personalLarger60": ["old"],
    }  # fmt: skip
    bags = {
        "carryingBackpack": ["backpack"], "carryingMessengerBag": ["shoulder bag"],
        "carryingPlasticBags": ["handbag", "plastic bag"], "carryingSuitcase": ["suitcase", "handbag"],
    }  # fmt: skip
    uppers = {
        "upperBodyTshirt": ["t-shirt"], "upperBodyJacket": ["jacket", "coat", "down coat", "wind coat"],
        "upperBodySuit": ["suit"], "upperBodySweater": ["sweater"], "upperBodyNoSleeve": ["sleeveless top", "dress"],
        "upperBodyShortSleeve": SHORT_SLEEVES, "upperBodyLongSleeve": LONG_SLEEVES,
    }  # fmt: skip
    patterns = {
        "upperBodyPlaid": ["plaid"], "upperBodyLogo": ["patterned"],
        "upperBodyThinStripes": ["striped"], "upperBodyThickStripes": ["striped"],
    }  # fmt: skip
    lowers = {
        "lowerBodyTrousers": ["long pants"], "lowerBodyJeans": ["long pants", "jeans"], "lowerBodyShorts": ["shorts"],
        "lowerBodyShortSkirt": ["skirt"], "lowerBodyLongSkirt": ["long skirt"], "lowerBodyHotPants": ["shorts"],
        "lowerBodySuits": ["long pants"], "lowerBodyCapri": ["long pants", "shorts"],
    }  # fmt: skip
    hair = {"hairLong": ["long", "medium"], "hairShort": ["short"], "hairBald": ["bald"]}
    return _truth(
        gender=(_any(given, genders) | child) if _any(given, genders) else child,
        age=_any(given, ages),
        hair=_any(given, hair),
        hat=["hat", "helmet"] if "accessoryHat" in given else [NONE],
        glasses=["sunglasses"] if "accessorySunglasses" in given else (),
        bag=_any(given, bags) or ([NONE] if "carryingNothing" in given else ()),
        umbrella=["umbrella"] if "carryingUmbrella" in given else [NONE],
        upper=next((values for name, values in uppers.items() if name in given), ()),
        upper_pattern=_any(given, patterns) or ["plain"],
        upper_colour=_peta_colours(given, "upperBody"),
        lower=_any(given, lowers),
        lower_colour=_peta_colours(given, "lowerBody"),
    )


def _peta_colours(given: set[str], part: str) -> set[str]:
    spelt = {f"{part}{('grey' if colour == 'gray' else colour).capitalize()}": colour for colour in COLOURS}
    return {colour for name, colour in spelt.items() if name in given}


def read_market1501(folder: Path, split: str = "test") -> Iterator[Labelled]:
    """Market-1501 with the attributes of Lin et al. (Pattern Recognition 2019).

    ``market_attribute.mat`` (MATLAB 5) holds ``market_attribute``, a struct with ``train`` and ``test``, each a
    struct of 1xP arrays, one number per person, and ``image_index``, a 1xP cell of person ids. 1 is no and 2 yes;
    gender 1 male, 2 female; hair 1 short, 2 long; up 1 long sleeve, 2 short; down 1 long, 2 short; clothes 1 dress, 2
    pants; age 1 young, 2 teenager, 3 adult, 4 old. Images are ``bounding_box_<split>/<person
    id>_c1s1_000451_03.jpg``.

    Args:
        folder: Folder of Market-1501; the labels are in it, or in its ``attribute`` or ``Market-1501_Attribute``.
        split: train or test.

    Raises:
        LabelError: A file is missing, or not of this format.
    """
    places = ("", "attribute/", "Market-1501_Attribute/", "market_attribute/")
    mat = _load(_first(folder, [f"{place}market_attribute.mat" for place in places]))
    part = _field(mat, "market_attribute")[0, 0][split][0, 0]
    people = [str(np.ravel(cell)[0]) for cell in part["image_index"].ravel()]
    names = [name for name in part.dtype.names if name != "image_index"]
    columns = {name: part[name].ravel() for name in names}
    truths = {
        person.zfill(4): _market({name: int(column[n]) for name, column in columns.items()})
        for n, person in enumerate(people)
    }
    images = _first(folder, (f"bounding_box_{split}",))
    for image in sorted(images.glob("*.jpg")):
        truth = truths.get(image.name.split("_")[0])
        if truth is not None:
            yield Labelled(image.name, truth, image.read_bytes)


def _market(row: Mapping[str, int]) -> Truth:
    given = {name for name, value in row.items() if value == 2}
    ages = {1: ["young"], 2: ["young"], 3: ["young", "middle-aged"], 4: ["old"]}
    bags = {"backpack": ["backpack"], "bag": ["shoulder bag", "handbag"], "handbag": ["handbag"]}
    short, dress = row["down"] == 2, row["clothes"] == 1
    lowers = {(False, False): "long pants", (True, False): "shorts", (True, True): "skirt", (False, True): "long skirt"}
    return _truth(
        gender={"woman" if "gender" in given else "man"} | ({"child"} if row["age"] <= 2 else set()),
        age=ages.get(row["age"], ()),
        hair=["long", "medium"] if "hair" in given else ["short", "bald"],
        hat=["hat", "helmet"] if "hat" in given else [NONE],
        bag=_any(given, bags) or [NONE],
        upper=SHORT_SLEEVES if "up" in given else LONG_SLEEVES,
        upper_colour=[colour for colour in COLOURS if f"up{colour}" in given],
        lower=[lowers[short, dress]],
        lower_colour=[colour for colour in COLOURS if f"down{colour}" in given],
    )


def read_street(labels: Path, video: Path) -> Iterator[Labelled]:
    """Hand-labelled persons of one video.

    The labels are JSON. ``identities`` maps names to objects of acceptable values by attribute: a list of values, null
    where it cannot be seen, or true or false for an attribute that is only labelled as present or absent. ``crops``
    lists objects with a ``frame`` counted from 0, a ``box`` (xyxy, pixels) and an ``identity``.

    Raises:
        LabelError: A file is missing or not of this format, or the video ends before the last labelled frame.
    """
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
        people = {name: _street(values) for name, values in content["identities"].items()}
        wanted: dict[int, list[Any]] = {}
        for crop in content["crops"]:
            wanted.setdefault(int(crop["frame"]), []).append(crop)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise LabelError(f"{labels}: not labels of a street video: {error}") from error
    capture = cv2.VideoCapture(str(video))
    for number in range(max(wanted, default=-1) + 1):
        found, frame = capture.read()
        if not found:
            raise LabelError(f"{video}: ended before frame {number}; the labels name frame {max(wanted)}")
        for crop in wanted.get(number, []):
            left, top, right, bottom = (max(0, round(edge)) for edge in crop["box"])
            png = cv2.imencode(".png", frame[top:bottom, left:right])[1].tobytes()
            yield Labelled(f"{number}/{crop['identity']}", people[crop["identity"]], functools.partial(bytes, png))


def _street(values: Mapping[str, Any]) -> Truth:
    plain = {name: given if isinstance(given, list) else () for name, given in values.items()}
    absent = {name: [NONE] for name, given in values.items() if given is False}
    worn = {"hat": ["hat", "helmet"], "bag": ["backpack", "shoulder bag", "handbag"]}
    return _truth(
        **plain | absent | {name: worn[name] for name, given in values.items() if given is True and name in worn}
    )


def _truth(**values: Collection[str]) -> Truth:
    return {name: frozenset(accepted) for name, accepted in values.items() if accepted}


def _any(given: set[str], table: Mapping[str, Collection[str]]) -> set[str]:
    return {value for name, values in table.items() if name in given for value in values}


def _first(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise LabelError(f"{folder}: does not contain {' or '.join(names)}")


def _load(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise LabelError(f"{path}: MATLAB files need scipy; install it with 'pip install scipy'") from error
    try:
        return dict(loadmat(path))
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        raise LabelError(f"{path}: not a MATLAB 5 file: {error}") from error


def _field(mat: Mapping[str, Any], name: str) -> Any:
    if name not in mat:
        held = ", ".join(key for key in mat if not key.startswith("__"))
        raise LabelError(f"the MATLAB file has no {name}; it has {held}")
    return mat[name]


def _cells(mat: Mapping[str, Any], name: str) -> list[str]:
    return [str(np.ravel(cell)[0]) for cell in _field(mat, name).ravel()]


READERS: Final[Mapping[str, Callable[[Path, str], Iterator[Labelled]]]] = {
    "pa100k": read_pa100k,
    "peta": lambda folder, _split: read_peta(folder),
    "market1501": read_market1501,
}
"""Readers by name; each takes the folder of its data set and a split."""
