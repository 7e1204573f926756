"""Linear algebra of small matrices in elementwise operations, which kernels and lanes can hold.

XLA hands a product or a factorisation to a library, which a kernel cannot call.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Inexact, Int

from .fences import stored
from .primitives import traits
from .program import Equation, Program, Rule, Rules, computed, trace
from .rewriting import rewritten

# A product of matrices is expanded up to so many products of numbers.
LARGEST_PRODUCT = 1024
# A matrix is factored or solved by elementwise operations up to this many rows.
LARGEST_MATRIX = 8


def expanded(program: Program) -> Program:
    """The program with products, factorisations and solves of small matrices written out."""
    if not any(equation.name in _RULES for equation in program.equations):
        return program
    avals = [program.avals[number] for number in program.inputs]
    return trace(lambda *inputs: program.run_by(_RULES, inputs), *avals)


def few_products(program: Program, most: int, most_in_batches: int) -> bool:
    """Whether a program multiplies matrices, and each time few numbers: `most`, or so many where
    the matrices stand in batches, which XLA multiplies one by one."""
    products = [equation for equation in program.equations if equation.name == "dot_general"]
    return bool(products) and all(_is_few(one, program, most, most_in_batches) for one in products)


def products_written_out(fn: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
    """A function of arrays with its products of matrices written out, up to `LARGEST_PRODUCT`."""

    def rules(program: Program) -> Rules:
        if all(equation.name != "dot_general" for equation in program.equations):
            return {}
        return {"dot_general": _product_of_stored(_computed(program))}

    return rewritten(fn, rules)


def _computed(program: Program) -> set[int]:
    """The values of a program that it computes, and those that are made of these."""
    found: set[int] = set()
    for equation in program.equations:
        if traits(equation.name).computes or found.intersection(equation.ins):
            found.update(equation.outs)
    return found


def _product_of_stored(computed: Collection[int]) -> Rule:
    """The rule of products whose computed factors are stored: each is read many times, and XLA
    would compute it again each time."""

    def rule(equation: Equation, operands: list[Any]) -> list[Array] | None:
        given = zip(equation.ins, operands, strict=True)
        return _product(equation, [stored(x) if number in computed else x for number, x in given])

    return rule


def _lengths(equation: Equation, left: Any, right: Any) -> tuple[list[int], list[int]]:
    """The axes of a product, and those over which it sums."""
    (contracted, batch) = equation.params["dimension_numbers"]
    shape = [left.shape[axis] for axis in batch[0]]
    for side, x in enumerate((left, right)):
        used = (*contracted[side], *batch[side])
        shape += [length for axis, length in enumerate(x.shape) if axis not in used]
    return shape, [left.shape[axis] for axis in contracted[0]]


def _is_few(equation: Equation, program: Program, most: int, most_in_batches: int) -> bool:
    """Whether a product is of few numbers that are no whole ones."""
    shape, sums = _lengths(equation, *(program.avals[number] for number in equation.ins))
    _, batch = equation.params["dimension_numbers"]
    inexact = jnp.issubdtype(program.avals[equation.outs[0]].dtype, jnp.inexact)
    bound = most_in_batches if math.prod(shape[: len(batch[0])]) > 1 else most
    return inexact and math.prod((*shape, *sums)) <= bound


def _product(equation: Equation, operands: list[Any]) -> list[Array] | None:
    """A product as a sum over the axes that are contracted."""
    left, right = operands
    (contracted, batch) = equation.params["dimension_numbers"]
    free = [
        [axis for axis in range(x.ndim) if axis not in (*contracted[side], *batch[side])]
        for side, x in enumerate((left, right))
    ]
    shape, sums = _lengths(equation, left, right)
    if math.prod((*shape, *sums)) > LARGEST_PRODUCT:
        return None
    places = len(batch[0]), len(free[0]), len(free[1]), len(sums)
    numbers = list(range(sum(places)))
    of_batch, of_left, of_right, of_sums = (
        numbers[sum(places[:index]) : sum(places[: index + 1])] for index in range(4)
    )
    whole = (*shape, *sums)

    def placed(x: Any, axes: Sequence[int], at: Sequence[int]) -> Any:
        return lax.broadcast_in_dim(lax.transpose(x, tuple(axes)), whole, tuple(at))

    dtype = equation.params["preferred_element_type"] or jnp.result_type(left, right)
    left = placed(left, (*batch[0], *free[0], *contracted[0]), (*of_batch, *of_left, *of_sums))
    right = placed(right, (*batch[1], *free[1], *contracted[1]), (*of_batch, *of_right, *of_sums))
    products = left.astype(dtype) * right.astype(dtype)
    if not of_sums:
        return [products]
    summed = lax.reduce_or if products.dtype == bool else lax.reduce_sum
    return [summed(products, tuple(of_sums))]


def _is_small(*matrices: Any) -> bool:
    return all(x.ndim == 2 and max(x.shape) <= LARGEST_MATRIX for x in matrices)


def _factored(equation: Equation, operands: list[Any]) -> list[Array] | None:
    """LU with partial pivoting: the factors in one matrix, the pivots and the permutation."""
    (matrix,) = operands
    if not _is_small(matrix) or matrix.shape[0] != matrix.shape[1]:
        return None
    size = matrix.shape[0]
    rows = jnp.arange(size, dtype=jnp.int32)
    pivots, order = [], rows
    for k in range(size):
        sizes = jnp.where(rows >= k, jnp.abs(matrix[:, k]), -1.0)
        # A column of NaN has no largest entry: its diagonal is the pivot.
        pivot = jnp.maximum(lax.argmax(sizes, 0, jnp.int32), k)
        matrix = _with_rows_exchanged(matrix, rows == k, rows == pivot)
        order = _with_rows_exchanged(order[:, None], rows == k, rows == pivot)[:, 0]
        pivots.append(pivot)
        below = rows > k
        column = jnp.where(below, matrix[:, k] / matrix[k, k], 0.0)
        # What is eliminated is replaced by the factor that eliminated it.
        rest = jnp.where((rows > k)[None, :], matrix[k][None, :], 0.0)
        kept = jnp.where(below[:, None] & (rows == k)[None, :], column[:, None], matrix)
        matrix = kept - column[:, None] * rest
    return [matrix, jnp.stack(pivots), order]


def _with_rows_exchanged(
    matrix: Inexact[Array, "n m"] | Int[Array, "n m"],
    first: Bool[Array, " n"],
    second: Bool[Array, " n"],
) -> Array:
    """A matrix with two rows exchanged."""

    def row(chosen: Array) -> Array:
        return jnp.sum(jnp.where(chosen[:, None], matrix, 0), axis=0, dtype=matrix.dtype)[None, :]

    exchanged = jnp.where(first[:, None], row(second), matrix)
    return jnp.where(second[:, None], row(first), exchanged)


def _triangular(equation: Equation, operands: list[Any]) -> list[Array] | None:
    """The solution of a triangular system, row by row."""
    matrix, right = operands
    if not _is_small(matrix) or right.ndim != 2 or right.size > LARGEST_MATRIX**2:
        return None
    params = equation.params
    if params["conjugate_a"]:
        matrix = jnp.conj(matrix)
    # x A = b is Aᵀ xᵀ = bᵀ.
    turned = bool(params["transpose_a"]) == bool(params["left_side"])
    lower = params["lower"] != turned
    matrix = matrix.T if turned else matrix
    right = right if params["left_side"] else right.T
    size = matrix.shape[0]
    rows = jnp.arange(size)
    found = jnp.zeros_like(right)
    for k in range(size) if lower else reversed(range(size)):
        known = jnp.where(rows < k if lower else rows > k, matrix[k], 0)
        left = right[k] - jnp.sum(known[:, None] * found, axis=0)
        row = left if params["unit_diagonal"] else left / matrix[k, k]
        found = jnp.where((rows == k)[:, None], row[None, :], found)
    return [found if params["left_side"] else found.T]


def _cholesky(equation: Equation, operands: list[Any]) -> list[Array] | None:
    """The lower Cholesky factor, column by column. Only the lower triangle is read."""
    (matrix,) = operands
    if not _is_small(matrix) or jnp.iscomplexobj(matrix):
        return None
    rows = jnp.arange(matrix.shape[0])
    found = jnp.zeros_like(matrix)
    for k in range(matrix.shape[0]):
        column = matrix[:, k] - jnp.sum(found * found[k][None, :], axis=1)
        column = jnp.where(rows >= k, column / jnp.sqrt(column[k]), 0.0)
        found = jnp.where((rows == k)[None, :], column[:, None], found)
    return [found]


def _solve(equation: Equation, operands: list[Any]) -> list[Array]:
    """The solve alone: its derivatives have been taken."""
    lengths, solve = equation.params["const_lengths"], equation.params["jaxprs"].solve
    first = lengths.matvec + lengths.vecmat
    inside = operands[first : first + lengths.solve]
    return computed(solve).run_by(_RULES, [*inside, *operands[sum(lengths) :]])


_RULES: dict[str, Rule] = {
    "dot_general": _product,
    "lu": _factored,
    "triangular_solve": _triangular,
    "cholesky": _cholesky,
    "custom_linear_solve": _solve,
}
