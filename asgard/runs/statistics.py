"""Statistics of an ensemble that are kept as it runs, tile by tile, in the memory of one tile.

A reduction turns the values of a tile into an accumulator, and merges two accumulators into one.
Merging is associative, so tiles may be spread over devices and runs continued. Paths that have
ended are left out: `Ensemble.survivors` says how many paths a statistic rests on. Those are a
biased sample wherever what ends a path has to do with what is measured.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact, UInt

from ..circuits.fields import as_inexact, check_count
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete
from ..jaxprs.fences import largest_of, smallest_of

# What a statistic is of: a wire by name, a function of one path's outputs, or the only output.
Of = str | Callable[..., Any] | None


class Reduction(eqx.Module):
    """A statistic: subclass it with `tile`, `merge` and, where they differ, `result`.

    `of` says of what: a wire by name, or a function of one path's outputs, each `[times, *value]`,
    that returns an array; what is no float, such as a truth, becomes one. Without it, it is the
    array of the only output.
    """

    if TYPE_CHECKING:  # type checkers take abstract variables for fields of the dataclass
        of = cast(Any, None)
    else:
        of: eqx.AbstractVar[Of]

    def __check_init__(self):
        if not (self.of is None or isinstance(self.of, str) or callable(self.of)):
            raise CircuitError(
                f"{type(self).__name__}: of must be the name of a wire, or a function of the "
                f"outputs, not {self.of!r}"
            )

    def values(self, outputs: tuple[Array, ...], names: Mapping[str, Array]) -> Array:
        """What is measured, `[paths, …]`, from outputs and named wires `[paths, times, *value]`."""
        of = self.of
        if isinstance(of, str):
            if of not in names:
                raise CircuitError(
                    f"{type(self).__name__}: no wire, or more than one, is named {of!r}; wires "
                    f"named once: {', '.join(names) or 'none'}"
                )
            return as_inexact("of", names[of])
        if of is not None:
            return jax.vmap(lambda *one: as_inexact("of", of(*one)))(*outputs)
        if len(outputs) != 1:
            raise CircuitError(
                f"{type(self).__name__}: the circuit has {len(outputs)} outputs; say of what the "
                "statistic is by of=, the name of a wire or a function of the outputs"
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


class Moments(eqx.Module):
    """How many values there are, their mean, and the sum of squares of how far each is from it."""

    count: UInt[Array, "*batch"]
    mean: Inexact[Array, "..."]
    squares: Inexact[Array, "..."] | None


class _Moment(Reduction):
    """A statistic of the mean and of squares, which `squares` sums over rows `[paths, …]`."""

    @abc.abstractmethod
    def squares(self, away: Array) -> Any:
        """The sum over rows of their squares, None where none are asked for."""

    def tile(self, values: Array, alive: Array) -> Moments:
        count = jnp.sum(alive, dtype=jnp.uint32)
        mean = jnp.sum(_only(alive, values), axis=0) / _at_least_one(count, values)
        return Moments(count, mean, self.squares(_only(alive, values - mean)))

    def merge(self, first: Moments, second: Moments) -> Moments:
        """As by T. F. Chan, G. H. Golub and R. J. LeVeque, *Algorithms for computing the sample
        variance*, Am. Stat. 37 (1983)."""
        count = first.count + second.count
        dtype = jnp.finfo(first.mean.dtype).dtype
        share = second.count.astype(dtype) / _at_least_one(count, first.mean)
        apart = second.mean - first.mean
        squares = self.squares(apart[None])
        if first.squares is not None and second.squares is not None:
            between = squares * (share * first.count.astype(dtype))
            squares = first.squares + second.squares + between
        return Moments(count, first.mean + apart * share, squares)

    def result(self, accumulator: Moments) -> Array:
        """The squares by n - 1, NaN for fewer than two values."""
        number, squares = accumulator.count, accumulator.squares
        assert squares is not None
        divisor = jnp.maximum(number.astype(squares.dtype) - 1, 1)
        return jnp.where(number > 1, squares / divisor, jnp.nan)


class Mean(_Moment):
    """The mean over paths."""

    of: Of = eqx.field(static=True, default=None)

    def squares(self, away: Array) -> None:
        del away

    def result(self, accumulator: Moments) -> Array:
        return jnp.where(accumulator.count > 0, accumulator.mean, jnp.nan)


class Variance(_Moment):
    """The variance over paths, of each entry by itself, with divisor n - 1."""

    of: Of = eqx.field(static=True, default=None)

    def squares(self, away: Array) -> Array:
        return jnp.sum(away**2, axis=0)


class Covariance(_Moment):
    """The covariance of the entries of a vector, `[k, k]`, with divisor n - 1.

    Arrays of more axes are read as vectors: of outputs at several times, each time has entries.
    `of=lambda x, y: jnp.stack([x[-1], y[-1]])` gives the last ones.
    """

    of: Of = eqx.field(static=True, default=None)

    def squares(self, away: Array) -> Array:
        away = away.reshape(away.shape[0], -1)
        return jnp.matmul(away.T, away, precision=lax.Precision.HIGHEST)


class Min(Reduction):
    """The smallest value of any path; infinite where no path is left, NaN where `of` makes one."""

    of: Of = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        return smallest_of(_only(alive, values, jnp.inf), (0,))

    def merge(self, first: Any, second: Any) -> Any:
        return jnp.minimum(first, second)


class Max(Reduction):
    """The largest value of any path; minus infinity where no path is left, NaN where `of` makes
    one."""

    of: Of = eqx.field(static=True, default=None)

    def tile(self, values: Array, alive: Array) -> Any:
        return largest_of(_only(alive, values, -jnp.inf), (0,))

    def merge(self, first: Any, second: Any) -> Any:
        return jnp.maximum(first, second)


class _Binned(Reduction):
    """Counts of `bins` equal parts of `low` to `high`, `[…, bins + 2]`."""

    low: Float[Array, ""] = eqx.field(converter=lambda value: as_inexact("low", value))
    high: Float[Array, ""] = eqx.field(converter=lambda value: as_inexact("high", value))
    if TYPE_CHECKING:  # as above
        bins = cast(Any, 1)
    else:
        bins: eqx.AbstractVar[int]

    def __check_init__(self):
        owner, low, high = type(self).__name__, self.low, self.high
        check_count(owner, "bins", self.bins, least=1)
        if is_concrete(low, high) and not -np.inf < np.asarray(low) < np.asarray(high) < np.inf:
            raise CircuitError(f"{owner}: low must be less than high, not {low} and {high}")

    def tile(self, values: Array, alive: Array) -> Array:
        flat = values.reshape(values.shape[0], -1)
        part = (flat - self.low.astype(flat.dtype)) / (self.high - self.low).astype(flat.dtype)
        # Clipped first: a number that is too large is no integer.
        bins = jnp.floor(jnp.clip(part * self.bins, -1, self.bins)).astype(jnp.int32) + 1
        columns = jnp.broadcast_to(jnp.arange(flat.shape[1]), flat.shape)
        weights = (alive[:, None] & ~jnp.isnan(flat)).astype(jnp.uint32)
        counts = jnp.zeros((flat.shape[1], self.bins + 2), jnp.uint32)
        counts = counts.at[columns, bins].add(weights)
        return counts.reshape(*values.shape[1:], self.bins + 2)

    def merge(self, first: Array, second: Array) -> Array:
        return first + second


class Histogram(_Binned):
    """How many paths lie in each of `bins` equal parts of `low` to `high`, `[…, bins + 2]`.

    The first and the last count are of those below and above. NaN, which `of` may make of a path
    that has not ended, is counted nowhere.
    """

    bins: int = eqx.field(static=True, default=100)
    of: Of = eqx.field(static=True, default=None)


class Quantiles(_Binned):
    """The quantiles at `probabilities`, `[…, probabilities]`, read off a histogram.

    They are exact to the width of a bin, and NaN where they lie outside of `low` to `high` and
    where no path is left.
    """

    bins: int = eqx.field(static=True, default=4096)
    of: Of = eqx.field(static=True, default=None)
    probabilities: Float[Array, " probabilities"] = eqx.field(
        converter=lambda value: jnp.atleast_1d(as_inexact("Quantiles: probabilities", value)),
        default=(0.05, 0.5, 0.95),
    )

    def __check_init__(self):
        given = self.probabilities
        if is_concrete(given) and not np.all((np.asarray(given) >= 0) & (np.asarray(given) <= 1)):
            raise CircuitError(f"Quantiles: probabilities must lie in 0 to 1, not be {given}")

    def result(self, accumulator: Array) -> Array:
        return self._at(accumulator, lambda total: self.probabilities)

    def errors(self, accumulator: Array) -> Array:
        """Their standard errors, `[…, probabilities]`."""
        p = self.probabilities

        def apart(total: Array) -> Array:
            return jnp.sqrt(p * (1 - p) / jnp.maximum(total, 1))

        low = self._at(accumulator, lambda total: p - apart(total))
        return (self._at(accumulator, lambda total: p + apart(total)) - low) / 2

    def _at(self, accumulator: Array, probabilities: Callable[[Array], Array]) -> Array:
        """The quantiles at probabilities that a function of the number of paths gives."""
        dtype = self.probabilities.dtype
        below = jnp.cumsum(accumulator, axis=-1).astype(dtype)
        edges = jnp.linspace(self.low, self.high, self.bins + 1)

        def one(below: Array) -> Array:
            total, inside = below[-1], below[:-1]
            wanted = probabilities(total) * total
            found = jnp.interp(wanted, inside, edges.astype(dtype))
            known = (total > 0) & (wanted >= inside[0]) & (wanted <= inside[-1])
            return jnp.where(known, found, jnp.nan)

        found = jax.vmap(one)(below.reshape(-1, below.shape[-1]))
        return found.reshape(*accumulator.shape[:-1], -1)


class Powers(eqx.Module):
    """How many values there are, their mean, and the sums of the second, third and fourth powers of
    how far each is from it."""

    count: UInt[Array, "*batch"]
    mean: Float[Array, "..."]
    second: Float[Array, "..."]
    third: Float[Array, "..."]
    fourth: Float[Array, "..."]


class StandardError(Reduction):
    """The standard error of a `Mean`, a `Variance` or `Quantiles`: how far these would spread from
    one key to the next.

    That of a mean is s / sqrt(n). That of a variance follows from the fourth moment, whatever the
    distribution is. That of the quantile at p is half of how far those at p ± sqrt(p (1 - p) / n)
    are apart (R. S. Woodruff, *Confidence intervals for medians and other position measures*, J.
    Am. Stat. Assoc. 47, 1952); it is no finer than the bins, and NaN where these do not hold both.

    Paths are independent, so errors fall as 1 / sqrt(n). They say nothing of what steps miss, nor
    of paths that have ended. They are NaN for fewer than two paths, of a variance for fewer than
    four.

    ```python
    mean = ag.statistics.Mean()
    ag.ensemble(..., reduce=(mean, ag.statistics.StandardError(mean)))
    ```
    """

    statistic: Reduction

    def __init__(self, statistic: Reduction):
        if not isinstance(statistic, Mean | Variance | Quantiles):
            raise CircuitError(
                f"StandardError is that of a Mean, a Variance or Quantiles, not {statistic!r}"
            )
        self.statistic = statistic

    @property
    def of(self) -> Of:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.statistic.of

    def tile(self, values: Array, alive: Array) -> Any:
        if jnp.iscomplexobj(values):
            raise CircuitError("StandardError is of real numbers: give real and imaginary parts")
        if isinstance(self.statistic, Quantiles):
            return self.statistic.tile(values, alive)
        count = jnp.sum(alive, dtype=jnp.uint32)
        mean = jnp.sum(_only(alive, values), axis=0) / _at_least_one(count, values)
        away = _only(alive, values - mean)
        return Powers(count, mean, *(jnp.sum(away**power, axis=0) for power in (2, 3, 4)))

    def merge(self, first: Any, second: Any) -> Any:
        """As by P. Pébay, *Formulas for robust, one-pass parallel computation of covariances and
        arbitrary-order statistical moments*, SAND2008-6212, 2008."""
        if isinstance(self.statistic, Quantiles):
            return self.statistic.merge(first, second)
        count = first.count + second.count
        number = _at_least_one(count, first.mean)
        a, b = (part.count.astype(number.dtype) / number for part in (first, second))
        apart = second.mean - first.mean
        product = number * a * b
        return Powers(
            count,
            first.mean + apart * b,
            first.second + second.second + product * apart**2,
            first.third
            + second.third
            + product * (a - b) * apart**3
            + 3 * apart * (a * second.second - b * first.second),
            first.fourth
            + second.fourth
            + product * (a**2 - a * b + b**2) * apart**4
            + 6 * apart**2 * (a**2 * second.second + b**2 * first.second)
            + 4 * apart * (a * second.third - b * first.third),
        )

    def result(self, accumulator: Any) -> Array:
        if isinstance(self.statistic, Quantiles):
            return self.statistic.errors(accumulator)
        number = _at_least_one(accumulator.count, accumulator.mean)
        variance = accumulator.second / jnp.maximum(number - 1, 1)
        if isinstance(self.statistic, Mean):
            return jnp.where(accumulator.count > 1, jnp.sqrt(variance / number), jnp.nan)
        enough = accumulator.count > 3
        share = (number - 3) / jnp.where(enough, number - 1, 1)
        spread = (accumulator.fourth / number - share * variance**2) / number
        return jnp.where(enough, jnp.sqrt(jnp.maximum(spread, 0)), jnp.nan)


def by_wire(
    reductions: Sequence[Reduction], results: Sequence[Any], only: str | None
) -> dict[str, Any]:
    """What was kept of each wire by name: one statistic by itself, several as a tuple. `only` is
    the name of the only output, if it has one."""
    found: dict[str, tuple[Any, ...]] = {}
    for reduction, result in zip(reductions, results, strict=True):
        name = only if reduction.of is None else reduction.of
        if isinstance(name, str):
            found[name] = (*found.get(name, ()), result)
    return {name: kept[0] if len(kept) == 1 else kept for name, kept in found.items()}


def is_reduction(node: Any) -> bool:
    """Whether a node of a tree is a statistic."""
    return isinstance(node, Reduction)


def _only(alive: Bool[Array, " paths"], values: Array, other: float = 0.0) -> Array:
    return jnp.where(alive.reshape(-1, *(1,) * (values.ndim - 1)), values, other)


def _at_least_one(count: Array, like: Array) -> Array:
    return jnp.maximum(count, 1).astype(jnp.finfo(like.dtype).dtype)
