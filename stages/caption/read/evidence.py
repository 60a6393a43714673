"""Evidence beside the readings: colours of the clothes' pixels, and objects that the detector found near the person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.arrays import Codes, Floats
from stages.caption.bank.bank import Bank, Facet
from stages.caption.bank.phrases import NONE
from stages.caption.bank.problems import BankError
from stages.caption.config import CaptionConfig

PIXELS, DETECTOR = "pixels", "detector"

# Regions whose cloth has its colour named (CLOTH in stages/embed/regions.py).
_CLOTHED: Final = ("upper", "lower")

# Values that a label of the detector fits. The evidence gives the first one that the bank has, and agrees with the
# others: COCO calls every bag a handbag that is not a backpack or a suitcase.
_VALUES: Final = {
    "backpack": ("backpack",),
    "handbag": ("handbag", "shoulder bag"),
    "suitcase": ("suitcase",),
    "umbrella": ("umbrella",),
    "cell phone": ("cell phone", "phone"),
    "bicycle": ("bicycle",),
    "motorcycle": ("motorcycle",),
    "skateboard": ("skateboard",),
    "dog": ("dog",),
}

# Least share of an object's box inside the person's: high for what is worn or held at the body, low for what is ridden,
# led or held up.
_OVERLAPS: Final = {"backpack": 0.5, "handbag": 0.5, "cell phone": 0.5}
_LEAST_OVERLAP: Final = 0.1


@dataclass(frozen=True)
class Evidence:
    """Evidence on N crops under a bank of F facets.

    Args:
        value: int64 [N, F], index of the value, -1 without evidence.
        weight: float32 [N, F], share of the pixels, or confidence of the detector.
        margin: float32 [N, F], distance of the weight to that of the next colour; of an object, the weight itself.
        agreeing: By facet and value, further values that the same evidence fits.
    """

    value: Codes
    weight: Floats
    margin: Floats
    agreeing: dict[tuple[int, int], tuple[int, ...]]

    def agrees(self, choice: Codes) -> npt.NDArray[np.int8]:
        """Whether readings of choices [N, F] are the same: int8 [N, F], 1 or 0, and -1 without evidence."""
        same = self.value == choice
        for (column, value), others in self.agreeing.items():
            same[:, column] |= (self.value[:, column] == value) & np.isin(choice[:, column], others)
        return np.where(self.value < 0, -1, same).astype(np.int8)


def no_evidence(count: int, bank: Bank) -> Evidence:
    """The evidence on ``count`` crops of which nothing is known."""
    shape = (count, len(bank.facets))
    weight, margin = np.zeros((2, *shape), np.float32)
    return Evidence(np.full(shape, -1, np.int64), weight, margin, _agreeing(bank))


def evidence_sources(bank: Bank) -> list[str | None]:
    """For each facet of a bank, what can give evidence on it: ``PIXELS``, ``DETECTOR`` or None."""
    return [PIXELS if _is_colour(facet) else DETECTOR if _labels(facet) else None for facet in bank.facets]


def check_evidence(bank: Bank, config: CaptionConfig) -> None:
    """Raise BankError where the recipe demands or prefers evidence on an attribute that cannot have any."""
    able = [facet.name for facet, source in zip(bank.facets, evidence_sources(bank), strict=True) if source]
    for key in ("demand", "prefer"):
        for name in getattr(config.evidence, key):
            if name not in able:
                raise BankError(
                    f"caption.evidence.{key}: pixels and detector cannot read {name!r} of bank "
                    f"{bank.name}; accepted: {', '.join(able)}"
                )


def read_evidence(table: pa.Table | None, crop_ids: Sequence[str], bank: Bank, config: CaptionConfig) -> Evidence:
    """Evidence in the terms of a bank.

    Args:
        table: ``schemas.tables.EVIDENCE``, in any order; crops without a row have no evidence. None: no crop has any.
        crop_ids: The N crops.
        bank: The bank.
        config: What counts as evidence.
    """
    found = no_evidence(len(crop_ids), bank)
    if table is None or not table.num_rows or not crop_ids:
        return found
    rows = pc.index_in(table["crop_id"], value_set=pa.array(crop_ids, pa.string()))
    table = table.filter(pc.is_valid(rows))
    positions = rows.drop_null().to_numpy()
    colours: Any = table["colours"].combine_chunks()
    objects: Any = table["objects"].combine_chunks()
    _put_colours(found, colours, positions, bank, config)
    _put_objects(found, objects, positions, bank, config)
    return found


def _put_colours(found: Evidence, lists: "pa.ListArray[Any]", rows: Codes, bank: Bank, config: CaptionConfig) -> None:
    at, colours = _flat(lists, rows)
    share, margin = (colours.field(name).to_numpy(zero_copy_only=False) for name in ("share", "margin"))
    for column, facet in enumerate(bank.facets):
        if not _is_colour(facet):
            continue
        values = _codes(colours.field("name"), facet)
        regions = pc.equal(colours.field("region"), pa.scalar(facet.block.region)).to_numpy(zero_copy_only=False)
        taken = regions & (values >= 0) & (share >= config.evidence.colour_share)
        found.value[at[taken], column] = values[taken]
        found.weight[at[taken], column] = share[taken]
        found.margin[at[taken], column] = margin[taken]


def _put_objects(found: Evidence, lists: "pa.ListArray[Any]", rows: Codes, bank: Bank, config: CaptionConfig) -> None:
    at, objects = _flat(lists, rows)
    confidence, overlap = (objects.field(name).to_numpy(zero_copy_only=False) for name in ("confidence", "overlap"))
    labels = np.array(objects.field("label").to_pylist(), dtype=object)
    least = np.array([_OVERLAPS.get(label, _LEAST_OVERLAP) for label in labels], np.float32)
    # By rising confidence: of two objects that bear on one attribute, the surer is written last and stays.
    order = np.argsort(confidence, kind="stable")
    order = order[(confidence >= config.evidence.object_confidence)[order] & (overlap >= least)[order]]
    for column, facet in enumerate(bank.facets):
        for label, value in _labels(facet).items():
            taken = order[labels[order] == label]
            surer = taken[confidence[taken] >= found.weight[at[taken], column]]
            found.value[at[surer], column] = value
            found.weight[at[surer], column] = confidence[surer]
            found.margin[at[surer], column] = confidence[surer]


def _flat(lists: "pa.ListArray[Any]", rows: Codes) -> tuple[Codes, pa.StructArray]:
    """The row of each item of all lists, and the items; null lists have none."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    items: Any = lists.flatten()
    return np.repeat(rows, lengths).astype(np.int64), items


def _codes(names: "pa.Array[Any]", facet: Facet) -> Codes:
    found: Any = pc.index_in(names, value_set=pa.array(list(facet.index), pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def _is_colour(facet: Facet) -> bool:
    return facet.factor == "colour" and facet.block.region in _CLOTHED


def _labels(facet: Facet) -> dict[str, int]:
    """Labels of the detector that bear on an optional attribute, each with the value that it gives."""
    if NONE not in facet.index:
        return {}
    own = {label: [value for value in values if value in facet.index] for label, values in _VALUES.items()}
    return {label: facet.index[values[0]] for label, values in own.items() if values}


def _agreeing(bank: Bank) -> dict[tuple[int, int], tuple[int, ...]]:
    further = {}
    for column, facet in enumerate(bank.facets):
        for label, value in _labels(facet).items():
            others = tuple(facet.index[name] for name in _VALUES[label] if name in facet.index)
            if len(others) > 1:
                further[column, value] = others
    return further
