"""Methods for stochastic differential equations: each is one step of one path.

P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), is
cited as KP. With the contents y, the drift a and the columns b_j of the diffusion, the equation is
dy = a dt + Σ_j b_j dW_j; dW_j is the increment of source j over a step of length h.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ...circuits.fields import check_leaves
from ...circuits.terms import brief
from ...errors import CircuitError
from ..convergence import Solves
from ..pointwise import Contents
from .change import Change
from .sde import After, Equation, Increments, Stage


@dataclasses.dataclass(frozen=True)
class Noise:
    """What a step of length h draws for the independent sources, by name.

    - `increment`: that of each process over the step, of the shape of its components.
    - `integral`: that of each process over the step, less its start; of methods that need it.
    - `signs`: a vector of 1 and -1, `[size²]` for the `size` of the equation, read as a matrix
      below its diagonal; of methods that need it, where the size is more than 1.
    """

    increment: Increments
    drawn_integral: Increments | None = None
    drawn_signs: Array | None = None

    @property
    def integral(self) -> Increments:
        if self.drawn_integral is None:
            raise CircuitError(
                "noise.integral is there for methods with needs_integral = True alone"
            )
        return self.drawn_integral

    @property
    def signs(self) -> Array:
        if self.drawn_signs is None:
            raise CircuitError(
                "noise.signs is there for methods with needs_signs = True alone, and for equations "
                "of more than one number"
            )
        return self.drawn_signs


class StochasticMethod(eqx.Module):
    """A method for `Stochastic`: subclass it with `step`.

    - `interpretations`: "ito", "stratonovich" or both: what the method solves.
    - `needs_integral`, `needs_signs`: which parts of `Noise` it reads besides the increments.
    - Fields of the subclass are its numbers: arrays are traced, and static fields are not.

    ```python
    class Euler(ag.StochasticMethod):
        def step(self, start, h, noise):
            return start.after(start.plus(start.change(h, noise.increment)))
    ```
    """

    interpretations: ClassVar[tuple[str, ...]] = ("ito",)
    needs_integral: ClassVar[bool] = False
    needs_signs: ClassVar[bool] = False

    def __check_init__(self):
        check_leaves(self)

    def check(self, equation: Equation, commutative: bool) -> None:
        """Raises `CircuitError` where the method does not hold for the equation's noise.

        `commutative` says that the user knows the noise to commute.
        """
        del equation, commutative

    @abc.abstractmethod
    def step(self, start: Stage, h: Array, noise: Noise) -> After:
        """One step.

        **Arguments:** `start` is the equation at the start: `start.drift(h)`, `start.diffusion(dW)`
        and `start.change(h, dW)`, the sum of both, are `Change`s of the contents, which add up and
        take factors, and `start.plus(*changes)` the contents with changes added;
        `start.at(t, contents)` is the equation elsewhere, and `start.t` the time. `h` is the length
        of the step.

        **Returns:** `start.after(contents, *stages)`, the contents at the end, with all other
        stages that the step read.
        """


class Euler(StochasticMethod):
    """Euler and Maruyama, y + a h + Σ_j b_j dW_j: strong order 1/2, weak order 1 (KP 10.2.4)."""

    def step(self, start: Stage, h: Array, noise: Noise) -> After:
        return start.after(start.plus(start.change(h, noise.increment)))


class Milstein(StochasticMethod):
    """Strong order 1 for noise that commutes (KP 10.3.16), with derivatives by `jax.jvp`.

    It adds to Euler's step the sum of Db_k b_j (dW_j dW_k - [j = k] h) / 2: the first part is one
    derivative along Σ_j b_j dW_j, the second one for each process.
    """

    def check(self, equation: Equation, commutative: bool) -> None:
        if any(equation.reads(index) & equation.delays for index in equation.diffusions):
            raise CircuitError(
                "milstein is of strong order 1 where no noise is multiplied by what a delay gives: "
                'take "euler" (strong order 1/2, weak order 1), or "heun" for interpretation='
                '"stratonovich"'
            )
        if commutative or _commutes(equation):
            return
        raise CircuitError(
            "milstein needs noise that commutes, and that of this circuit is not known to: say "
            'commutative=True if it does; else take "euler" (strong order 1/2, weak order 1) or '
            '"weak2" (weak order 2)'
        )

    def step(self, start: Stage, h: Array, noise: Noise) -> After:
        equation = start.equation

        def along(increment: Increments) -> Change:
            """The derivative of the diffusion along itself."""

            def diffusion(contents: Contents) -> Change:
                return start.at(start.t, contents).diffusion(increment)

            slope = diffusion(start.contents).parts
            return jax.jvp(diffusion, (start.contents,), (slope,))[1]

        change = start.change(h, noise.increment)
        if not equation.size:
            return start.after(start.plus(change))
        if equation.size == 1:
            (increment,) = noise.increment.values()
            unit = jax.tree.map(jnp.ones_like, noise.increment)
            factor = (increment.reshape(()) ** 2 - h.astype(increment.dtype)) / 2
            return start.after(start.plus(change, factor * along(unit)))
        vector, by_source = ravel_pytree(noise.increment)
        basis = jnp.eye(equation.size, dtype=vector.dtype)
        own = jax.vmap(lambda one: along(by_source(one)))(basis)
        own = jax.tree.map(lambda parts: jnp.sum(parts, axis=0), own)
        both = along(noise.increment)
        return start.after(start.plus(change, 0.5 * both, (-0.5 * h) * own))


class Heun(StochasticMethod):
    """Stratonovich's equation: strong order 1 for noise that commutes, 1/2 else; weak order 1.

    The mean of Euler's changes at the start and at the end of Euler's step.
    """

    interpretations = ("stratonovich",)

    def step(self, start: Stage, h: Array, noise: Noise) -> After:
        change = start.change(h, noise.increment)
        end = start.at(start.t + h, start.plus(change))
        mean = 0.5 * (change + end.change(h, noise.increment))
        return start.after(start.plus(mean), end)


class Additive(StochasticMethod):
    """Strong order 1.5 where the noise does not depend on the state: SRA1.

    A. Rößler, *Runge–Kutta methods for the strong approximation of solutions of stochastic
    differential equations*, SIAM J. Numer. Anal. 48 (2010), table 6.1. With additive noise the
    interpretations of Itô and Stratonovich are one.
    """

    interpretations = ("ito", "stratonovich")
    needs_integral = True

    def check(self, equation: Equation, commutative: bool) -> None:
        _refuse_delays(equation, "additive", "strong order 1.5")
        for index, atom in equation.diffusions.items():
            if equation.reads(index):
                raise CircuitError(
                    f'"additive" needs noise that does not depend on the state, but what goes into '
                    f'{brief(atom)} does; take "milstein" (strong order 1), "euler" (1/2) or '
                    '"weak2" (weak order 2)',
                    atoms=[atom],
                )

    def step(self, start: Stage, h: Array, noise: Noise) -> After:
        mean = {name: value / h.astype(value.dtype) for name, value in noise.integral.items()}
        later = start.at(start.t + h, start.contents)
        raised = later.diffusion(jax.tree.map(lambda z: 1.5 * z, mean))
        second = start.at(start.t + 0.75 * h, start.plus(start.drift(0.75 * h), raised))
        left = jax.tree.map(jnp.subtract, dict(noise.increment), mean)
        contents = start.plus(
            start.change(h / 3, mean), second.drift(h * (2 / 3)), later.diffusion(left)
        )
        return start.after(contents, later, second)


class Weak2(StochasticMethod):
    """Platen's explicit method of weak order 2 for any noise (KP 15.1.3).

    Time is one more component of the state, with drift 1.
    """

    needs_signs = True

    def check(self, equation: Equation, commutative: bool) -> None:
        _refuse_delays(equation, "weak2", "weak order 2")

    def step(self, start: Stage, h: Array, noise: Noise) -> After:
        equation, drift = start.equation, start.drift(h)
        end = start.at(start.t + h, start.plus(drift, start.diffusion(noise.increment)))
        total = start.plus(0.5 * (drift + end.drift(h)))
        if not equation.size:
            return start.after(total, end)
        w, by_source = ravel_pytree(noise.increment)
        h = h.astype(w.dtype)
        pairs = w * w[:, None] + _antisymmetric(noise.drawn_signs, w) * h

        def of_source(j: Array) -> tuple[Change, Solves | None]:
            return _of_source(start, drift, h, w, pairs, j, by_source)

        each, solved = jax.vmap(of_source)(jnp.arange(len(w)))
        solves = jax.tree.map(lambda facts: jnp.max(facts, axis=0), solved)
        change = jax.tree.map(lambda parts: jnp.sum(parts, axis=0), each)
        worst = jax.tree.map(jnp.maximum, start.solves(end), solves)
        return After(jax.tree.map(jnp.add, total, change.parts), worst)


def _of_source(
    start: Stage, drift: Change, h: Array, w: Array, pairs: Array, j: Array, by_source: Any
) -> tuple[Change, Solves | None]:
    """The change of the contents by source j in `Weak2`, and how loops were solved for it.

    `w` are the increments, `[size]`, which `by_source` makes a dictionary, and `pairs` what stands
    for their double integrals, `[size, size]`.
    """
    root = jnp.sqrt(h)
    unit = (jnp.arange(w.shape[0]) == j).astype(w.dtype)
    column = start.diffusion(by_source(unit * root))
    later = start.t + h.astype(start.t.dtype)
    up, down = (start.at(later, start.plus(drift, s * column)) for s in (1, -1))
    own = (w[j] ** 2 - h) / root
    change = (
        up.diffusion(by_source(unit * (w[j] + own) / 4))
        + down.diffusion(by_source(unit * (w[j] - own) / 4))
        + start.diffusion(by_source(unit * w[j] / 2))
    )
    if len(w) == 1:
        return change, start.solves(up, down)
    # What moving along column j does to the other columns.
    above, below = (start.at(start.t, start.plus(s * column)) for s in (1, -1))
    others, mixed = w * (1 - unit), pairs[j] * (1 - unit) / root
    change += above.diffusion(by_source((others + mixed) / 4))
    change += below.diffusion(by_source((others - mixed) / 4))
    change += start.diffusion(by_source(-others / 2))
    return change, start.solves(up, down, above, below)


# The short forms of methods.
METHODS: Mapping[str, StochasticMethod] = {
    "euler": Euler(),
    "milstein": Milstein(),
    "heun": Heun(),
    "additive": Additive(),
    "weak2": Weak2(),
}


def as_method(given: Any) -> StochasticMethod:
    """A method, or the name of one, as a method."""
    if isinstance(given, StochasticMethod):
        return given
    if not isinstance(given, str) or given not in METHODS:
        raise CircuitError(
            f"Stochastic: method must be one of {', '.join(METHODS)}, or an object such as "
            f"Milstein(), not {given!r}"
        )
    return METHODS[given]


def _refuse_delays(equation: Equation, name: str, order: str) -> None:
    """Raises `CircuitError` for a method whose order asks for more of the past than its steps."""
    if equation.delays:
        raise CircuitError(
            f'"{name}" is of {order} without delays alone: between the times of steps the past of '
            'a path is not known; take "euler", "milstein" or "heun"'
        )


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
    driven = equation.diffusions
    reads = {index: equation.reads(index) & driven.keys() for index in driven}
    if equation.size <= 1 or not any(reads.values()):
        return True
    if any(source.shape for source in equation.sources):
        return False
    return all(driven[i].noise == driven[other].noise for i in reads for other in reads[i])
