"""The command ``reidforge``. Heavy imports stand inside the commands, so that ``--help`` answers at once."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline import __version__
from pipeline.errors import RunFailed, UserError

# Typer carries its own copy of click; this is the public way to the base of all its complaints.
UsageError: Any = typer.BadParameter.__base__

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C, SIGTERM or the end of its input ended, as shells give it."""

app = typer.Typer(
    name="reidforge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
recipe_app = typer.Typer(help="Look at recipes.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipe_app, name="recipe")
variant_app = typer.Typer(
    help="Caption variants: list, create, compare, drop.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(variant_app, name="variant")
import_app = typer.Typer(help="Read what others published.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(import_app, name="import")

RecipeArg = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="Recipe file, or the name of a shipped recipe ('reidforge recipe list')."),
]
CorpusArg = Annotated[str, typer.Argument(metavar="CORPUS", help="Folder or object-store URI of a corpus.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
]
CorpusOption = Annotated[str | None, typer.Option("--corpus", help="Corpus to use instead of the recipe's.")]
FromOption = Annotated[str | None, typer.Option("--from", metavar="STAGE", help="First stage to run.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Last stage to run.")]
FormatOption = Annotated[Literal["table", "csv", "json"], typer.Option("--format", "-f", help="How to print it.")]
AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster to run on; default: the submitted job's, else local.")
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
    """Run a recipe: do what is not done yet, stage after stage."""
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
    """Run a recipe, and take up its quarantined units again."""
    from pipeline.commands import run_recipe

    run_recipe(recipe, set_ or [], corpus, from_, until, address, retry=True)


@app.command()
def demo(set_: SetOption = None, corpus: CorpusOption = None) -> None:
    """Build a small corpus from a street video that ships with reidforge, and pre-train on it."""
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
    """Say what a run would do, and why; nothing is run."""
    from pipeline.commands import show_plan

    show_plan(recipe, set_ or [], corpus, from_, until)


@app.command()
def status(corpus: CorpusArg) -> None:
    """Tell how far a corpus is: units per stage, rates, errors by reason."""
    from pipeline.commands import show_status

    show_status(corpus)


@app.command()
def report(
    corpus: CorpusArg,
    variant: Annotated[str | None, typer.Option(help="Caption variant; default: the newest.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet PNG here.")] = None,
) -> None:
    """Tell what a corpus holds: counts, example captions, retrieval scores."""
    from pipeline.commands import show_report

    show_report(corpus, variant, sheet)


@app.command()
def sql(
    corpus: CorpusArg,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One read-only statement over the corpus's views.")],
    format_: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", "-f", help="How to print it.")
    ] = "table",
) -> None:
    """Ask a corpus in SQL (DuckDB). The views: SHOW TABLES."""
    from pipeline.commands import run_sql

    run_sql(corpus, query, format_)


@app.command()
def gc(
    corpus: CorpusArg,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    min_age: Annotated[float, typer.Option(help="Minutes that a file must be old: a running job's are spared.")] = 60.0,
) -> None:
    """Remove files that no ledger row names: leftovers of killed runs and of superseded recipes."""
    from pipeline.commands import collect_garbage

    collect_garbage(corpus, dry_run=dry_run, min_age_minutes=min_age)


@import_app.command("luperson")
def import_luperson(
    corpus: CorpusArg,
    detections: Annotated[Path, typer.Option(help="dets.pkl, or a folder or zip archive of one pickle per video.")],
    videos: Annotated[
        Path | None, typer.Option(help="vnames.txt: the videos to take; default: all that have boxes.")
    ] = None,
    release: Annotated[
        Literal["luperson", "luperson-nl"], typer.Option(help="Whose lists they are; decides how frames are numbered.")
    ] = "luperson",
    first_frame: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Number of a video's first frame; default: as the release's script."),
    ] = None,
    url: Annotated[
        str, typer.Option(help="Address of a video, {id} standing for its id.")
    ] = "https://www.youtube.com/watch?v={id}",
    max_memory_gb: Annotated[
        float, typer.Option(min=0.01, help="Most memory that reading one pickle may take.")
    ] = 16.0,
) -> None:
    """Read the lists of LUPerson or LUPerson-NL: names of videos, and boxes to cut crops by."""
    from pipeline.commands import run_import_luperson

    run_import_luperson(corpus, videos, detections, release, first_frame, url, max_memory_gb)


@recipe_app.command("list")
def recipe_list() -> None:
    """List the recipes that ship with reidforge."""
    from pipeline.commands import list_recipes

    list_recipes()


@recipe_app.command("show")
def recipe_show(recipe: RecipeArg, set_: SetOption = None, corpus: CorpusOption = None) -> None:
    """Print a recipe as it will be run: validated, overrides applied, defaults filled in."""
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
    recipe: Annotated[Path, typer.Option("--from", metavar="RECIPE", help="Recipe whose caption block to start from.")],
    set_: SetOption = None,
    publish: Annotated[bool, typer.Option("--publish", help="Write its manifest too.")] = False,
    address: AddressOption = None,
) -> None:
    """Caption the stored embeddings once more, by another recipe, under another name: no image, no GPU."""
    from pipeline.commands import create_variant

    create_variant(corpus, name, recipe, set_ or [], address, publish=publish)


@variant_app.command("diff")
def variant_diff(
    corpus: CorpusArg,
    one: Annotated[str, typer.Argument(metavar="A", help="A variant.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The variant to compare it with.")],
    format_: FormatOption = "table",
    show: Annotated[
        Literal["summary", "attributes", "moves", "words", "captions"] | None,
        typer.Option(help="Only this part; all rows of it."),
    ] = None,
) -> None:
    """Tell how two variants differ: captions changed, phrases moved, vocabulary, length."""
    from pipeline.commands import diff_variants

    diff_variants(corpus, one, other, format_, show)


@variant_app.command("drop")
def variant_drop(
    corpus: CorpusArg,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Variant to drop.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    cascade: Annotated[bool, typer.Option("--cascade", help="Drop its manifest and trainings with it.")] = False,
) -> None:
    """Drop a variant: its units are retired, and gc removes its files."""
    from pipeline.commands import drop_variant

    drop_variant(corpus, name, yes=yes, cascade=cascade)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every foreseen error is one line on stderr and exit code 2."""
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
    # Typer makes this of a KeyboardInterrupt, without a word.
    if code == INTERRUPTED:
        return _complain("stopped; nothing that was finished is lost, the same command goes on from here", code)
    return code


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
