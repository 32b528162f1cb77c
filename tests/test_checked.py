"""A call of a kind that was checked is not checked again; any other call is, wherever its error is."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Float, Int, TypeCheckError

import mechxl.model.forward
from tests.checked import checked_once


def plain_jaxtyped(*, typechecker: Any) -> Any:
    from jaxtyping._decorator import jaxtyped

    return jaxtyped(typechecker=typechecker)


def checked(target: Any) -> Any:
    return checked_once(plain_jaxtyped)(typechecker=beartype)(target)


ONE, TWO = np.zeros((2, 3)), np.zeros((4, 3))


def test_mechxl_is_checked_this_way():
    assert "checked_once" in mechxl.model.forward.attend.__code__.co_qualname


@pytest.mark.parametrize("calls", [1, 3])
def test_an_argument_that_does_not_fit_is_found_after_calls_that_do(calls):
    @checked
    def product(x: Float[np.ndarray, "a b"], y: Float[np.ndarray, "b c"], names: list[str] | None = None) -> Any:
        return x @ y

    for _ in range(calls):
        assert product(ONE, ONE.T).shape == (2, 2)
        assert product(ONE, TWO.T, names=["a"]).shape == (2, 4)
    for wrong in ((ONE, ONE), (ONE.astype(int), ONE.T), (ONE[0], ONE.T), (ONE.tolist(), ONE.T), (ONE, ONE.T, [1])):
        with pytest.raises(TypeCheckError):
            product(*wrong)
    with pytest.raises(TypeCheckError):
        product(ONE, y=ONE.T, names="abc")


@pytest.mark.parametrize("calls", [1, 3])
@pytest.mark.parametrize("wrong", [ONE[:, :2], ONE.astype(int), None, ONE.tolist(), (ONE,)])
def test_a_result_that_does_not_fit_is_found_after_results_that_do(calls, wrong):
    result = [ONE]

    @checked
    def same(x: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
        return result[0]

    for _ in range(calls):
        same(ONE)
    result[0] = wrong
    with pytest.raises(TypeCheckError):
        same(ONE)
    with pytest.raises(TypeCheckError):
        same(ONE)


def test_functions_made_anew_share_what_passed_and_keep_their_own_values():
    decorate = checked_once(plain_jaxtyped)(typechecker=beartype)

    def made(n: int) -> Any:
        def add(x: Int[np.ndarray, " a"]) -> Int[np.ndarray, " a"]:
            return x + n

        return decorate(add)

    assert [made(n)(np.arange(2)).tolist() for n in (1, 2, 3)] == [[1, 2], [2, 3], [3, 4]]
    with pytest.raises(TypeCheckError):
        made(4)(np.zeros(2))


def test_fields_and_literals():
    @checked
    @dataclass(frozen=True)
    class Pair:
        x: Float[np.ndarray, " a"]
        y: Float[np.ndarray, " a"]

    @checked
    @dataclass(frozen=True)
    class Other:
        x: Int[np.ndarray, " a"]
        y: Int[np.ndarray, " a"]

    assert len(Pair(ONE[0], TWO[0]).x) == len(Pair(ONE[0], TWO[0]).y)
    assert len(Other(np.arange(3), np.arange(3)).x) == 3
    for pair, wrong in ((Pair, (ONE[0], ONE[0, :2])), (Other, (ONE[0], TWO[0]))):
        with pytest.raises(TypeCheckError):
            pair(*wrong)

    @checked
    def way(name: Literal["there", "back"]) -> str:
        return name

    assert [way("there"), way("back")] == ["there", "back"]
    with pytest.raises(TypeCheckError):
        way("about")
