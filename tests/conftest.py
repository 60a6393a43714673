"""What all tests share: no hub, no network but this machine, one Ray cluster."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

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
def s3() -> Iterator[str]:
    """A local S3 server; gives the query that makes an s3:// URI lead to it, with a bucket named ``bucket``."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    query = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    fs.FileSystem.from_uri(f"s3://bucket?{query}&allow_bucket_creation=true")[0].create_dir("bucket")
    yield query
    server.stop()
