"""What an interrupted run leaves: its loop, to go on with."""

from typing import Any

import equinox as eqx
import jax

from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from .label import RunLabel


class Unfinished(eqx.Module):
    """Where an interrupted run or ensemble stands: `state=` of the same call goes on from there, to
    the bits of a run that was never interrupted.

    - `now`: what its loop carries.
    - `given`: the `state` that the run began from.
    - `label`: of which run it is.
    """

    now: Any
    given: Any
    label: RunLabel


def taken_up(state: Any, what: str) -> tuple[Any, Unfinished | None]:
    """The state that a run begins from, and the interrupted run that it goes on with, if any."""
    if not isinstance(state, Unfinished):
        return state, None
    if not is_concrete(*jax.tree.leaves(state)):
        raise CircuitError(
            f"the state of an interrupted {what} goes on outside of JAX transformations"
        )
    return state.given, state


def check_same(unfinished: Unfinished | None, label: RunLabel, what: str) -> None:
    """Raises `CircuitError` if an interrupted run is another one than this."""
    if unfinished is not None and not unfinished.label.agrees(label):
        raise CircuitError(
            f"the state is that of another {what}, which was interrupted: it goes on with the same "
            "call. Functions are compared by identity, so define each once and hand over the same "
            "one"
        )
