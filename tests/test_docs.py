"""The documents say what is there."""

import re
from pathlib import Path

import pytest

from tests.runs import ROOT
from tools.write_recipe_docs import TARGET, document

PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "models").rglob("*.md"), *(ROOT / "demo").glob("*.md")]
)


def test_the_list_of_keys_is_current() -> None:
    assert TARGET.read_text() == document(), "run: python tools/write_recipe_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
