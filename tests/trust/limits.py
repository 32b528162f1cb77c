"""What a machine may refuse: room on a disk, a file's size, memory, permission. What needs root is skipped by name."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


def mount(*arguments: str | Path, needs: str = "a disk in memory") -> None:
    """Mounts something, or skips the test."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True) if os.geteuid() == 0 else None
    if done is None or done.returncode:
        pytest.skip(f"needs root: {needs}")


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A small disk in memory."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def resize(place: Path, kilobytes: int) -> None:
    mount("-o", f"remount,size={kilobytes}k", place)


def fill(place: Path, left: int) -> Path:
    """Fills a disk with a file but for some bytes."""
    full = place / "filler"
    with full.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(place).f_bavail * os.statvfs(place).f_frsize - left)
    return full


@contextmanager
def read_only(folder: Path, place: Path) -> Iterator[Path]:
    """A folder as it looks on a disk that can't be written."""
    place.mkdir()
    mount("--bind", folder, place, needs="a disk that can't be written")
    try:
        mount("-o", "remount,ro,bind", place, needs="a disk that can't be written")
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def limited(kind: int, amount: int) -> Iterator[None]:
    """A lower limit of this process."""
    before, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount, most))
    try:
        yield
    finally:
        resource.setrlimit(kind, (before, most))


@contextmanager
def memory(more: int) -> Iterator[None]:
    """A limit of address space, so many bytes above what this process has."""
    if sys.platform != "linux":
        pytest.skip("needs root: a limit of address space as Linux has it")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limited(resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + more):
        yield


@contextmanager
def as_nobody() -> Iterator[None]:
    """Another user, for whom modes of files count."""
    if os.geteuid() != 0:
        pytest.skip("needs root: another user")
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
