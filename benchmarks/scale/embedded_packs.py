"""Embed and caption in a synthetic corpus: a file of each per pack of crops, over a share of the packs."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scale import persons
from benchmarks.scale.columns import same
from benchmarks.scale.growth import Growth, as_list, own
from benchmarks.scale.noise import Ints
from benchmarks.scale.settings import Run
from benchmarks.scale.videos import chunks
from benchmarks.scale.writing import Outcomes, commit, file_name, path_of, retire, write_file
from pipeline.corpus.files import digest
from pipeline.flow import caption, embed
from pipeline.recipe import Recipe
from pipeline.run.stage import Stage


class Unit(NamedTuple):
    """A unit of embed or of caption.

    Attributes:
        unit_id: Its id.
        inputs: Digest of its inputs.
        name: Name of its files.
    """

    unit_id: str
    inputs: str
    name: str


class Embedding(NamedTuple):
    """A pack to embed and to caption.

    Attributes:
        chunks: Chunks with crops in the pack.
        slug: Model.
        variant: Caption variant.
        seed: Seed of the captions.
        embed: Unit of embed.
        caption: Unit of caption.
        write: Tables that are not written yet.
    """

    chunks: Ints
    slug: str
    variant: str
    seed: int
    embed: Unit
    caption: Unit
    write: tuple[str, ...]


def embed_packs(growth: Growth, run: Run, recipe: Recipe) -> None:
    """Embed and caption a share of the packs, in the order of their names, and retire those of packs that are gone."""
    if not run.embeds:
        return
    live = _live_packs(growth)
    prints = {stage.name: stage.fingerprint(recipe) for stage in (embed.STAGE, caption.STAGE)}
    todo = [_plan(growth, recipe, prints, name, number) for name, number in live[: round(run.embeds * len(live))]]
    counts = np.array(list(growth.run_all(_write_embedding, todo)), np.int64)
    _commit(growth, run, embed.STAGE, recipe.embed.slug, [one.embed for one in todo], [counts, counts], prints["embed"])
    _commit(
        growth, run, caption.STAGE, recipe.caption.variant, [one.caption for one in todo], [counts], prints["caption"]
    )


def _live_packs(growth: Growth) -> list[tuple[str, int]]:
    """Names of the packs with crops that count, with their numbers."""
    numbers: list[int] = np.unique(growth.pack_of[(growth.pack_of >= 0) & (growth.crops > 0)]).tolist()
    return sorted((growth.packs[number].name, number) for number in numbers)


def _plan(growth: Growth, recipe: Recipe, prints: dict[str, str], name: str, number: int) -> Embedding:
    slug, variant = recipe.embed.slug, recipe.caption.variant
    pack = growth.packs[number].chunks
    inside = pack[(growth.pack_of[pack] == number) & (growth.crops[pack] > 0)]
    first = _unit(f"{slug}/{name}", sorted(as_list(chunks(growth.videos, inside).unit_id)), prints["embed"])
    second = _unit(f"{variant}/{first.name}", [first.unit_id], prints["caption"])
    write = (
        *growth.missing(embed.STAGE.tables, slug, first.name),
        *growth.missing(caption.STAGE.tables, variant, second.name),
    )
    return Embedding(inside, slug, variant, recipe.caption.seed, first, second, write)


def _unit(unit_id: str, live: Sequence[str], fingerprint: str) -> Unit:
    """A unit over one file, named as ``pipeline.flow.embed.file_units`` names it, and the name of its own file."""
    inputs = digest(*live)
    return Unit(unit_id, inputs, file_name(fingerprint, [unit_id], [inputs]))


def _commit(
    growth: Growth, run: Run, stage: Stage, scope: str, units: list[Unit], rows: list[Ints], fingerprint: str
) -> None:
    count = len(units)
    outcomes = Outcomes(
        unit_id=pa.array([unit.unit_id for unit in units]), inputs=pa.array([unit.inputs for unit in units]),
        status=same("ok", count), attempts=np.ones(count, np.int64), error_type=pa.nulls(count, pa.string()),
        error_message=pa.nulls(count, pa.string()),
        # The last step returns the evidence first.
        paths=[[path_of(table, scope, unit.name) for unit in units] for table in reversed(stage.tables)],
        file=np.arange(count), rows=rows, seconds=growth.work_time(stage.name, np.arange(count)), scope=scope,
    ).table(fingerprint, run.run_id)  # fmt: skip
    commit(growth.corpus, stage.name, [outcomes, *_retired(growth, stage, outcomes, run)])


def _retired(growth: Growth, stage: Stage, wanted: pa.Table, run: Run) -> Iterator[pa.Table]:
    """Rows that retire what an earlier run left and this one does not want."""
    before = growth.standing.get(stage.name)
    growth.standing[stage.name] = wanted
    if before is not None:
        unwanted = pc.invert(pc.is_in(before["unit_id"], wanted["unit_id"].combine_chunks()))
        yield retire(before.filter(unwanted), run.run_id)


def _write_embedding(one: Embedding) -> int:
    corpus, videos, looks = own()
    crops = persons.find_persons(videos, chunks(videos, one.chunks)).crops()
    make: dict[str, Callable[[], pa.Table]] = {
        embed.EMBEDDINGS.name: lambda: persons.embeddings_table(crops, looks, one.embed.unit_id),
        embed.EVIDENCE.name: lambda: persons.evidence_table(crops, looks, one.embed.unit_id),
        caption.CAPTIONS.name: lambda: persons.captions_table(crops, looks, one.caption.unit_id, one.seed),
    }
    places = [(table, one.slug, one.embed.name) for table in embed.STAGE.tables]
    for table, scope, name in (*places, (caption.CAPTIONS, one.variant, one.caption.name)):
        if table.name in one.write:
            write_file(corpus, table, make[table.name](), path_of(table, scope, name))
    return len(crops.key)
