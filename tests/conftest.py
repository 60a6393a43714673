"""What all tests share: no hub, no network but this machine, one Ray cluster."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server, serve_s3

os.environ.update(
    YOLO_OFFLINE="1",
    YOLO_AUTOINSTALL="0",
    HF_HUB_OFFLINE="1",
    RAY_USAGE_STATS_ENABLED="0",
    TOKENIZERS_PARALLELISM="false",
)


@pytest.fixture(scope="session")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus up to its captions, from one undisturbed run, and its recipe; copy it before you change it."""
    from tests.runs import CLIP, reidforge, serve, tiny_clip, write_recipe

    folder = tmp_path_factory.mktemp("captioned")
    clip = tiny_clip(folder / "clip")
    with serve(CLIP.parent) as address:
        recipe = write_recipe(folder / "r.yaml", folder / "corpus", [f"{address}/street.mp4"], clip)
        done = reidforge("run", str(recipe), "--until", "caption")
    assert done.returncode == 0, done.stderr
    shutil.copy(recipe, folder / "corpus" / "recipe.yaml")
    return folder / "corpus"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local cluster of two CPUs, started once."""
    import ray

    from pipeline.recipe import RunConfig
    from pipeline.run import cluster

    cluster.connect(None, RunConfig(cpus=2, object_store_mb=512))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A local S3 server that notes the requests it gets."""
    with serve_s3() as server:
        yield server


@pytest.fixture(scope="session")
def s3(s3_server: S3Server) -> str:
    """The query that makes an s3:// URI lead to a local S3 server with a bucket named ``bucket``."""
    return s3_server.query


@pytest.fixture
def s3_requests(s3_server: S3Server) -> list[str]:
    """Requests to the local S3 server since the test began, such as ``GET /bucket/a.parquet``; clear it at will."""
    s3_server.requests.clear()
    return s3_server.requests
