"""Functions that users write: whether they take what they get, and can be traced."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax

from ..errors import CircuitError

# What a function written with NumPy, the math module or Python's if raises under a trace.
NOT_TRACEABLE = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)


def check_takes(what: str, fn: Callable[..., Any], *arguments: str, **params: Any) -> None:
    """Raises `CircuitError` where a function does not take what it will be called with.

    `what` names the function, `arguments` say what comes by position.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return  # of a function in C, which Python cannot tell
    try:
        signature.bind(*arguments, **params)
    except TypeError as error:
        named = ", ".join([*arguments, *(f"{name}=" for name in params)])
        raise CircuitError(f"{what} is called with {named}: {error}") from error


def why(error: Exception) -> str:
    """What an error in a function says, in one line, with what to write where it was a trace's."""
    reason = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, NOT_TRACEABLE):
        return f"write it with jax.numpy, and with jnp.where in place of if ({reason})"
    return reason


@contextlib.contextmanager
def traceable(what: str) -> Iterator[None]:
    """Raises `CircuitError` where a function that is called inside cannot be traced."""
    try:
        yield
    except NOT_TRACEABLE as error:
        raise CircuitError(f"{what} cannot be traced: {why(error)}") from error
