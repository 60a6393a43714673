"""The files that a cluster is made from: Ray and EC2 take them, and they agree with the rest of the repository."""

import json
import logging
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, create_package
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv
from ray.scripts.scripts import start as ray_start

from pipeline import __version__
from tests.runs import ROOT

CLUSTER = ROOT / "ray_cluster.yaml"
KUBERAY = ROOT / "deploy/kuberay.yaml"
DOCKERFILE = ROOT / "deploy/Dockerfile"
RUNTIME_ENV = ROOT / "runtime_env.yaml"

NEEDED = ["pipeline/__main__.py", "stages/resources.py", "schemas/tables.py", "recipes/demo.yaml", "models/yolo26n.pt"]
LEFT_BEHIND = {".git", ".venv", ".cache", ".ci", "corpora", "benchmarks", "deploy", "docs", "notebooks", "tests"}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found
    return found[1]


def start_commands(config: dict[str, Any]) -> list[str]:
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


def test_ray_takes_the_cluster_file() -> None:
    schema = json.loads(Path(ray.autoscaler.__file__).with_name("ray-schema.json").read_text())
    jsonschema.validate(read(CLUSTER), schema)
    validate_config(prepare_config(read(CLUSTER)))


@pytest.mark.slow
def test_ray_up_gets_as_far_as_running_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``ray up`` does until it waits for SSH, against a simulated EC2 that knows the real instance types."""
    import boto3
    import moto
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.providers import _get_node_provider

    monkeypatch.setenv("HOME", str(tmp_path))
    content = read(CLUSTER)
    written = {name: content["available_node_types"][name].pop("resources") for name in ("cpu_worker", "gpu_worker")}
    with moto.mock_aws():
        config = _bootstrap_config(content, no_config_cache=True)
        types = config["available_node_types"]
        assert types["head"]["resources"]["CPU"] == 0
        for name, resources in written.items():
            assert {kind: types[name]["resources"].get(kind) for kind in ("CPU", "GPU")} == {"GPU": None, **resources}
        iam = boto3.client("iam")
        for profile in {node["node_config"]["IamInstanceProfile"]["Name"] for node in types.values()}:
            iam.create_instance_profile(InstanceProfileName=profile)
        provider = _get_node_provider(config["provider"], config["cluster_name"])
        for name, node in types.items():
            assert len(provider.create_node(node["node_config"], {"ray-user-node-type": name}, 1)) == 1


def test_no_node_starts_without_the_token() -> None:
    config = read(CLUSTER)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert len(start_commands(config)) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in start_commands(config))
    assert "--dashboard-host=127.0.0.1" in start_commands(config)[0]


def test_the_commands_are_sound_shell_and_use_flags_that_ray_has() -> None:
    config = read(CLUSTER)
    commands = [command for key, block in config.items() if key.endswith("_commands") for command in block]
    for command in commands:
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False).returncode == 0, command
    known = {name for option in ray_start.params for name in option.opts}
    used = set(re.findall(r"--[a-z-]+", " ".join(start_commands(config))))
    assert used <= known


def test_the_files_name_what_is_there() -> None:
    local = [path for path in read(CLUSTER)["file_mounts"].values() if not path.startswith("~")]
    copied = re.findall(r"^COPY --chown=ray (.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    recipe = read(KUBERAY)["spec"]["entrypoint"].split()[2]
    named = [*local, *" ".join(copied).split(), recipe]
    assert recipe.split("/")[0] in named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_versions_are_those_of_the_lock_and_the_makefile() -> None:
    uv = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert uv
    for path in (CLUSTER, DOCKERFILE):
        assert re.findall(r"uv==(\S+)", path.read_text()) == [uv[1]]
        assert "--require-hashes" in path.read_text()
    assert f"rayproject/ray:{pinned('ray')}-" in DOCKERFILE.read_text()
    assert read(KUBERAY)["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")
    assert set(re.findall(r"reidforge:(\d\S*)", KUBERAY.read_text() + DOCKERFILE.read_text())) == {__version__}
    # The autoscaler on the head of an AWS cluster talks to EC2 through it.
    assert pinned("boto3")


def test_the_ray_job_has_what_kuberay_needs() -> None:
    job = read(KUBERAY)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["metadata"]["name"]
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    RuntimeEnv(**yaml.safe_load(spec["runtimeEnvYAML"]))
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "reidforge-ray-token"}
    assert f"generic {cluster['authOptions']['secretName']} --from-literal=auth_token=" in KUBERAY.read_text()
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *groups.values()):
        _check_pod(group)
    limits = {name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in groups.items()}
    assert [name for name, limit in limits.items() if "nvidia.com/gpu" in limit] == ["gpu"]


def _check_pod(group: dict[str, Any]) -> None:
    """Strings where Kubernetes wants strings, volumes for every mount, requests equal to limits."""
    assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert all(isinstance(value, str) for value in container["resources"]["limits"].values())
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def test_both_ways_to_a_cluster_stop_a_job_alike() -> None:
    kuberay = yaml.safe_load(read(KUBERAY)["spec"]["runtimeEnvYAML"])
    assert kuberay["env_vars"] == read(RUNTIME_ENV)["env_vars"]


def test_what_travels_with_a_job_is_all_it_needs_and_little_more(tmp_path: Path) -> None:
    runtime_env = RuntimeEnv(**read(RUNTIME_ENV), working_dir=str(ROOT))
    package = tmp_path / "package.zip"
    create_package(
        str(ROOT), package, include_gitignore=True, excludes=runtime_env["excludes"], logger=logging.getLogger("quiet")
    )
    names = set(zipfile.ZipFile(package).namelist())
    assert names >= set(NEEDED)
    assert not LEFT_BEHIND & {name.split("/")[0] for name in names if "/" in name}
    assert not [name for name in names if name.endswith((".mp4", ".pyc"))]
    assert package.stat().st_size < GCS_STORAGE_MAX_SIZE / 8
