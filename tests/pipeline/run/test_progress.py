import io
import logging

import pytest
from rich.console import Console

from pipeline.commands import _handler
from pipeline.run.progress import Part, counted, duration, stage_progress


def part(done: int) -> Part:
    return Part(step="step", done=done, total=40, note="loss 2.5, 80 samples/s", seconds_left=300)


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(1, "run", "1 run"), (0, "run", "0 runs"), (2, "crops file", "2 crops files"), (2, "query", "2 queries")],
)
def test_units_are_counted_in_english(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (7500, "2 h 5 min"), (280_000, "3 d 5 h")],
)
def test_durations_are_rounded_to_a_readable_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_the_first_and_last_steps_of_a_unit_are_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reidforge")
    logging.getLogger("reidforge").addHandler(caplog.handler)
    try:
        with stage_progress(Console(file=io.StringIO()), "pretrain", "run", 1) as progress:
            for done in (3, 4, 40):
                progress.within(part(done))
    finally:
        logging.getLogger("reidforge").removeHandler(caplog.handler)
    lines = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert lines == [
        "pretrain: step 3 of 40, loss 2.5, 80 samples/s, about 5 min left",
        "pretrain: step 40 of 40, loss 2.5, 80 samples/s",
    ]


def test_on_a_terminal_a_unit_has_a_bar_and_the_log_its_lines(caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=150)
    logger, handlers = logging.getLogger("reidforge"), (_handler(console), caplog.handler)
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        with stage_progress(console, "pretrain", "run", 1) as progress:
            progress.within(part(3))
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    assert "loss 2.5, 80 samples/s" in screen.getvalue()
    assert "3/40" in screen.getvalue()
    assert "pretrain: step 3" not in screen.getvalue()
    assert "pretrain: step 3 of 40" in caplog.text


def test_a_line_has_no_estimate_while_it_would_be_a_guess(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that run at once end together: a line said "about 228 s left" 0.3 s before the end of its stage."""
    monkeypatch.setattr("pipeline.run.progress.LINE_SECONDS", -1)
    caplog.set_level(logging.INFO, "reidforge")
    logging.getLogger("reidforge").addHandler(caplog.handler)
    try:
        with stage_progress(Console(file=io.StringIO()), "detect", "chunk", 3) as progress:
            for done in (1, 2, 3):
                progress.advance(1, f"{done} ok")
    finally:
        logging.getLogger("reidforge").removeHandler(caplog.handler)
    lines = list(dict.fromkeys(record.getMessage() for record in caplog.records))
    assert lines == ["detect: 1 of 3 chunks (1 ok)", "detect: 2 of 3 chunks (2 ok)"]
