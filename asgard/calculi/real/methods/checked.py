"""A method's functions, with what they return checked while a run is traced."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ....errors import CircuitError
from ....jaxprs.own_functions import check_takes, traceable
from ..system import Point, StepControl, System
from .method import NONFINITE, Attempt, Reach, StepMethod, Stretch

# The programs of a system that a method may ask for.
PROGRAMS = ("field", "expand", "jacobian")


# What the functions of a method are called with.
ARGUMENTS = {
    "degree": ("dtype",),
    "start": ("system", "point", "control", "reach"),
    "attempt": ("system", "point", "reach", "direction", "control"),
    "unit": ("offset",),
    "polynomial": ("system", "point", "attempt", "stretch"),
    "curve": ("system", "time", "state", "stretch"),
}


def check_method(method: StepMethod) -> None:
    """Raises `CircuitError` where a method asks for programs that there are not, unrolls one that
    it does not read, or has a function that takes other arguments."""
    for name, arguments in ARGUMENTS.items():
        check_takes(f"{type(method).__name__}: {name}", getattr(method, name), *arguments)
    reads, known = method.reads, ", ".join(f'"{name}"' for name in PROGRAMS)
    if not isinstance(reads, tuple) or not set(reads) <= set(PROGRAMS) or "field" not in reads:
        problem = f'reads must be a tuple with "field", of {known}, not {reads!r}'
    elif method.derived not in reads:
        problem = f"derived must be one of reads, {reads}, not {method.derived!r}"
    elif not isinstance(method.unrolls, bool):
        problem = f"unrolls must be True or False, not {method.unrolls!s:.200}"
    elif method.unrolls and "expand" not in reads:
        problem = f'unrolls is for methods that read "expand", and reads is {reads}'
    else:
        return
    raise CircuitError(f"{type(method).__name__}: {problem}")


def degree_of(method: StepMethod, dtype: Any) -> int:
    """The degree of the method's polynomials."""
    degree = method.degree(dtype)
    if not isinstance(degree, int) or isinstance(degree, bool) or degree < 1:
        raise _error(method, "degree must return an integer of at least 1", degree)
    return degree


def start_of(
    method: StepMethod, system: System, point: Point, control: StepControl, reach: Reach
) -> Point:
    """The point before the first step."""
    with _called(method, "start"):
        found = method.start(system, point, control, reach)
    if not isinstance(found, Point):
        raise _error(method, "start must return a point, as dataclasses.replace(point, ...)", found)
    for name in ("time", "late", "state", "remainder", "step"):
        _check_like(method, f"start: {name}", getattr(found, name), getattr(point, name))
    if found.memory is None:
        message = "start must give the point a memory: a pytree of arrays, () for nothing"
        raise _error(method, message, None)
    return found


def attempt_of(
    method: StepMethod,
    system: System,
    point: Point,
    reach: Reach,
    direction: Array,
    control: StepControl,
) -> Attempt:
    """One try of a step from a point."""
    with _called(method, "attempt"):
        found = method.attempt(system, point, reach, direction, control)
    if not isinstance(found, Attempt):
        raise _error(method, "attempt must return an Attempt", found)
    flag = jax.ShapeDtypeStruct(point.time.shape, bool)
    count = jax.ShapeDtypeStruct(point.time.shape, jnp.int32)
    types = {
        **dict.fromkeys(("size", "step"), point.time),
        **dict.fromkeys(("begin", "change"), point.state),
        **dict.fromkeys(("clipped", "accepted", "bounded"), flag),
        **dict.fromkeys(("status", "rejected"), count),
    }
    for name, like in types.items():
        _check_like(method, f"attempt: {name}", getattr(found, name), like)
    if _types(found.memory) != _types(point.memory):
        raise _error(
            method,
            f"attempt: memory must be like that of start, {_shown(point.memory)}",
            _shown(found.memory),
        )
    return found if method.only_finite else _finite(found)


def polynomial_of(
    method: StepMethod, system: System, point: Point, attempt: Attempt, stretch: Stretch
) -> Array:
    """The polynomial of a step that was just tried."""
    with _called(method, "polynomial"):
        found = method.polynomial(system, point, attempt, stretch)
    _check_like(method, "polynomial", found, _polynomial(method, point.state))
    return found


def curve_of(
    method: StepMethod, system: System, time: Array, state: Array, stretch: Stretch
) -> Array:
    """The polynomial of a step of a known size."""
    with _called(method, "curve"):
        found = method.curve(system, time, state, stretch)
    _check_like(method, "curve", found, _polynomial(method, state))
    return found


def unit_of(method: StepMethod, offset: Array) -> Array:
    """The unit of the polynomial of a step that ends at an offset."""
    found = method.unit(offset)
    _check_like(method, "unit", found, offset)
    return found


def _finite(attempt: Attempt) -> Attempt:
    """The try of a step, failed where it is accepted and the state at its end is not finite."""
    finite = jnp.all(jnp.isfinite(attempt.begin + attempt.change), axis=0)
    lost = attempt.accepted & ~finite
    status = jnp.where(lost, NONFINITE, attempt.status)
    return dataclasses.replace(attempt, accepted=attempt.accepted & finite, status=status)


@contextlib.contextmanager
def _called(method: StepMethod, role: str) -> Iterator[None]:
    """Says of what a function of the method does inside that it cannot be traced, or that it calls
    a program of the system that `reads` does not name."""
    what = f"{type(method).__name__}: {role}"
    try:
        with traceable(what):
            yield
    except TypeError as error:
        if "'NoneType' object is not callable" not in str(error):
            raise
        raise CircuitError(
            f"{what} calls what is None: reads must name all programs of the system that it calls, "
            f"and is {method.reads}"
        ) from error


def _polynomial(method: StepMethod, state: Array) -> jax.ShapeDtypeStruct:
    """The type of a step's polynomial."""
    return jax.ShapeDtypeStruct((degree_of(method, state.dtype) + 1, *state.shape), state.dtype)


def _check_like(method: StepMethod, what: str, found: Any, like: Any) -> None:
    """Raises where an array is not of the type of another one."""
    if not hasattr(found, "dtype") or (found.shape, found.dtype) != (like.shape, like.dtype):
        raise _error(method, f"{what} must be {_shown(like)}", _shown(found))


def _types(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]


def _shown(tree: Any) -> str:
    """A pytree as text, with the types of its arrays."""
    return eqx.tree_pformat(tree, struct_as_array=True)


def _error(method: StepMethod, message: str, found: Any) -> CircuitError:
    return CircuitError(f"{type(method).__name__}: {message}, not {found!s:.200}")
