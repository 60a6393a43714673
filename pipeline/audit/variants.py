"""Caption variants: list, compare, create and drop them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import duckdb
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.audit import catalog
from pipeline.audit.printing import Format, render
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger, query, retired
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import UserError
from pipeline.flow import caption, pretrain, publish
from pipeline.flow.order import STAGES
from pipeline.recipe import Recipe
from pipeline.run.progress import counted
from stages.caption.config import VARIANT_NAME

Part = Literal["summary", "attributes", "moves", "words", "captions"]

LIST: Final = """
SELECT
    variant AS name, captions, crops, recipe_digest AS recipe, model, bank,
    strftime(created, '%Y-%m-%d %H:%M') AS created,
    coalesce(strftime(published, '%Y-%m-%d %H:%M') || if(outdated, ' (outdated)', ''), 'no') AS published
FROM variants ORDER BY variants.created, name
"""

# Parts of `diff`: one query each, over the macros of schemas/views.sql.
_PARTS: Final[Mapping[Part, str]] = {
    "summary": "FROM variant_diff($one, $other)",
    "attributes": """
        SELECT attribute, sum(crops)::BIGINT AS crops, sum(if(before <> after, crops, 0))::BIGINT AS moved,
            round(sum(if(before <> after, crops, 0)) / sum(crops), 4) AS share,
            sum(if(before LIKE 'not %', 0, crops))::BIGINT AS stated_before,
            sum(if(after LIKE 'not %', 0, crops))::BIGINT AS stated_after
        FROM variant_confusion($one, $other) GROUP BY attribute ORDER BY moved DESC, attribute""",
    "moves": "FROM variant_moves($one, $other)",
    "words": """
        SELECT word, coalesce(a.times, 0) AS before, coalesce(b.times, 0) AS after
        FROM variant_words($one) AS a FULL JOIN variant_words($other) AS b USING (word)
        WHERE before = 0 OR after = 0 ORDER BY greatest(before, after) DESC, word""",
    "captions": """
        SELECT crop_id, n, a.text AS before, b.text AS after
        FROM (FROM captions WHERE variant = $one) AS a FULL JOIN (FROM captions WHERE variant = $other) AS b
            USING (crop_id, n)
        WHERE a.text IS DISTINCT FROM b.text ORDER BY md5(crop_id), n""",
}

# Stages whose units of a variant the view `variants` shows; units of others are counted.
_IN_VIEW: Final = (caption.STAGE.name, publish.NAME, pretrain.STAGE.name)
_OTHERS: Final = """
SELECT stage, count(*) FROM ledger WHERE scope = $name AND status IN ('ok', 'empty') AND list_contains($stages, stage)
GROUP BY stage ORDER BY list_position($stages, stage)
"""

# A table for people shows the confusion of this many attributes, and this many examples and words.
_SHOWN: Final = 6
_EXAMPLES: Final = 3
_WORDS: Final = 24


def listing(corpus: Corpus, fmt: Format) -> Iterator[str]:
    """One row per variant of a corpus, oldest first."""
    return catalog.sql(corpus, LIST, fmt)


def diff(corpus: Corpus, one: str, other: str, fmt: Format, part: Part | None) -> Iterator[str | Group]:
    """Compare two variants.

    Args:
        corpus: The corpus.
        one: A variant.
        other: Another.
        fmt: ``table`` for people; ``json`` is one object with all parts; ``csv`` needs a part.
        part: Only this part; None = all of them.

    Returns:
        Pieces to print in order.

    Raises:
        UserError: There is no such variant, or CSV was asked for without a part.
    """
    if fmt == "csv" and part is None:
        raise UserError(f"csv holds one table: add --show with one of {', '.join(_PARTS)}")
    connection = catalog.connect(corpus)
    try:
        _require(connection, one, other)
        if part is not None:
            yield from render(_answer(connection, part, one, other), fmt)
        elif fmt == "json":
            shown = {name: "".join(render(_answer(connection, name, one, other), "json")) for name in _PARTS}
            yield "{" + ",\n".join(f"{json.dumps(name)}: {rows.strip()}" for name, rows in shown.items()) + "}\n"
        else:
            yield _picture(connection, one, other)
    finally:
        catalog.close(connection)


def checked_name(name: str) -> str:
    """The name, if it is a valid name of a variant.

    Raises:
        UserError: It is not.
    """
    if not re.fullmatch(VARIANT_NAME, name):
        raise UserError(
            f"variant {name!r}: a name is 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit"
        )
    return name


def overrides_for(name: str, overrides: Sequence[str]) -> list[str]:
    """Overrides that turn a recipe into the recipe of the variant."""
    return [*overrides, f"caption.variant={json.dumps(checked_name(name))}"]


def check_new(corpus: Corpus, recipe: Recipe, fingerprint: str) -> None:
    """Check that a recipe's variant can be created in a corpus.

    Args:
        corpus: The corpus.
        recipe: The recipe, its ``caption.variant`` the new name.
        fingerprint: Its caption stage's fingerprint.

    Raises:
        UserError: Another configuration has this name already, or the corpus lacks the embeddings.
    """
    name = recipe.caption.variant
    live = query("SELECT DISTINCT scope, fingerprint FROM live", live=Snapshot(corpus).live("caption")).to_pylist()
    others = [row for row in live if row["scope"] == name and row["fingerprint"] != fingerprint]
    if others:
        raise UserError(
            f"variant {name!r} already exists, from another recipe ({others[0]['fingerprint']}, not {fingerprint}). "
            f"Choose another name, drop it first ('reidforge variant drop {corpus.uri} {name}'), or regenerate it "
            "('reidforge run RECIPE --from caption')"
        )
    models = sorted(str(scope) for scope in Snapshot(corpus).live("embed")["scope"].unique().to_pylist())
    if recipe.embed.slug not in models:
        raise UserError(
            f"no embeddings of {recipe.embed.slug} are in {corpus.uri}; there are {', '.join(models) or 'none'}. "
            "Name one of those models in the recipe's embed block, or embed first: 'reidforge run RECIPE --until embed'"
        )


def dependents(corpus: Corpus, name: str) -> list[str]:
    """What depends on a variant's captions, in words: its manifest and trainings.

    Raises:
        UserError: There is no such variant.
    """
    connection = catalog.connect(corpus)
    try:
        _require(connection, name)
        (row,) = (
            connection.sql("FROM variants WHERE variant = $name", params={"name": name}).to_arrow_table().to_pylist()
        )
        stages = [stage.name for stage in STAGES if stage.by_variant and stage.name not in _IN_VIEW]
        others = connection.sql(_OTHERS, params={"name": name, "stages": stages}).fetchall()
    finally:
        catalog.close(connection)
    found = [f"its manifest of {counted(row['published_crops'], 'crop')}"] if row["published"] is not None else []
    found += [f"{counted(row['checkpoints'], 'training')} on that manifest"] if row["checkpoints"] else []
    return found + [counted(count, f"{stage} unit") for stage, count in others]


def drop(corpus: Corpus, name: str, run_id: str) -> dict[str, int]:
    """Retire every unit of a variant, in every stage whose tables are by variant; ``reidforge gc`` removes the files.

    Returns:
        Units retired, by stage.
    """
    counts = {}
    # From the end of the flow: an interrupted drop must not leave a manifest of captions that no longer count.
    for stage in (stage.name for stage in reversed(STAGES) if stage.by_variant):
        ledger = Ledger(corpus, stage)
        rows = [row for row in ledger.latest().to_pylist() if row["scope"] == name and row["status"] != "retired"]
        if rows:
            ledger.append(retired(row, run_id) for row in rows)
            ledger.compact()
        counts[stage] = len(rows)
    return counts


def _require(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    known = [row[0] for row in connection.sql("SELECT variant FROM variants").fetchall()]
    for name in names:
        if name not in known:
            raise UserError(f"variant {name!r}: no such variant here; there are {', '.join(known) or 'none'}")


def _answer(connection: duckdb.DuckDBPyConnection, part: Part, one: str, other: str) -> duckdb.DuckDBPyRelation:
    return connection.sql(_PARTS[part], params={"one": one, "other": other})


def _rows(connection: duckdb.DuckDBPyConnection, part: Part, one: str, other: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _answer(connection, part, one, other).to_arrow_table().to_pylist()
    return rows


def _picture(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> Group:
    moved = _rows(connection, "attributes", one, other)
    moves = _rows(connection, "moves", one, other)
    parts: list[Any] = [_summary(_rows(connection, "summary", one, other), one, other)]
    parts += [Text(""), _attributes(moved, one, other)]
    for row in moved[:_SHOWN]:
        chosen = [move for move in moves if move["attribute"] == row["attribute"]]
        if chosen:
            parts += [Text(""), _confusion(row["attribute"], chosen, one, other)]
    parts += [Text(""), *_words(_rows(connection, "words", one, other), one, other)]
    parts += _examples(connection, one, other)
    return Group(*parts)


def _table(*columns: str, title: str = "") -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", title=title, title_justify="left"
    )
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position else "left")
    return table


def _summary(rows: list[dict[str, Any]], one: str, other: str) -> Table:
    by_name = {row["variant"]: row for row in rows}
    table = _table("", one, other)
    for measure in [name for name in (rows[0] if rows else {}) if name != "variant"]:
        values = [by_name.get(name, {}).get(measure) for name in (one, other)]
        table.add_row(measure.replace("_", " "), *("-" if value is None else f"{value:,}" for value in values))
    return table


def _attributes(rows: list[dict[str, Any]], one: str, other: str) -> Table:
    table = _table("attribute", "crops", "moved", "share", f"stated in {one}", f"stated in {other}")
    for row in rows:
        counts = (f"{row[key]:,}" for key in ("crops", "moved"))
        table.add_row(
            row["attribute"], *counts, f"{row['share']:.1%}", f"{row['stated_before']:,}", f"{row['stated_after']:,}"
        )
    return table


def _confusion(attribute: str, moves: list[dict[str, Any]], one: str, other: str) -> Table:
    """Moves of one attribute: rows are values of the first variant, columns those of the other; dots stand for 0."""
    counts = {(move["before"], move["after"]): move["crops"] for move in moves}
    after = sorted({value for _, value in counts})
    table = _table(f"{one} \\ {other}", *after, title=attribute)
    for before in sorted({value for value, _ in counts}):
        table.add_row(before, *(f"{counts[before, value]:,}" if (before, value) in counts else "." for value in after))
    return table


def _words(rows: list[dict[str, Any]], one: str, other: str) -> list[Text]:
    lines = []
    for name, key in ((one, "before"), (other, "after")):
        words = [row["word"] for row in rows if row[key]]
        more = f" and {len(words) - _WORDS} more" if len(words) > _WORDS else ""
        lines.append(Text(f"words only in {name}: {', '.join(words[:_WORDS]) or 'none'}{more}"))
    return lines


def _examples(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> list[Text]:
    changed = _answer(connection, "captions", one, other).limit(_EXAMPLES).to_arrow_table()
    lines = [Text("")] if changed.num_rows else []
    for row in changed.to_pylist():
        lines += [Text(f"{row['crop_id']}"), Text(f"  {one}: {row['before']}"), Text(f"  {other}: {row['after']}")]
    return lines
