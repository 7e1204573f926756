"""Whether a number is known now, or only when a compiled program runs."""

import contextlib
from collections.abc import Callable
from typing import Any

from jax.core import Tracer

from ..errors import CircuitError


def is_concrete(*values: Any) -> bool:
    """Whether none of the values is traced."""
    return not any(isinstance(value, Tracer) for value in values)


def run_compiled(compiled: Callable[..., Any], plain: Callable[..., Any], *arguments: Any) -> Any:
    """The compiled function's value. Its `CircuitError`s are raised by `plain`, the same function.

    Outside the compilation numbers are known, so that a message can show those of the circuit.
    """
    with contextlib.suppress(CircuitError):
        return compiled(*arguments)
    return plain(*arguments)
