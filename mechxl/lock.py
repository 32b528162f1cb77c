"""One process at a time trains in a directory, whatever machine it runs on.

lock   an flock: the system frees it when the process ends for any reason
lease  machine, process, and a sign of life every 10 seconds: not all file systems pass an flock on to other machines

A process that finds the lease of another machine waits for a sign of life. It gives way if it sees one, and takes the
directory over if it sees none for 30 seconds, by its own clock. The other one, should it wake up, writes nothing more.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mechxl.errors import Busy, Failure, InputError
from mechxl.files import kind_of, read_bytes, reason, write_text

LOCK, LEASE = "lock", "lease"
BEAT = 10.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without one after which a lease is void
PATIENCE = 0.3  # seconds; who asks whether a lock is held holds it for a moment
NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of a file system that has none: the lease alone must do


@dataclass(frozen=True)
class Lease:
    """Who is at work.

    Attributes:
        machine: the boot of a machine; an flock holds among the processes of one.
        host: its name, for messages.
        pid: of the process.
        token: of this lease alone.
    """

    machine: str
    host: str
    pid: int
    token: str

    @classmethod
    def own(cls) -> "Lease":
        """A new lease of this process."""
        return cls(_machine(), socket.gethostname(), os.getpid(), uuid.uuid4().hex)

    @classmethod
    def read(cls, directory: Path) -> "Lease | None":
        """The lease of a directory; None if there is none."""
        try:
            return cls(**json.loads(read_bytes(directory / LEASE, 4096)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Hold:
    """The right to write to a directory.

    Attributes:
        directory: where it is now; whoever moves it says so here.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.lease = directory, Lease.own()
        self._ended = threading.Event()
        write_text(directory / LEASE, json.dumps(asdict(self.lease)) + "\n")
        self._file = os.open(directory / LEASE, os.O_RDWR | os.O_CLOEXEC)
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):
                os.utime(self._file)  # the file, wherever its directory is now

    def check(self) -> None:
        """Checks that no other process has taken the directory over.

        Raises:
            Failure: one has, or somebody removed the lease.
        """
        if (found := Lease.read(self.directory)) != self.lease:
            what = f"{found} has taken it over" if found else "its lease was removed"
            raise Failure(
                f"{self.directory}: is no longer this process's to write to: {what}; nothing more is written here"
            )

    def end(self) -> None:
        """Frees the directory."""
        self._ended.set()
        self._beating.join()
        os.close(self._file)
        with suppress(OSError, Failure):
            self.check()
            (self.directory / LEASE).unlink()
        with suppress(OSError):
            (self.directory / LOCK).unlink()  # while it is held, so that it can't be another process's lock


@contextmanager
def hold(directory: Path, out: Path, *, quiet: bool = False) -> Iterator[Hold]:
    """Holds a directory, against all other processes that ask here.

    Args:
        directory: an existing directory.
        out: its name for messages.
        quiet: wait for a sign of life of another machine without a word.

    Raises:
        Busy: another process holds it.
        InputError: the lock can't be written, or mechxl did not make what has its name or the lease's.
    """
    for path in (directory / LOCK, directory / LEASE):
        if not _is_ours(path):
            raise InputError(
                f"{path}: is not a {path.name} that mechxl made ({kind_of(path)}); move it away, or choose another "
                "--out"
            )
    lock = FileLock(directory / LOCK)
    try:
        _acquire(lock, directory, out, quiet)
        held = Hold(directory)
    except BaseException as error:
        if lock.is_locked and kind_of(directory / LEASE) == "nothing":
            (directory / LOCK).unlink(missing_ok=True)
        lock.release()
        if isinstance(error, OSError) and not isinstance(error, Timeout):
            raise InputError(f"{out}: can't be written ({reason(error)}); choose another --out") from None
        raise
    try:
        yield held
    finally:
        held.end()
        lock.release()


def _acquire(lock: FileLock, directory: Path, out: Path, quiet: bool) -> None:
    """Takes the lock, and waits for a sign of life where it alone does not tell.

    Raises:
        Busy: another process holds the directory.
        OSError: the lock can't be written.
    """
    try:
        lock.acquire(timeout=PATIENCE, poll_interval=0.05)
    except Timeout:
        raise Busy(busy(out, Lease.read(directory))) from None
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
    lease = Lease.read(directory)
    if lease is None or (lease.machine == _machine() and lock.is_locked):  # then its process has ended
        return
    if not quiet:
        print(
            f"mechxl: {out}: {lease} was training this run; waiting {SILENCE:.0f} s for a sign of life of it",
            file=sys.stderr,
        )
    first, until = _signed(directory), time.monotonic() + SILENCE
    while time.monotonic() < until:
        if (now := _signed(directory)) is None:
            return
        if now != first:
            raise Busy(busy(out, Lease.read(directory)))
        time.sleep(BEAT / 20)


def is_held(directory: Path) -> bool:
    """Whether a process trains in a directory, on this machine or another one; nothing there changes."""
    if kind_of(directory / LOCK) == "file" and _is_locked(directory / LOCK):
        return True
    lease, signed = Lease.read(directory), _signed(directory)
    if lease is None or signed is None or lease.machine == _machine():
        return False
    return time.time() - signed / 1e9 < 2 * SILENCE


def busy(out: Path, lease: Lease | None = None) -> str:
    """The sentence for a run that another process trains."""
    who = f" ({lease})" if lease else ""
    return f"{out}: another process is training this run{who}; wait until it ends, or choose another --out"


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False


def _signed(directory: Path) -> int | None:
    """When a lease was last signed, by the clock of its file system; None if there is none."""
    try:
        with (directory / LEASE).open("rb") as file:  # opening makes a network file system ask its server
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def _is_ours(path: Path) -> bool:
    """Whether a lock or a lease may be made at a path: nothing is there, or one of ours, by its content."""
    if (kind := kind_of(path)) != "file":
        return kind == "nothing"
    return path.stat().st_size == 0 if path.name == LOCK else Lease.read(path.parent) is not None
