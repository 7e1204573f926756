"""Linear systems whose matrices are bands: factors with partial pivoting, and solutions.

Numbers are complex, by parts: a kernel takes no complex ones. Everything may have lanes, one more
axis at the end. Rows go one by one, through a window of those that still change (Golub and Van
Loan, *Matrix Computations*, section 4.3).
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


class Pair(eqx.Module):
    """A complex array by its parts."""

    real: Float[Array, "..."]
    imaginary: Float[Array, "..."]

    def __getitem__(self, index: object) -> "Pair":
        return Pair(self.real[index], self.imaginary[index])

    def __mul__(self, other: "Pair") -> "Pair":
        a, b, c, d = self.real, self.imaginary, other.real, other.imaginary
        return Pair(a * c - b * d, a * d + b * c)

    def __sub__(self, other: "Pair") -> "Pair":
        return Pair(self.real - other.real, self.imaginary - other.imaginary)

    @property
    def size(self) -> Array:
        """The square of the magnitude."""
        return self.real * self.real + self.imaginary * self.imaginary

    @property
    def inverse(self) -> "Pair":
        """One over it."""
        return Pair(self.real / self.size, -self.imaginary / self.size)


class BandFactors(eqx.Module):
    """L and U of a matrix `[n, n]` of `lower` and `upper` diagonals, row by row.

    - `inverses`: one over the diagonal of U.
    - `right`: the other entries of U.
    - `multipliers`: those of L, in the order of the window, and `pivots`, which row of the window
      came first.
    """

    inverses: Pair  # [n, *lanes]
    right: Pair  # [n, lower + upper, *lanes]
    multipliers: Pair  # [n, lower, *lanes]
    pivots: Int[Array, "n *lanes"]


def factor(rows: Pair, lower: int) -> BandFactors:
    """The factors of a band; not finite where it is singular.

    **Arguments:** `rows` has row i at index i, `[n, lower + 1 + upper, *lanes]`: its entries from
    column i - lower on, 0 where there is no such column.
    """
    count = rows.real.shape[0]

    def column(window: Pair, new: Pair) -> tuple[Pair, tuple[Pair, Pair, Pair, Array]]:
        whole = _appended(window, new)
        pivot = lax.argmax(whole[:, 0].size, 0, jnp.int32)
        top, rest = _pivoted(whole, pivot)
        inverse = top[0].inverse
        multipliers = rest[:, 0] * inverse[None]
        rest = rest[:, 1:] - multipliers[:, None] * top[None, 1:]
        rest = _map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:, :1])], 1), rest)
        return rest, (inverse, top[1:], multipliers, pivot)

    # The first rows fill the window; they start at the left edge.
    begin = _map(lambda x: _first_rows(x, lower), rows)
    padded = _map(lambda x: _shifted(x, lower), rows)
    _, found = lax.scan(column, begin, padded, length=count)
    return BandFactors(*found)


def solve(factors: BandFactors, right: Pair) -> Pair:
    """The solution for a right-hand side, `[n, *lanes]`."""
    lower, width = factors.multipliers.real.shape[1], factors.right.real.shape[1]

    def forward(window: Pair, row: tuple[Pair, Pair, Array]) -> tuple[Pair, Pair]:
        new, multipliers, pivot = row
        top, rest = _pivoted(_appended(window, new), pivot)
        return rest - multipliers * top[None], top

    begin = right[:lower]
    later = _map(lambda x: _shifted(x, lower), right)
    _, middle = lax.scan(forward, begin, (later, factors.multipliers, factors.pivots))

    def backward(known: Pair, row: tuple[Pair, Pair, Pair]) -> tuple[Pair, Pair]:
        value, entries, inverse = row
        moved = _map(lambda x: jnp.sum(x, axis=0), entries * known)
        found = (value - moved) * inverse
        known = _map(lambda new, old: jnp.concatenate([new[None], old[: width - 1]]), found, known)
        return known, found

    nothing = _map(lambda x: jnp.zeros_like(x[0]), factors.right)
    _, found = lax.scan(backward, nothing, (middle, factors.right, factors.inverses), reverse=True)
    return found


def _map(fn: Callable[..., Array], *pairs: Pair) -> Pair:
    """fn of the parts of pairs."""
    return Pair(fn(*(pair.real for pair in pairs)), fn(*(pair.imaginary for pair in pairs)))


def _appended(window: Pair, new: Pair) -> Pair:
    """The window with one more row."""
    return _map(lambda x, y: jnp.concatenate([x, y[None]]), window, new)


def _pivoted(window: Pair, pivot: Array) -> tuple[Pair, Pair]:
    """The pivot's row, and the others, among which the first row stands in for it."""
    shape = window.real.shape
    rows = lax.broadcasted_iota(jnp.int32, shape, 0)
    inner = (1,) * (len(shape) - 1 - pivot.ndim)
    here = rows == pivot.reshape(1, *inner, *pivot.shape)
    top = _map(lambda x: jnp.sum(jnp.where(here, x, 0), axis=0), window)
    rest = _map(lambda x: jnp.where(here, x[:1], x)[1:], window)
    return top, rest


def _first_rows(x: Array, lower: int) -> Array:
    """Rows 0 to lower - 1 from column 0 on, `[lower, width, *lanes]`."""
    rows = [
        jnp.concatenate([x[i, lower - i :], jnp.zeros_like(x[i, : lower - i])])
        for i in range(lower)
    ]
    return jnp.stack(rows) if rows else x[:0]


def _shifted(x: Array, lower: int) -> Array:
    """Row i + lower at index i, and zeros at the end."""
    return jnp.concatenate([x[lower:], jnp.zeros_like(x[:lower])])
