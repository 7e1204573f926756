"""Rules of linear solves and factorisations.

Each finds coefficient n by one solve with the factor at order 0: of A x = b,
x_n = A_0^-1 (b_n - the sum over k >= 1 of A_k x_(n-k)). For the derivatives of factors see de Hoog,
Anderssen and Lukas, *Differentiation of Matrix Functionals Using Triangular Factorization* (2011).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ..rule import Application, Need, Rule, coefficient
from ..series import Order, Product, Series, convolve
from .inner import Inner


def linear_solve(application: Application) -> Rule:
    """`custom_linear_solve`: the residual with x_n = 0 by its product, then its own solve.

    The operands are the constants of the product, of its transpose and of the two solves, and then
    the right-hand sides. The rule holds order 0 of all constants.
    """
    equation, carried, avals = application.equation, application.carried, application.avals
    lengths = equation.params["const_lengths"]
    unknowns = len(equation.outs)
    first, rest, total = lengths.matvec, len(carried) - unknowns, len(carried)
    inner = Inner(
        equation.params["jaxprs"].matvec,
        series=(*carried[:first], *[True] * unknowns),
        given=(*[True] * first, *[False] * unknowns),
    )

    def start(*operands: Any) -> Sequence[Any]:
        solution = equation.bind(*operands)
        _, histories, held = inner.start([*operands[:first], *solution])
        return [*solution, *histories, *operands[:rest], *held]

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        matrix, sides = operands[:first], operands[rest:total]
        constants, held = operands[total : total + rest], operands[total + rest :]
        histories = [one.body for one in series]

        def product(unknown: Sequence[Array]) -> tuple[list[Array], list[Array]]:
            ins = [*matrix, *(Series([], one) for one in unknown)]
            return inner.step(n, ins, histories, held)

        known, _ = product([jnp.zeros(aval.shape, aval.dtype) for aval in avals[rest:]])
        right = [
            coefficient(side, aval) - value
            for side, aval, value in zip(sides, avals[rest:], known, strict=True)
        ]
        solution = equation.bind(*constants, *right)
        _, after = product(solution)
        return [*solution, *after]

    needs = inner.needs[:first] + [Need.NOTHING] * (rest - first)
    needs += [Need.CURRENT if flag else Need.NOTHING for flag in carried[rest:]]
    return Rule(start, step, held=rest + len(inner.held), needs=tuple(needs), own=False)


def as_linear_solve(a: Any, b: Any, **params: Any) -> Any:
    """A triangular solve as a linear solve, by the product that it inverts."""
    lower, unit = params["lower"], params["unit_diagonal"]
    opposite = {**params, "transpose_a": not params["transpose_a"]}

    def product(x: Any) -> Any:
        triangle = _triangle(a, lower, unit)
        if params["conjugate_a"]:
            triangle = triangle.conj()
        if params["transpose_a"]:
            triangle = triangle.mT
        times = _matmul(triangle, x) if params["left_side"] else _matmul(x, triangle)
        return times + x if unit else times

    def solve(options: dict[str, Any]) -> Callable[..., Any]:
        return lambda _, right: lax.linalg.triangular_solve(a, right, **options)

    return lax.custom_linear_solve(product, b, solve(params), solve(opposite))


def _triangle(a: Any, lower: bool, strict: bool) -> Any:
    return jnp.tril(a, -int(strict)) if lower else jnp.triu(a, int(strict))


def _matmul(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _product(pair: Callable[[Any, Any], Any]) -> Product:
    return Product(pair, lambda a, b: jnp.sum(pair(a, b), axis=0))


def cholesky(application: Application) -> Rule:
    """A = L L^H by its lower triangle: L_n = L_0 phi(L_0^-1 R L_0^-H).

    R is A_n without the products of known L, and phi takes the lower triangle with half of the
    diagonal.
    """
    product = _product(lambda a, b: _matmul(a, b.conj().mT))

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (a,), (factor,) = operands, series
        current, first = a.current, jnp.tril(factor.zero)  # above it is what A had
        below = jnp.tril(current, -1)
        diagonal = jnp.tril(jnp.triu(current)).real.astype(current.dtype)
        rest = below + diagonal + below.conj().mT - convolve(factor, factor, n, product)
        left = lax.linalg.triangular_solve(first, rest, left_side=True, lower=True)
        both = lax.linalg.triangular_solve(
            first, left, lower=True, transpose_a=True, conjugate_a=True
        )
        half = (jnp.tril(both) + jnp.tril(both, -1)) / 2
        return [_matmul(first, half)]

    return Rule(application.equation.bind, step)


def lu(application: Application) -> Rule:
    """P A = L U with the pivots of order 0.

    With R the rows of A_n without the products of known L and U, and F = L_0^-1 R U_0^-1, the lower
    factor gets L_0 times the part of F below its diagonal, and the upper the rest of F times U_0.
    """
    equation = application.equation
    rows, columns = application.avals[0].shape[-2:]
    rank = min(rows, columns)
    product = _product(
        lambda a, b: _matmul(jnp.tril(a, -1)[..., :, :rank], jnp.triu(b)[..., :rank, :])
    )

    def start(a: Any) -> Sequence[Any]:
        factors, pivots, permutation = equation.bind(a)
        return [factors, pivots, permutation, permutation]

    def step(n: Order, operands: list[Any], series: list[Series]) -> list[Array]:
        (a, permutation), (factors,) = operands, series
        permuted = jnp.take_along_axis(a.current, permutation[..., None], axis=-2)
        rest = permuted - convolve(factors, factors, n, product)
        lower, upper = _square_factors(factors.zero)
        left = lax.linalg.triangular_solve(
            lower, rest, left_side=True, lower=True, unit_diagonal=True
        )
        both = lax.linalg.triangular_solve(upper, left, lower=False)
        return [_matmul(lower, jnp.tril(both, -1)) + _matmul(jnp.triu(both), upper)]

    return Rule(start, step, held=1, outputs=(True, False, False))


def _square_factors(factors: Any) -> tuple[Any, Any]:
    """L and U as `lu` packs them, each made square by ones on its diagonal."""
    rows, columns = factors.shape[-2:]
    rank = min(rows, columns)
    batch = [(0, 0)] * (factors.ndim - 2)
    lower = jnp.tril(factors, -1)[..., :, :rank]
    lower = jnp.pad(lower, [*batch, (0, 0), (0, rows - rank)])
    upper = jnp.triu(factors)[..., :rank, :]
    upper = jnp.pad(upper, [*batch, (0, columns - rank), (0, 0)])
    ones = (jnp.arange(columns) >= rank).astype(factors.dtype)
    return lower + jnp.eye(rows, dtype=factors.dtype), upper + jnp.diag(ones)
