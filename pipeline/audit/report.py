"""The report of a corpus: on a console, and as a contact sheet."""

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.audit import catalog
from pipeline.audit.contents import CorpusReport, captioner_of, choose_variant, gather, value
from pipeline.corpus.files import Corpus
from pipeline.errors import UserError
from stages.embed.config import EMBEDDED
from stages.publish.contact_sheet import contact_sheet, to_png
from stages.publish.gallery import choose_rows

__all__ = ["CorpusReport", "about", "gather", "render", "write_contact_sheet"]

SHEET_CROPS: Final = 24

_DRAWN: Final = (
    "It was trained on rendered pedestrians only. On these, nine in ten garment colours and seven in ten genders are"
    " right; bags, phones and kinds of upper garment are guesses, and on real persons it is little better."
    " Captions for real work need real weights, such as those in recipes/luperson_t.yaml."
)

# Candidates for the sheet: the sharpest crops of each stretch of time in some videos. Only their JPEGs are read; a
# corpus of many thousand videos is not scanned for one image.
_SHEET = """
WITH shown AS (
    SELECT DISTINCT video_id FROM manifest WHERE variant = $variant ORDER BY md5(video_id), video_id LIMIT $count
), cut AS (
    SELECT crop_id, sharpness, ntile($count) OVER (ORDER BY video_id, pts_s, crop_id) AS stretch
    FROM manifest WHERE variant = $variant AND video_id IN (FROM shown)
), sharp AS (
    SELECT crop_id FROM cut
    QUALIFY row_number() OVER (PARTITION BY stretch ORDER BY sharpness DESC, crop_id) <= 8
)
SELECT crop_id, video_id, pts_s, width, height, sharpness, split, captions, jpeg
FROM manifest JOIN jpegs_of((SELECT list(crop_id) FROM sharp)) USING (crop_id) WHERE variant = $variant
"""


def render(report: CorpusReport) -> Group:
    """The report as tables and lines for a console."""
    parts: list[Any] = [_facts(report)]
    if report.stages:
        parts += [Text(""), _stage_table(report)]
    if report.scores:
        parts += [Text(""), _searched(report), _score_table(report)]
    if report.examples:
        parts += [
            Text(""),
            Text(about(report.captioner), style="dim"),
            *(Text(f"  - {text}") for text in report.examples),
        ]
    return Group(*parts)


def about(captioner: str | None) -> str:
    """What readers should know about the origin of the captions."""
    drawn = f" {_DRAWN}" if captioner == EMBEDDED.rpartition("/")[2] else ""
    return f"Captions read from the crops by {captioner or 'an unknown model'}, not checked by a person.{drawn}"


def write_contact_sheet(corpus: Corpus, variant: str | None, path: Path) -> None:
    """Draw published crops beside their captions into a PNG.

    Raises:
        UserError: There is no such variant, it has published nothing, or the path cannot be written.
    """
    connection = catalog.connect(corpus)
    try:
        chosen = choose_variant(connection, variant)
        total = value(connection, "SELECT count(*) FROM manifest WHERE variant = $variant", variant=chosen)
        rows = connection.sql(_SHEET, params={"variant": chosen, "count": SHEET_CROPS}).to_arrow_table()
        captioner = captioner_of(connection, chosen)
    finally:
        catalog.close(connection)
    if not total:
        raise UserError(f"corpus {corpus.uri}: variant {chosen or 'none'} has published no crop to show")
    picture = _draw(corpus, chosen, captioner, rows, total)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_png(picture))
    except OSError as error:
        raise UserError(f"contact sheet {path} cannot be written: {error}") from error


def _draw(corpus: Corpus, variant: str | None, captioner: str | None, rows: pa.Table, total: int) -> Any:
    chosen = choose_rows(rows, SHEET_CROPS)
    return contact_sheet(
        chosen,
        title=f"{Path(corpus.root).name}, variant {variant}",
        subtitle=f"{len(chosen)} of {total:,} crops: spread over time and people, the sharper ones",
        footer=[about(captioner)],
    )


def _facts(report: CorpusReport) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    kept = report.detections - sum(report.dropped.values())
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.dropped.items()) or "none"
    facts = {
        "corpus": report.corpus,
        "videos": f"{report.videos:,}",
        "frames": f"{report.frames:,} processed, {report.frames_with_persons:,} with persons",
        "detections": f"{report.detections:,}: {kept:,} kept; dropped {reasons}",
        "crops": f"{report.crops:,}",
        "variant": report.variant or "none",
        "captions": f"{report.captions:,} about {report.captioned:,} crops",
        "published": _published(report),
        "": report.split_statement,
    }
    for name, text in facts.items():
        table.add_row(name, Text(text))
    return table


def _published(report: CorpusReport) -> str:
    parts = [f"{split} {count:,}" for split, count in report.splits.items()]
    left_out = report.captioned - sum(report.splits.values())
    parts += [f"left out {left_out:,}"] if parts and left_out else []
    return ", ".join(parts) or "none"


def _stage_table(report: CorpusReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("stage")
    for name in ("ok", "empty", "failed", "busy s", "wall s"):
        table.add_column(name, justify="right")
    for row in report.stages:
        wall = "-" if row.wall_seconds is None else f"{row.wall_seconds:.1f}"
        table.add_row(
            row.stage, *(str(count) for count in (row.ok, row.empty, row.failed)), f"{row.busy_seconds:.1f}", wall
        )
    return table


def _searched(report: CorpusReport) -> Text:
    splits = ", ".join(dict.fromkeys(score.split for score in report.scores))
    among = f": {report.gallery[0]:,} texts among {report.gallery[1]:,} crops" if report.gallery else ""
    return Text(f"text-to-image retrieval on {splits}{among}")


def _score_table(report: CorpusReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("before training", justify="right")
    table.add_column("after", justify="right")
    for score in report.scores:
        before = "-" if score.before is None else f"{score.before:.3f}"
        table.add_row(
            {"map": "mAP"}.get(score.name, score.name.upper().replace("R", "R@")), before, f"{score.after:.3f}"
        )
    return table
