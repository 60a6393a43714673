"""The documents say what is there."""

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
    told = capsys.readouterr().out
    assert all(word in told for word in words if word.startswith("--"))
