"""Refuses a run that would begin in the middle of a flow whose beginning is not there: it would find nothing to do."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow.compute as pc

from pipeline.corpus.files import Corpus
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.run.stage import Stage

# Stages that read nothing of the corpus need none.
_FIRST: Final = frozenset({"discover", "crawl"})

# What a stage reads of a variant, and the stage that writes it.
_OF_VARIANT: Final = {"publish": ("captions", "caption"), "pretrain": ("manifest", "publish")}


def check_beginning(corpus: Corpus, recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Make sure that what the first of the stages reads can be there.

    Raises:
        UserError: There is no corpus, or the variant has no captions or no manifest.
    """
    first = stages[0].name
    if first in _FIRST:
        return
    snapshot = Snapshot(corpus)
    if not snapshot.stages():
        raise UserError(
            f"there is no corpus at {recipe.corpus}, and --from {first} begins after its first stages. Correct the "
            "place, or leave out --from"
        )
    if first in _OF_VARIANT:
        _check_variant(snapshot, recipe, first)


def _check_variant(snapshot: Snapshot, recipe: Recipe, first: str) -> None:
    rows, writer = _OF_VARIANT[first]
    known: list[Any] = sorted(pc.unique(snapshot.live(writer)["scope"]).to_pylist())
    if recipe.caption.variant not in known:
        raise UserError(
            f"caption.variant is {recipe.caption.variant!r}, and {recipe.corpus} has no {rows} of this name; there are "
            f"{', '.join(known) or 'none'}. Choose one, or run --from {writer}"
        )
