"""What all tests share: no hub, no network but this machine, one Ray cluster."""

import os
from collections.abc import Iterator

import pytest

os.environ.update(
    YOLO_OFFLINE="1",
    YOLO_AUTOINSTALL="0",
    HF_HUB_OFFLINE="1",
    RAY_USAGE_STATS_ENABLED="0",
    TOKENIZERS_PARALLELISM="false",
)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local cluster of two CPUs, started once."""
    import ray

    from pipeline import cluster
    from pipeline.recipe import RunConfig

    cluster.connect(None, RunConfig(cpus=2, object_store_mb=512))
    yield
    ray.shutdown()
