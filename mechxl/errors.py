"""Errors for users: each message is one sentence that says where, what is wrong, and how to fix it."""


class InputError(Exception):
    """A mistake in what the user gave. Commands print its sentence and exit 2."""


class Busy(InputError):
    """Another process is at work there. A sweep waits until it ends."""


class Failure(Exception):
    """Something failed while it ran. Commands print its sentence and exit 1."""


def refuse(setting: str, value: object, reason: str, works: str) -> InputError:
    """The error for a setting that can't be had: its name, its value, the reason, and the nearest value that works."""
    return InputError(f"{setting} = {value}: {reason}; the nearest that works: {works}")
