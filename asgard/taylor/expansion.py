"""The engine in the open: `expand`, the series of any function; `ode`, those of a solution."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..circuits.atoms.functions import Function
from ..circuits.fields import as_inexact, as_order
from ..circuits.stream import Stream
from ..errors import CircuitError
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import run_compiled
from ..jaxprs.meshes import without_mesh
from ..jaxprs.own_functions import why
from ..jaxprs.settings import default_promotion
from .evaluate import evaluate
from .net import Frame, Piece, Value, Wire, promote, resize
from .network import stream_value
from .series import divide
from .streams import Conditions, as_stream, centers, check, fitted


def expand(fn: Callable[..., Any], *streams: Any) -> Any:
    """The power series of a function's outputs, from those of its arguments.

    Differentiable, and to be used under any of JAX's transformations. Called from outside it
    compiles itself, and keeps the compilation as long as `fn` is the same object.

    **Arguments:**

    - `fn`: any jnp callable or equinox module; it is given values, not streams.
    - `streams`: one `Stream`, or pytree of streams, for each argument of `fn`, all about one centre
      along each dimension. A stream is its polynomial: what it does not give is zero.

    **Returns:** a pytree like the one that `fn` returns, with a stream in place of each array. Its
    dimensions are those of all streams together, in the order in which they first appear, each to
    the largest order that a stream gives along it; coefficients have shape
    `[*value, *(order + 1)]`.

    **Raises:** `CircuitError` for what is no stream, for streams about different centres, and for a
    function that cannot be traced or uses a primitive without a series rule.

    ```python
    ag.taylor.expand(jnp.exp, ag.Stream([0.0, 1.0, 0.0], "t"))  # 1 + t + t^2 / 2
    ```
    """
    if not callable(fn):
        raise CircuitError(f"expand takes a function, not {fn!r}")
    given = _streams(streams)
    for stream in given:
        if not isinstance(stream, Stream):
            raise CircuitError(
                f"expand takes streams, not {type(stream).__name__}; a value that does not change "
                'is Stream([value], "t")'
            )
    if not given:
        raise CircuitError("expand takes at least one stream, to expand along its dimensions")
    atom = Function(fn, len(streams))
    outputs, conditions = run_compiled(_compiled_expand, _expand, atom, streams)
    check(conditions)
    return outputs


def ode(fn: Callable[[Any, Any], Any], y0: Any, order: int, t0: Any = 0.0) -> Any:
    """The Taylor coefficients of the solution of y' = fn(t, y), y(t0) = y0.

    One pass, order by order, at a cost of O(order^2); the program does not grow with the order.
    Differentiable, and to be used under any of JAX's transformations. Called from outside it
    compiles itself, and keeps the compilation as long as `fn` is the same object.

    **Arguments:**

    - `fn`: any jnp callable or equinox module that takes a time and a pytree like `y0`, and returns
      a pytree like `y0`.
    - `y0`: a pytree of real or complex numbers and arrays. Whole numbers become floats.
    - `order`: the highest order to compute, 0 or more.
    - `t0`: the time of `y0`, a number.

    **Returns:** a pytree like `y0`; for each of its arrays the coefficients y^(n)(t0) / n!, of
    shape `[order + 1, *value]` and the array's dtype.

    **Raises:** `CircuitError` where `fn` returns anything else than what `y0` is, cannot be traced,
    or uses a primitive without a series rule.

    Source: Griewank and Walther, *Evaluating Derivatives* (2nd ed., 2008), section 13.2.

    ```python
    ag.taylor.ode(lambda t, y: y * y, 1.0, order=4)  # 1 / (1 - t): 1, 1, 1, 1, 1
    ```
    """
    if not callable(fn):
        raise CircuitError(f"ode takes a function of t and y, not {fn!r}")
    leaves, structure = jax.tree.flatten(y0)
    values = [as_inexact("y0", leaf) for leaf in leaves]
    if not values:
        raise CircuitError(f"ode: y0 must hold at least one number, not {y0!r}")
    time = as_inexact("t0", t0)
    if time.shape or jnp.issubdtype(time.dtype, jnp.complexfloating):
        raise CircuitError(f"ode: t0 must be a real number, not {time.dtype}{list(time.shape)}")
    time = time.astype(jnp.finfo(jnp.result_type(*values)).dtype)
    start = jax.tree.unflatten(structure, values)
    return run_compiled(
        _compiled_ode, _ode, Function(fn, 2), start, time, as_order("ode: order", order)
    )


@default_promotion()
def _expand(atom: Function, streams: tuple[Any, ...]) -> tuple[Any, Conditions]:
    """The outputs, and that the centres of the streams agree."""
    given = _streams(streams)
    inputs = jax.tree.structure(streams, is_leaf=_is_stream)
    orders: dict[str, int] = {}
    for stream in given:
        for dim, count in zip(stream.dims, stream.orders_given, strict=True):
            orders[dim] = max(orders.get(dim, 0), count - 1)
    outputs: list[Any] = []  # the structure of what the function returns

    def run(*values: Array) -> list[Array]:
        result = _call(atom, *jax.tree.unflatten(inputs, values))
        leaves, structure = jax.tree.flatten(result)
        outputs[:] = [structure]
        return [as_inexact(f"what {_name(atom)} returns", leaf) for leaf in leaves]

    known: dict[Wire, Value] = {
        ("in", index): fitted(stream_value(stream), orders) for index, stream in enumerate(given)
    }
    types = jax.eval_shape(run, *(value.aval for value in known.values()))
    avals: dict[Wire, Any] = {("out", index): aval for index, aval in enumerate(types)}
    frame = Frame(tuple(orders), orders, avals)
    found = evaluate([Piece(tuple(known), tuple(avals), run)], known, list(avals), frame)
    about, conditions = centers(given, frame.dims)
    results = [as_stream(found[wire], orders, frame, about) for wire in avals]
    return jax.tree.unflatten(outputs[0], results), conditions


@default_promotion()
def _ode(atom: Function, y0: Any, t0: Array, order: int) -> Any:
    """The coefficients of each leaf: those of the slope, integrated."""
    start, structure = jax.tree.flatten(y0)
    run = _slope(atom, structure)
    types = jax.eval_shape(run, t0, *start)
    if order == 0:
        return jax.tree.map(lambda leaf: leaf[None], y0)
    # The last order of y is the integral of the last of the slope: only up to there does fn run.
    time = Value(resize(jnp.stack([t0, jnp.ones_like(t0)]), order), ("t",))
    known: dict[Wire, Value] = {"t": time}
    avals: dict[Wire, Any] = {}
    registers = []
    for index, (leaf, aval) in enumerate(zip(start, types, strict=True)):
        known["start", index] = Value(leaf)
        avals["y", index] = avals["slope", index] = aval
        names = {"ins": (("slope", index),), "outs": (("y", index),), "initial": ("start", index)}
        registers.append(Piece(**names, sign=1, dim="t"))
    ys = [register.outs[0] for register in registers]
    slopes = [register.ins[0] for register in registers]
    frame = Frame(("t",), {"t": order - 1}, avals)
    found = evaluate([Piece(("t", *ys), tuple(slopes), run), *registers], known, slopes, frame)
    found = [promote(found[slope], frame.dims, frame).array for slope in slopes]
    return jax.tree.unflatten(structure, map(_integral, start, found))


_compiled_expand = Jit(without_mesh(_expand))
_compiled_ode = Jit(without_mesh(_ode), static_argnums=3)


def _slope(atom: Function, structure: Any) -> Callable[..., list[Array]]:
    """fn(t, y) on the leaves of y, checked against them."""

    def run(t: Array, *leaves: Array) -> list[Array]:
        result = _call(atom, t, jax.tree.unflatten(structure, leaves))
        slopes, returned = jax.tree.flatten(result)
        if returned != structure:
            raise CircuitError(
                f"ode: {_name(atom)} must return what y0 is, of structure {structure}, but it "
                f"returns {returned}"
            )
        return [_like(atom, *pair) for pair in zip(leaves, slopes, strict=True)]

    return run


def _like(atom: Function, leaf: Array, slope: Any) -> Array:
    """A slope in the dtype of y."""
    slope = as_inexact(f"what {_name(atom)} returns", slope)
    widened = jnp.iscomplexobj(slope) and not jnp.iscomplexobj(leaf)
    if slope.shape != leaf.shape or widened:
        raise CircuitError(
            f"ode: where y0 is {leaf.dtype}{list(leaf.shape)}, {_name(atom)} returns "
            f"{slope.dtype}{list(slope.shape)}"
        )
    return slope.astype(leaf.dtype)


def _name(atom: Function) -> str:
    return getattr(atom.fn, "__name__", type(atom.fn).__name__)


def _call(atom: Function, *arguments: Any) -> Any:
    try:
        return atom(*arguments)
    except CircuitError:
        raise
    except Exception as error:
        types = jax.tree.map(lambda x: jax.typeof(x).str_short(), arguments)
        raise CircuitError(f"{_name(atom)} cannot be evaluated on {types}: {why(error)}") from error


def _integral(start: Array, slope: Array) -> Array:
    """Coefficients of a function, from its value at the centre and those of its slope."""
    orders = jnp.arange(1, slope.shape[0] + 1).reshape((-1,) + (1,) * start.ndim)
    return jnp.concatenate([start[None], divide(slope, orders)])


def _is_stream(node: Any) -> bool:
    return isinstance(node, Stream)


def _streams(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=_is_stream)
