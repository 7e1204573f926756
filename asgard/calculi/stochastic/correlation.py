"""Correlated sources of noise, as combinations of independent ones."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...circuits.fields import as_inexact
from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete


class Correlation(eqx.Module):
    """The correlations of some pairs of sources, 0 for all others."""

    pairs: tuple[tuple[str, str], ...] = eqx.field(static=True)
    values: tuple[Float[Array, ""], ...]

    def __check_init__(self):
        for pair in self.pairs:
            if not (
                isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, str) for n in pair)
            ):
                raise CircuitError(
                    f"Stochastic: correlation is by pairs of noises, not by {pair!r}"
                )
            if pair[0] == pair[1] or (pair[1], pair[0]) in self.pairs:
                raise CircuitError(
                    f"Stochastic: the correlation of {pair} is given by itself or twice"
                )
        if not self.pairs or not is_concrete(*self.values):
            return
        matrix = np.asarray(self.matrix())
        smallest = np.min(np.linalg.eigvalsh(matrix)) if np.all(np.isfinite(matrix)) else -1.0
        if smallest <= len(self.names) * np.finfo(matrix.dtype).eps:
            raise CircuitError(
                f"Stochastic: the correlation matrix of {', '.join(self.names)} is not positive "
                f"definite (its smallest eigenvalue is {smallest:.3g}); sources that move as one "
                "share one name"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The sources that are correlated with some other."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair))

    def mixed(self, factor: Array, independent: Mapping[str, Array]) -> dict[str, Array]:
        """Correlated increments of all sources from independent ones, by the Cholesky factor of the
        matrix."""
        found = dict(independent)
        for row, name in enumerate(self.names):
            own = [(independent[x], factor[row, k]) for k, x in enumerate(self.names[: row + 1])]
            terms = [part.astype(increment.dtype) * increment for increment, part in own]
            found[name] = sum(terms[1:], terms[0])
        return found

    def matrix(self) -> Float[Array, "names names"]:
        """The correlation matrix of `names`."""
        matrix = jnp.eye(len(self.names), dtype=jnp.result_type(*self.values))
        for (first, second), value in zip(self.pairs, self.values, strict=True):
            row, column = self.names.index(first), self.names.index(second)
            matrix = matrix.at[row, column].set(value).at[column, row].set(value)
        return matrix


def as_correlation(given: Any) -> Correlation:
    """A dictionary from pairs of names to numbers as a `Correlation`."""
    if isinstance(given, Correlation):
        return given
    if not isinstance(given, Mapping | None):
        raise CircuitError(
            f'Stochastic: correlation is a dictionary such as {{("W", "V"): 0.5}}, not {given!r}'
        )
    pairs = given or {}
    return Correlation(
        tuple(pairs),
        tuple(as_inexact(f"Stochastic: the correlation of {p}", x) for p, x in pairs.items()),
    )
