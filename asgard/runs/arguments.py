"""The arguments of runs over time, checked and made arrays before anything is compiled."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..circuits.atoms.functions import Function
from ..circuits.circuit import Circuit
from ..circuits.fields import NOT_NUMBERS, as_inexact, check_name
from ..circuits.samples import Samples
from ..circuits.stream import Stream
from ..circuits.terms import brief
from ..errors import CircuitError, DegreeError
from ..jaxprs.concrete import is_concrete


def as_times(ts: Any) -> Array:
    """Strictly monotone times as an array of floats, `[times]`.

    Known times stay known inside of a trace, so that calculi can read them.
    """
    if not is_concrete(*jax.tree.leaves(ts)):
        return _monotone(ts)
    with jax.ensure_compile_time_eval():
        return _monotone(ts)


def _monotone(ts: Any) -> Array:
    try:
        times = jnp.asarray(ts)
    except NOT_NUMBERS as error:
        raise CircuitError(f"ts must be an array of times, not {ts!r}") from error
    if jnp.issubdtype(times.dtype, jnp.complexfloating):
        raise CircuitError("ts must be real times, not complex numbers")
    if times.ndim != 1 or times.shape[0] == 0:
        raise CircuitError(f"ts must be an array [times], not of shape {times.shape}")
    if not jnp.issubdtype(times.dtype, jnp.floating):
        times = times.astype(jnp.result_type(float))
    if is_concrete(times):
        given = np.asarray(ts, dtype=np.float64)
        if not np.all(np.isfinite(given)):
            raise CircuitError("ts must be finite")
        if not _is_monotone(given):
            raise CircuitError("ts must be strictly increasing or strictly decreasing")
        check_resolution(given, times.dtype)
    return jax.lax.convert_element_type(times, times.dtype) if times.weak_type else times


def check_resolution(times: np.ndarray, dtype: Any) -> None:
    """Raises where rounding times to a dtype changes a step between two of them by a tenth."""
    if dtype == np.float64:
        return  # the times are as given
    steps, rounded = np.diff(times), np.diff(times.astype(dtype).astype(np.float64))
    if np.any(np.abs(rounded - steps) > 0.1 * np.abs(steps)):
        raise CircuitError(
            f"ts holds times that {np.dtype(dtype)} hardly tells apart: count time from the first "
            "of them, or run in float64 (jax_enable_x64, and a circuit of float64 numbers)"
        )


def _is_monotone(times: np.ndarray) -> bool:
    return bool(np.all(times[1:] > times[:-1]) or np.all(times[1:] < times[:-1]))


class _WithArguments(eqx.Module):
    """fn(t, args) as a function of t, with the arguments as leaves."""

    fn: Callable[..., Any] = eqx.field(static=True)
    args: Any

    def __call__(self, t: Array) -> Any:
        return self.fn(t, self.args)


def as_sources(circuit: Circuit, inputs: Any, times: Array) -> tuple[Any, ...]:
    """Inputs as arrays, streams, samples and functions of time, one for each wire."""
    if not isinstance(inputs, tuple | list):
        raise CircuitError(
            "inputs must be a tuple with one input for each wire, such as (1.0,), not "
            f"{type(inputs).__name__}"
        )
    if len(inputs) != circuit.n_in:
        names = getattr(circuit, "input_names", ())  # which some blocks have
        named = f" ({', '.join(names)})" if names else ""
        raise DegreeError(
            f"{brief(circuit)} takes {circuit.n_in} input{'s'[: circuit.n_in != 1]}{named}, but "
            f"{len(inputs)} {'was' if len(inputs) == 1 else 'were'} given{_meant(names, inputs)}"
        )
    return tuple(_source(index, given, times) for index, given in enumerate(inputs))


def _meant(names: tuple[str, ...], inputs: Any) -> str:
    """What to do where inputs lack that have names."""
    if not names or len(inputs) > len(names):
        return ""
    shown = f"({', '.join(names)}{',' if len(names) == 1 else ''})"
    return (
        f": give inputs={shown}; what is a number is a keyword-only parameter of a function, "
        f"behind its *, or one of the parameters of equations"
    )


def given_or(inputs: Any, others: tuple[Any, ...]) -> Any:
    """The inputs of a call, or others where it gives none."""
    return others if isinstance(inputs, tuple | list) and not inputs else inputs


def _source(index: int, given: Any, times: Array) -> Any:
    """An input as an array, a stream, samples, or a function of time."""
    if isinstance(given, Stream | Samples):
        return given
    if callable(given):
        return Function(given, 1, 1)
    if isinstance(given, tuple) and len(given) == 2 and callable(given[0]):
        try:
            args = jax.tree.map(jnp.asarray, given[1])
        except NOT_NUMBERS as error:
            raise CircuitError(
                f"input {index} is (fn, args): args must hold numbers and arrays, not {given[1]!r}"
            ) from error
        return Function(_WithArguments(given[0], args), 1, 1)
    try:
        array = as_inexact(f"input {index}", given)
    except CircuitError as error:
        raise CircuitError(
            f"input {index} must be a number, an array, a function of time, (fn, args), a Stream "
            f"or Samples, not {given!r}"
        ) from error
    count = times.shape[0]
    if is_concrete(given, times) and count > 1 and array.shape[:1] == (count,):
        raise CircuitError(
            f"input {index} is an array with an entry for each of the {count} times. An array is a "
            "constant: for values at times give ag.Samples(values, ts), and for a constant of "
            'this shape ag.Stream(value[..., None], "t")'
        )
    return array


def check_dim(dim: Any) -> None:
    """Raises where `dim` is neither None nor the name of a dimension."""
    if dim is not None:
        check_name("dim", "dimension", dim)


def check_state(times: Array, state: Any, gapless: bool) -> None:
    """Raises if `state` is not a run's state, or if `times` do not continue that run."""
    if not all(eqx.is_array_like(leaf) for leaf in jax.tree.leaves(state)):
        raise CircuitError(f"state must be the state of an earlier trajectory, not {state!r}")
    last = getattr(state, "last", None)
    if last is None or not is_concrete(last, times):
        return
    # With NumPy: in a trace, JAX would make traced truths even of known numbers.
    known, came = np.asarray(times), np.asarray(last)
    direction = -1.0 if known[-1] < known[0] else 1.0
    if direction * (known[0] - came) < 0:
        raise CircuitError(
            f"the state stands at t = {float(came)}, and ts begins behind it, at {float(known[0])}"
        )
    # The same time, computed otherwise, may differ by a rounding.
    eps = max(np.finfo(np.result_type(time.dtype, np.float32)).eps for time in (known, came))
    if gapless and abs(known[0] - came) > eps * abs(came):
        raise CircuitError(
            f"the state stands at {float(came):g}, and ts begins at {float(known[0]):g}: a "
            "sequence or a path goes on at the time to which it came"
        )


def are_in_order(times: Array, state: Any, gapless: bool) -> Array:
    """Whether times that were traced are strictly monotone and go on from a state, up to rounding;
    what `as_times` and `check_state` say of known ones."""
    steps = jnp.diff(times)
    good = jnp.all(steps > 0) | jnp.all(steps < 0)
    last = getattr(state, "last", None)
    if last is None:
        return good
    ahead = jnp.where(times[-1] < times[0], -1, 1) * (times[0] - last)
    eps = max(jnp.finfo(time.dtype).eps for time in (times, last))
    near = eps * jnp.abs(last)
    return good & (ahead >= -near) & ((ahead <= near) | (not gapless))
