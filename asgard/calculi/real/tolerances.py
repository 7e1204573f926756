"""Tolerances: as they are given, by number, array or name, and as steps read them, by entry."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from ...circuits.circuit import Circuit
from ...circuits.fields import as_reals
from ...circuits.parameters import parameters
from ...errors import CircuitError
from ...jaxprs.concrete import is_concrete
from ...taylor.net import Wire
from ..cut import Cut

Tolerance = Float[Array, "..."] | dict[str, Float[Array, "..."]] | None

# The default `rtol` in units of the resolution. What is left out at a step's end goes one way, and
# adds up: over thousands of steps it would pass the sum of roundings, which go either way.
RTOL = 1 / 8
# The default `atol` of what is zero at the start.
TRACE = 1e-32


@dataclasses.dataclass(frozen=True)
class Held:
    """What one register holds: the names that it goes by, and the shape of its value."""

    names: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many entries of the state it has."""
        return math.prod(self.shape)


def held_by(circuit: Circuit, cut: Cut, registers: Iterable[Wire], named: bool) -> list[Held]:
    """What the registers of a cut circuit hold, by the wires that they drive.

    If `named`, with what they go by: the names of the wire, and the register's own in
    `ag.parameters`.
    """
    known = parameters(circuit) if named else {}
    atoms: dict[Wire, Any] = {wire: node.atom for node in cut.nodes for wire in node.outs}
    found = []
    for register in registers:
        own = jax.tree.leaves(atoms[register])
        names = [name for name, wire in cut.named.items() if named and wire == register]
        names += [
            name.removesuffix(".coefficients").removesuffix(".initial")
            for name, leaf in known.items()
            if any(leaf is initial for initial in own)
        ]
        found.append(Held(tuple(names), cut.state_shape(register)))
    return found


def as_tolerance(name: str, given: Any) -> Tolerance:
    """An option of `Real` as an array, or as arrays by name; raises `CircuitError` for others."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {key: as_number(f"{name}[{key!r}]", value) for key, value in given.items()}
    return as_number(name, given)


def as_number(name: str, given: Any, positive: bool = False) -> Array:
    """A number or array that is nowhere negative, or positive everywhere; raises `CircuitError` for
    others.

    A known one stays known inside of a function under `jax.jit`: the choice of a method reads it.
    """
    known = is_concrete(*jax.tree.leaves(given))
    with jax.ensure_compile_time_eval() if known else contextlib.nullcontext():
        array = as_reals(f"Real: {name}", given)
    if is_concrete(array):
        known = np.asarray(array)
        if not np.all(known > 0 if positive else known >= 0):
            least = "positive" if positive else "at least 0"
            raise CircuitError(f"Real: {name} must be {least}, not {array}")
    return array


def check_resolution(rtol: Tolerance, atol: Tolerance, dtype: Any) -> None:
    """Raises `CircuitError` for a relative tolerance that no step in a float dtype can meet.

    Of a dtype that no run takes, the error says so later.
    """
    if jnp.finfo(dtype).bits < 32:
        return
    least = RTOL * float(jnp.finfo(dtype).eps)
    for leaf in filter(is_concrete, jax.tree.leaves(rtol)):
        lowest = float(np.min(np.asarray(leaf), initial=np.inf))
        # Zero is for absolute tolerances alone.
        if 0 < lowest < least * (1 - 1e-6) or (lowest == 0 and _is_nothing(atol)):
            raise CircuitError(
                f"Real: rtol is {lowest:.3g}, but a step in {dtype} is no better than {least:.3g}: "
                "loosen it, run in float64, or give rtol=0 with an atol"
            )


def _is_nothing(atol: Tolerance) -> bool:
    """Whether an absolute tolerance is known to allow nothing."""
    leaves = jax.tree.leaves(atol)
    return is_concrete(*leaves) and not any(np.any(np.asarray(leaf)) for leaf in leaves)


def by_entry(
    name: str, given: Tolerance, registers: Sequence[Held], default: Float[Array, " entries"]
) -> Float[Array, " entries"]:
    """A tolerance for each entry of the state.

    **Arguments:** `registers` are those whose contents the state joins, in its order; `default` is
    for entries of which nothing is said.

    **Raises:** `CircuitError` for a name that no register has, or an array that does not fit.
    """
    if given is None:
        return default
    if isinstance(given, dict):
        known = {own: None for held in registers for own in held.names}
        for key in given:
            if key not in known:
                listed = ", ".join(known) or "none"
                raise CircuitError(
                    f"Real: {name} names {key!r}, which is no register of the circuit and no wire "
                    f"that one drives; names are {listed}"
                )
    found, start = [], 0
    for held in registers:
        own = default[start : start + held.size]
        for value in _values_for(given, held):
            own = _spread(name, value, held).astype(default.dtype)
        found.append(own)
        start += held.size
    return jnp.concatenate(found)


def least_followed(initial: Inexact[Array, " entries"], rtol: Array) -> Float[Array, " entries"]:
    """The default `atol` for a state that begins so: it drops nothing that the state holds there.

    An entry that is zero there is followed from `TRACE` on, or from where it can be told beside
    the largest entry: the first traces of a pulse, or of a wave in cells that it has not reached,
    would cost many steps.
    """
    sizes, dtype = jnp.abs(initial), jnp.finfo(initial.dtype)
    told = jnp.maximum(TRACE, rtol * dtype.eps * jnp.max(sizes, initial=0))
    return jnp.where(sizes > 0, dtype.tiny, told).astype(dtype.dtype)


def _values_for(given: Array | dict[str, Array], held: Held) -> list[Array]:
    """What is said of a register: nothing, or one number or array."""
    if not isinstance(given, dict):
        return [given]
    said = [name for name in held.names if name in given]
    if len(said) > 1:
        raise CircuitError(f"Real: a tolerance has {said[0]!r} and {said[1]!r}, one register")
    return [given[name] for name in said]


def _spread(name: str, value: Array, held: Held) -> Array:
    """A value for each entry of a register, `[entries]`."""
    # One below zero, which is traced, would allow any error.
    value = jnp.where(value >= 0, value, jnp.nan)
    try:
        return jnp.broadcast_to(value, held.shape).reshape(-1)
    except ValueError as error:
        register = f"register {held.names[0]!r}" if held.names else "a register"
        raise CircuitError(
            f"Real: {name} of shape {value.shape} does not fit {register}, which holds a value of "
            f"shape {held.shape}: give several registers theirs by name, in a dictionary"
        ) from error
