"""The demo through ``ray job submit``, on a node as ``ray_cluster.yaml`` makes one.

The head requires a token. Its environment holds the locked packages and not the distribution reidforge: the code
comes with the job.
"""

import contextlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.run.code_version import COMMIT_VARIABLE, code_digest
from tests.runs import ROOT, ask, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A running head node: where it takes jobs, an environment that holds its token, and its programs."""

    address: str
    env: dict[str, str]
    bin: Path

    def ray(self, *arguments: str, env: dict[str, str] | None = None, timeout: float = 600) -> tuple[int, str]:
        """Run a command of ``ray job``; its exit code and all it says."""
        done = subprocess.run(
            [self.bin / "ray", "job", arguments[0], "--address", self.address, *arguments[1:]],
            env=env or self.env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout

    def submit(self, *arguments: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Submit a command of reidforge, with this repository as its working directory."""
        place = ("--working-dir", ".", "--runtime-env", "runtime_env.yaml", *options)
        return self.ray("submit", *place, "--", "env", f"{COMMIT_VARIABLE}=abc", "python", "-m", "pipeline", *arguments)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Sockets lie below it, and their paths must be short.
    home = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    bin_ = _node_environment(home / "env")
    # PYTHONPATH could lead to a checkout, which no node has.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
    env |= {
        "HOME": str(home), "PATH": f"{bin_}:{env['PATH']}", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"
    }  # fmt: skip
    subprocess.run([bin_ / "ray", "get-auth-token", "--generate"], env=env, capture_output=True, check=True)
    processes: list[psutil.Process] = []
    try:
        # On a busy machine Ray's own processes may miss its deadline for each other.
        for _ in range(3):
            if (address := _start(home, bin_, env, processes)) is not None:
                break
        assert address, (home / "head.log").read_text()
        yield Head(address=address, env=env, bin=bin_)
    finally:
        _stop(processes)
        shutil.rmtree(home, ignore_errors=True)


def _node_environment(folder: Path) -> Path:
    """A virtual environment with every package of this one except reidforge; returns the folder of its programs."""
    venv.create(folder, symlinks=True)
    # An egg-info in the checkout, which is on the path as well, does not list what is installed.
    installed = importlib.metadata.distributions(name="reidforge", path=[sysconfig.get_path("purelib")])
    own = {path.parts[0] for found in installed for path in found.files or ()}
    assert own, "reidforge is not installed here, so nothing is left out"
    target = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for entry in {entry for name in ("purelib", "platlib") for entry in Path(sysconfig.get_path(name)).iterdir()}:
        if entry.name not in own:
            (target / entry.name).symlink_to(entry)
    bin_ = folder / "bin"
    # Installed scripts name the interpreter of the environment that they were installed into.
    (bin_ / "ray").write_text(f"#!{bin_}/python\nfrom ray.scripts.scripts import main\nmain()\n")
    (bin_ / "ray").chmod(0o755)
    return bin_


def _start(home: Path, bin_: Path, env: dict[str, str], processes: list[psutil.Process]) -> str | None:
    ports = _free_ports("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    options = [f"--{name}={port}" for name, port in ports.items()]
    with (home / "head.log").open("w") as log:
        process = psutil.Popen(
            [bin_ / "ray", "start", "--head", "--block", *options, "--num-cpus=2", "--object-store-memory=400000000",
             f"--temp-dir={home}/ray"],
            env=env, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    processes.append(process)
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if "Ray runtime started" in (home / "head.log").read_text() and _answers(address):
            return address
        time.sleep(0.5)
    return None


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in names}
        for found in sockets.values():
            found.bind(("127.0.0.1", 0))
        return {name: found.getsockname()[1] for name, found in sockets.items()}


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return True


def _stop(processes: list[psutil.Process]) -> None:
    """End these processes and what they started; ``ray stop`` would end every cluster of this machine."""
    family = [child for process in processes if process.is_running() for child in process.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs([*processes, *family], timeout=15)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=15)


def test_nodes_have_the_packages_and_not_the_distribution(head: Head) -> None:
    asked = "import importlib.util as u, importlib.metadata as m; print(u.find_spec('pipeline'), m.version('ray'))"
    for code, answer in ((asked, "None "), ("import importlib.metadata as m; m.version('reidforge')", "NotFoundError")):
        done = subprocess.run(
            [head.bin / "python", "-c", code], env=head.env, cwd="/", capture_output=True, text=True, check=False
        )
        assert answer in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"HOME": "/nonexistent"}, "couldn't find an authentication token"),
        ({"RAY_AUTH_MODE": "disabled"}, "Unauthorized: Missing authentication token"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "Forbidden: Invalid authentication token"),
    ],
    ids=["no token", "token not shown", "wrong token"],
)
def test_nothing_runs_without_the_token(head: Head, change: dict[str, str], answer: str) -> None:
    code, said = head.ray("submit", "--", "python", "-c", "pass", env=head.env | change)
    assert code != 0
    assert answer in said
    assert "submitted successfully" not in said


def test_a_job_that_is_stopped_goes_on_where_it_was_to_the_end(head: Head, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    with serve(ROOT / "demo") as site:
        run = ["run", "recipes/demo.yaml", "--corpus", str(corpus), "--set", f"crawl.urls=[{site}/street.mp4]"]
        run += ["--set", "detect.sampling.every_frames=40", "--set", "pretrain.max_steps=3"]
        head.submit(*run, options=("--submission-id", "first", "--no-wait"))
        _wait_for(head, "first", "crawl: 1 ok")
        head.ray("stop", "first")
        _wait_for(head, "first", "stopping; what is finished stays")
        code, said = head.submit(*run)
    assert code == 0, said
    assert "on a cluster at" in said
    for environment in (corpus / "runs").glob("*/environment.json"):
        used = json.loads(environment.read_text())["code"]
        assert (used["commit"], used["digest"]) == ("abc", code_digest(ROOT))
    crawled = ask(corpus, "SELECT count(*), count(DISTINCT run_id) FROM ledger_history WHERE stage = 'crawl'")
    assert crawled == [(1, 1)]
    # Crops so far apart in time have no duplicates to mark.
    assert ask(corpus, "SELECT DISTINCT status FROM ledger WHERE stage <> 'dedup'") == [("ok",)]
    ((crops, captions, published),) = ask(
        corpus, "SELECT (FROM crops SELECT count(*)), (FROM captions SELECT count(*)), (FROM manifest SELECT count(*))"
    )
    assert crops > 20
    assert captions == 2 * crops
    assert 0 < published <= crops
    assert ask(corpus, "SELECT max(step) FROM metrics WHERE phase = 'train'") == [(3,)]


def _wait_for(head: Head, job: str, text: str) -> None:
    for _ in range(120):
        if text in (said := head.ray("logs", job)[1]):
            return
        time.sleep(1)
    pytest.fail(f"no {text!r} in:\n{said}")


def test_a_mistake_in_the_recipe_is_one_line_in_the_jobs_log(head: Head, tmp_path: Path) -> None:
    code, said = head.submit(
        "run", "recipes/demo.yaml", "--corpus", str(tmp_path / "c"), "--set", "detect.model=/nope.pt"
    )
    assert code == 1
    assert "Job entrypoint command failed with exit code 2" in said
    lines = {line for line in said.splitlines() if line.startswith("reidforge:")}
    assert len(lines) == 1
    assert "detect.model /nope.pt: no such file" in lines.pop()
    assert "Traceback" not in said
