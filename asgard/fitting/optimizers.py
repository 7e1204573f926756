"""The optimiser of a fit: its first state and its updates, checked as they are traced."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..errors import CircuitError
from .free import Free


def first_state(optimizer: Any, free: Free) -> Any:
    """The state of an optimiser that has made no step."""
    try:
        return jax.tree.map(jnp.asarray, optimizer.init(free))
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CircuitError(
            f"optimizer: its state cannot be made of the numbers by name, which are "
            f"{', '.join(free)}: {reason}"
        ) from error


def check_update(found: Any, free: Free, state: Any) -> None:
    """Raises `CircuitError` where an update does not return changes of the numbers and a state."""
    if not isinstance(found, tuple) or len(found) != 2:
        problem = f"must return the changes of the numbers and its state, not {found!r:.60}"
    elif _shapes(found[0]) != _shapes(free):
        problem = f"must return changes like the numbers, {_text(free)}, not {_text(found[0])}"
    elif _shapes(found[1]) != _shapes(state):
        problem = f"must return a state like that of init, {_text(state)}, not {_text(found[1])}"
    else:
        return
    raise CircuitError(f"optimizer: its update {problem}")


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    arrays = [jnp.shape(leaf) if eqx.is_array_like(leaf) else type(leaf) for leaf in leaves]
    return structure, arrays


def _text(tree: Any) -> str:
    return f"{eqx.tree_pformat(tree, struct_as_array=True):.80}"
