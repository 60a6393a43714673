"""What the commands do; the command line itself is in ``pipeline.cli``."""

import contextlib
import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from pipeline.corpus import lease
from pipeline.corpus.files import Corpus
from pipeline.corpus.lease import leased
from pipeline.corpus.lost import put_back
from pipeline.corpus.snapshot import Snapshot
from pipeline.errors import MissingFileError, RunFailed, StorageError, UserError
from pipeline.flow.order import select_stages
from pipeline.recipe import Recipe, load_recipe
from pipeline.recipe_files import shipped_recipes
from pipeline.run.announcement import announce
from pipeline.run.beginning import check_beginning
from pipeline.run.plan import Plan, plan_stage
from pipeline.run.progress import ON_BAR, counted
from pipeline.run.runner import RunContext, StageSummary, run_stage
from pipeline.run.stage import Stage

if TYPE_CHECKING:
    from pipeline.audit import variants

log = logging.getLogger("reidforge")


def run_recipe(
    path: Path,
    overrides: Sequence[str],
    corpus_uri: str | None,
    first: str | None,
    last: str | None,
    address: str | None,
    *,
    retry: bool,
) -> None:
    """Run a recipe's stages.

    Raises:
        UserError: The recipe, a stage or the cluster cannot be used.
        RunFailed: More units failed than the recipe allows.
    """
    from pipeline.run import record

    recipe = load_recipe(path, overrides, corpus_uri)
    stages = _checked(recipe, first, last)
    console = _console()
    corpus = Corpus(recipe.corpus)
    check_beginning(corpus, recipe, stages)
    run_id = record.new_run_id()
    with leased(corpus, f"{'retry' if retry else 'run'} {path}", run_id) as held:
        snapshot = Snapshot(corpus)
        put_back(snapshot)
        run = RunContext(
            snapshot=snapshot, recipe=recipe, run_id=run_id, console=console, retry=retry, check=held.check
        )
        summaries = _run_stages(run, stages, path, address)
    if summaries is None:
        console.print(f"Nothing to do: {recipe.corpus} is up to date with {path}.", soft_wrap=True)
    else:
        _judge(recipe, summaries)


def _run_stages(run: RunContext, stages: Sequence[Stage], path: Path, address: str | None) -> list[StageSummary] | None:
    """Run stages in order, each planned when those before it are done. Returns None if no stage had anything to do."""
    summaries: list[StageSummary] = []
    with contextlib.ExitStack() as stack:
        begun = False
        for stage in stages:
            plan = plan_stage(run.snapshot, run.recipe, stage)
            if not begun and not plan.is_settled(retry=run.retry):
                stack.enter_context(_begun(run, stages, plan, path, address, summaries))
                begun = True
            summaries.append(run_stage(run, stage, plan))
            if begun:
                _say_stage(summaries[-1])
    if begun:
        return summaries
    _refresh_catalog(run.corpus)
    return None


@contextlib.contextmanager
def _begun(
    run: RunContext,
    stages: Sequence[Stage],
    first: Plan,
    path: Path,
    address: str | None,
    summaries: list[StageSummary],
) -> Iterator[None]:
    """What a run has from its first unit on: a record, a cluster, and at the end a catalog."""
    from pipeline.run import cluster, record

    try:
        with record.recorded(run.corpus, run.recipe, stages, run.run_id, summaries):
            # Before the cluster starts, which may take minutes: until then status would find nothing in a new corpus.
            announce(run.corpus, run.run_id, first, retry=run.retry)
            where = cluster.connect(address, run.recipe.run)
            log.info("run %s: %s into %s, on a %s", run.run_id, path, run.recipe.corpus, where)
            for summary in summaries:
                _say_stage(summary)
            yield
            run.check()
            if run.recipe.run.compact:
                _merge_files(run.snapshot)
    except StorageError as error:
        raise RunFailed(f"{error}. The same command resumes from here") from error
    finally:
        cluster.disconnect()
        # A run whose lease was broken leaves the catalog to the command that holds it now.
        run.check()
        _refresh_catalog(run.corpus)


def list_recipes() -> None:
    """Print the names and purposes of the shipped recipes."""
    table = Table("recipe", "what it builds", box=None, header_style="bold", pad_edge=False)
    for name, purpose in shipped_recipes().items():
        table.add_row(name, purpose)
    _console().print(table, highlight=False)


def calibrate_recipe(
    path: Path,
    overrides: Sequence[str],
    out: Path,
    *,
    count: int,
    seed: int,
    reference: Path | None,
    source: tuple[str, Path] | None,
    split: str,
) -> None:
    """Fit the temperatures of a recipe on renders or on a labelled set, and print them."""
    from pipeline.calibrate import calibrate, labelled, rendered, write_reference

    recipe = load_recipe(path, overrides)
    crops = labelled(*source, split, seed, count) if source else rendered(seed, count)
    fitted = calibrate(recipe, crops, out)
    if reference is not None:
        write_reference(recipe, seed + 1, count, reference)
    table = Table("attribute", box=None, header_style="bold", pad_edge=False)
    for head in ("temperature", "NLL before", "NLL after"):
        table.add_column(head, justify="right")
    for name, temperature in fitted.temperatures.items():
        table.add_row(name, f"{temperature:.3f}", *(f"{value:.3f}" for value in fitted.nll[name]))
    console = _console()
    console.print(table)
    console.print(
        f"{counted(fitted.crops, 'crop')}; NLL = mean negative log likelihood of the known values. Use the file as "
        f"caption.calibration: {out}" + (f", and caption.reference: {reference}" if reference else ""),
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def show_plan(
    path: Path, overrides: Sequence[str], corpus_uri: str | None, first: str | None, last: str | None
) -> None:
    """Print what a run would do, stage by stage."""
    recipe = load_recipe(path, overrides, corpus_uri)
    stages = _checked(recipe, first, last)
    snapshot = Snapshot(Corpus(recipe.corpus))
    check_beginning(snapshot.corpus, recipe, stages)
    table = Table("stage", "unit", "units", "done", "to do", "why", box=None, header_style="bold", pad_edge=False)
    waiting: list[str] = []
    for stage in stages:
        try:
            plan = plan_stage(snapshot, recipe, stage)
        except MissingFileError:
            # An earlier stage writes the file again, and what this one has to do depends on it.
            if not waiting:
                raise
            table.add_row(stage.name, stage.unit, "-", "-", "-", f"not known before {waiting[0]} has run")
            continue
        counts = plan.counts()
        todo = plan.todo().num_rows
        why = [f"{count} {reason}" for reason, count in counts.items() if reason != "done"]
        why += [f"{plan.retired.num_rows} no longer wanted"] if plan.retired.num_rows else []
        why += [f"plus what {waiting[-1]} adds or changes"] if waiting else []
        table.add_row(
            stage.name, stage.unit, str(plan.wanted.num_rows), str(counts.get("done", 0)), str(todo), ", ".join(why)
        )
        if todo or plan.retired.num_rows:
            waiting.append(stage.name)
    console = _console()
    console.print(table)
    if not waiting:
        console.print("Nothing to do.")


def show_status(uri: str) -> None:
    """Print units per stage, rates, time left, and errors by reason."""
    from pipeline.audit import status

    console = _console()
    for part in status.render(status.gather(_existing(uri))):
        if not console.is_terminal:
            # Tables are not wrapped in files and pipes.
            console.width = max(console.width, Console(width=1000).measure(part).maximum)
        console.print(part, highlight=False, markup=False)


def show_report(uri: str, variant: str | None, sheet: Path | None) -> None:
    """Print what a corpus holds; write a contact sheet if asked to."""
    from pipeline.audit import report

    corpus = _existing(uri)
    console = _console()
    console.print(report.render(report.gather(corpus, variant)))
    if sheet is not None:
        report.write_contact_sheet(corpus, variant, sheet)
        console.print(f"Contact sheet: {sheet}", highlight=False, soft_wrap=True)


def run_sql(uri: str, statement: str, fmt: Literal["table", "csv", "json"]) -> None:
    """Print the rows of one read-only statement, and nothing else, on stdout."""
    from pipeline.audit import catalog

    for part in catalog.sql(_existing(uri), statement, fmt):
        print(part, end="")


def refresh_catalog(uri: str, *, rebuild: bool) -> None:
    """Bring the catalog of a corpus up to date, and say what was done."""
    from pipeline.audit import catalog

    done = catalog.refresh(_existing(uri), rebuild=rebuild)
    read = f" from {counted(done.read, 'new file')} of the ledger" if done.did == "refreshed" else ""
    verb = {"nothing": "Up to date", "refreshed": "Refreshed", "built": "Built"}[done.did]
    size = done.path.stat().st_size / 1e6
    _console().print(
        f"{verb}{read}: {done.path}, {size:.1f} MB, {done.seconds:.1f} s",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def list_variants(uri: str, fmt: Literal["table", "csv", "json"]) -> None:
    """Print the caption variants of a corpus."""
    from pipeline.audit import variants

    for part in variants.listing(_existing(uri), fmt):
        print(part, end="")


def create_variant(
    uri: str, name: str, path: Path, overrides: Sequence[str], address: str | None, *, publish: bool
) -> None:
    """Caption the stored embeddings under a new name, and publish them if asked to."""
    from pipeline.audit import variants
    from pipeline.flow import caption

    corpus = _existing(uri)
    recipe = load_recipe(path, variants.overrides_for(name, overrides), uri)
    caption.STAGE.check(recipe)
    variants.check_new(corpus, recipe, caption.STAGE.fingerprint(recipe))
    last = "publish" if publish else "caption"
    run_recipe(path, variants.overrides_for(name, overrides), uri, "caption", last, address, retry=False)
    _console().print(
        f"Created variant {name} in {uri}; to compare it: reidforge variant diff {uri} OTHER {name}",
        markup=False,
        soft_wrap=True,
    )


def diff_variants(
    uri: str, one: str, other: str, fmt: Literal["table", "csv", "json"], part: "variants.Part | None"
) -> None:
    """Print how the captions of two variants differ."""
    from pipeline.audit import variants

    console = Console()
    for piece in variants.diff(_existing(uri), one, other, fmt, part):
        if isinstance(piece, str):
            print(piece, end="")
        else:
            console.print(piece)


def drop_variant(uri: str, name: str, *, yes: bool, cascade: bool) -> None:
    """Retire a variant after confirmation."""
    from pipeline.audit import variants
    from pipeline.run import record

    corpus = _existing(uri)
    depends = variants.dependents(corpus, name)
    if depends and not cascade:
        raise UserError(
            f"variant {name!r} is in use: {' and '.join(depends)} depend on its captions. "
            "Add --cascade to drop them, too"
        )
    if not yes and not _agreed(f"Drop variant {name} of {uri}{', and ' + ' and '.join(depends) if depends else ''}?"):
        _console().print(f"Kept variant {name}.", markup=False, soft_wrap=True)
        return
    with leased(corpus, f"variant drop {name}"):
        retired = variants.drop(corpus, name, record.new_run_id())
        _refresh_catalog(corpus)
    counts = ", ".join(counted(count, f"{stage} unit") for stage, count in retired.items() if count)
    _console().print(
        f"Dropped variant {name} ({counts}); 'reidforge gc {uri}' removes its files.", markup=False, soft_wrap=True
    )


def _agreed(question: str) -> bool:
    import sys

    import typer

    # sys.stdin is None if the shell closed it.
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(f"{question} There is no terminal to ask on: add --yes")
    try:
        return typer.confirm(question)
    except typer.Abort:
        # Ctrl-C or the end of the input; the cursor is still on the line of the question.
        typer.echo()
        raise KeyboardInterrupt from None


def compact_corpus(uri: str, *, dry_run: bool, grace_minutes: float) -> None:
    """Merge small files, and print what was merged."""
    from pipeline.corpus.compaction import plan_compaction
    from pipeline.flow.order import TABLES

    corpus = _existing(uri)
    console = _console()
    if dry_run:
        merges = plan_compaction(Snapshot(corpus), TABLES)
        for merge in merges:
            console.print(f"would merge {merge}", markup=False, highlight=False, soft_wrap=True)
        if not merges:
            console.print("Nothing to merge.")
        return
    with leased(corpus, "compact"):
        _merge_files(Snapshot(corpus), dt.timedelta(minutes=grace_minutes))
        _refresh_catalog(corpus)


def _merge_files(snapshot: Snapshot, grace: dt.timedelta | None = None) -> None:
    from pipeline.corpus.compaction import GRACE, compact, plan_compaction
    from pipeline.flow.order import TABLES

    merges = plan_compaction(snapshot, TABLES)
    for merge in compact(snapshot, merges, grace=GRACE if grace is None else grace):
        log.info("compact: merged %s", merge)
    if not merges:
        log.info("compact: nothing to merge")


def collect_garbage(uri: str, *, dry_run: bool, min_age_minutes: float) -> None:
    """Remove files that no ledger row names."""
    from pipeline.audit import garbage

    corpus = _existing(uri)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=min_age_minutes)
    console = _console()
    if dry_run:
        found = garbage.find(corpus, before)
    else:
        with leased(corpus, "gc") as held:
            found = garbage.find(corpus, before)
            held.check()
            garbage.remove(corpus, found)
    for info in found:
        console.print(f"  {corpus.relative(info.path)}  {info.size / 1e6:.2f} MB", highlight=False)
    verb = "would be removed" if dry_run else "removed"
    console.print(f"{counted(len(found), 'file')}, {sum(info.size for info in found) / 1e6:.2f} MB {verb}.")


def run_import_luperson(
    uri: str,
    videos: Path | None,
    detections: Path,
    release: Literal["luperson", "luperson-nl"],
    first_frame: int | None,
    url: str,
    max_memory_gb: float,
) -> None:
    """Import published lists into a corpus, and print what they hold."""
    from pipeline.flow.import_lists import describe, import_luperson
    from stages.imports.luperson import FIRST_FRAME

    corpus = Corpus(uri)
    first = FIRST_FRAME[release] if first_frame is None else first_frame
    memory = int(max_memory_gb * 1e9)
    console = _console()
    with leased(corpus, "import luperson"):
        summary = import_luperson(corpus, videos, detections, first_frame=first, url=url, memory=memory)
        _refresh_catalog(corpus)
    for line in describe(summary, first):
        console.print(line, markup=False, highlight=False)


def check_corpus(uri: str, *, quick: bool, repair: bool) -> None:
    """Print what is wrong with the files of a corpus; make work of it if asked to.

    Raises:
        RunFailed: Something is wrong.
    """
    from pipeline.audit import check
    from pipeline.run import record

    corpus, console = _existing(uri), _console()
    with leased(corpus, "check --repair") if repair else contextlib.nullcontext():
        snapshot = Snapshot(corpus)
        problems = []
        for problem in check.check(snapshot, quick=quick):
            problems.append(problem)
            console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        if repair:
            check.repair(snapshot, problems, record.new_run_id())
    if not problems:
        sound = "" if quick else " and sound"
        console.print(f"{uri}: every file that the ledger counts on is there{sound}.", markup=False, soft_wrap=True)
        return
    todo = "the next run does the work of these units again"
    if not repair and any(problem.is_damaged for problem in problems):
        todo = f"'reidforge check {uri} --repair' removes what is damaged, and the next run makes it again"
    raise RunFailed(f"{uri}: {counted(len(problems), 'problem')}; {todo}")


def unlock(uri: str, *, yes: bool) -> None:
    """End the lease of a corpus after confirmation, also one that another user or machine holds."""
    corpus, console = Corpus(uri), _console()
    held = lease.holders(corpus)
    if not held:
        console.print(f"{uri} is not in use.", markup=False, soft_wrap=True)
        return
    console.print(*(f"{uri} is in use by {holder}." for holder in held), sep="\n", markup=False, soft_wrap=True)
    if not yes and not _agreed("End the lease? A command that still runs will stop."):
        console.print("Kept the lease.")
        return
    lease.break_leases(corpus, held)
    console.print("Ended the lease.")


def _checked(recipe: Recipe, first: str | None, last: str | None) -> list[Stage]:
    stages = select_stages(first, last)
    for stage in stages:
        stage.check(recipe)
    return stages


def _existing(uri: str) -> Corpus:
    corpus = Corpus(uri)
    # A run is recorded before its first unit is settled, and until then there is no ledger.
    if not corpus.exists("ledger") and not corpus.exists("runs"):
        raise UserError(f"{uri}: not a corpus (it has no ledger/ and no runs/); 'reidforge run RECIPE' creates one")
    return corpus


def _say_stage(summary: StageSummary) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.ran.items())) or "nothing to do"
    log.info("%s: %s (%d wanted), %.1f s", summary.stage, counts, summary.wanted, summary.seconds)
    for kind, message, units in summary.reasons:
        log.warning("%s: %s failed, %s: %s", summary.stage, counted(units, "unit"), kind, message)


def _refresh_catalog(corpus: Corpus) -> None:
    """Bring the catalog up to date; what a run has finished stays finished if that fails."""
    from pipeline.audit import catalog

    try:
        if corpus.exists("ledger"):
            catalog.refresh(corpus)
    except (UserError, StorageError) as error:
        log.warning("the catalog is not up to date: %s", error)


def _judge(recipe: Recipe, summaries: Sequence[StageSummary]) -> None:
    limit = recipe.run.max_failed_share
    bad = [summary for summary in summaries if summary.failed_share > limit]
    if bad:
        shares = ", ".join(f"{item.stage} {item.failed} of {item.wanted}" for item in bad)
        raise RunFailed(
            f"more units failed than run.max_failed_share = {limit:g} allows: {shares}. All others are done; "
            f"'reidforge status {recipe.corpus}' shows the reasons, 'reidforge retry' runs the failed ones again"
        )


def _console() -> Console:
    console = Console()
    logger = logging.getLogger("reidforge")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(_handler(console))
    return console


def _handler(console: Console) -> logging.Handler:
    if console.is_terminal:
        rich = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
        rich.addFilter(lambda record: not hasattr(record, ON_BAR))
        return rich
    plain = logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    return plain
