"""The arguments that fits have in common: checked, and made arrays."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.fields import NOT_NUMBERS, as_reals, check_count
from ..errors import CircuitError
from ..jaxprs.concrete import is_concrete


def check_function(what: str, fn: Any, args: tuple[Any, ...], draws: bool = False) -> None:
    """Raises where `fn` cannot be called with a circuit, the arguments, and a key if it `draws`.

    `what` says what it is to be.
    """
    if not callable(fn):
        raise CircuitError(f"{what} must be a function of the circuit, not {fn!r}")
    signature = _signature(fn)
    try:
        if signature is not None:
            signature.bind(None, *args, **({"key": None} if draws else {}))
    except TypeError as error:
        more = f" and {len(args)} more argument{'s'[: len(args) != 1]}, from args" if args else ""
        raise CircuitError(f"{what} is called with the circuit{more}: {error}") from error


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The signature of a function; None where Python does not know it, as of some in C."""
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None


def as_arrays(args: Any) -> tuple[Any, ...]:
    """The data of a fit, all as arrays."""
    if not isinstance(args, tuple | list):
        raise CircuitError(f"args must be a tuple, such as (ts, data), not {type(args).__name__}")
    try:
        # Without weak types: 0.5 and an array of it share a compilation.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.asarray(leaf).dtype), tuple(args))
    except NOT_NUMBERS as error:
        raise CircuitError(f"args must hold numbers and arrays: {error}") from error


def takes_key(loss: Callable[..., Any], key: Array | None, batch: int | None) -> bool:
    """Whether the loss is given a key. Raises where a key is missing, or where nothing uses it."""
    signature = _signature(loss)
    argument = None if signature is None else signature.parameters.get("key")
    # One with a default, such as a key that functools.partial has bound, needs none.
    needed = argument is not None and argument.default is inspect.Parameter.empty
    draws = needed or (argument is not None and key is not None)
    if key is None and (draws or batch is not None):
        what = "the loss takes a key" if draws else "minibatches are drawn"
        raise CircuitError(f"{what}: give one, such as key=jax.random.key(0)")
    if key is None:
        return draws
    typed = eqx.is_array(key) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = eqx.is_array(key) and key.dtype == jnp.uint32 and key.ndim > 0
    if not (typed or raw) or (key.ndim if typed else key.ndim - 1):
        raise CircuitError(f"key must be one JAX key, such as jax.random.key(0), not {key!r:.60}")
    if not draws and batch is None:
        raise CircuitError(
            "a key is given, but the loss has no argument key, and there is no batch"
        )
    return draws


def first_order(args: tuple[Any, ...], batch: int | None) -> Array | None:
    """The indices of the examples in the order given, `[examples]`; None without minibatches."""
    if batch is None:
        return None
    check_count("fit", "batch", batch, least=1)
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(args)}
    if not sizes:
        raise CircuitError("with batch, the examples are in args, but there are none")
    if len(sizes) != 1 or sizes == {()}:
        raise CircuitError(
            "with batch, the first axis of each array of args counts the examples; they have "
            f"{', '.join(str(size[0]) if size else 'none' for size in sorted(sizes))}: let the "
            "loss close over what is no data"
        )
    ((examples,),) = sizes
    if batch > examples:
        raise CircuitError(f"batch is {batch}, but there are {examples} examples")
    return jnp.arange(examples)


def tolerances(tol: Any) -> dict[str, Array]:
    """The tolerances that end a fit, by name: of the loss, and of the norm of its gradient."""
    if tol is None:
        return {}
    named = dict(tol) if isinstance(tol, Mapping) else {"gradient": tol}
    for name in named:
        if name not in ("loss", "gradient"):
            raise CircuitError(f'tol is for "loss" and "gradient", not for {name!r}')
    return {name: tolerance(value) for name, value in named.items()}


def tolerance(tol: Any) -> Array:
    """One number that is not negative, as an array."""
    number = as_reals("tol", tol)
    if number.shape != ():
        raise CircuitError(f"tol must be one number, not of shape {number.shape}")
    if is_concrete(number) and not number >= 0:
        raise CircuitError(f"tol must be at least 0, not {tol!r}")
    return number
