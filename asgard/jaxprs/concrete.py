"""Whether a number is known now, or only when a compiled program runs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ..errors import CircuitError
from .kernel_switch import kernel_switch
from .own_functions import NOT_TRACEABLE

_config: Any = jax.config  # whose flags type checkers do not know


def is_concrete(*values: Any) -> bool:
    """Whether none of the values is traced."""
    return not any(isinstance(value, Tracer) for value in values)


def is_staged() -> bool:
    """Whether even operations on known numbers are traced, as inside of a function under
    `jax.jit`."""
    return not is_concrete(jnp.zeros(()))


def run_compiled(compiled: Callable[..., Any], plain: Callable[..., Any], *arguments: Any) -> Any:
    """The compiled function's value. Its `CircuitError`s are raised by `plain`, the same function.

    Outside the compilation numbers are known, so that a message can show those of the circuit.
    """
    kernel_switch()
    try:
        return compiled(*arguments)
    except CircuitError as error:
        # With known numbers it might run, but slowly.
        if isinstance(error.__cause__, NOT_TRACEABLE):
            raise
    return plain(*arguments)


def runs_eagerly(values: Any) -> bool:
    """Whether known values run operation by operation: under `jax.disable_jit()`.

    Atoms are then called with concrete values, so that Python's `if`, `print` and debuggers work.
    """
    return _config.jax_disable_jit and is_concrete(*jax.tree.leaves(values))


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.checkpoint` inside of a loop. It always traces, so it is left out of eager runs."""
    return fn if _config.jax_disable_jit else jax.checkpoint(fn, prevent_cse=False)
