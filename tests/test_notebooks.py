"""Every notebook runs from top to bottom on a small corpus, and is kept without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.corpora import small_corpus

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    corpus = small_corpus(str(tmp_path / "corpus"), variants=["base", "other"])
    monkeypatch.setenv("REIDFORGE_CORPUS", corpus.root)
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, startup_timeout=300, resources=folder).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    # Jupyter's own, about listeners on the same machine.
    written = [output.text for output in outputs if output.get("name") == "stderr"]
    warnings = [text for text in written if "running over TCP without encryption" not in text]
    assert len(pictures) >= 4
    assert warnings == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")
