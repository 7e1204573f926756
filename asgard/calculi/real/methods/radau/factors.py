"""The linear systems of Newton's iterations, in the basis of the tableau's eigenvectors.

A step of size h has one n × n matrix for each system of the tableau: (a - b i) I - h J. The first
is real. All are solved as one batch, real and imaginary parts side by side:
`[systems, n, n, *lanes]`.
Small ones are inverted by elementwise operations, which kernels and lanes can hold: a product by
the inverse is one operation, where triangular solves are 2 n. Larger ones are factored by LAPACK,
and those that are bands row by row.
"""

import abc
import dataclasses
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as linalg
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, Int

from .....fixed_points import bands
from .....fixed_points.bands import BandFactors, Pair
from .....jaxprs.fences import stored
from .....jaxprs.kernel import LARGEST_ARRAY, part
from .....jaxprs.reductions import FEW, total
from .....jaxprs.sparsity import Pattern
from .tableau import Tableau

# Up to so many entries of the state matrices are inverted by elementwise operations.
SMALL = 32
# With so many rows, a turn of the elimination is left to XLA as one loop, which computes the row of
# the pivot again for each row: LLVM makes vectors of it. Others store that row. Measured: with 8 to
# 12 rows the loop takes 0.7 of the time, with 5 or 16 1.2 times, with 20 1.4 times.
FUSED = range(8, 16)


def fit_kernel(systems: int, size: int, lanes: int) -> bool:
    """Whether what is computed of so many systems of a size is small enough for a kernel.

    Only there are sums written out: elsewhere XLA runs the operations one by one.
    """
    return systems * size * lanes * max(2 * size, 4 * systems - 2) < LARGEST_ARRAY


class Solved(NamedTuple):
    """The solutions of the systems of one step, by parts `[systems, n, *lanes]`.

    `left`: by how much stages may be wrong because of what was left unsolved, in units of what is
    to be reached, `[*lanes]`; None where nothing was.
    """

    real: Array
    imaginary: Array
    left: Array | None = None


class Factors(eqx.Module):
    """What solves the systems of one step."""

    @abc.abstractmethod
    def solve(self, real: Array, imaginary: Array, transposed: bool) -> Solved:
        """The solutions for right-hand sides, both by parts `[systems, n, *lanes]`.

        If `transposed`, by the transposed map of real and imaginary parts.
        """

    @abc.abstractmethod
    def solve_real(self, right: Array) -> Array:
        """The solution of the real system, `[n, *lanes]`."""

    @abc.abstractmethod
    def spread(self, values: Array, transposed: bool) -> Array:
        """By how much errors of some sizes, `[n, *lanes]`, move solutions of the real system at
        most: |(a I - h J)⁻¹ h J| values."""

    def measured(self, unit: Array, goal: float, rtol: float | None = None) -> "Factors":
        """These, with solutions as exact as is asked for, where they are not as exact as can be: up
        to `goal` in a `unit` for each entry of the state, or to `rtol` of a right-hand side."""
        return self


class Inverses(Factors):
    """The inverses, by parts. `eigenvalue` is the real one; the first `differential` entries of a
    state have a derivative. `sizes` are those of the entries of h J, where errors are to be bounded
    whatever cancels."""

    real: Float[Array, "systems n n *lanes"]
    imaginary: Float[Array, "systems n n *lanes"]
    sizes: Float[Array, "n n *lanes"] | None
    eigenvalue: float = eqx.field(static=True)
    differential: int = eqx.field(static=True)

    def solve(self, real: Array, imaginary: Array, transposed: bool) -> Solved:
        a, b = self.real, self.imaginary
        real, imaginary = self._read_often(real), self._read_often(imaginary)
        if transposed:
            x, y = real[:, :, None], imaginary[:, :, None]
            real, imaginary = a * x + b * y, a * y - b * x
            return Solved(self._sum(real, 1), self._sum(imaginary, 1))
        x, y = real[:, None], imaginary[:, None]
        real, imaginary = a * x - b * y, a * y + b * x
        return Solved(self._sum(real, 2), self._sum(imaginary, 2))

    def solve_real(self, right: Array) -> Array:
        return self._sum(self.real[0] * self._read_often(right)[None], 1)

    def _sum(self, values: Array, axis: int) -> Array:
        return _sum(values, axis, _fits_kernel(self.real))

    def _read_often(self, right: Array) -> Array:
        """A right-hand side for sums over its entries: stored if these are written out."""
        few = self.real.shape[1] <= FEW
        return stored(right) if few and _fits_kernel(self.real) else right

    def spread(self, values: Array, transposed: bool) -> Array:
        if self.sizes is not None:
            return self._bound(self.sizes, values, transposed)
        matrix = self.real[0]
        rows = lax.broadcasted_iota(jnp.int32, matrix.shape, 0)
        columns = lax.broadcasted_iota(jnp.int32, matrix.shape, 1)
        matrix = jnp.where(columns < self.differential, self.eigenvalue * matrix, 0)
        matrix = jnp.abs(matrix - (rows == columns).astype(matrix.dtype))
        if transposed:
            return self._sum(matrix * values[:, None], 0)
        return self._sum(matrix * values[None], 1)

    def _bound(self, sizes: Array, values: Array, transposed: bool) -> Array:
        """The same where nothing cancels: |(a I - h J)⁻¹| (|h J| + |a| I) values.

        The inverses of all systems are added: rounding leaves something else in each of them where
        the exact one has a 0.
        """
        inverse = lax.reduce_sum(lax.abs(self.real) + lax.abs(self.imaginary), (0,))
        axis = 0 if transposed else 1

        def product(matrix: Array, values: Array) -> Array:
            return self._sum(matrix * (values[:, None] if transposed else values[None]), axis)

        return product(inverse, product(sizes, values) + abs(self.eigenvalue) * values)


class Triangles(Factors):
    """The triangular factors of complex matrices, by LAPACK."""

    factors: Complex[Array, "systems n n *lanes"]
    pivots: Int[Array, "systems n *lanes"]

    def solve(self, real: Array, imaginary: Array, transposed: bool) -> Solved:
        found = _by_triangles(self.factors, self.pivots, lax.complex(real, imaginary), transposed)
        return Solved(found.real, found.imag)

    def solve_real(self, right: Array) -> Array:
        right = right[None].astype(self.factors.dtype)
        return _by_triangles(self.factors[:1], self.pivots[:1], right, False)[0].real

    def spread(self, values: Array, transposed: bool) -> Array:
        # Large systems are measured as a whole.
        return jnp.broadcast_to(jnp.max(values, axis=0), values.shape)


def _by_triangles(factors: Array, pivots: Array, right: Array, transposed: bool) -> Array:
    """The solutions `[systems, n, *lanes]`; `transposed` also conjugates."""
    lu = jnp.moveaxis(factors, (0, 1, 2), (-3, -2, -1)), jnp.moveaxis(pivots, (0, 1), (-2, -1))
    right = jnp.moveaxis(right, (0, 1), (-2, -1))[..., None]
    found = linalg.lu_solve(lu, right, trans=2 if transposed else 0)
    return jnp.moveaxis(found[..., 0], (-2, -1), (0, 1))


class Bands(Factors):
    """The triangular factors of bands, one for each system, in the order of the pattern.

    `adjoints` are those of the conjugate transposes, where they are asked for.
    """

    systems: list[BandFactors]
    adjoints: list[BandFactors]
    pattern: Pattern = eqx.field(static=True)

    def solve(self, real: Array, imaginary: Array, transposed: bool) -> Solved:
        factors = self.adjoints if transposed else self.systems
        systems = zip(factors, real, imaginary, strict=True)
        pairs = [self._solve(*system) for system in systems]
        return Solved(jnp.stack([x.real for x in pairs]), jnp.stack([x.imaginary for x in pairs]))

    def _solve(self, factors: BandFactors, real: Array, imaginary: Array) -> Pair:
        """The solution of one system, in the order of the state."""
        order, place = self.pattern.order, np.argsort(self.pattern.order)
        found = part(bands.solve, factors, Pair(real[order], imaginary[order]))
        return Pair(found.real[place], found.imaginary[place])

    def solve_real(self, right: Array) -> Array:
        return self._solve(self.systems[0], right, jnp.zeros_like(right)).real

    def spread(self, values: Array, transposed: bool) -> Array:
        # Large systems are measured as a whole.
        return jnp.broadcast_to(jnp.max(values, axis=0), values.shape)


def blank(table: Tableau, state: Array, differential: int, pattern: Pattern | None) -> Factors:
    """Factors of nothing yet, of the types of those for a state `[n, *lanes]`."""
    size, lanes = state.shape[0], state.shape[1:]
    if pattern is not None:
        compressed = jax.ShapeDtypeStruct((pattern.count, *state.shape), state.dtype)
        types = jax.eval_shape(lambda x: factored(table, x, differential, pattern), compressed)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), types)
    shape = (len(table.real), size, size, *lanes)
    if size <= SMALL:
        zeros = jnp.zeros(shape, state.dtype)
        return Inverses(zeros, zeros, None, float(table.real[0]), differential)
    dtype = jnp.result_type(state.dtype, jnp.complex64)
    return Triangles(jnp.zeros(shape, dtype), jnp.zeros((*shape[:2], *lanes), jnp.int32))


def factored(
    table: Tableau,
    matrix: Array,
    differential: int,
    pattern: Pattern | None,
    adjoint: bool = False,
    bounded: bool = False,
) -> Factors:
    """The factors for a matrix h J, `[n, n, *lanes]`, or by the seeds of its pattern
    `[colors, n, *lanes]`; not finite where there are none. The first `differential` entries of a
    state have a derivative: others have a 0 in the place of I.

    If `adjoint`, they solve the transposed systems too. If they are `bounded`, what they spread is
    a bound even where terms cancel.
    """
    if pattern is not None and pattern.is_band:
        return _bands(table, matrix, differential, pattern, adjoint)
    if pattern is not None:
        matrix = pattern.whole(matrix)
    size = matrix.shape[0]
    if size <= SMALL:
        found = _inverses(table, matrix, differential)
        return dataclasses.replace(found, sizes=lax.abs(matrix)) if bounded else found
    dtype = jnp.result_type(matrix.dtype, jnp.complex64)
    numbers = (table.real - 1j * table.imaginary)[:, None, None] * np.diag(
        np.arange(size) < differential
    )
    whole = numbers.astype(dtype) - jnp.moveaxis(matrix, (0, 1), (-2, -1))[..., None, :, :]
    factors, pivots = linalg.lu_factor(whole)
    return Triangles(
        jnp.moveaxis(factors, (-3, -2, -1), (0, 1, 2)), jnp.moveaxis(pivots, (-2, -1), (0, 1))
    )


def _bands(
    table: Tableau, compressed: Array, differential: int, pattern: Pattern, adjoint: bool
) -> Bands:
    """The factors of a band from its products by the seeds, in the order of the pattern."""
    numbers = list(zip(table.real.tolist(), table.imaginary.tolist(), strict=True))

    def systems(band: Array, lower: int, sign: int) -> list[BandFactors]:
        unit = (pattern.order < differential).astype(band.dtype)
        unit = unit.reshape(-1, *(1,) * (band.ndim - 2))
        ones = jnp.zeros_like(band).at[:, lower].set(unit)

        def one(a: float, b: float) -> BandFactors:
            rows = Pair(a * ones - band, sign * b * ones)
            return part(lambda rows: bands.factor(rows, lower), rows)

        return [one(*pair) for pair in numbers]

    whole = systems(pattern.band(compressed), pattern.lower, -1)
    if not adjoint:
        return Bands(whole, [], pattern)
    return Bands(whole, systems(pattern.transposed_band(compressed), pattern.upper, 1), pattern)


def _inverses(table: Tableau, matrix: Array, differential: int) -> Inverses:
    """By Gauss-Jordan elimination of (matrix, unit matrix), real and imaginary parts."""
    size = matrix.shape[0]
    shape = (len(table.real), size, size, *matrix.shape[2:])
    axes = (-1,) + (1,) * (len(shape) - 1)
    real = table.real.astype(matrix.dtype).reshape(axes)
    imaginary = -table.imaginary.astype(matrix.dtype).reshape(axes)
    rows = lax.broadcasted_iota(jnp.int32, shape, 1)
    columns = lax.broadcasted_iota(jnp.int32, shape, 2)
    unit = (rows == columns).astype(matrix.dtype)
    mass = jnp.where(rows < differential, unit, 0)
    start = (
        lax.concatenate([real * mass - matrix[None], unit], 2),
        lax.concatenate([imaginary * mass, 0 * unit], 2),
    )
    real, imaginary = lax.fori_loop(0, size, _clear, start)
    inverses = real[:, :, size:], imaginary[:, :, size:]
    return Inverses(*inverses, None, float(table.real[0]), differential)


def _fits_kernel(matrices: Array) -> bool:
    """`fit_kernel` of matrices `[systems, n, ..., *lanes]`."""
    systems, size, _, *lanes = matrices.shape
    return fit_kernel(systems, size, math.prod(lanes))


def _sum(values: Array, axis: int, written_out: bool) -> Array:
    return total(values, axis) if written_out else lax.reduce_sum(values, (axis,))


def _clear(index: Array, table: tuple[Array, Array]) -> tuple[Array, Array]:
    """One column of elimination, with the largest pivot of the rows that are left."""
    rows = lax.broadcasted_iota(jnp.int32, (*table[0].shape[:2], *table[0].shape[3:]), 1)
    first, second = (lax.dynamic_index_in_dim(x, index, axis=2, keepdims=False) for x in table)
    magnitude = jnp.where(rows >= index, first * first + second * second, -1)
    pivot = lax.argmax(magnitude, 1, jnp.int32)[:, None]
    here, there = (rows == index)[:, :, None], (rows == pivot)[:, :, None]
    # The pivot's row; and the others, among which the row of this index stands in for it.
    written_out = _fits_kernel(table[0])
    is_fused = table[0].ndim == 3 and table[0].shape[1] in FUSED
    kept = stored if written_out and not is_fused else (lambda x: x)
    a, b = (kept(_sum(jnp.where(there, x, 0), 1, written_out))[:, None] for x in table)
    real, imaginary = (
        jnp.where(there, lax.dynamic_index_in_dim(x, index, axis=1), x) for x in table
    )
    p, q = (lax.dynamic_index_in_dim(x, index, axis=2) for x in (a, b))
    norm = p * p + q * q
    a, b = kept((a * p + b * q) / norm), kept((b * p - a * q) / norm)
    u, v = (lax.dynamic_index_in_dim(x, index, axis=2) for x in (real, imaginary))
    return (
        jnp.where(here, a, real - (u * a - v * b)),
        jnp.where(here, b, imaginary - (u * b + v * a)),
    )
