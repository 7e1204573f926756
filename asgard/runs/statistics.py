"""Statistics of an ensemble that are kept as it runs, tile by tile, in the memory of one tile.

A reduction turns the values of a tile into an accumulator, and merges two accumulators into one.
Merging is associative, so tiles may be spread over devices and runs continued. Paths that have
ended are left out: `Ensemble.survivors` says how many paths a statistic rests on. Those are a
biased sample wherever what ends a path has to do with what is measured.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..circuits.fields import as_inexact, check_count
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete


class Reduction(eqx.Module):
    """A statistic: subclass it with `tile`, `merge` and, where they differ, `result`.

    `of` says of what: a function of one path's outputs, each `[times, *value]`, that returns an
    array; what is no float, such as a truth, becomes one. Without it, it is the array of the only
    output.
    """

    of: eqx.AbstractVar[Callable[..., Any] | None]

    def __check_init__(self):
        if self.of is not None and not callable(self.of):
            raise CircuitError(
                f"{type(self).__name__}: of must be a function of the outputs, not {self.of!r}"
            )

    def values(self, outputs: tuple[Array, ...]) -> Array:
        """What is measured, `[paths, …]`, from outputs `[paths, times, *value]`."""
        if self.of is not None:
            return jax.vmap(lambda *one: as_inexact("of", self.of(*one)))(*outputs)  # pyright: ignore[reportOptionalCall]
        if len(outputs) != 1:
            raise CircuitError(
                f"{type(self).__name__}: the circuit has {len(outputs)} outputs; say of what the "
                "statistic is by of=, a function of them"
            )
        return outputs[0]

    @abc.abstractmethod
    def tile(self, values: Array, alive: Array) -> Any:
        """The accumulator of some paths: `values[alive]`, `[paths, …]`."""

    @abc.abstractmethod
    def merge(self, first: Any, second: Any) -> Any:
        """The accumulator of both."""

    def result(self, accumulator: Any) -> Any:
        """The statistic."""
        return accumulator


class Mean(Reduction):
    """The mean over paths."""

    of: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        count = jnp.sum(alive, dtype=jnp.uint32)
        mean = jnp.sum(_only(alive, values), axis=0) / _at_least_one(count, values)
        return count, mean

    def merge(self, first: Any, second: Any) -> Any:
        count, share = _joined(first[0], second[0], first[1])
        return count, first[1] + (second[1] - first[1]) * share

    def result(self, accumulator: Any) -> Array:
        count, mean = accumulator
        return jnp.where(count > 0, mean, jnp.nan)


class Covariance(Reduction):
    """The covariance of the entries of a vector, `[k, k]`, with divisor n - 1.

    Arrays of more axes are read as vectors. Merged as by T. F. Chan, G. H. Golub and R. J. LeVeque,
    *Algorithms for computing the sample variance*, Am. Stat. 37 (1983).
    """

    of: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        values = values.reshape(values.shape[0], -1)
        count = jnp.sum(alive, dtype=jnp.uint32)
        mean = jnp.sum(_only(alive, values), axis=0) / _at_least_one(count, values)
        away = _only(alive, values - mean)
        return count, mean, jnp.matmul(away.T, away, precision=lax.Precision.HIGHEST)

    def merge(self, first: Any, second: Any) -> Any:
        count, share = _joined(first[0], second[0], first[1])
        apart = second[1] - first[1]
        between = jnp.outer(apart, apart) * (share * first[0].astype(share.dtype))
        return count, first[1] + apart * share, first[2] + second[2] + between

    def result(self, accumulator: Any) -> Array:
        return _divided(accumulator[0], accumulator[2])


class Variance(Reduction):
    """The variance over paths, of each entry by itself, with divisor n - 1."""

    of: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        count = jnp.sum(alive, dtype=jnp.uint32)
        mean = jnp.sum(_only(alive, values), axis=0) / _at_least_one(count, values)
        return count, mean, jnp.sum(_only(alive, values - mean) ** 2, axis=0)

    def merge(self, first: Any, second: Any) -> Any:
        count, share = _joined(first[0], second[0], first[1])
        apart = second[1] - first[1]
        between = apart**2 * (share * first[0].astype(share.dtype))
        return count, first[1] + apart * share, first[2] + second[2] + between

    def result(self, accumulator: Any) -> Array:
        return _divided(accumulator[0], accumulator[2])


class Min(Reduction):
    """The smallest value of any path; infinite where no path is left."""

    of: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        return jnp.min(_only(alive, values, jnp.inf), axis=0)

    def merge(self, first: Any, second: Any) -> Any:
        return jnp.minimum(first, second)


class Max(Reduction):
    """The largest value of any path; minus infinity where no path is left."""

    of: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        return jnp.max(_only(alive, values, -jnp.inf), axis=0)

    def merge(self, first: Any, second: Any) -> Any:
        return jnp.maximum(first, second)


class Histogram(Reduction):
    """How many paths lie in each of `bins` equal parts of `low` to `high`, `[…, bins + 2]`.

    The first and the last count are of those below and above. NaN, which `of` may make of a path
    that has not ended, is counted nowhere.
    """

    low: Float[Array, ""] = eqx.field(converter=lambda value: as_inexact("Histogram: low", value))
    high: Float[Array, ""] = eqx.field(converter=lambda value: as_inexact("Histogram: high", value))
    bins: int = eqx.field(static=True, default=100)
    of: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        owner = type(self).__name__
        check_count(owner, "bins", self.bins, least=1)
        ends = self.low, self.high
        if is_concrete(*ends) and not -np.inf < np.asarray(ends[0]) < np.asarray(ends[1]) < np.inf:
            raise CircuitError(f"{owner}: low must be less than high, not {ends[0]} and {ends[1]}")

    def tile(self, values: Array, alive: Array) -> Any:
        flat = values.reshape(values.shape[0], -1)
        part = (flat - self.low.astype(flat.dtype)) / (self.high - self.low).astype(flat.dtype)
        # Clipped before it is made an integer, which a number too large has no place in.
        bins = jnp.floor(jnp.clip(part * self.bins, -1, self.bins)).astype(jnp.int32) + 1
        columns = jnp.arange(flat.shape[1])
        weights = (alive[:, None] & ~jnp.isnan(flat)).astype(jnp.uint32)
        counts = jnp.zeros((flat.shape[1], self.bins + 2), jnp.uint32)
        counts = counts.at[jnp.broadcast_to(columns, flat.shape), bins].add(weights)
        return counts.reshape(*values.shape[1:], self.bins + 2)

    def merge(self, first: Any, second: Any) -> Any:
        return first + second


class Quantiles(Histogram):
    """The quantiles at `probabilities`, `[…, probabilities]`, read off a histogram.

    They are exact to the width of a bin, and NaN where they lie outside of `low` to `high` and
    where no path is left.
    """

    probabilities: Float[Array, " probabilities"] = eqx.field(
        converter=lambda value: jnp.atleast_1d(as_inexact("Quantiles: probabilities", value)),
        default=(0.05, 0.5, 0.95),
    )
    bins: int = eqx.field(static=True, default=4096)

    def __check_init__(self):
        given = self.probabilities
        if is_concrete(given) and not np.all((np.asarray(given) >= 0) & (np.asarray(given) <= 1)):
            raise CircuitError(f"Quantiles: probabilities must lie in 0 to 1, not be {given}")

    def result(self, accumulator: Any) -> Array:
        dtype = self.probabilities.dtype
        below = jnp.cumsum(accumulator, axis=-1).astype(dtype)
        edges = jnp.linspace(self.low, self.high, self.bins + 1)

        def one(below: Array) -> Array:
            total, inside = below[-1], below[:-1]
            wanted = self.probabilities * total
            found = jnp.interp(wanted, inside, edges.astype(dtype))
            known = (total > 0) & (wanted >= inside[0]) & (wanted <= inside[-1])
            return jnp.where(known, found, jnp.nan)

        found = jax.vmap(one)(below.reshape(-1, below.shape[-1]))
        return found.reshape(*accumulator.shape[:-1], -1)


def is_reduction(node: Any) -> bool:
    """Whether a node of a tree is a statistic."""
    return isinstance(node, Reduction)


def _only(alive: Bool[Array, " paths"], values: Array, other: float = 0.0) -> Array:
    return jnp.where(alive.reshape(-1, *(1,) * (values.ndim - 1)), values, other)


def _at_least_one(count: Array, like: Array) -> Array:
    return jnp.maximum(count, 1).astype(jnp.finfo(like.dtype).dtype)


def _joined(first: Array, second: Array, like: Array) -> tuple[Array, Array]:
    """The sum of two counts, and the second's share in it."""
    count = first + second
    return count, second.astype(jnp.finfo(like.dtype).dtype) / _at_least_one(count, like)


def _divided(count: Array, squares: Array) -> Array:
    number = count.astype(squares.dtype)
    return jnp.where(count > 1, squares / jnp.maximum(number - 1, 1), jnp.nan)
