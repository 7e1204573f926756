"""What went wrong in a user's function, in the terms of wires."""

import re
from collections.abc import Sequence

import jax

from ...jaxprs.own_functions import NOT_TRACEABLE
from .states import OPEN_FORMS

# What JAX calls a wire in its messages, and how Python and JAX name the class of an operand.
_TRACER = re.compile(r"'?\b[A-Za-z]*Tracer\b'?( object)?")
_CLASS = re.compile(r"'(?:[\w.]*\.)?(\w+)'")


def reason(error: Exception, guessed: Sequence[str]) -> str:
    """What an error of Python or JAX means where wires are computed with.

    `guessed` are the input wires that were taken for numbers, since nothing says what they carry.
    """
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "a wire has no value yet, so Python cannot branch on it: use jnp.where"
    if isinstance(error, NOT_TRACEABLE):
        return "a wire has no value yet: use jax.numpy in place of NumPy and Python's math"
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return (
            "a wire of another function, or of a loop in it, is used here: what a function "
            "reads are its arguments, and what others read it returns"
        )
    if isinstance(error, AttributeError) and "'input'" in str(error):
        return "only what a state holds has an input, as ag.register and its like give it"
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    first = str(error).partition("\n")[0]
    if isinstance(error, TypeError) and ("scalar index" in first or "__index__" in first):
        return (
            "Python needs a known integer here, and wires and numbers of a circuit have no value "
            "yet: let it be an argument of a function that defines this one"
        )
    if isinstance(error, TypeError) and first.endswith(".__format__"):
        return "a wire has no value yet, and so no digits: f'{wire}' shows what it is"
    closed = [name for name in _CLASS.findall(first) if name in OPEN_FORMS]
    if isinstance(error, TypeError) and closed:
        return closed_form(closed[0])
    message = f"{type(error).__name__}: {_TRACER.sub('a wire', first)}"
    of_shapes = isinstance(error, TypeError | ValueError | IndexError)
    if not guessed or not of_shapes or "immutable" in first or "callable" in first:
        return message
    return (
        f"{message} ({', '.join(guessed)}: taken for a number until a run says more; a default "
        f"says what a wire carries, as in {guessed[0]}=jnp.zeros(3))"
    )


def closed_form(name: str) -> str:
    """What to say where the circuit of a state is taken for a wire."""
    return f"ag.{name} is a circuit, and ag.{OPEN_FORMS[name]}(…) the wire of what it holds"
