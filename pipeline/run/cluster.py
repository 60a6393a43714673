"""Joins a Ray cluster or starts a local one, without Ray's own log output."""

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from types import FrameType

from pipeline.errors import UserError
from pipeline.recipe import RunConfig

STARTS = 3
"""Attempts to start a local cluster."""

# Workers decode in threads and allocate images by the megabyte. By default glibc keeps freed memory in one heap per
# thread, and Arrow in a pool of its own, so that a worker holds some 100 MB that it no longer uses. runtime_env.yaml
# sets the same for the workers of a cluster.
LEAN = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""Environment of workers."""

# By default Ray ends a worker that idles for a second, and the next unit waits seconds for the imports of a new one.
# ray_cluster.yaml sets the same for a cluster.
SYSTEM = {"idle_worker_killing_time_threshold_ms": 600_000}
"""Settings of Ray's own processes."""

_QUIET = ("ray", "ray.data", "ray.train", "ray.tune", "ray._private")


def connect(address: str | None, config: RunConfig) -> str:
    """Join the cluster at ``address``, the one that a submitted job runs in, or start a local one.

    Args:
        address: Address of a running cluster (``host:6379`` or ``auto``); None = the cluster of the submitted
            job, or else a local one.
        config: Size of the local cluster.

    Returns:
        A description of the cluster.

    Raises:
        UserError: The cluster cannot be joined or started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's core logs internal warnings to the driver's stderr; failures of units are in the ledger.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Delay between two calls of an actor that does not answer, see stream.ACTOR_RETRIES.
    os.environ.setdefault("RAY_task_actor_unavailable_retry_delay_base_ms", "5000")
    quieten()
    import ray

    address = address or os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        with _mute_core():
            _join(address) if address else _start(config)
        # Ray exits on SIGTERM without a message; a stopped job shall end like Ctrl-C.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
    _set_up_data()
    quieten()
    if not address:
        _bound_memory(config.object_store_mb << 19)
    resources = ray.cluster_resources()
    words = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return f"cluster at {address} ({words})" if address else f"local cluster ({words})"


def disconnect() -> None:
    """Leave the cluster; a local one is shut down."""
    import ray

    ray.shutdown()


def quieten() -> None:
    """Keep Ray's log messages out of the user's terminal; its log files have them all."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"ray\.")
    # Ray Data takes retries of tasks and actors through this argument only.
    warnings.filterwarnings("ignore", message=r".*`ray_remote_args` is deprecated")


def _start(config: RunConfig) -> None:
    import ray

    # Ray allows its own processes thirty seconds to start; a busy machine may need more.
    trouble: Exception | None = None
    for _ in range(STARTS):
        try:
            _init(config)
        except Exception as error:  # noqa: BLE001 - Ray raises several types when its processes start late
            ray.shutdown()
            trouble = error
        else:
            return
    assert trouble is not None
    raise UserError(
        f"Ray did not start on this machine, tried {STARTS} times: {_first_line(trouble)} "
        "Free CPU time and memory, or name a running cluster with --address"
    ) from trouble


def _init(config: RunConfig) -> None:
    import ray

    for name, value in LEAN.items():
        os.environ.setdefault(name, value)
    ray.init(
        num_cpus=config.cpus,
        object_store_memory=config.object_store_mb << 20,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        logging_level=logging.ERROR,
        _metrics_export_port=config.metrics_port,
        _system_config=SYSTEM,
    )


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"--address {address!r}: no Ray cluster could be joined ({_first_line(error)}). "
            "Start one with 'ray start --head'; if it requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _mute_core() -> Iterator[None]:
    """Discard what Ray's core prints to stderr while it starts, such as a notice about its log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's arguments
    # Printed at once: workers take seconds to end, and `ray job stop` waits three before it kills.
    os.write(2, b"\nreidforge: stopping; what is finished stays\n")
    raise KeyboardInterrupt


def _set_up_data() -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    # A unit is one row, so a block above Ray's target size cannot be split.
    context.target_max_block_size = None
    # The runner notices a unit whose worker died and counts an attempt; the other units continue.
    context.max_errored_blocks = -1


def _bound_memory(limit: int) -> None:
    from ray.data import DataContext

    # Without a limit, decoders run ahead of the model until the object store is full.
    options = DataContext.get_current().execution_options
    options.resource_limits = options.resource_limits.copy(object_store_memory=limit)
