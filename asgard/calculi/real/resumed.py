"""The state of a trajectory, checked as one from which a run can go on."""

import operator
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import CircuitError
from .adaptive import Pause
from .delays import Delays
from .history import History
from .methods.checked import degree_of
from .methods.method import StepMethod
from .system import Point


def checked(state: Any, like: Point, method: StepMethod, delays: Delays | None) -> Pause:
    """A state as one of a run that begins `like` this, in its dtypes.

    What another method remembered is left out. `method` is that of the run, and `delays` are those
    at its start.

    **Raises:** `CircuitError` for what is no state, or that of another circuit.
    """
    size = len(like.state)
    if not isinstance(state, Pause) or state.point.state.shape != (size,):
        raise CircuitError(
            f"state must be the state of a trajectory of this circuit, with {size} numbers, "
            f"not {state!r}"
        )
    dtype, time = like.state.dtype, like.time.dtype
    degree = degree_of(method, dtype)
    point = state.point
    shapes = (jax.tree.map(jnp.shape, tree) for tree in (point.memory, like.memory))
    known = operator.eq(*shapes) and len(state.coefficients) == degree + 1
    point = Point(
        point.time.astype(time),
        point.late.astype(time),
        point.state.astype(dtype),
        point.remainder.astype(dtype),
        point.step.astype(time),
        jax.lax.stop_gradient(_as(point.memory, like.memory)) if known else None,
    )
    unit, centre, last = (x.astype(time) for x in (state.unit, state.centre, state.last))
    coefficients = state.coefficients.astype(dtype)
    history = None if delays is None else _history(state, delays.begun(degree, method.centre, like))
    return Pause(point, coefficients, unit, centre, last, history)


def _history(state: Pause, like: History) -> History:
    """The history of a state as one of a run that begins with one `like` this, with its room."""
    history = state.history
    if isinstance(history, History):
        history = history.resized(like.rows)
    shapes = (jax.tree.map(jnp.shape, tree) for tree in (history, like))
    if not operator.eq(*shapes):
        raise CircuitError(
            "state must be that of a run with the same delays and method: it has the history that "
            "the delays read"
        )
    return _as(history, like)


def _as(tree: Any, like: Any) -> Any:
    """A pytree in the dtypes of another."""
    return jax.tree.map(lambda x, same: x.astype(same.dtype), tree, like)
