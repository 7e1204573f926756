"""The Stochastic calculus: wires carry paths on a grid of time, and noise is integrated."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, UInt

from ...circuits.atoms.events import Hybrid
from ...circuits.atoms.registers import (
    Delay,
    Deregister,
    JumpRegister,
    Register,
    StochasticRegister,
    Substitution,
)
from ...circuits.circuit import Circuit
from ...circuits.fields import as_inexact, as_reals, check_choice, check_count
from ...errors import CircuitError
from ...fixed_points.options import FixedPoint, check_fixed_point
from ...jaxprs.concrete import is_concrete
from ...jaxprs.own_functions import check_takes
from ...taylor.network import Meanings, hybrid, register
from ..calculus import Calculus
from ..cut import Cut
from ..meanings import FOR_SERIES, noise
from ..pointwise import Pointwise
from ..trajectory import Trajectory
from .correlation import Correlation, as_correlation
from .delays import Delays, Grid, Rings, longest
from .draws import Draws
from .events import Events
from .methods import METHODS, StochasticMethod, as_method
from .noise import MOST_HALVINGS, Numbers, Words, key_words
from .path_run import PathRun
from .sde import Equation, Held, check_sources
from .tile import Steps, Tile

MEANINGS: Meanings = {
    Register: register,
    StochasticRegister: register,
    JumpRegister: register,
    Hybrid: hybrid,
    Deregister: "it has no meaning under Stochastic: a path with noise has no derivative",
    Substitution: FOR_SERIES,
}

# How far an interval may exceed a number of steps of `dt`, in parts of one step, by rounding.
_SLACK = 1e-6


class Replaced(eqx.Module):
    """What replaces drawn noise: nothing where `off`, else increments by source, which may be
    none."""

    off: bool = eqx.field(static=True)
    increments: dict[str, Inexact[Array, "..."]]


class Stochastic(Calculus):
    """Stochastic differential equations: `register(t)` is ∫ … dt, `stochastic_register` ∫ … dW.

    A run takes steps of one size between saved times. All noise is a function of the key, the
    number of the path, that of the step and the source's name, so a path does not depend on how
    many others there are, nor on where a run was interrupted.

    **Arguments:**

    - `steps`: how many steps between two saved times: one count, or a tuple of them.
    - `dt`: the longest step, in place of `steps`; each interval is divided evenly. It takes times
      that are known when the run is called.
    - `method`: `Euler()`, `Milstein()` or `Weak2()` for Itô's equation, `Heun()` for that of
      Stratonovich, `Additive()` (strong order 1.5) where noise does not depend on the state, or a
      `StochasticMethod` of your own. "euler", "milstein", "weak2", "heun" and "additive" are short
      forms.
    - `interpretation`: "ito" or "stratonovich", what the circuit's integrals mean.
    - `correlation`: `{("W", "V"): 0.5}`, the correlations of pairs of sources; 0 for others.
    - `noise`: "off" runs the drift alone; `{"W": dW}` hands in the increments of sources, `[steps,
      *value]`, with a leading axis of paths under `ensemble`.
    - `halvings`: halves every step so many times, on the same path, by a Brownian bridge.
    - `commutative`: says that the noise commutes, where the wiring alone does not show it.
    - `fixed_point`: how loops that no register cuts are solved, at each step and saved time.
    - `max_delay`: the most steps that a delay takes; needed only where a `by` or the times are
      traced.

    **Raises:** `CircuitError` for options out of range, and for a method that does not solve what
    is asked.
    """

    steps: int | tuple[int, ...] | None = eqx.field(
        static=True, default=None, converter=lambda n: tuple(n) if isinstance(n, list) else n
    )
    dt: float | None = eqx.field(
        static=True, default=None, converter=lambda dt: None if dt is None else _step_length(dt)
    )
    method: StochasticMethod = eqx.field(converter=as_method, default="euler")
    interpretation: str = eqx.field(static=True, default="ito")
    correlation: Correlation = eqx.field(converter=as_correlation, default=None)
    noise: Replaced = eqx.field(converter=lambda given: _as_replaced(given), default=None)
    halvings: int = eqx.field(static=True, default=0)
    commutative: bool = eqx.field(static=True, default=False)
    fixed_point: FixedPoint = eqx.field(default_factory=FixedPoint)
    max_delay: int | None = eqx.field(static=True, default=None)
    gapless = True

    def __check_init__(self):
        if (self.steps is None) == (self.dt is None):
            raise CircuitError("Stochastic: give one of steps and dt")
        counts = self.steps if isinstance(self.steps, tuple) else (self.steps,)
        for count in counts if self.dt is None else ():
            check_count("Stochastic", "steps", count, least=1)
        check_count("Stochastic", "halvings", self.halvings)
        if self.max_delay is not None:
            check_count("Stochastic", "max_delay", self.max_delay, least=1)
        if self.halvings > MOST_HALVINGS:
            raise CircuitError(
                f"Stochastic: halvings must be at most {MOST_HALVINGS}, not {self.halvings}; start "
                "from more steps"
            )
        check_fixed_point("Stochastic", self.fixed_point)
        _check_interpretation(self.method, self.interpretation)
        drawn = self.halvings or self.correlation.pairs or self.method.needs_integral
        if self.noise.increments and drawn:
            raise CircuitError(
                "Stochastic: increments that are handed in have no halves and no time integral, "
                "and stand as they are: leave out halvings and correlation, and take another "
                'method than "additive"'
            )

    def takes(self, ts: Array) -> Array:
        return jnp.asarray(self.noise.off) | (ts[-1] >= ts[0])

    def settled(self, ts: Array) -> "Stochastic":
        if not self.noise.off and is_concrete(ts) and np.asarray(ts)[-1] < np.asarray(ts)[0]:
            raise CircuitError(
                'Stochastic: ts must increase, since noise has no way back; noise="off" runs the '
                "drift alone along decreasing times"
            )
        if self.dt is None:
            return self
        if not is_concrete(ts):
            raise CircuitError(
                "Stochastic: dt takes times that are known; where ts is traced, give steps"
            )
        known = np.asarray(ts, np.float64)
        numbers = np.abs(np.diff(known)) / self.dt
        # Each end of an interval is known to half of its last digit, or a little more.
        rounding = (
            2 * float(jnp.finfo(ts.dtype).eps) * np.maximum(np.abs(known[1:]), np.abs(known[:-1]))
        )
        slack = np.maximum(_SLACK, np.minimum(rounding / self.dt, numbers / 8))
        counts = tuple(max(1, int(count)) for count in np.ceil(numbers - slack))
        return dataclasses.replace(self, steps=counts, dt=None)

    def for_circuit(self, circuit: Circuit, ts: Array | None) -> "Stochastic":
        if ts is None:
            return self
        known = longest(circuit, ts, self._counts(ts.shape[0] - 1), self.halvings)
        if known is not None and self.max_delay is not None and known > self.max_delay:
            raise CircuitError(
                f"Stochastic: max_delay is {self.max_delay}, but a delay takes {known} steps"
            )
        most = self.max_delay if self.max_delay is not None else known
        return dataclasses.replace(self, max_delay=most)

    def with_key(self, key: Any, path: Any) -> "OnePath":
        if not isinstance(key, jax.Array | np.ndarray | None):
            raise CircuitError(f"key must be a JAX key such as jax.random.key(0), not {key!r}")
        number = np.asarray(path) if is_concrete(path) else path
        integer = jnp.issubdtype(number.dtype, jnp.integer) and number.ndim == 0
        if not integer or (is_concrete(path) and not 0 <= int(number) < 2**32):
            raise CircuitError(
                f"path must be the number of a path, from 0 to 2**32 - 1, not {path!r}"
            )
        return OnePath(self, key, jnp.asarray(number, jnp.uint32))

    def with_rows(self, rows: Callable[[Array], Array]) -> "Stochastic":
        """The calculus with other rows of the increments that are handed in."""
        increments = {name: rows(value) for name, value in self.noise.increments.items()}
        return eqx.tree_at(lambda s: s.noise.increments, self, increments) if increments else self

    def tile(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        words: Words | None,
        paths: Array,
    ) -> Tile:
        """What runs the paths of these numbers; `words` are those of the key."""
        # A step that begins at a sample's time reads that sample, though it begins beside it: the
        # times of steps and those of samples are rounded, each by some last digits of the longest.
        largest = jnp.max(jnp.abs(ts))
        largest = jnp.where(largest > 0, largest, 1)
        largest = jnp.where(ts[-1] < ts[0], -largest, largest)

        def beside(dtype: Any) -> Array:
            return 4 * jnp.finfo(dtype).eps * largest.astype(dtype)

        held = Held(beside)
        counts = self._counts(ts.shape[0] - 1)
        delays = Delays(self.max_delay, Grid.of(ts, counts, self.halvings))
        cut = Cut.of(
            circuit,
            ts[0],
            inputs,
            dim,
            calculus="Stochastic",
            meanings={
                **MEANINGS,
                Delay: delays.meaning(),
                **(noise("off", "", "") if self.noise.off else {}),
            },
            fixed_point=self.fixed_point,
            held_at=held.at,
        )
        cut = delays.with_histories(cut)
        events = Events(cut, beside(ts.dtype))
        pointwise = Pointwise(cut, ts.dtype, watched=(*events.guards, *events.jumps))
        correlation = NONE if self.noise.off else self.correlation
        equation = Equation(pointwise, correlation, held)
        self.method.check(equation, self.commutative)
        if self.halvings and equation.jumps.atoms:
            raise CircuitError("Stochastic: a path with jumps cannot be halved; give more steps")
        steps = Steps(counts, self.halvings)
        dtype = jnp.promote_types(pointwise.time_dtype, jnp.float32)
        numbers = None if words is None else Numbers(words, dtype, paths)
        drawn = [s.name for s in equation.sources if s.name not in self.noise.increments]
        if numbers is None and (drawn or equation.jumps.atoms):
            raise CircuitError("Stochastic draws random numbers: give key=jax.random.key(0)")
        handed = self._handed(equation, steps)
        draws = Draws(equation, self.method, self.halvings, numbers, handed)
        return Tile(equation, draws, steps, events, Rings.of(pointwise, delays.grid))

    def simulate(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Trajectory:
        return self.with_key(None, 0).simulate(circuit, ts, inputs, dim, state)

    def _counts(self, intervals: int) -> tuple[int, ...]:
        """How many steps each interval has."""
        if isinstance(self.steps, int):
            return (self.steps,) * intervals
        assert self.steps is not None
        if len(self.steps) != intervals:
            raise CircuitError(
                f"Stochastic: steps has {len(self.steps)} counts, but ts has {intervals} intervals"
            )
        return self.steps

    def _handed(self, equation: Equation, steps: Steps) -> dict[str, Array]:
        """The handed increments, checked, with room for the last draw to reach past their end."""
        shapes = {source.name: source.shape for source in equation.sources}
        check_sources("noise", self.noise.increments, shapes)
        found = {}
        for name, value in self.noise.increments.items():
            expected = (sum(steps.counts), *shapes[name])
            if value.shape[1:] != expected:
                raise CircuitError(
                    f"the increments of {name} must be of shape {expected} for each path, not "
                    f"{value.shape[1:]}"
                )
            room = [(0, 0), (0, steps.most + 1), *[(0, 0)] * (value.ndim - 2)]
            found[name] = jnp.pad(value, room)
        return found


NONE = Correlation((), ())


class OnePath(Calculus):
    """One path of a stochastic calculus: its key, None for none, and its number."""

    stochastic: Stochastic
    key: Any
    path: UInt[Array, ""]

    def simulate(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> Trajectory:
        return self.stretches(circuit, ts, inputs, dim, state).whole()

    def stretches(
        self, circuit: Circuit, ts: Array, inputs: tuple[Any, ...], dim: str | None, state: Any
    ) -> PathRun:
        words = None if self.key is None else key_words(self.key)
        # A tile of one path has one row of handed increments.
        alone = self.stochastic.with_rows(lambda value: value[None])
        return PathRun(alone.tile(circuit, ts, inputs, dim, words, self.path.reshape(1)), ts, state)


def _as_replaced(given: Any) -> Replaced:
    """The option `noise` as what replaces drawn noise."""
    if isinstance(given, Replaced):
        return given
    if isinstance(given, Mapping):
        increments = {
            name: as_inexact(f"Stochastic: the increments of {name}", value)
            for name, value in given.items()
        }
        return Replaced(False, increments)
    if given is not None and not (isinstance(given, str) and given == "off"):
        raise CircuitError(f'Stochastic: noise must be "off" or increments by name, not {given!r}')
    return Replaced(given is not None, {})


def _step_length(dt: Any) -> float:
    """The option `dt` as a number."""
    if not is_concrete(dt):
        raise CircuitError("Stochastic: dt decides how many steps are compiled, so it is a number")
    as_reals("Stochastic: dt", dt)
    length = float(dt)
    if not 0 < length < float("inf"):
        raise CircuitError(f"Stochastic: dt must be positive, not {dt!r}")
    return length


def _check_interpretation(method: StochasticMethod, interpretation: Any) -> None:
    """Raises `CircuitError` where a method does not solve what is asked."""
    known = ("ito", "stratonovich")
    check_choice("Stochastic", "interpretation", interpretation, known)
    check_takes(f"{type(method).__name__}: step", method.step, "start", "h", "noise")
    solved = method.interpretations
    if not isinstance(solved, tuple) or not solved or not set(solved) <= set(known):
        raise CircuitError(
            f'{type(method).__name__}: interpretations must be a tuple of "ito", "stratonovich" or '
            f'both, such as ("ito",), not {solved!r}'
        )
    if interpretation not in method.interpretations:
        others = [name for name, m in METHODS.items() if interpretation in m.interpretations]
        raise CircuitError(
            f"Stochastic: the method {type(method).__name__} solves the equation of "
            f"{method.interpretations[0]}; say so by interpretation=, or for {interpretation} take "
            f"{' or '.join(map(repr, others))}"
        )
