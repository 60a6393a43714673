"""The command ``reidforge``. Heavy imports are inside the commands, so that ``--help`` answers at once."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline import __version__
from pipeline.completion import complete_corpus, complete_recipe, complete_stage
from pipeline.errors import RunFailed, UserError

# Typer has its own copy of click and does not export the base class of its usage errors. This is the public way to it.
UsageError: Any = typer.BadParameter.__base__

INTERRUPTED = 130
"""Exit code after Ctrl-C, SIGTERM or the end of the input: 128 + SIGINT, as shells report it."""

app = typer.Typer(name="reidforge", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
recipe_app = typer.Typer(help="List and show recipes.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipe_app, name="recipe")
variant_app = typer.Typer(
    help="List, create, compare and drop caption variants.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(variant_app, name="variant")
import_app = typer.Typer(help="Import lists that others published.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(import_app, name="import")

Format = Literal["table", "csv", "json"]
RecipeArg = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        help="Recipe file, or the name of a shipped recipe ('reidforge recipe list').",
        autocompletion=complete_recipe,
    ),
]
CorpusArg = Annotated[
    str,
    typer.Argument(metavar="CORPUS", help="Folder or object-store URI of a corpus.", autocompletion=complete_corpus),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
]
CorpusOption = Annotated[
    str | None, typer.Option("--corpus", help="Corpus to use instead of the recipe's.", autocompletion=complete_corpus)
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="STAGE", help="First stage to run.", autocompletion=complete_stage)
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="STAGE", help="Last stage to run.", autocompletion=complete_stage)
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Output format.")]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Ray cluster to run on; default: that of the submitted job, else a local one."),
]


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"reidforge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Build person re-identification corpora from video, and pre-train on them."""


@app.command()
def run(
    recipe: RecipeArg,
    set_: SetOption = None,
    corpus: CorpusOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    address: AddressOption = None,
) -> None:
    """Run a recipe; units that are finished are not repeated."""
    from pipeline.commands import run_recipe

    run_recipe(recipe, set_ or [], corpus, from_, until, address, retry=False)


@app.command()
def retry(
    recipe: RecipeArg,
    set_: SetOption = None,
    corpus: CorpusOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
    address: AddressOption = None,
) -> None:
    """Run a recipe, and its quarantined units again."""
    from pipeline.commands import run_recipe

    run_recipe(recipe, set_ or [], corpus, from_, until, address, retry=True)


@app.command()
def demo(set_: SetOption = None, corpus: CorpusOption = None) -> None:
    """Build a small corpus from the video that is included.

    Serves 80 seconds of a street scene on this machine, runs the recipe 'demo' over it, and prints what was built.
    """
    from pipeline.demo import run_demo

    run_demo(corpus, set_ or [])


@app.command()
def plan(
    recipe: RecipeArg,
    set_: SetOption = None,
    corpus: CorpusOption = None,
    from_: FromOption = None,
    until: UntilOption = None,
) -> None:
    """Show what a run would do and why, without running it."""
    from pipeline.commands import show_plan

    show_plan(recipe, set_ or [], corpus, from_, until)


@app.command()
def status(corpus: CorpusArg) -> None:
    """Show the progress of a corpus: units, rates, errors."""
    from pipeline.commands import show_status

    show_status(corpus)


@app.command()
def report(
    corpus: CorpusArg,
    variant: Annotated[str | None, typer.Option(help="Caption variant; default: the newest.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet to this PNG file.")] = None,
) -> None:
    """Show what a corpus holds: counts, captions, scores."""
    from pipeline.commands import show_report

    show_report(corpus, variant, sheet)


@app.command()
def sql(
    corpus: CorpusArg,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One read-only statement over the corpus's views.")],
    format_: FormatOption = "table",
) -> None:
    """Query a corpus in SQL (DuckDB); SHOW TABLES lists the views."""
    from pipeline.commands import run_sql

    run_sql(corpus, query, format_)


@app.command()
def catalog(
    corpus: CorpusArg,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build it anew from the corpus's files.")] = False,
) -> None:
    """Bring catalog.duckdb up to date with the ledger.

    Runs and queries do this on their own.
    """
    from pipeline.commands import refresh_catalog

    refresh_catalog(corpus, rebuild=rebuild)


@app.command()
def gc(
    corpus: CorpusArg,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    min_age: Annotated[
        float, typer.Option(min=0, help="Spare files younger than this many minutes: a running job may need them.")
    ] = 60.0,
) -> None:
    """Remove files that no ledger row names.

    Killed runs and superseded recipes leave such files behind.
    """
    from pipeline.commands import collect_garbage

    collect_garbage(corpus, dry_run=dry_run, min_age_minutes=min_age)


@app.command()
def compact(
    corpus: CorpusArg,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be merged.")] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="Keep the merged files for this many minutes: readers may have opened them.")
    ] = 60.0,
) -> None:
    """Merge small files to files of some hundred megabytes.

    Nothing else changes: no unit becomes stale, and readers may go on. A run does the same at its end.
    """
    from pipeline.commands import compact_corpus

    compact_corpus(corpus, dry_run=dry_run, grace_minutes=grace)


@app.command()
def check(
    corpus: CorpusArg,
    quick: Annotated[bool, typer.Option("--quick", help="Only whether files are there; read none.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged files; the next run makes them again.")
    ] = False,
) -> None:
    """Compare the files of a corpus with its ledger.

    Reads the footer and the unit ids of each table, and each media file whole. Exits with 1 if something is wrong.
    """
    from pipeline.commands import check_corpus

    check_corpus(corpus, quick=quick, repair=repair)


@app.command()
def unlock(
    corpus: CorpusArg,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """End the lease of a command that died elsewhere.

    One command at a time writes to a corpus. Says which one it is, and ends its lease; the command, if it still runs,
    stops.
    """
    from pipeline.commands import unlock as run_unlock

    run_unlock(corpus, yes=yes)


@app.command()
def calibrate(
    recipe: RecipeArg,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="YAML file to write, for caption.calibration.")],
    count: Annotated[int, typer.Option(min=1, help="Crops to fit on.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the renders, or of the draw from a labelled set.")] = 101,
    reference: Annotated[
        Path | None,
        typer.Option(help="Also write the embeddings of as many other renders here, for caption.reference."),
    ] = None,
    labelled: Annotated[
        tuple[str, Path] | None,
        typer.Option(metavar="SET FOLDER", help="Fit on a labelled set instead: pa100k, peta or market1501."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the labelled set.")] = "train",
    set_: SetOption = None,
) -> None:
    """Fit how sure a model is of each attribute.

    Reads rendered persons, whose attributes are known, with the model and the bank of the recipe, and fits a
    temperature per attribute.
    """
    from pipeline.commands import calibrate_recipe

    calibrate_recipe(recipe, set_ or [], out, count=count, seed=seed, reference=reference, source=labelled, split=split)


@import_app.command("luperson")
def import_luperson(
    corpus: CorpusArg,
    detections: Annotated[Path, typer.Option(help="dets.pkl, or a folder or zip archive of one pickle per video.")],
    videos: Annotated[
        Path | None, typer.Option(help="vnames.txt, the videos to import; default: all that have boxes.")
    ] = None,
    release: Annotated[
        Literal["luperson", "luperson-nl"],
        typer.Option(help="Release that the lists belong to; it decides how frames are numbered."),
    ] = "luperson",
    first_frame: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Number of a video's first frame; default: as in the script of the release."),
    ] = None,
    url: Annotated[
        str, typer.Option(help="Address of a video; {id} stands for its id.")
    ] = "https://www.youtube.com/watch?v={id}",
    max_memory_gb: Annotated[float, typer.Option(min=0.01, help="Memory limit for reading one pickle.")] = 16.0,
) -> None:
    """Import the video names and boxes of LUPerson or LUPerson-NL.

    A run then cuts crops by these boxes instead of a detector's.
    """
    from pipeline.commands import run_import_luperson

    run_import_luperson(corpus, videos, detections, release, first_frame, url, max_memory_gb)


@recipe_app.command("list")
def recipe_list() -> None:
    """List the recipes that ship with reidforge."""
    from pipeline.commands import list_recipes

    list_recipes()


@recipe_app.command("show")
def recipe_show(recipe: RecipeArg, set_: SetOption = None, corpus: CorpusOption = None) -> None:
    """Print a recipe with overrides and defaults filled in."""
    from pipeline.recipe import dump_recipe, load_recipe

    typer.echo(dump_recipe(load_recipe(recipe, set_ or [], corpus)), nl=False)


@variant_app.command("list")
def variant_list(corpus: CorpusArg, format_: FormatOption = "table") -> None:
    """List the caption variants of a corpus."""
    from pipeline.commands import list_variants

    list_variants(corpus, format_)


@variant_app.command("create")
def variant_create(
    corpus: CorpusArg,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new variant.")],
    recipe: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="RECIPE",
            help="Recipe whose caption block to use, by path or name.",
            autocompletion=complete_recipe,
        ),
    ],
    set_: SetOption = None,
    publish: Annotated[bool, typer.Option("--publish", help="Also write its manifest.")] = False,
    address: AddressOption = None,
) -> None:
    """Caption the stored embeddings again under a new name.

    Needs no images and no GPU.
    """
    from pipeline.commands import create_variant

    create_variant(corpus, name, recipe, set_ or [], address, publish=publish)


@variant_app.command("diff")
def variant_diff(
    corpus: CorpusArg,
    one: Annotated[str, typer.Argument(metavar="A", help="One variant.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The variant to compare it with.")],
    format_: FormatOption = "table",
    show: Annotated[
        Literal["summary", "attributes", "moves", "words", "captions"] | None,
        typer.Option(help="Show only this part, with all its rows."),
    ] = None,
) -> None:
    """Show how the captions of two variants differ."""
    from pipeline.commands import diff_variants

    diff_variants(corpus, one, other, format_, show)


@variant_app.command("drop")
def variant_drop(
    corpus: CorpusArg,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Variant to drop.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    cascade: Annotated[bool, typer.Option("--cascade", help="Also drop its manifest and trainings.")] = False,
) -> None:
    """Drop a variant; gc then removes its files."""
    from pipeline.commands import drop_variant

    drop_variant(corpus, name, yes=yes, cascade=cascade)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Errors of the user are one line on stderr and exit code 2."""
    sys.exit(execute(arguments))


def execute(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    command: Any = typer.main.get_command(app)
    try:
        code = int(command.main(arguments, prog_name="reidforge", standalone_mode=False) or 0)
    except UsageError as error:
        return _usage(error)
    except UserError as error:
        return _complain(str(error), 2)
    except RunFailed as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _storage(error)
    # Typer turns a KeyboardInterrupt into this code and prints nothing.
    if code == INTERRUPTED:
        return _complain("stopped; finished units are kept, and the same command resumes from here", code)
    return code


def _storage(error: OSError) -> int:
    """Exit code of a command that could not read or write; errors without a known cause are ours, with a traceback."""
    from pipeline.corpus.trouble import explain

    text = explain(error)
    if text is None:
        raise error
    return _complain(text, 2)


def _usage(error: Any) -> int:
    message = str(error.format_message())
    if message.startswith("Usage:"):
        typer.echo(message)
        return 2
    path = error.ctx.command_path if error.ctx else "reidforge"
    return _complain(f"{message.rstrip('.')}; see '{path} --help'", 2)


def _complain(message: str, code: int) -> int:
    for line in message.splitlines():
        typer.echo(f"reidforge: {line}", err=True)
    return code
