"""The documents say what is there."""

import pkgutil
import re
from pathlib import Path

import pytest

from pipeline.audit import catalog
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from tests.corpora import small_corpus
from tests.runs import ROOT
from tools.write_recipe_docs import TARGET, document

CAPTIONS = ROOT / "docs/captions.md"
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "models").rglob("*.md"),
        *(ROOT / "demo").glob("*.md"),
        *(ROOT / "benchmarks").rglob("*.md"),
    ]
)


def test_the_list_of_keys_is_current() -> None:
    assert TARGET.read_text() == document(), "run: python -m tools.write_recipe_docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_names_that_a_page_mentions_exist(page: Path) -> None:
    mentioned = re.findall(r"`([^`\s]+)`", page.read_text())
    paths = [text for text in mentioned if re.fullmatch(r"(?:[\w.-]+/)+[\w.-]+\.(?:py|sql|json|ipynb|mp4|pt)", text)]
    ours = [text for text in paths if (ROOT / text.partition("/")[0]).is_dir()]
    assert [text for text in ours if not (ROOT / text).exists()] == []
    names = [text for text in mentioned if re.fullmatch(r"(?:pipeline|stages|evaluation|schemas)(?:\.\w+)+", text)]
    assert [name for name in names if not _resolves(name)] == []


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return small_corpus(str(tmp_path_factory.mktemp("docs")), variants=["luperson_t", "luperson_t_faithful"])


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", CAPTIONS.read_text(), re.DOTALL))
def test_the_queries_of_the_caption_page_answer(query: str, corpus: Corpus) -> None:
    assert "".join(catalog.sql(corpus, query))


@pytest.mark.parametrize("command", re.findall(r"^    reidforge (.*)$", CAPTIONS.read_text(), re.MULTILINE))
def test_the_commands_of_the_caption_page_are_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.split()
    named = [word for word in words if word.startswith("recipes/")]
    assert all((ROOT / name).exists() for name in named)
    depth = 2 if words[0] == "variant" else 1
    assert execute([*words[:depth], "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in words if word.startswith("--"))
