"""What a run over time returns."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Shaped

from ..circuits.fields import as_reals
from ..circuits.pictured import picture
from ..errors import CircuitError, SimulationError
from ..fixed_points.options import missed
from ..jaxprs.concrete import is_concrete
from ..status import Status, lanes_that, message

# The names of all ways to fail.
_FAILURES = (
    "times",
    "switches",
    "max_steps",
    "nonfinite",
    "step_size",
    "newton",
    "stiff",
    "zeno",
    "events",
    "history",
    "delay",
    "not_converged",
    "interrupted",
)


# Those at which the last step that was tried says what went wrong.
_LEAVES_A_TRACE = ("nonfinite", "step_size", "newton")

Own = TypeVar("Own", bound="Checked")


@dataclasses.dataclass(frozen=True)
class StatePart:
    """What of a state one register holds: the name of the wire that it drives, empty without one,
    and the shape of its value."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many entries of the state it has."""
        return math.prod(self.shape)

    def entry(self, index: int) -> str:
        """An entry by name; empty without a name."""
        place = ", ".join(str(number) for number in np.unravel_index(index, self.shape))
        return f"{self.name}[{place}]" if self.name and place else self.name


class Outputs(eqx.Module):
    """What a run gives: output wires, and wires by name."""

    outputs: eqx.AbstractVar[tuple[Any, ...]]
    names: eqx.AbstractVar[dict[str, Any]]

    @property
    def output(self) -> Array:
        """The only output. Raises `CircuitError` where there is not exactly one."""
        if len(self.outputs) != 1:
            raise CircuitError(
                f"output is for runs of one output; this one has {len(self.outputs)}: use outputs"
            )
        return self.outputs[0]

    def __getitem__(self, name: str) -> Array:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise KeyError(
                f"no wire, or more than one, is named {name!r}; wires named once: {known}"
            )
        return self.names[name]


class Evaluation(Outputs):
    """What a dense run gives at times that were not saved: `outputs` and `names` of its
    `Trajectory`, with the axes of `ts` in place of its times."""

    ts: Float[Array, "..."]
    outputs: tuple[Shaped[Array, "..."], ...]
    names: dict[str, Shaped[Array, "..."]]


class Checked(eqx.Module):
    """What has a status and says why it failed.

    - `status`, `stats`: how it ended, and what was counted.
    - `loops`: the loops that were solved as fixed points, by name; `stats` has the number of the
      `loop` that failed.
    - `wires`: what may have failed first, by name, and `advice`, what to try then; where given,
      `stats` has the number of the `wire` that did.
    """

    status: eqx.AbstractVar[Status]
    stats: eqx.AbstractVar[dict[str, Array]]
    loops: eqx.AbstractVar[tuple[str, ...]]
    wires: eqx.AbstractVar[tuple[str, ...]]
    advice: eqx.AbstractVar[str]

    def check(self: Own) -> Own:
        """Raises `SimulationError` where it failed; returns itself otherwise.

        Under a trace there is nothing to check yet, and nothing is raised.
        """
        if not is_concrete(*jax.tree.leaves(self.status)):
            return self
        if bool(lanes_that(self.status, Status.ok, Status.event).all()):
            return self
        for name in _FAILURES:
            lanes = lanes_that(self.status, getattr(Status, name))
            if bool(lanes.any()):
                raise SimulationError(self._message(name, lanes), name)
        raise AssertionError("a status without a name")

    def _message(self, name: str, lanes: Any) -> str:
        # Under jax.grad the status is known, but the time reached is not.
        known = not lanes.ndim and is_concrete(*self.stats.values())
        where = ""
        if lanes.ndim:
            where = f" in {int(lanes.sum())} of {lanes.size} runs"
        elif known and {"reached", "steps"} <= self.stats.keys():
            reached, steps = float(self.stats["reached"]), int(self.stats["steps"])
            where = f" at t = {reached:.6g}, after {steps} steps"
        if name == "not_converged" and known and {"iterations", "residual"} <= self.stats.keys():
            loop = self._named(self.loops, "loop") or "a loop"
            iterations = int(self.stats["iterations"])
            where += ", " + missed(loop, iterations, float(self.stats["residual"]))
        if name == "times":
            where = where if lanes.ndim else ""
        wire = self._suspect(name) if known else ""
        where += f", in {wire}" if wire else ""
        more = f"; or try {self.advice}" if self.advice and name == "nonfinite" else ""
        return f"{name}{where}: {message(name)}{more}"

    def _suspect(self, name: str) -> str:
        """What may have ended it with a status of a name; empty where it is not known."""
        return self._named(self.wires, "wire") if name == "nonfinite" else ""

    def _named(self, names: tuple[str, ...], number: str) -> str:
        """Of some names the one whose number is in the stats; empty where a calculus gave none."""
        index = int(self.stats.get(number, len(names)))
        return names[index] if index < len(names) else ""


class Trajectory(Outputs, Checked):
    """The outputs of a circuit at the times asked for.

    - `ts`: the times, `[times]`.
    - `outputs`: one array for each output wire, `[times, *value]`; along the coefficient axes of
      other dimensions, `[times, *value, *orders]`. NaN from a failure on.
    - `names`: the wires named by `Var`, likewise; `trajectory["name"]` reads them.
    - `status`: how the run ended.
    - `stats`: what the calculus counted, and `kernel`: whether the run was compiled as one CPU
      kernel (see the page on JAX).
    - `state`: hands the run on to a later `simulate`.
    - `dense`: what `evaluate` reads, of a dense run.
    - `loops`: the loops that were solved as fixed points, by name. Where there are any, `stats` has
      `iterations`, `residual` and `loop`: of the solve that failed, else the most turns that one
      took and the most that one misses by; `loop` is the number of that loop.
    - `events`: when the events that the run watches happened, and what the wires were there: an
      `Occurrences` each, by name.
    - `wires`: what may have ended the run first, by name, and `advice`, what to try then; where
      given, `stats` has the number of the `wire` that did.
    - `method`: how the steps of a run under `Real` were made, such as `Taylor(order=20)`, given or
      chosen; of a method of your own that holds arrays, their shapes. None without steps: for
      circuits without registers, under other calculi and under `jax.disable_jit`.
    - `state_parts`: of what registers the state of a run under `Real` is made, in order.
    """

    ts: Float[Array, " times"]
    outputs: tuple[Shaped[Array, "times ..."], ...]
    names: dict[str, Shaped[Array, "times ..."]]
    status: Status
    stats: dict[str, Array]
    state: Any
    dense: Any = None
    loops: tuple[str, ...] = eqx.field(static=True, default=())
    wires: tuple[str, ...] = eqx.field(static=True, default=())
    advice: str = eqx.field(static=True, default="")
    events: dict[str, Any] = eqx.field(default_factory=dict)
    method: Any = eqx.field(static=True, default=None)
    state_parts: tuple[StatePart, ...] = eqx.field(static=True, default=())

    def _suspect(self, name: str) -> str:
        if not self.state_parts:
            return super()._suspect(name)
        is_known = name in _LEAVES_A_TRACE and is_concrete(*jax.tree.leaves(self.state))
        entry = self.state.suspect() if is_known else None
        if entry is None:
            return ""
        for part in self.state_parts:
            if entry < part.size:
                return part.entry(entry)
            entry -= part.size
        return ""

    @property
    def reached(self) -> Array:
        """The time to which the run came."""
        return self.stats["reached"]

    def evaluate(self, ts: Any, *, side: Literal["left", "right"] = "right") -> Evaluation:
        """The wires at any times of the run, of `Real(dense=True)`.

        **Arguments:** `ts`: a time, or times of any shape and order; `side`: at the time of an
        event, whether a wire is what it is after the jump, "right", or before it, "left".

        **Returns:** an `Evaluation`, which is read as the trajectory is: by name,
        `evaluate(ts)["x"]`, or as `output` and `outputs`. Each is `[*ts, *value]`, and NaN outside
        of the run.

        **Raises:** `CircuitError` where the run was not dense, and for times that are no numbers.

        ```python
        run = ag.simulate(model, [0.0, 10.0], calculus=ag.Real(dense=True))
        run.evaluate(2.5)["angle"]
        ```
        """
        if self.dense is None:
            raise CircuitError(
                "evaluate is for dense runs: simulate with calculus=Real(dense=True)"
            )
        if side not in ("left", "right"):
            raise CircuitError(f'evaluate: side must be "left" or "right", not {side!r}')
        times = as_reals("evaluate: ts", ts).astype(self.ts.dtype)
        outputs, names = self.dense(times.reshape(-1), side)

        def shaped(wire: Array) -> Array:
            return wire.reshape(*times.shape, *wire.shape[1:])

        named = {name: shaped(wire) for name, wire in names.items()}
        return Evaluation(ts=times, outputs=tuple(map(shaped, outputs)), names=named)

    def plot(
        self,
        *names: str,
        label: str | None = None,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws wires over time: a line for each entry, and two where numbers are complex.

        Events that the run watched are marked, and times that it did not reach are shaded; the
        legend has the status. Up to 40 saved times are marked by dots.

        **Arguments:**

        - `names`: wires by name, as in `names`, and their entries, such as `"x[0]"`; all outputs by
          default, of which those without a name are `"output"`, or `"output 0"` and so on.
        - `label`: what the legend calls this run, where several are drawn on the same axes.
        - `ax`: axes of matplotlib to draw on; by default those of a new figure.
        - `units`: what labels say in brackets, by name, and for `"time"`.

        **Returns:** the axes.

        **Raises:** `CircuitError` for an unknown name, under a JAX transformation, and for a batch
        of runs; `ImportError` without matplotlib.

        ```python
        trajectory.plot("angle", units={"angle": "rad", "time": "s"})
        ```
        """
        return picture("trajectory.plot", self, *names, label=label, ax=ax, units=units)

    def phase(
        self,
        x: str,
        y: str,
        *,
        label: str | None = None,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws one wire against another, from a dot where the run starts.

        Arguments, results and errors are those of `plot`. Of arrays of one shape, entries are drawn
        against entries.
        """
        return picture("trajectory.phase", self, x, y, label=label, ax=ax, units=units)

    def heat_map(
        self,
        name: str,
        *,
        space: Any = None,
        at: float | None = None,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws a wire that carries a field: `[n]` over time and space, `[n, m]` at one time.

        **Arguments:** those of `plot`, and

        - `space`: the positions of the field's entries, `[n]`; for two axes a pair of them.
        - `at`: for two axes, a time, of which the nearest saved one is drawn; by default the last
          one that the run reached.

        **Returns:** the axes. The first axis of a field of two goes up.

        **Raises:** as `plot`, and `CircuitError` for what is no real field of one or two axes.
        """
        options = {"space": space, "at": at, "ax": ax, "units": units}
        return picture("trajectory.heat_map", self, name, **options)

    def animate(
        self,
        name: str,
        *,
        space: Any = None,
        interval: float = 50.0,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """A film of a wire that carries a field, with a picture for each saved time.

        **Arguments:** those of `heat_map`, and `interval`, the milliseconds between pictures.

        **Returns:** a `matplotlib.animation.FuncAnimation`: `.save("film.gif")`, or
        `.to_jshtml()`. Keep a reference to it while it plays.

        **Raises:** as `heat_map`.
        """
        options = {"space": space, "interval": interval, "ax": ax, "units": units}
        return picture("trajectory.animate", self, name, **options)

    def __repr__(self) -> str:
        return picture("trajectory.text", self)

    def _repr_html_(self) -> str:
        return picture("trajectory.html", self)
