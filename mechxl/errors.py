"""Errors for users: each message is one sentence that says where, what is wrong, and how to fix it."""

from collections.abc import Callable


class InputError(Exception):
    """A mistake in what the user gave. Commands print its sentence and exit 2."""


class Busy(InputError):
    """Another process is at work there. A sweep waits until it ends."""


class Failure(Exception):
    """Something failed while it ran. Commands print its sentence and exit 1."""


def refuse(setting: str, value: object, reason: str, works: str) -> InputError:
    """The error for a setting that can't be had: its name, its value, the reason, and the nearest value that works."""
    return InputError(f"{setting} = {value}: {reason}; the nearest that works: {works}")


def shown(value: object) -> str:
    """A value that a user gave, shortened."""
    return _short(value, str)


def quoted(value: object) -> str:
    """The same, with quotation marks around text."""
    return _short(value, repr)


def _short(value: object, write: Callable[[object], str]) -> str:
    try:
        text = write(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return "a number too long to show"
    return text if len(text) <= 100 else f"{text[:97]}..."
