"""Ctrl-C during a training: the training finishes its step and saves everything."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Yields a list that Ctrl-C fills, so that a loop can stop after its step; a second Ctrl-C stops at once.

    Python handles signals in the main thread only; in other threads the list stays empty.
    """
    received: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        print("mechxl: training stops after this step; press Ctrl-C again to stop at once", file=sys.stderr)

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread
        yield received
        return
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)
