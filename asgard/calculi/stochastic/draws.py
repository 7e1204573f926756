"""What the steps of a tile draw: noise for a few steps at once, and each step's part of it."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from .jumps import DrawnJumps
from .methods import Noise, StochasticMethod
from .noise import SIGN, Numbers, Pairs, bridge, increments, label
from .sde import Equation


class Drawn(eqx.Module):
    """What some steps draw, each with a row, for steps of length 1.

    `increments` and `areas`, the space-time Lévy areas, are by source; `jumps` by the index of the
    register.
    """

    increments: dict[str, Inexact[Array, "..."]]
    areas: dict[str, Inexact[Array, "..."]]
    signs: Inexact[Array, "..."] | None
    jumps: dict[int, DrawnJumps]


@dataclasses.dataclass(frozen=True)
class Ahead:
    """What some steps draw at once: `pairs` has the increments of two steps in one number."""

    pairs: dict[str, Pairs]
    rows: Drawn

    def step(self, number: Array, row: Drawn) -> Drawn:
        """What the step of a number draws, of which `row` is the row of `rows`."""
        own = {name: both.row(number)[0] for name, both in self.pairs.items()}
        return dataclasses.replace(row, increments=row.increments | own)


@dataclasses.dataclass(frozen=True)
class Draws:
    """What the paths of a tile draw from: `numbers`, None where nothing is drawn.

    Each base step is halved so many times. `handed` are increments from outside,
    `[paths, steps, *value]`.
    """

    equation: Equation
    method: StochasticMethod
    halvings: int
    numbers: Numbers | None
    handed: Mapping[str, Array]

    @property
    def numbers_a_step(self) -> int:
        """How many numbers a path draws for a step."""
        parts = 2 if self.halvings or self.method.needs_integral else 1
        return parts * self.equation.size + self.equation.jumps.numbers

    def ahead(self, first: Array, number: int, row: Array) -> Ahead:
        """What `number` base steps from `first` on draw.

        `row` is the index of the first one among the increments that are handed in.
        """
        first, halvings = first.astype(jnp.uint32), self.halvings
        count = number * 2**halvings
        pairs: dict[str, Pairs] = {}
        rows: dict[str, Array] = {}
        areas: dict[str, Array] = {}
        for source in self.equation.sources:
            name = source.name
            if name in self.handed:
                given = lax.dynamic_slice_in_dim(self.handed[name], row, count, axis=1)
                rows[name] = jnp.moveaxis(given, 1, 0)
            elif halvings or self.method.needs_integral:
                rows[name], area = bridge(self._numbers, source, first, number, halvings)
                areas |= {name: area} if self.method.needs_integral else {}
            else:
                pairs[name] = increments(self._numbers, source, first, number)
        jumps = {}
        if self.equation.jumps.atoms:
            jumps = self.equation.jumps.draw(self._numbers, first, number)
        return Ahead(pairs, Drawn(rows, areas, self._signs(first, number), jumps))

    def scaled(self, drawn: Drawn, h: Array) -> Noise:
        """What was drawn for a base step of length 1, for a step of length h."""
        root = jnp.sqrt(h * 2**self.halvings)

        def scaled(name: str, value: Array) -> Array:
            return value if name in self.handed else value * root.astype(value.dtype)

        increments = {name: scaled(name, value) for name, value in drawn.increments.items()}
        if not self.method.needs_integral:
            return Noise(increments, None, drawn.signs)
        integrals = {
            name: h.astype(value.dtype) * (value / 2 + scaled(name, drawn.areas[name]))
            for name, value in increments.items()
        }
        return Noise(increments, integrals, drawn.signs)

    def _signs(self, first: Array, number: int) -> Array | None:
        """Signs `[steps, paths, size²]`, where the method needs some."""
        if not self.method.needs_signs or self.equation.size <= 1:
            return None
        name = " ".join(source.name for source in self.equation.sources)
        labels = [label(SIGN, self.halvings, index) for index in range(2**self.halvings)]
        size = self.equation.size**2
        key = self._numbers.key(name, labels, size)
        signs = self._numbers.signs(key, first, number, (size,))
        return signs.reshape(number * len(labels), *signs.shape[2:])

    @property
    def _numbers(self) -> Numbers:
        assert self.numbers is not None
        return self.numbers
