"""Finds a question by its name: one of mechxl's, or a user's own module."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import ParamSpec, TypeVar

from mechxl.errors import InputError
from mechxl.questions.question import Question, declared
from mechxl.questions.table import QUESTIONS

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

_LOCK = Lock()
_ADDED: list[str] = []  # to the path: an entry for each that is within now, in any thread


def find_question(name: str) -> Question:
    """The question of a name: one of QUESTIONS, or an own module or package by its dotted name.

    An own module is looked for where Python looks for modules, and last in the working directory. There its functions
    may import too.

    Raises:
        InputError: there is no such question, or the module lacks one of the two functions.
        Exception: whatever an own module raises while it is imported.
    """
    if name in QUESTIONS:
        return declared(name, QUESTIONS[name])
    own = declared(name, _own_module(name))
    overview = own.overview and _importing(own.overview)
    return replace(own, compute=_importing(own.compute), figures=_importing(own.figures), overview=overview)


def _importing(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """A function that may import from the working directory while it runs."""

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        with _working_directory_importable():
            return function(*args, **kwargs)

    return run


def _own_module(name: str) -> ModuleType:
    with _working_directory_importable() as directory:
        if not _exists(name):
            raise InputError(
                f"question {name!r}: there is no such question; there are: {', '.join(QUESTIONS)}; or name a module "
                f"that can be imported from {directory}, as my_package.my_question"
            )
        return importlib.import_module(name)


@contextmanager
def _working_directory_importable() -> Iterator[Path]:
    """The working directory stands last where Python looks for modules, and is taken off again.

    Nothing is compiled into the user's folder. Python takes compiled code for current where the source's second and
    size are the same, so that a module edited within a second would answer with its old code.
    """
    directory = Path.cwd()
    here, writes_none = str(directory), sys.dont_write_bytecode
    with _LOCK:
        added = here in _ADDED or here not in sys.path
        if added:
            if here not in _ADDED:
                sys.path.append(here)
            _ADDED.append(here)
        sys.dont_write_bytecode = True
    try:
        yield directory
    finally:
        with _LOCK:
            if added:
                _ADDED.remove(here)
                if here not in _ADDED and here in sys.path:
                    sys.path.remove(here)
            if not _ADDED:
                sys.dont_write_bytecode = writes_none


def _exists(name: str) -> bool:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as missing:  # of a package on the way
        if missing.name in {".".join(parts[:end]) for end in range(1, len(parts) + 1)}:
            return False
        raise
