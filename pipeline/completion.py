"""Completion of arguments in the shell; ``reidforge --install-completion`` switches it on."""

from pathlib import Path

from stages.resources import shipped_files


def complete_recipe(incomplete: str) -> list[str]:
    """Names of shipped recipes, and YAML files."""
    names = [path.stem for path in shipped_files("recipes/*.yaml")]
    files = [path for path in _paths(incomplete) if path.endswith(("/", ".yaml", ".yml"))]
    return [name for name in [*names, *files] if name.startswith(incomplete)]


def complete_corpus(incomplete: str) -> list[str]:
    """Folders; a corpus without the slash, since nothing below it is an argument of a command."""
    folders = [path for path in _paths(incomplete) if path.endswith("/")]
    return [path.rstrip("/") if Path(path, "ledger").is_dir() else path for path in folders]


def complete_stage(incomplete: str) -> list[str]:
    """Stages, in the order in which they run."""
    from pipeline.flow.order import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def _paths(incomplete: str) -> list[str]:
    """Files and folders whose path starts like this, folders with a slash at the end."""
    folder, _, start = incomplete.rpartition("/")
    above = f"{folder}/" if "/" in incomplete else ""
    try:
        entries = sorted(Path(above or ".").iterdir())
    except OSError:
        return []
    return [f"{above}{entry.name}{'/' * entry.is_dir()}" for entry in entries if entry.name.startswith(start)]
