"""Methods for stochastic differential equations: each is one step of one path.

P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), is
cited as KP.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...circuits.atoms.registers import StochasticRegister
from ...circuits.circuit import brief
from ...errors import CircuitError
from ..convergence import Solves, worst
from ..pointwise import Contents, Feeds
from .sde import Equation, Increments, added, noise_of, scaled


@dataclasses.dataclass(frozen=True)
class Noise:
    """What a step of length h draws for the independent sources, by name.

    `integral` is that of each process over the step, less its start; `signs` is a matrix of 1 and
    -1, of which a method reads what lies below the diagonal.
    """

    increment: Increments
    integral: Increments | None = None
    signs: Array | None = None


# The contents after a step, and how loops without registers were solved in it.
After = tuple[Contents, Solves | None]


class Method(abc.ABC):
    """One step. `interpretations` are those of the equation that it solves."""

    name: ClassVar[str]
    interpretations: ClassVar[tuple[str, ...]] = ("ito",)
    integral: ClassVar[bool] = False
    signs: ClassVar[bool] = False

    def check(self, equation: Equation, commutative: bool) -> None:
        """Raises `CircuitError` where the method does not hold for the equation's noise."""
        del equation, commutative

    @abc.abstractmethod
    def step(
        self, equation: Equation, t: Array, h: Array, contents: Contents, first: Feeds, noise: Noise
    ) -> After:
        """The contents after a step of length h from t; `first` are the feeds at its start."""


class Euler(Method):
    """Euler and Maruyama: strong order 1/2, weak order 1."""

    name = "euler"

    def step(self, equation, t, h, contents, first, noise):
        return added(contents, equation.change(first, h, noise.increment)), first.solves


class Milstein(Method):
    """Strong order 1 for noise that commutes (KP 10.3.16), with derivatives by `jax.jvp`.

    With the columns b_j of the diffusion, it adds to Euler's step the sum of
    Db_k b_j (dW_j dW_k - [j = k] h) / 2: the first part is one derivative along the sum of all
    b_j dW_j, the second one for each process.
    """

    name = "milstein"

    def check(self, equation, commutative):
        if commutative or _commutes(equation):
            return
        raise CircuitError(
            "milstein needs noise that commutes, and that of this circuit is not known to: say "
            'commutative=True if it does; else take "euler" (strong order 1/2, weak order 1) or '
            '"weak2" (weak order 2)'
        )

    def step(self, equation, t, h, contents, first, noise):
        def diffusion(contents: Contents, increment: Increments) -> Contents:
            return equation.change(equation.feeds(t, contents, first.guesses), 0.0, increment)

        def along(increment: Increments) -> Contents:
            slope = diffusion(contents, increment)
            return jax.jvp(lambda y: diffusion(y, increment), (contents,), (slope,))[1]

        change = equation.change(first, h, noise.increment)
        if not equation.size:
            return added(contents, change), first.solves
        if equation.size == 1:
            (increment,) = noise.increment.values()
            unit = jax.tree.map(jnp.ones_like, noise.increment)
            factor = (increment.reshape(()) ** 2 - h.astype(increment.dtype)) / 2
            return added(contents, change, scaled(factor, along(unit))), first.solves
        basis = jnp.eye(equation.size, dtype=equation.vector(noise.increment).dtype)
        own = jax.vmap(lambda vector: along(equation.unit(vector)))(basis)
        own = jax.tree.map(lambda parts: jnp.sum(parts, axis=0), own)
        both = along(noise.increment)
        total = added(contents, change, scaled(0.5, both), scaled(-0.5 * h, own))
        return total, first.solves


class Heun(Method):
    """Stratonovich's equation: strong order 1 for noise that commutes, 1/2 else; weak order 1."""

    name = "heun"
    interpretations = ("stratonovich",)

    def step(self, equation, t, h, contents, first, noise):
        change = equation.change(first, h, noise.increment)
        second = equation.feeds(t + h, added(contents, change), first.guesses)
        mean = scaled(0.5, added(change, equation.change(second, h, noise.increment)))
        return added(contents, mean), worst(first.solves, second.solves)


class Additive(Method):
    """Strong order 1.5 where the noise is additive: SRA1.

    A. Rößler, *Runge–Kutta methods for the strong approximation of solutions of stochastic
    differential equations*, SIAM J. Numer. Anal. 48 (2010), table 6.1. With additive noise the
    interpretations of Itô and Stratonovich are one.
    """

    name = "additive"
    interpretations = ("ito", "stratonovich")
    integral = True

    def check(self, equation, commutative):
        for place, node in equation.places(StochasticRegister):
            if equation.reads(place):
                raise CircuitError(
                    f'"additive" needs noise that does not depend on the state, but what goes into '
                    f'{brief(node.atom)} does; take "milstein" (strong order 1), "euler" (1/2) or '
                    '"weak2" (weak order 2)',
                    atoms=[node.atom],
                )

    def step(self, equation, t, h, contents, first, noise):
        assert noise.integral is not None
        mean = {name: value / h.astype(value.dtype) for name, value in noise.integral.items()}
        none = jax.tree.map(jnp.zeros_like, noise.increment)
        later = equation.feeds(t + h, contents, first.guesses)
        stage = added(
            contents,
            equation.change(first, 0.75 * h, none),
            equation.change(later, 0.0, jax.tree.map(lambda z: 1.5 * z, mean)),
        )
        second = equation.feeds(t + 0.75 * h, stage, later.guesses)
        left = jax.tree.map(jnp.subtract, dict(noise.increment), mean)
        total = added(
            contents,
            equation.change(first, h / 3, mean),
            equation.change(second, h * (2 / 3), none),
            equation.change(later, 0.0, left),
        )
        return total, worst(first.solves, later.solves, second.solves)


class Weak2(Method):
    """Platen's explicit method of weak order 2 for any noise (KP 15.1.3).

    Time is one more component of the state, with drift 1.
    """

    name = "weak2"
    signs = True

    def step(self, equation, t, h, contents, first, noise):
        none = jax.tree.map(jnp.zeros_like, noise.increment)
        drift = equation.change(first, h, none)
        predicted = added(drift, equation.change(first, 0.0, noise.increment))
        end = equation.feeds(t + h, added(contents, predicted), first.guesses)
        total = scaled(0.5, added(drift, equation.change(end, h, none)))
        solves = worst(first.solves, end.solves)
        if not equation.size:
            return added(contents, total), solves
        w = equation.vector(noise.increment)
        h, root = h.astype(w.dtype), jnp.sqrt(h).astype(w.dtype)
        pairs = w * w[:, None] + _antisymmetric(noise.signs, w) * h

        def of_source(j: Array) -> After:
            unit = (jnp.arange(w.shape[0]) == j).astype(w.dtype)

            def diffusion(t: Array, y: Contents, vector: Array) -> After:
                feeds = equation.feeds(t, y, first.guesses)
                return equation.change(feeds, 0.0, equation.unit(vector)), feeds.solves

            def at_start(vector: Array) -> After:
                return equation.change(first, 0.0, equation.unit(vector)), first.solves

            column = at_start(unit * root)[0]
            up, down = (added(contents, drift, scaled(s, column)) for s in (1, -1))
            later = t + h.astype(t.dtype)
            own = (w[j] ** 2 - h) / root
            parts = [
                diffusion(later, up, unit * (w[j] + own) / 4),
                diffusion(later, down, unit * (w[j] - own) / 4),
                at_start(unit * w[j] / 2),
            ]
            if equation.size > 1:
                # What moving along column j does to the other columns.
                up, down = (added(contents, scaled(s, column)) for s in (1, -1))
                others, mixed = w * (1 - unit), pairs[j] * (1 - unit) / root
                parts += [
                    diffusion(t, up, (others + mixed) / 4),
                    diffusion(t, down, (others - mixed) / 4),
                    at_start(-others / 2),
                ]
            changes, found = zip(*parts, strict=True)
            return added(*changes), worst(*found)

        each, found = jax.vmap(of_source)(jnp.arange(w.shape[0]))
        found = jax.tree.map(lambda facts: jnp.max(facts, axis=0), found)
        each = jax.tree.map(lambda parts: jnp.sum(parts, axis=0), each)
        return added(contents, total, each), worst(solves, found)


METHODS: Mapping[str, Method] = {
    method.name: method for method in (Euler(), Milstein(), Heun(), Additive(), Weak2())
}


def _antisymmetric(signs: Array | None, like: Array) -> Array:
    """A matrix of signs with opposite ones across its diagonal, from those below it."""
    size = like.shape[0]
    if signs is None:
        return jnp.zeros((size, size), like.dtype)
    below = np.tril(np.ones((size, size)), -1)
    lower = signs.reshape(size, size) * below.astype(signs.dtype)
    return lower - lower.T


def _commutes(equation: Equation) -> bool:
    """Whether the wiring alone shows that the noise commutes.

    It does with one process; where no diffusion depends on what a noise drives; and where processes
    of one component each drive registers that only diffusions of the same process read.
    """
    driven = dict(equation.places(StochasticRegister))
    reads = {place: equation.reads(place) & driven.keys() for place in driven}
    if equation.size <= 1 or not any(reads.values()):
        return True
    if any(source.shape for source in equation.sources):
        return False
    noise = {place: noise_of(node) for place, node in driven.items()}
    return all(noise[place] == noise[other] for place in reads for other in reads[place])
