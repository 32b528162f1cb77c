"""Checks of types and shapes once for every kind of call, not at every call: else they take most of the tests' time.

jaxtyping and beartype look at types, dtypes and shapes. A call whose arguments and result have those of an earlier,
checked call of the same function would pass as well, so it is not checked again. What a key can't describe in full
(long or unusual containers, values of a Literal) is checked every time.
"""

import functools
import inspect
import types
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import numpy as np
import torch

MOST = 32  # items of a container that are looked at; a longer one is checked every time


class _UnknownError(Exception):
    """A value of which a check may look at more than a key holds."""


def kind(value: Any) -> Hashable:
    """All that a check may look at.

    Raises:
        _UnknownError: the value is a container that is long or of an unusual type.
    """
    own = type(value)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return own, value.dtype, tuple(value.shape)
    if isinstance(value, type):
        return value
    if own in (str, bytes, range) or not isinstance(value, Collection) or hasattr(value, "dtypes"):
        return own  # of a table too, only the type is looked at
    if own not in (tuple, list, dict, set, frozenset) or len(value) > MOST:
        raise _UnknownError
    if isinstance(value, Mapping):
        return own, tuple((kind(key), kind(one)) for key, one in value.items())
    return own, tuple(kind(one) for one in value)


def kind_of_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable | None:
    """The kinds of arguments; None: it is not known."""
    try:
        return tuple([kind(one) for one in args]), tuple([(key, kind(one)) for key, one in kwargs.items()])
    except _UnknownError:
        return None


@dataclass
class _Calls:
    """Of one function: its code, a stand-in that is checked likewise, and the calls that passed."""

    code: types.CodeType  # kept, so that its id stays its own
    stand_in: Callable[..., Any]
    passed: dict[Hashable, set[Hashable]] = field(default_factory=dict)  # kinds of results by kinds of arguments


def checked_once(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """`jaxtyping.jaxtyped`, but a call is checked only if none of its kind was."""
    known: dict[int, _Calls] = {}  # by code, since a function inside a function is made anew at every call

    def decorate(target: Any, check: Callable[[Any], Any]) -> Any:
        if inspect.isclass(target):
            if is_dataclass(target) and not getattr(target, "__no_type_check__", False):
                target.__init__ = decorate(target.__init__, check)
            return target
        if not inspect.isfunction(target) or inspect.isgeneratorfunction(target) or "Literal" in _hints(target):
            return check(target)
        calls = known.get(id(target.__code__))
        if calls is None:
            calls = known[id(target.__code__)] = _Calls(target.__code__, check(_stand_in(target)))
        whole: list[Any] = []

        @functools.wraps(target)
        def call(*args: Any, **kwargs: Any) -> Any:
            asked = kind_of_call(args, kwargs)
            if asked is None or asked not in calls.passed:
                if not whole:
                    whole.append(check(target))
                result = whole[0](*args, **kwargs)
                answered = kind_of_call((result,), {})
                if asked is not None:
                    calls.passed[asked] = {answered} - {None}
                return result
            result = target(*args, **kwargs)
            answered = kind_of_call((result,), {})
            if answered not in calls.passed[asked]:
                calls.stand_in(result, *args, **kwargs)
                calls.passed[asked] |= {answered} - {None}
            return result

        return call

    return lambda *, typechecker: lambda target: decorate(target, jaxtyped(typechecker=typechecker))


def _hints(function: types.FunctionType) -> str:
    return str(function.__annotations__)


def _stand_in(function: types.FunctionType) -> Any:
    """A function of the same signature, and before it a result, which it returns."""

    def give(_result_: Any, /, *_: Any, **__: Any) -> Any:
        return _result_

    signature = inspect.signature(function)
    first = inspect.Parameter("_result_", inspect.Parameter.POSITIONAL_ONLY)
    given = types.FunctionType(give.__code__, function.__globals__, function.__name__)
    given.__module__, given.__annotations__ = function.__module__, dict(function.__annotations__)
    parameters = [first, *signature.parameters.values()]
    given.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return given
