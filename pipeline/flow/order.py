"""All stages, in the order in which they run."""

from pipeline.errors import UserError
from pipeline.flow import caption, crawl, dedup, dedup_across, detect, discover, embed, pretrain, publish, reid, track
from pipeline.run.stage import Stage

STAGES: tuple[Stage, ...] = (
    discover.STAGE,
    crawl.STAGE,
    detect.STAGE,
    embed.STAGE,
    reid.STAGE,
    track.STAGE,
    dedup.STAGE,
    dedup_across.STAGE,
    caption.STAGE,
    publish.STAGE,
    pretrain.STAGE,
)

NAMES = tuple(stage.name for stage in STAGES)


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
