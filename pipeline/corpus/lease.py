"""The lease of a corpus: one command at a time writes to it, and says who it is. Readers need no lease.

Every command that writes keeps a file of its own in ``lease/``. It writes the file first and lists the folder after
that: of two commands that begin at the same moment, the one that writes later sees the other's file. This needs no
clock, no rename that fails and no conditional PUT, only a listing that shows what was written before it, which local
file systems, S3 and Google's store all give. Where both see each other, both step back and try again.

The holder renews its file every few seconds. Another machine's clock says nothing: a lease is abandoned if its file
does not change while the newcomer watches it for ``ABANDONED_S`` by its own clock. On the holder's own machine the
process itself is looked up, so the lease of a killed run ends with it.
"""

import contextlib
import dataclasses
import datetime as dt
import getpass
import json
import logging
import os
import platform
import random
import secrets
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pipeline.corpus.files import Corpus
from pipeline.errors import MissingFileError, RunFailed, StorageError, UserError

log = logging.getLogger("reidforge")

FOLDER: Final = "lease"

HEARTBEAT_S = 10.0
"""Seconds between two renewals of a lease."""

ABANDONED_S = 120.0
"""A lease of another machine that is not renewed for so many seconds, while someone watches, is taken over."""

_HELD: Final = ".json"
_BROKEN: Final = ".broken"
_FORGOTTEN_AFTER: Final = dt.timedelta(days=1)

# Two commands that began at the same moment step back for up to so many seconds, so often.
_STEP_BACK_S: Final = 0.5
_ATTEMPTS: Final = 20

# Interrupts the main thread when the lease is lost: a run may wait in Ray for an hour.
_WAKE: Final = signal.SIGUSR2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    """Whose lease it is, as its file says.

    Args:
        token: Name of the file; new for each command.
        user: Who started the command.
        host: On which machine.
        machine: Tells machines and containers apart whose names are equal.
        pid: Process id, within ``machine``.
        started: When the process started, in ticks since the machine did; 0 where this is not known.
        command: What it runs.
        run_id: The run's id; empty for commands that are not runs.
        since: When it took the lease, by its own clock.
        beat: Counts the renewals.
        renewed: When it renewed the lease last, by its own clock.
    """

    token: str
    user: str
    host: str
    machine: str
    pid: int
    started: int
    command: str
    run_id: str
    since: str
    beat: int
    renewed: str

    def __str__(self) -> str:
        what = f"{self.command} ({self.run_id})" if self.run_id else self.command
        return f"{self.user}@{self.host}, process {self.pid}: {what}, since {self.since}, last heartbeat {self.renewed}"


class Lease:
    """A lease that this process holds.

    Args:
        corpus: The corpus.
        holder: What its file says.
    """

    def __init__(self, corpus: Corpus, holder: Holder) -> None:
        self.corpus = corpus
        self.holder = holder
        self._ended = threading.Event()
        self._lost: str | None = None
        self._renewed_at = time.monotonic()
        self._renewing = threading.Lock()

    def check(self) -> None:
        """Make sure that the lease is still held; cheap as long as its heartbeats arrive.

        Raises:
            RunFailed: Someone broke the lease.
        """
        # After a longer pause, such as a suspended machine or a store that did not answer, another may have taken it.
        if self._lost is None and time.monotonic() - self._renewed_at > 3 * HEARTBEAT_S:
            self._renew()
        if self._lost is not None:
            raise RunFailed(self._lost)

    @property
    def has_ended(self) -> bool:
        """Whether the lease was given back."""
        return self._ended.is_set()

    @property
    def is_lost(self) -> bool:
        """Whether someone broke the lease."""
        return self._lost is not None

    def keep_renewing(self) -> None:
        """Renew the lease until it ends, or until someone breaks it. Body of a thread."""
        while not self._ended.wait(HEARTBEAT_S):
            # A store that does not answer takes no lease away: units that cannot be written fail by themselves.
            with contextlib.suppress(StorageError):
                self._renew()
            if self.is_lost:
                return

    def end(self) -> None:
        """Give the lease back."""
        self._ended.set()
        with self._renewing, contextlib.suppress(StorageError):
            self.corpus.delete(_path(self.holder.token))
            if self._lost is not None:
                self.corpus.delete(_path(self.holder.token, _BROKEN))

    def _renew(self) -> None:
        with self._renewing:
            if self._ended.is_set() or self._lost is not None:
                return
            tokens = _tokens(self.corpus)
            if self.holder.token not in tokens:
                self._lost = _lost(self.corpus, tokens)
                return
            self.holder = dataclasses.replace(self.holder, beat=self.holder.beat + 1, renewed=_now())
            _write(self.corpus, self.holder)
            self._renewed_at = time.monotonic()


@contextlib.contextmanager
def leased(corpus: Corpus, command: str, run_id: str = "") -> Iterator[Lease]:
    """Hold the lease of a corpus while the block runs.

    Args:
        corpus: The corpus; its folder is created.
        command: What runs, for others who want the lease.
        run_id: The run's id.

    Raises:
        UserError: Another command holds the lease.
        RunFailed: The lease was broken while the block ran.
    """
    lease = _acquire(corpus, _myself(command, run_id))
    with _interrupted_when_lost(lease) as follow:
        renewing = threading.Thread(target=follow, name="lease", daemon=True)
        renewing.start()
        try:
            yield lease
        except KeyboardInterrupt:
            if lease.is_lost:
                lease.check()
            raise
        finally:
            lease.end()
            renewing.join()


@contextlib.contextmanager
def _interrupted_when_lost(lease: Lease) -> Iterator[Callable[[], None]]:
    """Give the body of the renewing thread; when the lease is lost, it interrupts this thread as Ctrl-C does."""
    main = threading.main_thread()
    if threading.current_thread() is not main:
        # Python runs handlers of signals in the main thread only; this caller notices at the next ``check``.
        yield lease.keep_renewing
        return

    def interrupt(*_: object) -> None:
        if not lease.has_ended:
            raise KeyboardInterrupt

    def follow() -> None:
        lease.keep_renewing()
        if lease.is_lost and not lease.has_ended:
            signal.pthread_kill(main.ident or 0, _WAKE)

    before = signal.signal(_WAKE, interrupt)
    try:
        yield follow
    finally:
        signal.signal(_WAKE, signal.SIG_DFL if before is None else before)


def holders(corpus: Corpus) -> list[Holder]:
    """Whose leases are there now: none, or one; more while several commands begin."""
    found = (_read(corpus, token) for token in _tokens(corpus))
    return [holder for holder in found if holder is not None]


def is_alive(corpus: Corpus, holder: Holder) -> bool:
    """Whether a holder still runs: by its process on this machine, else by watching its file for ``ABANDONED_S``."""
    if holder.machine == _machine():
        return _runs(holder.pid, holder.started)
    before, until = _content(corpus, holder.token), time.monotonic() + ABANDONED_S
    while before is not None and time.monotonic() < until:
        time.sleep(min(1.0, ABANDONED_S / 10))
        now = _content(corpus, holder.token)
        if now != before:
            return now is not None
    return False


def break_leases(corpus: Corpus, broken: list[Holder]) -> None:
    """End leases. Their holders stop at their next heartbeat."""
    _forget_broken(corpus)
    for holder in broken:
        # A holder that renews its lease at this moment writes its file again after it was deleted; this one stays.
        corpus.put(_path(holder.token, _BROKEN), b"")
    corpus.delete(*(_path(holder.token) for holder in broken))


def _acquire(corpus: Corpus, mine: Holder) -> Lease:
    for _ in range(_ATTEMPTS):
        _clear_the_way(corpus)
        _write(corpus, mine)
        if _tokens(corpus) == [mine.token]:
            return Lease(corpus, mine)
        corpus.delete(_path(mine.token))
        time.sleep(random.uniform(0, _STEP_BACK_S))  # noqa: S311 - not a secret
    others = ", ".join(str(holder) for holder in holders(corpus))
    raise UserError(f"{corpus.uri}: other commands take its lease again and again ({others}). Try again later")


def _clear_the_way(corpus: Corpus) -> None:
    """Take over leases that are abandoned.

    Raises:
        UserError: A lease is held.
    """
    for holder in holders(corpus):
        if holder.machine != _machine():
            log.warning(
                "the lease of %s is held by %s; watching it for up to %.0f s to see whether that command still runs",
                corpus.uri, holder, ABANDONED_S,
            )  # fmt: skip
        if is_alive(corpus, holder):
            raise UserError(
                f"{corpus.uri} is in use by {holder}. One command at a time writes to a corpus; wait for it, stop it, "
                f"or end its lease with 'reidforge unlock {corpus.uri}'"
            )
        if _content(corpus, holder.token) is not None:
            log.warning("took over the lease of %s from %s: that command no longer runs", corpus.uri, holder)
            # A process that is known to be gone cannot renew its lease.
            corpus.delete(_path(holder.token)) if holder.machine == _machine() else break_leases(corpus, [holder])


def _tokens(corpus: Corpus) -> list[str]:
    """Tokens of the leases that are not broken."""
    names = {corpus.relative(info.path).removeprefix(f"{FOLDER}/"): info for info in corpus.files(FOLDER)}
    tokens = {name.removesuffix(_HELD) for name in names if name.endswith(_HELD)}
    return sorted(tokens - {name.removesuffix(_BROKEN) for name in names if name.endswith(_BROKEN)})


def _forget_broken(corpus: Corpus) -> None:
    """Remove what broken leases left, once their holders have long noticed it or ended."""
    before = dt.datetime.now(dt.UTC) - _FORGOTTEN_AFTER
    old = [corpus.relative(info.path) for info in corpus.files(FOLDER) if info.mtime and info.mtime < before]
    if broken := [path for path in old if path.endswith(_BROKEN)]:
        corpus.delete(*broken, *(path.removesuffix(_BROKEN) + _HELD for path in broken))


def _content(corpus: Corpus, token: str) -> bytes | None:
    """A lease's file; None if it was deleted."""
    try:
        return corpus.read(_path(token))
    except MissingFileError:
        return None


def _read(corpus: Corpus, token: str) -> Holder | None:
    """What a lease's file says; None if it was deleted."""
    content = _content(corpus, token)
    if content is None:
        return None
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        # Written by another version or by hand: a lease nevertheless, of a machine that is not known.
        unknown = dict.fromkeys(("user", "host", "machine", "command", "run_id", "since", "renewed"), "unknown")
        return Holder(token=token, pid=0, started=0, beat=0, **unknown)


def _write(corpus: Corpus, holder: Holder) -> None:
    corpus.put(_path(holder.token), json.dumps(dataclasses.asdict(holder), indent=1).encode())


def _path(token: str, kind: str = _HELD) -> str:
    return f"{FOLDER}/{token}{kind}"


def _lost(corpus: Corpus, tokens: list[str]) -> str:
    taken = [holder for token in tokens if (holder := _read(corpus, token)) is not None]
    by = f"; it is held by {taken[0]} now" if taken else ""
    return (
        f"the lease of {corpus.uri} was broken while this command ran{by}. "
        "Finished units are kept, and the same command resumes from here"
    )


def _myself(command: str, run_id: str) -> Holder:
    pid, now = os.getpid(), _now()
    return Holder(
        token=f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(6)}",
        user=_user(),
        host=platform.node(),
        machine=_machine(),
        pid=pid,
        started=_process_started(pid) or 0,
        command=command,
        run_id=run_id,
        since=now,
        beat=0,
        renewed=now,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return str(os.getuid())


def _now() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _machine() -> str:
    """Tells apart where a process id is valid: the machine since its start, and the container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        # The address of a network card; without one a random number, so that no other process passes for a neighbour.
        return f"{platform.node()} {uuid.getnode()}"


def _process_started(pid: int) -> int | None:
    """When a process of this machine started, in ticks since the machine did; None if that is not known."""
    try:
        # The name of the command, in brackets, may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A killed process that its parent has not collected yet is a zombie.
    return None if fields[0] in "ZX" else int(fields[19])


def _runs(pid: int, started: int) -> bool:
    """Whether a process of this machine runs, and is not another one under the same number."""
    if Path("/proc/self/stat").exists() and Path(f"/proc/{pid}").exists():
        return _process_started(pid) == started
    # Linux can hide processes of other users, and other systems have no /proc.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
