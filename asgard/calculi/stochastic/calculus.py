"""The Stochastic calculus: wires carry paths on a grid of time, and noise is integrated."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, UInt

from ...circuits.atoms.registers import (
    Deregister,
    JumpRegister,
    Register,
    StochasticRegister,
    Substitution,
)
from ...circuits.circuit import Circuit
from ...circuits.fields import as_inexact, check_count
from ...errors import CircuitError
from ...fixed_points.options import FixedPoint
from ...jaxprs.concrete import is_concrete
from ...status import Status
from ...taylor.network import Meanings, register
from ..calculus import Calculus
from ..convergence import facts
from ..cut import Cut
from ..meanings import FOR_SERIES, noise, unit_delay
from ..pointwise import Pointwise
from ..trajectory import Trajectory
from .methods import METHODS
from .noise import MOST_HALVINGS, Numbers, Words, key_words
from .sde import Equation, Mixing, correlation_matrix
from .tile import Paths, Steps, Tile, chosen

# What to try where a path has ended.
ADVICE = (
    "more steps, a method of higher order or a drift-implicit form of the equation, or a state "
    "that stays in its domain by construction (the logarithm of a price, a truncated variance); at "
    "a JumpRegister, a larger most, which bounds the jumps of a step, and a rate that is not "
    "negative"
)

MEANINGS: Meanings = {
    Register: register,
    StochasticRegister: register,
    JumpRegister: register,
    Deregister: "it has no meaning under Stochastic: a path with noise has no derivative",
    Substitution: FOR_SERIES,
    **unit_delay("Stochastic"),
}

# How far an interval may exceed a number of steps of `dt`, in parts of one step, by rounding.
_SLACK = 1e-6


class Stochastic(Calculus):
    """Stochastic differential equations: `register(t)` is ∫ … dt, `stochastic_register` ∫ … dW.

    A run takes steps of one size between saved times. All noise is a function of the key, the
    number of the path, that of the step and the source's name, so a path does not depend on how
    many others there are, nor on where a run was interrupted.

    **Arguments:**

    - `steps`: how many steps between two saved times: one count, or a tuple of them.
    - `dt`: the longest step, in place of `steps`; each interval is divided evenly. It takes times
      that are known when the run is called.
    - `method`: "euler", "milstein" or "weak2" for Itô's equation, "heun" for Stratonovich's,
      "additive" (strong order 1.5) where noise does not depend on the state.
    - `interpretation`: "ito" or "stratonovich", what the circuit's integrals mean.
    - `correlation`: `{("W", "V"): 0.5}`, the correlations of pairs of sources; 0 for others.
    - `noise`: "off" runs the drift alone; `{"W": dW}` hands in the increments of sources, `[steps,
      *value]`, with a leading axis of paths under `ensemble`.
    - `halvings`: halves every step so many times, on the same path, by a Brownian bridge.
    - `commutative`: says that the noise commutes, where the wiring alone does not show it.
    - `fixed_point`: how loops that no register cuts are solved, at each step and saved time.

    **Raises:** `CircuitError` for options out of range, and for a method that does not solve what
    is asked.
    """

    steps: int | tuple[int, ...] | None = eqx.field(static=True)
    dt: float | None = eqx.field(static=True)
    method: str = eqx.field(static=True)
    interpretation: str = eqx.field(static=True)
    pairs: tuple[tuple[str, str], ...] = eqx.field(static=True)
    correlations: tuple[Float[Array, ""], ...]
    drift_only: bool = eqx.field(static=True)
    handed: dict[str, Inexact[Array, "..."]]
    halvings: int = eqx.field(static=True)
    commutative: bool = eqx.field(static=True)
    fixed_point: FixedPoint

    def __init__(
        self,
        steps: int | tuple[int, ...] | None = None,
        dt: float | None = None,
        method: str = "euler",
        interpretation: str = "ito",
        correlation: Mapping[tuple[str, str], Any] | None = None,
        noise: str | Mapping[str, Any] | None = None,
        halvings: int = 0,
        commutative: bool = False,
        fixed_point: FixedPoint = FixedPoint(),  # noqa: B008 - frozen, and holds no array of JAX
    ):
        self.steps = tuple(steps) if isinstance(steps, list) else steps
        self.dt = None if dt is None else _step_length(dt)
        self.method, self.interpretation = method, interpretation
        if not isinstance(correlation, Mapping | None):
            raise CircuitError(
                'Stochastic: correlation is a dictionary such as {("W", "V"): 0.5}, not '
                f"{correlation!r}"
            )
        self.pairs = tuple(correlation or ())
        self.correlations = tuple(
            as_inexact(f"Stochastic: the correlation of {pair}", value)
            for pair, value in (correlation or {}).items()
        )
        self.drift_only = isinstance(noise, str) and noise == "off"
        self.handed = {}
        if isinstance(noise, Mapping):
            self.handed = {
                name: as_inexact(f"Stochastic: the increments of {name}", value)
                for name, value in noise.items()
            }
        elif noise is not None and not self.drift_only:
            raise CircuitError(
                f'Stochastic: noise must be "off" or increments by name, not {noise!r}'
            )
        self.halvings, self.commutative = halvings, commutative
        self.fixed_point = fixed_point

    def __check_init__(self):
        if (self.steps is None) == (self.dt is None):
            raise CircuitError("Stochastic: give one of steps and dt")
        counts = self.steps if isinstance(self.steps, tuple) else (self.steps,)
        for count in counts if self.dt is None else ():
            check_count("Stochastic", "steps", count, least=1)
        check_count("Stochastic", "halvings", self.halvings)
        if self.halvings > MOST_HALVINGS:
            raise CircuitError(
                f"Stochastic: halvings must be at most {MOST_HALVINGS}, not {self.halvings}; start "
                "from more steps"
            )
        if not isinstance(self.fixed_point, FixedPoint):
            raise CircuitError(
                f"Stochastic: fixed_point must be a FixedPoint, not {self.fixed_point!r}"
            )
        _check_method(self.method, self.interpretation)
        _check_correlation(self.pairs, self.correlations)
        if self.handed and (self.halvings or self.pairs or METHODS[self.method].integral):
            raise CircuitError(
                "Stochastic: increments that are handed in have no halves and no time integral, "
                "and stand as they are: leave out halvings and correlation, and take another "
                'method than "additive"'
            )

    def settled(self, ts: Array) -> "Stochastic":
        if not self.drift_only and is_concrete(ts) and np.asarray(ts)[-1] < np.asarray(ts)[0]:
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
        settled = object.__new__(Stochastic)
        for field in dataclasses.fields(self):
            object.__setattr__(settled, field.name, getattr(self, field.name))
        object.__setattr__(settled, "steps", counts)
        object.__setattr__(settled, "dt", None)
        return settled

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
        longest = jnp.max(jnp.abs(ts))
        cut = Cut.of(
            *(circuit, ts.dtype, inputs, dim),
            calculus="Stochastic",
            meanings=MEANINGS | (noise("off", "", "") if self.drift_only else {}),
            fixed_point=self.fixed_point,
            held_at=lambda t: t + 4 * jnp.finfo(t.dtype).eps * longest.astype(t.dtype),
        )
        pointwise = Pointwise(cut, ts.dtype)
        mixing = (
            Mixing(self.pairs, self.correlations) if self.pairs and not self.drift_only else None
        )
        equation = Equation(pointwise, mixing)
        method = METHODS[self.method]
        method.check(equation, self.commutative)
        if self.halvings and equation.jumping:
            raise CircuitError("Stochastic: a path with jumps cannot be halved; give more steps")
        steps = Steps(self._counts(ts.shape[0] - 1), self.halvings)
        dtype = jnp.promote_types(pointwise.time_dtype, jnp.float32)
        numbers = None if words is None else Numbers(words, dtype, paths)
        drawn = [s.name for s in equation.sources if s.name not in self.handed]
        if numbers is None and (drawn or equation.jumping):
            raise CircuitError("Stochastic draws random numbers: give key=jax.random.key(0)")
        return Tile(equation, method, steps, numbers, self._handed(equation, steps))

    def simulate(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        state: Any,
    ) -> Trajectory:
        return OnePath(self, None, jnp.zeros((), jnp.uint32)).simulate(
            circuit, ts, inputs, dim, state
        )

    def _counts(self, intervals: int) -> tuple[int, ...]:
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
        if self.drift_only:
            return {}
        shapes = {source.name: source.shape for source in equation.sources}
        unknown = [name for name in self.handed if name not in shapes]
        if unknown:
            raise CircuitError(
                f"noise names {', '.join(unknown)}; the circuit's noises are "
                f"{', '.join(shapes) or 'none'}"
            )
        found = {}
        for name, value in self.handed.items():
            expected = (sum(steps.counts), *shapes[name])
            if value.shape[1:] != expected:
                raise CircuitError(
                    f"the increments of {name} must be of shape {expected} for each path, not "
                    f"{value.shape[1:]}"
                )
            room = [(0, 0), (0, steps.most + 1), *[(0, 0)] * (value.ndim - 2)]
            found[name] = jnp.pad(value, room)
        return found


class OnePath(Calculus):
    """One path of a stochastic calculus: its key, None for none, and its number."""

    stochastic: Stochastic
    key: Any
    path: UInt[Array, ""]

    def simulate(
        self,
        circuit: Circuit,
        ts: Array,
        inputs: tuple[Any, ...],
        dim: str | None,
        state: Any,
    ) -> Trajectory:
        words = None if self.key is None else key_words(self.key)
        # A tile of one path has a row of handed increments.
        handed = {name: value[None] for name, value in self.stochastic.handed.items()}
        alone = (
            eqx.tree_at(lambda s: s.handed, self.stochastic, handed) if handed else self.stochastic
        )
        tile = alone.tile(circuit, ts, inputs, dim, words, self.path.reshape(1))
        ts_given, ts = ts, ts.astype(tile.equation.pointwise.time_dtype)
        start = tile.begin(ts[0], 1) if state is None else continued(tile, state, 1)
        end, (outputs, names) = tile.run(ts, start)
        outputs, names = jax.tree.map(lambda rows: rows[:, 0], (outputs, names))
        failed = end.good[0] < end.taken
        step = jnp.maximum(end.good[0] - start.taken, 0)
        reached = jnp.where(failed, tile.steps.times(ts, step), ts[-1])
        stats = {"steps": jnp.where(failed, step, end.taken - start.taken), "reached": reached}
        stats |= {"wire": broken(end, jnp.int32(0)), "kernel": jnp.zeros((), bool)}
        status = Status.where(failed, Status.nonfinite, Status.ok)
        if end.solves is not None:
            unsolved = end.solves.failed
            status = Status.where(failed & jnp.any(unsolved), Status.not_converged, status)
            stats |= facts(end.solves, unsolved | ~jnp.any(unsolved))
        pointwise = tile.equation.pointwise
        return Trajectory(
            *(ts_given, outputs, names, status, stats, end),
            loops=pointwise.cut.loop_names,
            wires=pointwise.wire_names,
            advice=ADVICE,
        )


def continued(tile: Tile, state: Any, paths: int) -> Paths:
    """A state as one of this run's, with so many paths."""
    begin = tile.begin(jnp.zeros(()), paths)
    if isinstance(state, Paths) and state.good.shape[0] != paths:
        raise CircuitError(
            f"the state must be that of an earlier run of as many paths: it has "
            f"{state.good.shape[0]}, and {paths} are to run"
        )
    if not isinstance(state, Paths) or _types(state) != _types(begin):
        raise CircuitError(
            f"state must be the state of an earlier run of this circuit, not {state!r:.60}"
        )
    solves = begin.solves
    if solves is not None and state.solves is not None:
        # Only of paths that have ended it is kept how.
        solves = chosen(jnp.any(state.solves.failed, axis=1), state.solves, solves)
    last = state.last.astype(tile.equation.pointwise.time_dtype)
    return dataclasses.replace(state, solves=solves, last=last)


def broken(end: Paths, path: Array) -> Array:
    """The place of the state atom at which one of the paths ended, past the last of an output."""
    bad = [~jnp.all(jnp.isfinite(jnp.take(part, path, axis=0))) for part in end.contents]
    place = jnp.argmax(jnp.stack([*bad, jnp.ones((), bool)]))
    output = jnp.take(end.output, path)
    return jnp.where(place < len(bad), place, len(bad) + output).astype(jnp.int32)


def _types(paths: Paths) -> list[Any]:
    kept = jax.tree.leaves((paths.contents, paths.guesses, paths.solves))
    return [(part.shape, part.dtype) for part in kept]


def _step_length(dt: Any) -> float:
    if not is_concrete(dt):
        raise CircuitError("Stochastic: dt decides how many steps are compiled, so it is a number")
    try:
        length = float(dt)
    except (TypeError, ValueError) as error:
        raise CircuitError(f"Stochastic: dt must be a number, not {dt!r}") from error
    if not 0 < length < float("inf"):
        raise CircuitError(f"Stochastic: dt must be positive, not {dt!r}")
    return length


def _check_method(name: Any, interpretation: Any) -> None:
    if name not in METHODS:
        raise CircuitError(f"Stochastic: method must be one of {', '.join(METHODS)}, not {name!r}")
    if interpretation not in ("ito", "stratonovich"):
        raise CircuitError(
            f'Stochastic: interpretation must be "ito" or "stratonovich", not {interpretation!r}'
        )
    if interpretation not in METHODS[name].interpretations:
        others = [m.name for m in METHODS.values() if interpretation in m.interpretations]
        raise CircuitError(
            f'Stochastic: the method "{name}" solves the equation of '
            f"{METHODS[name].interpretations[0]}; say so by interpretation=, or for "
            f"{interpretation} take {' or '.join(map(repr, others))}"
        )


def _check_correlation(pairs: tuple[tuple[str, str], ...], values: tuple[Any, ...]) -> None:
    for pair in pairs:
        if not (
            isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, str) for n in pair)
        ):
            raise CircuitError(f"Stochastic: correlation is by pairs of noises, not by {pair!r}")
        if pair[0] == pair[1] or (pair[1], pair[0]) in pairs:
            raise CircuitError(f"Stochastic: the correlation of {pair} is given by itself or twice")
    if not pairs or not is_concrete(*values):
        return
    names = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    matrix = np.asarray(correlation_matrix(names, pairs, values))
    smallest = np.min(np.linalg.eigvalsh(matrix)) if np.all(np.isfinite(matrix)) else -1.0
    if smallest <= len(names) * np.finfo(matrix.dtype).eps:
        raise CircuitError(
            f"Stochastic: the correlation matrix of {', '.join(names)} is not positive definite "
            f"(its smallest eigenvalue is {smallest:.3g}); sources that move as one share one name"
        )
