"""Bad input to any command: one clear line, exit code 2, no traceback."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import __version__
from pipeline.cli import execute
from pipeline.corpus.files import Corpus
from pipeline.corpus.ledger import Ledger
from tests.corpora import VARIANT, VIDEOS, ledger_row, small_corpus
from tests.runs import ROOT

GOOD = {"corpus": "c", "crawl": {"urls": ["http://example.org/a.mp4"]}}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"corpus": str(tmp_path / "corpus")}))
    return path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["run", "lupersom"], "not one of the shipped recipes: demo, luperson, "),
        (["run", "{recipe}", "--set", "detect.rules.min_width"], "expected key=value"),
        (["run", "{recipe}", "--set", "detect.rules.min_widht=3"], "detect.rules.min_widht: got 3; no such key here"),
        (["run", "{recipe}", "--set", "detect.rules.min_widht=3"], "min_width"),
        (["run", "{recipe}", "--set", "detect.rules.min_width=wide"], "detect.rules.min_width: got 'wide'"),
        (["run", "{recipe}", "--set", "embed.precision=fp8"], "'fp16'"),
        (["run", "{recipe}", "--set", "crawl.urls=[ftp://x/y]"], "crawl.urls.0"),
        (["run", "{recipe}", "--set", "crawl.url_files=[/nope.txt]"], "/nope.txt cannot be read"),
        (["run", "{recipe}", "--from", "detekt"], "accepted are discover, crawl, detect"),
        (["run", "{recipe}", "--from", "publish", "--until", "crawl"], "--from publish comes after --until crawl"),
        (["run", "{recipe}", "--set", "detect.model_sha256=" + 64 * "a"], "its SHA-256 is 9b09cc8b"),
        (["run", "{recipe}", "--set", "detect.model=/nope/yolo.pt"], "/nope/yolo.pt"),
        (
            ["run", "{recipe}", "--set", "detect.pose={{source: second_pass, model: /nope/p.pt}}"],
            "detect.pose.model /n",
        ),
        (["run", "{recipe}", "--set", "detect.pose.source=both"], "'none', 'second_pass' or 'detector'"),
        (["run", "{recipe}", "--set", "detect.rules.preset=best"], "give luperson, webperson, or a YAML file"),
        (["run", "{recipe}", "--set", "detect.sampling.adaptive=-1"], "detect.sampling.adaptive: got -1"),
        (["run", "{recipe}", "--set", "detect.faces=hide"], "'keep' or 'blur'"),
        (["run", "{recipe}", "--set", "embed.model=/nope", "--set", "embed.pretrained=null"], "no such folder"),
        (["run", "{recipe}", "--set", "caption.bank=/nope.yaml"], "/nope.yaml"),
        (["run", "{recipe}", "--corpus", "nosuch://bucket/x"], "nosuch://bucket/x"),
        (["plan", "{recipe}", "--set", "pretrain.batch_size=0"], "pretrain.batch_size: got 0"),
        (["status", "/nowhere/corpus"], "not a corpus"),
        (["report", "/nowhere/corpus"], "not a corpus"),
        (["gc", "/nowhere/corpus"], "not a corpus"),
        (["sql", "/nowhere/corpus", "SELECT 1"], "not a corpus"),
        (["recipe", "show", "/nowhere.yaml"], "no such file"),
        (["gc", "/nowhere/corpus", "--min-age", "-1"], "'--min-age': Input should be greater than or equal to 0"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], expected: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = execute([argument.format(recipe=recipe) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("reidforge: ")
    assert captured.out == ""


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "corpus: [", "\x00"])
def test_a_file_that_is_no_recipe_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    assert execute(["run", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_every_mistake_of_a_recipe_is_told_at_once(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["recipe", "show", str(recipe), "--set", "a=1", "--set", "detect.batch_size=-1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2


def test_the_resolved_recipe_reads_back_as_itself(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["recipe", "show", str(recipe), "--set", "caption.seed=12"]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown)["caption"]["seed"] == 12
    assert yaml.safe_load(shown)["detect"]["rules"]["min_confidence"] == 0.72
    recipe.write_text(shown)
    assert execute(["recipe", "show", str(recipe)]) == 0
    assert capsys.readouterr().out == shown


def test_every_command_fits_its_line_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ([], ["recipe"], ["variant"], ["import"]):
        assert execute([*group, "--help"]) == 0
        assert "..." not in capsys.readouterr().out.replace("[ARGS]...", "")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--version"]) == 0
    assert capsys.readouterr().out == f"reidforge {__version__}\n"


def test_a_shipped_recipe_goes_by_name_and_a_file_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder of this name is not a recipe.
    (tmp_path / "demo").mkdir()
    assert execute(["recipe", "show", "demo"]) == 0
    assert capsys.readouterr().out.startswith("corpus: corpora/demo\n")
    (tmp_path / "luperson").write_text("corpus: mine\n")
    assert execute(["recipe", "show", "luperson"]) == 0
    assert capsys.readouterr().out.startswith("corpus: mine\n")


def test_recipes_are_listed_with_their_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["recipe", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["recipe", "what", "it", "builds"]
    for path in (ROOT / "recipes").glob("*.yaml"):
        (line,) = (line for line in lines if line.split(" ")[0] == path.stem)
        assert len(line.split()) > 3


def test_help_answers_at_once() -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "pipeline", "--help"], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time: the clock on the wall also counts what else the machine does.
    assert min(once() for _ in range(5)) < 0.4


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'duckdb', 'numpy', 'pyarrow', 'pydantic', 'ray', 'torch'}"
    program = f"import sys, pipeline.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=ROOT, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "recipes").glob("*.yaml"))])
def test_shipped_recipes_are_valid(name: str) -> None:
    assert execute(["recipe", "show", f"recipes/{name}"]) == 0


def test_a_plan_shows_the_stages_between_from_and_until(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(Corpus(str(tmp_path / "c")), "crawl").append([ledger_row("url-a")])
    options = ["--corpus", str(tmp_path / "c"), "--from", "embed", "--until", "track"]
    assert execute(["plan", "demo", *options]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "stage"
    assert [line.split()[0] for line in lines] == ["embed", "reid", "track", "Nothing"]


def test_a_plan_is_over_the_corpus_that_is_given(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = small_corpus(str(tmp_path / "small"))
    Ledger(Corpus(str(tmp_path / "corpus")), "crawl").append([ledger_row("url-a")])
    arguments = ["plan", str(recipe), "--from", "embed", "--until", "embed"]
    for options, files in (["--corpus", corpus.uri], len(VIDEOS)), ([], 0):
        assert execute([*arguments, *options]) == 0
        line = capsys.readouterr().out.splitlines()[1]
        assert line.split()[:4] == ["embed", "crops", "file", str(files)]


def test_a_recipe_is_shown_with_the_corpus_that_is_given(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["recipe", "show", str(recipe), "--corpus", "s3://bucket/elsewhere"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["corpus"] == "s3://bucket/elsewhere"


@pytest.mark.parametrize("command", ["run", "retry", "plan"])
def test_a_run_that_begins_where_nothing_is_says_so(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """It found nothing to do and ended well before, whatever was misspelt."""
    assert execute([command, str(recipe), "--from", "detect"]) == 2
    assert f"there is no corpus at {tmp_path}/corpus, and --from detect" in capsys.readouterr().err
    assert not (tmp_path / "corpus").exists()
    corpus = small_corpus(str(tmp_path / "corpus"), variants=("base", "more"))
    for first, rows in (("publish", "captions"), ("pretrain", "manifest")):
        assert execute([command, str(recipe), "--from", first, "--set", "caption.variant=typo"]) == 2
        err = capsys.readouterr().err
        assert f"caption.variant is 'typo', and {corpus.uri} has no {rows} of this name; there are base, more." in err
        assert err.count("\n") == 1
    plan = ["plan", str(recipe), "--from", "publish", "--set", f"caption.variant={VARIANT}"]
    assert execute(plan) == 0
