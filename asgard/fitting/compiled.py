"""What of a fit is compiled once and kept: functions by identity, optimisers by their makeup."""

import functools
import types
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..errors import CircuitError
from ..jaxprs.compiling import Jit
from ..jaxprs.concrete import is_concrete
from ..jaxprs.kernel_switch import kernel_switch
from ..jaxprs.meshes import without_mesh
from ..jaxprs.own_functions import check_takes
from ..jaxprs.settings import default_promotion

# The first update of all optimisers that are made alike, by what they are made of.
_FIRST: dict[Hashable, Callable[..., Any]] = {}


class Compiled:
    """`run(problem, *arguments)`, compiled and kept. `problem` is an equinox module.

    It compiles again for other shapes, structures and functions. Functions are compared by
    identity, as `jax.jit` does. A function that is an equinox module has its arrays traced.

    A problem whose functions close over values of an outer trace is traced there instead: a
    compilation that is kept would hold on to that trace.
    """

    def __init__(self, run: Callable[..., Any]):
        def joined(arrays: list[Any], static: tuple[Any, ...], *arguments: Any) -> Any:
            structure, *others = static
            leaves = [b if a is None else a for a, b in zip(arrays, others, strict=True)]
            return traced(jax.tree.unflatten(structure, leaves), *arguments)

        self.run = traced = default_promotion()(run)
        self.jitted = Jit(without_mesh(joined), static_argnums=1)

    def __call__(self, problem: Any, *arguments: Any) -> Any:
        kernel_switch()
        leaves, structure = jax.tree.flatten(problem)
        arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
        others = [None if _is_array(leaf) else leaf for leaf in leaves]
        if _holds_tracer(others, set()):
            return self.run(problem, *arguments)
        return self.jitted(arrays, (structure, *others), *arguments)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def update_of(optimizer: Any) -> Callable[..., Any]:
    """The update of an optimiser: one function for all optimisers that are made alike.

    `optax.adam(0.01)` makes new functions at each call. Two of optax's functions are alike if they
    have the same code and close over equal numbers, equal arrays and functions that are alike. All
    other functions, such as a schedule that the user wrote, are compared by identity.
    """
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not isinstance(optimizer, optax.GradientTransformation):
        raise CircuitError(
            f"optimizer must be one of optax, such as optax.adam(0.01), not {optimizer!r}"
        )
    check_takes("optimizer: its init", optimizer.init, "the numbers by name")
    arguments = "the gradient", "the state", "the numbers by name"
    check_takes("optimizer: its update", optimizer.update, *arguments)
    update = optax.with_extra_args_support(optimizer).update
    try:
        return _FIRST.setdefault(_makeup(update), update)
    except (TypeError, RecursionError):  # something without a hash, or that holds itself
        return update


def _makeup(tree: Any) -> Hashable:
    """What a tree of functions and numbers is made of."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(map(_part, leaves))


def _part(leaf: Any) -> Hashable:
    if _is_array(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)  # no tracer: a TypeError
        return leaf.dtype, leaf.shape, array.tobytes()
    if isinstance(leaf, types.FunctionType) and leaf.__module__.partition(".")[0] == "optax":
        return leaf.__module__, leaf.__code__, _makeup(_held(leaf))
    return type(leaf), repr(leaf) if isinstance(leaf, float | complex) else leaf  # -0.0 is not 0.0


def _held(fn: Any) -> list[Any]:
    """What a function holds besides its code: what it closes over, and its defaults."""
    if isinstance(fn, functools.partial):
        return [fn.func, fn.args, fn.keywords]
    empty = types.CellType()  # a name that has no value yet
    cells = [cell.cell_contents for cell in fn.__closure__ or () if cell != empty]
    return [cells, fn.__defaults__, fn.__kwdefaults__]


def _holds_tracer(tree: Any, seen: set[int]) -> bool:
    """Whether a tree, or what its functions hold, has a value of a trace. `seen` ends cycles."""
    for leaf in jax.tree.leaves(tree):
        if not is_concrete(leaf):
            return True
        if isinstance(leaf, types.FunctionType | functools.partial) and id(leaf) not in seen:
            seen.add(id(leaf))
            if _holds_tracer(_held(leaf), seen):
                return True
    return False
