"""A dense solution: a run that can be evaluated anywhere later."""

import functools
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int

from ...jaxprs.compiling import Jit
from ...jaxprs.meshes import without_mesh
from ...jaxprs.settings import default_promotion
from .history import History
from .path import Path
from .reading import at
from .simulation import Simulation


class Dense(eqx.Module):
    """A run by the points where its steps started.

    A time is evaluated by the polynomial of the step that covers it, which is made anew: that keeps
    a step's memory at one state, and outputs are exact functions of it. A run with delays has its
    history beside these.

    `arguments` are what the run was given.
    """

    arguments: Any
    dim: str | None = eqx.field(static=True)
    path: Path | None
    rows: Int[Array, ""]
    reached: Float[Array, ""]
    history: History | None

    def __call__(self, times: Array, side: str) -> tuple[tuple[Array, ...], dict[str, Array]]:
        """The outputs and the named wires at times, `[times, *value]`; before the jump at an event
        if `side` is "left", after it if "right"."""
        return _evaluate(self, times, side)


@functools.partial(Jit, static_argnums=2)
@without_mesh
@default_promotion()
def _evaluate(dense: Dense, times: Array, side: str) -> tuple[tuple[Array, ...], dict[str, Array]]:
    simulation = Simulation(*dense.arguments, dim=dense.dim)
    wires = at(simulation, times, dense.path, dense.rows, dense.reached, dense.history, side)
    return wires.apart(), wires.names
