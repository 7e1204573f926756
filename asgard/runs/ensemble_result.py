"""What `ensemble` returns."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt

from ..calculi.stochastic.failures import ADVICE, Failures
from ..calculi.trajectory import Outputs
from ..circuits.pictured import picture
from ..errors import SimulationError
from ..fixed_points.options import missed
from ..jaxprs.concrete import is_concrete
from ..status import Status, message


class Ensemble(Outputs):
    """What `ensemble` returns.

    - `ts`: the times, `[times]`.
    - `outputs`: without `reduce`, one array `[paths, times, *value]` for each output wire, NaN from
      a path's end on.
    - `names`: the wires named by `Var`, likewise; `ensemble["name"]` reads them. With `reduce`,
      what was kept of them, several statistics of one wire as a tuple, and the entries of a
      dictionary of statistics.
    - `reduce`, `statistics`: what `reduce` asked for, and its result, of the same structure.
    - `failed`, `survivors`: how many paths ended, at a value that is not finite or at a loop
      without a fixed point, and how many did not. Statistics rest on the survivors, a biased
      sample.
    - `first_bad`, `status`: without `reduce`, each path's first bad step, -1 where it has none, and
      how it ended.
    - `failures`: how many paths ended and how many of them at a loop; the first one, its step, and
      the index of the state atom or of the loop.
    - `state`: hands the run on to a later `ensemble`: in time, or to more paths with `reduce`.
    """

    ts: Float[Array, " times"]
    outputs: tuple[Shaped[Array, "..."], ...]
    names: dict[str, Any]
    statistics: Any
    paths: UInt[Array, ""]
    first_bad: Int[Array, " paths"] | None
    status: Status | None
    failures: Failures
    time_of_failure: Float[Array, ""]
    state: Any
    wires: tuple[str, ...] = eqx.field(static=True)
    loops: tuple[str, ...] = eqx.field(static=True)
    reduce: Any = None

    @property
    def failed(self) -> Array:
        """How many paths have ended."""
        return self.failures.count

    @property
    def survivors(self) -> Array:
        """How many paths have not, on which all statistics rest."""
        return self.paths - self.failures.count

    def __getitem__(self, name: str) -> Any:
        if self.statistics is None:
            return super().__getitem__(name)
        if name not in self.names:
            raise KeyError(
                f"no statistic of a wire {name!r} was kept: ask for one by of={name!r} in reduce; "
                f"there are {', '.join(self.names) or 'none'}"
            )
        return self.names[name]

    def unless_failed(self, good: Array) -> "Ensemble":
        """The ensemble, of which all paths have failed where its times are not `good`. Its numbers
        are NaN then, but for counts."""

        def kept(array: Array) -> Array:
            if not jnp.issubdtype(array.dtype, jnp.inexact):
                return array
            return jnp.where(good, array, jnp.full_like(array, jnp.nan))

        count = jnp.where(good, self.failures.count, self.paths)
        fields: dict[str, Any] = {"failures": dataclasses.replace(self.failures, count=count)}
        for name in ("outputs", "names", "statistics"):
            fields[name] = jax.tree.map(kept, getattr(self, name))
        if self.status is not None and self.first_bad is not None:
            fields["status"] = Status.where(good, self.status, Status.times)
            fields["first_bad"] = jnp.where(good, self.first_bad, 0)
        return dataclasses.replace(self, **fields)

    def check(self) -> "Ensemble":
        """Raises `SimulationError` where a path failed; returns the ensemble otherwise.

        The error has the ensemble as its `ensemble`. Under a trace there is nothing to check yet,
        and nothing is raised.
        """
        count = self.failures.count
        if not is_concrete(count) or not np.any(np.asarray(count)):
            return self
        error = self._error()
        error.ensemble = self
        raise error

    def plot(
        self,
        *names: str,
        quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
        paths: int = 5,
        ax: Any = None,
        units: Mapping[str, str] | None = None,
    ) -> Any:
        """Draws a fan for each wire: quantiles at each time as bands, and some paths.

        Quantiles are of the paths that have not ended by then. With `reduce` what was kept at each
        time is drawn: quantiles, the mean, with the variance a band of two standard deviations
        about it, and the least and the greatest.

        **Arguments:** those of `Trajectory.plot`, and

        - `names`: with `reduce`, the wires and the names of functions `of`, or `"output"`.
        - `quantiles`: the probabilities, drawn in pairs from outside in.
        - `paths`: how many of the first paths are drawn.

        **Returns:** the axes.

        **Raises:** as `Trajectory.plot`, and `CircuitError` for statistics that are not over time
        and for more wires than colours.
        """
        options = {"quantiles": quantiles, "paths": paths, "ax": ax, "units": units}
        return picture("ensemble.plot", self, *names, **options)

    def __repr__(self) -> str:
        return picture("ensemble.text", self)

    def _repr_html_(self) -> str:
        return picture("ensemble.html", self)

    def _error(self) -> SimulationError:
        """What the failed paths raise."""
        count = self.failures.count
        untimely = self.status is not None and bool(jnp.any(self.status == Status.times))
        if untimely or bool(self.failures.are_of_none):
            return SimulationError(f"times: {message('times')}", "times")
        if count.ndim:
            return SimulationError(
                f"nonfinite in {int(jnp.sum(count))} paths: try {ADVICE}", "nonfinite"
            )
        wire, loop = int(self.failures.state), int(self.failures.loop)
        name, advice = "nonfinite", f"try {ADVICE}"
        where = f"in {self.wires[wire]}"
        if loop >= 0:
            iterations, residual = int(self.failures.iterations), float(self.failures.residual)
            name, advice = "not_converged", message("not_converged")
            where = f"as {missed(self.loops[loop], iterations, residual)}"
        counts = {"nonfinite": int(count) - int(self.failures.unsolved)}
        counts["not_converged"] = int(self.failures.unsolved)
        several = " and ".join(f"{how} in {n}" for how, n in counts.items() if n)
        return SimulationError(
            f"{several} of {int(self.paths)} paths, the first of them path "
            f"{int(self.failures.path)} at t = {float(self.time_of_failure):.6g}, step "
            f"{int(self.failures.step)}, {where}; its other paths are untouched. With "
            f"throw=False they are returned; {advice}",
            name,
        )
