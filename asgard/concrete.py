"""Whether a number is known now, or only when a compiled program runs."""

from typing import Any

from jax.core import Tracer


def is_concrete(*values: Any) -> bool:
    """Whether none of the values is traced."""
    return not any(isinstance(value, Tracer) for value in values)
