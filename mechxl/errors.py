"""What mechxl raises for its users: each message is one sentence that says what is wrong, where, and how to fix it."""


class InputError(Exception):
    """A mistake in what the user gave, said in one sentence: what, where, how to fix. Commands print it and exit 2."""


class Failure(Exception):
    """Something that failed while it ran, said in one sentence. Commands print it and exit 1."""


def refuse(setting: str, value: object, reason: str, works: str) -> InputError:
    """The sentence for a setting that can't hold: its name, its value, why, and the nearest that works."""
    return InputError(f"{setting} = {value}: {reason}; the nearest that works: {works}")
