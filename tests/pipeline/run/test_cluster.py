import json
from pathlib import Path

import pytest

from tests.runs import reidforge


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_ray_that_cannot_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"corpus: {tmp_path}/corpus\ncrawl: {{urls: [http://127.0.0.1:9/nowhere.mp4]}}\n")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("RAY_TMPDIR", str(blocked))
    done = reidforge("run", str(recipe))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("reidforge: Ray did not start on this machine")
    assert "Traceback" not in done.stderr
    # The run announced itself before it tried, so that status has something to say meanwhile.
    (announced,) = (tmp_path / "corpus").glob("runs/*/stages/*.json")
    assert announced.name == "crawl.json"
    facts = json.loads(announced.read_text())
    assert (facts["wanted"], facts["todo"]) == (1, 1)
