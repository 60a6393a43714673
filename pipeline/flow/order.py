"""Everything that writes tables, in order; a new stage is imported and put into its place here."""

from typing import Final

from pipeline.errors import UserError
from pipeline.flow import (
    caption,
    crawl,
    dedup,
    dedup_across,
    detect,
    detect_imported,
    discover,
    embed,
    pretrain,
    publish,
    reid,
    track,
)
from pipeline.run.stage import Stage, Writer

# Stages that publish may read marks of.
_BEFORE_PUBLISH: Final[tuple[Writer, ...]] = (
    discover.STAGE,
    detect_imported.IMPORT,
    crawl.STAGE,
    detect.STAGE,
    embed.STAGE,
    reid.STAGE,
    track.STAGE,
    dedup.STAGE,
    dedup_across.STAGE,
    caption.STAGE,
)

WRITERS: Final[tuple[Writer, ...]] = (
    *_BEFORE_PUBLISH,
    publish.make_stage(_BEFORE_PUBLISH),
    pretrain.STAGE,
)

STAGES: Final = tuple(writer for writer in WRITERS if isinstance(writer, Stage))
"""What a run runs, in this order."""

NAMES: Final = tuple(stage.name for stage in STAGES)

TABLES: Final = tuple(dict.fromkeys(table for writer in WRITERS for table in writer.tables))
"""Every table of a corpus."""


def select_stages(first: str | None, last: str | None) -> list[Stage]:
    """Stages from ``first`` until ``last``, both included; None = from the start, until the end.

    Raises:
        UserError: A name is unknown, or the first comes after the last.
    """
    start = 0 if first is None else _index(first, "--from")
    stop = len(STAGES) - 1 if last is None else _index(last, "--until")
    if start > stop:
        raise UserError(f"--from {first} comes after --until {last}; the order is {', '.join(NAMES)}")
    return list(STAGES[start : stop + 1])


def _index(name: str, option: str) -> int:
    if name not in NAMES:
        raise UserError(f"{option} {name!r}: no such stage; accepted are {', '.join(NAMES)}")
    return NAMES.index(name)
