"""The seam of writing: what a caption writer receives, and what it returns.

``known_writers.py`` selects the writer of a recipe; today that is always ``TemplateWriter`` in ``combine.py``. A writer
based on a vision-language model fits, too: it looks at the JPEGs of the batch and may use the decisions as hints.
"""

from dataclasses import dataclass
from typing import Protocol

from stages.arrays import Flags
from stages.caption.read.decisions import Decisions
from stages.caption.read.reader import CropBatch


@dataclass(frozen=True)
class Captions:
    """Captions of N crops, flat: ``per_crop`` for each crop, in the order of the crops.

    Args:
        texts: N * per_crop captions.
        templates: For each caption, the id of its template, or whatever else identifies how it was made (a prompt).
        styles: For each caption, its style.
        per_crop: Captions per crop, the same for all.
        stated: bool [N, F], for each facet of the bank whether the captions of the crop state its value. It becomes
            ``used`` in the ``attributes`` column, by which evaluation and audit know what a caption says.
    """

    texts: list[str]
    templates: list[str]
    styles: list[str]
    per_crop: int
    stated: Flags


class CaptionWriter(Protocol):
    """Writes the captions of crops, for one bank and one configuration."""

    def digests(self) -> dict[str, object]:
        """What the captions depend on besides bank and configuration, such as digests of the writer's files.

        They are part of the fingerprint: captions are written again when one of them changes.
        """
        ...

    def write(self, batch: CropBatch, decisions: Decisions) -> Captions:
        """Write the captions of a batch.

        The captions of a crop depend on that crop, the configuration and its seed alone, and are the same on every
        machine. A writer whose model cannot promise that says so in its documentation.

        Args:
            batch: N crops. ``crops`` with their JPEGs is present where the attribute reader needs crops.
            decisions: For the same N crops, which value of each facet holds, and whether captions may state it.

        Raises:
            UnitError: The batch lacks what the writer needs.
        """
        ...
