"""Real runs without compilation, for debugging: every atom is called with concrete values.

A Taylor step needs an atom as a program of JAX, which Python's `if` and `float(x)` do not give. So
these runs only evaluate the field, and SciPy's DOP853 integrates it (Hairer, Nørsett and Wanner,
*Solving Ordinary Differential Equations I*, 1993, section II.10).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ...circuits.atoms.registers import Deregister
from ...circuits.circuit import Circuit
from ...errors import CircuitError
from ...status import Status
from ...taylor.network import Meanings
from ..convergence import judge
from ..cut import Cut
from ..meanings import REAL
from ..meanings import noise as meanings_of_noise
from ..pointwise import Contents, Pointwise, Row
from ..rows import only
from ..trajectory import Trajectory
from .adaptive import Pause, start
from .options import Options
from .tolerances import RTOL, TRACE, by_entry, held_by

MEANINGS: Meanings = {
    **REAL,
    Deregister: "a derivative along time is taken from a series, which needs a compiled run",
}
# The smallest relative tolerance, in units of the dtype's resolution, that SciPy takes.
LEAST_RTOL = 100


def run(
    circuit: Circuit,
    real: Options,
    ts: Array,
    inputs: tuple[Any, ...],
    dim: str | None,
    state: Any,
) -> Trajectory:
    """Runs a circuit over known times; arguments as those of `Real.simulate`."""
    cut = Cut.of(
        circuit,
        ts[0],
        inputs,
        dim,
        calculus="Real",
        meanings={**MEANINGS, **meanings_of_noise(real.noise, "Real", "Real")},
        fixed_point=real.fixed_point,
        orders=dict(real.order) if isinstance(real.order, tuple) else {},
    )
    pointwise = Pointwise(cut, ts.dtype)
    registers = [node.outs[0] for node in pointwise.states]
    cut.check_digits(registers)
    for name, given in (("rtol", real.rtol), ("atol", real.atol)):
        if registers:  # only its errors: SciPy takes the smallest
            held = held_by(circuit, cut, registers, isinstance(given, dict))
            by_entry(name, given, held, jnp.zeros(sum(register.size for register in held)))
    integration = _Integration(pointwise, real, cut.stops, np.asarray(ts))
    return integration.trajectory(ts, state)


class _Integration:
    """A run in progress: `rows` are the outputs at the saved times so far."""

    def __init__(
        self, pointwise: Pointwise, real: Options, stops: Sequence[Array], times: np.ndarray
    ):
        self.pointwise, self.real, self.times = pointwise, real, times
        self.guesses, self.layout = pointwise.start(), pointwise.begin()
        self.rows: list[Row] = []
        self.steps, self.smallest, self.status = 0, np.inf, Status.ok
        low, high = min(times[0], times[-1]), max(times[0], times[-1])
        given = [] if real.breakpoints is None else [real.breakpoints]
        inside = {float(t) for stop in (*stops, *given) for t in np.asarray(stop) if low < t < high}
        ends = sorted({float(low), *inside, float(high)})
        self.ends = ends if times[0] <= times[-1] else ends[::-1]

    def trajectory(self, ts: Array, state: Any) -> Trajectory:
        y = self._flat(self.layout) if state is None else self._resumed(state)
        options = self._solver_options(y)
        self._save(self.times[0], y)
        reached = self.times[0]
        for begin, end in zip(self.ends, self.ends[1:], strict=False):
            reached, y = self._advance(begin, end, y, options)
            if self.status != Status.ok:
                break
        count, good = len(self.times), len(self.rows)
        rows = [*self.rows, *[self.rows[-1]] * (count - good)]
        outputs, names, solves = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *[(r.outputs, r.names, r.solves) for r in rows]
        )
        stats = {
            "steps": jnp.asarray(self.steps),
            "rejected": jnp.asarray(0),
            "smallest_step": jnp.asarray(self.smallest if self.steps else 0.0, ts.dtype),
            "reached": jnp.asarray(reached, ts.dtype),
            "kernel": jnp.asarray(False),
        }
        status = self.status
        if solves is not None:
            found, status, more = judge(solves, jnp.asarray(good), status, count)
            good, stats = found, stats | more
        outputs, names = only(jnp.arange(count) < good, (outputs, names))
        last = jnp.asarray(reached, self.pointwise.time_dtype)
        flat = jnp.concatenate([jnp.asarray(y), *map(jnp.ravel, self.guesses)])
        unit, centre = jnp.ones_like(last), jnp.zeros_like(last)
        pause = Pause(start(last, flat), flat[None], unit, centre, last)
        loops = self.pointwise.cut.loop_names
        return Trajectory(
            ts=ts,
            outputs=outputs,
            names=names,
            status=status,
            stats=stats,
            state=pause,
            loops=loops,
        )

    def _advance(
        self, begin: float, end: float, y: np.ndarray, options: dict[str, Any]
    ) -> tuple[float, np.ndarray]:
        """Integrates from one stop to the next; returns the time and state where it ends."""
        from scipy.integrate import DOP853  # takes a while to import

        direction = np.sign(end - begin)
        # A jump at a stop belongs to the other side.
        inner = sorted((np.nextafter(begin, end), np.nextafter(end, begin)))
        solver = DOP853(lambda t, y: self._field(np.clip(t, *inner), y), begin, y, end, **options)
        while solver.status == "running":
            if self.steps == self.real.max_steps:
                self.status = Status.max_steps
                break
            solver.step()
            if solver.status == "failed":
                finite = np.all(np.isfinite(self._field(np.clip(solver.t, *inner), solver.y)))
                self.status = Status.step_size if finite else Status.nonfinite
                break
            self.steps += 1
            self.smallest = min(self.smallest, abs(solver.t - solver.t_old))
            dense = solver.dense_output() if len(y) else lambda t: y
            remaining = self.times[len(self.rows) :]
            for time in remaining[direction * (solver.t - remaining) >= 0]:
                self._save(time, solver.y if time == solver.t else dense(time))
        return solver.t, solver.y

    def _solver_options(self, y: np.ndarray) -> dict[str, Any]:
        """What SciPy's solver is given besides the equation, for a run that starts from `y`."""
        resolution = float(jnp.finfo(self.pointwise.time_dtype).eps)
        given = [jax.tree.leaves(x) for x in (self.real.rtol, self.real.atol)]
        rtol, atol = ([float(jnp.min(x)) for x in leaves] for leaves in given)
        least = min(rtol, default=float(RTOL) * resolution)
        # What is small at the start may grow. SciPy divides by the tolerance, so none is 0.
        traces = np.where(y == 0, TRACE, np.finfo(float).tiny)
        return {
            "rtol": max(least, LEAST_RTOL * np.finfo(float).eps, resolution),
            "atol": min(atol) if atol else traces,
            "max_step": np.inf if self.real.max_step is None else float(self.real.max_step),
        }

    def _field(self, t: float, y: np.ndarray) -> np.ndarray:
        """The derivative of the flat state."""
        time = jnp.asarray(t, self.pointwise.time_dtype)
        feeds = self.pointwise.feeds(time, self._contents(y), self.guesses)
        self.guesses = feeds.guesses
        return self._flat(feeds.values)

    def _save(self, t: float, y: np.ndarray) -> None:
        time = jnp.asarray(t, self.pointwise.time_dtype)
        self.rows.append(self.pointwise.outputs(time, self._contents(y), self.guesses, {}))

    def _flat(self, contents: Contents) -> np.ndarray:
        return np.concatenate([np.zeros(0), *(np.ravel(part) for part in contents)])

    def _contents(self, y: np.ndarray) -> Contents:
        sizes = np.cumsum([part.size for part in self.layout])[:-1]
        parts = zip(np.split(y, sizes), self.layout, strict=True) if self.layout else ()
        return tuple(jnp.asarray(x.reshape(like.shape), like.dtype) for x, like in parts)

    def _resumed(self, state: Any) -> np.ndarray:
        """The flat state at the time to which an earlier run came."""
        size = sum(part.size for part in self.layout)
        if not isinstance(state, Pause) or state.point.state.size < size:
            raise CircuitError(
                f"state must be the state of a trajectory of this circuit, not {state!r:.60}"
            )
        offset = state.last - state.point.time - state.point.late
        return np.asarray(state.at(offset)[:size])
