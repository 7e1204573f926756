"""Programs that the CPU runs as one kernel.

On the CPU, XLA runs a program one operation at a time. Each costs many times the arithmetic of a
small value. XLA can compile a call as one function instead, loops and all, if the call bears the
attributes below. Measured on the Lorenz system with jaxlib 0.10.2: 1.5 times faster for one run and
5 times for a batch of 64. Programs that do not qualify get no attribute. Other backends ignore it.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import batching, mlir
from jaxlib import version as jaxlib_version
from jaxtyping import Array

from .fences import hidden
from .hoisting import EXPANSIONS, computes_constants, hoisted
from .kernel_context import lowered_call, lowering_kernel
from .kernel_switch import SWITCH, kernel_switch
from .primitives import Kernel, traits
from .program import all_equations, computed, live

# The newest jaxlib with which kernels were tested. With a later one they are off by default.
NEWEST_TESTED = (0, 12)
JAXLIB = jaxlib_version.__version_info__

_ATTRIBUTES = {"xla_cpu_small_call": "true"}

# XLA hands a reduction of this many numbers to a library, which a kernel cannot call.
LARGEST_SUM = 4096
# Between 2 and 4 times as many numbers, XLA splits a loop between threads, which a kernel cannot.
LARGEST_ARRAY = 8192
# Constants of up to so many numbers are handed to a kernel as one array.
JOINED = 256
# The most operations that compute in a kernel. Compile time grows faster than the function does.
# Arenstorf's orbit by `Dopri8` has 1,060: as a kernel it compiles in 0.37 s and runs in 57 µs, in
# place of 0.67 s and 157 µs.
LONGEST = 1200
# The same if a kernel holds a fixed point, whose many small operations compile fast.
LONGEST_WITH_LOOPS = 3200

_kernel = Primitive("asgard_kernel")
_kernel.multiple_results = True
_part = Primitive("asgard_part")
_part.multiple_results = True


def may_hold_kernels(context: mlir.LoweringRuleContext) -> bool:
    """Whether a program that is being lowered may hold kernels.

    XLA cuts a program for several devices into parts, and fails with "Failed to materialize
    symbols" if it has to cut a kernel. So there are none under a mesh, nor in exported programs,
    which may be called under one later.
    """
    module = context.module_context
    # Only a program without a mesh has a number of devices that is 1.
    alone = getattr(module.axis_context, "num_devices", None) == 1
    return alone and not module.lowering_parameters.for_export and kernels_are_on()


def kernels_are_on() -> bool:
    """Whether the environment and the version of jaxlib allow kernels."""
    setting = kernel_switch()
    if setting:
        return setting == "on"
    if JAXLIB[:2] <= NEWEST_TESTED:
        return True
    _tell_once(".".join(map(str, JAXLIB)))
    return False


@functools.cache
def _tell_once(version: str) -> None:
    newest = ".".join(map(str, NEWEST_TESTED))
    logging.getLogger("asgard").warning(
        "asgard's CPU kernels were tested up to jaxlib %s and are off under jaxlib %s: runs are "
        "correct but slower. %s=on turns them on.",
        newest,
        version,
        SWITCH,
    )


def as_kernel(
    fn: Callable[..., Sequence[Any]],
    *arguments: Any,
    longest: int | None = None,
    otherwise: Callable[..., tuple[list[Array], bool]] | None = None,
) -> tuple[list[Array], bool]:
    """fn(*arguments), compiled as one kernel if its program qualifies.

    For use in lowering only: the primitive that it binds has no derivatives and no batching rule.

    **Arguments:** `fn` takes arrays and returns a flat sequence of arrays; `longest` is the most
    operations that compute, where no fixed point is among them, by default `LONGEST`; `otherwise`
    is what runs if the program does not qualify, by default the program as it is.

    **Returns:** the results, and whether they come from a kernel.
    """
    types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments]
    closed = jax.make_jaxpr(fn)(*types)
    equations = list(all_equations(closed.jaxpr))
    searches = any(one.primitive.name in EXPANSIONS for one in equations)
    if searches or computes_constants(closed.jaxpr):
        closed = jax.make_jaxpr(hoisted(computed(closed)))(*types)
        equations = list(all_equations(closed.jaxpr))
    count = sum(traits(equation.primitive.name).computes for equation in equations)
    most = LONGEST_WITH_LOOPS if searches else longest or LONGEST
    if count > most or not all(map(_fits, equations)):
        if otherwise is not None:
            return otherwise(*arguments)
        # A result that is a constant would be a NumPy array.
        return [jnp.asarray(x) for x in jaxpr_as_fun(closed)(*arguments)], False
    closed = _joined(closed, types)
    operands = hidden([*closed.consts, *arguments])
    results = _kernel.bind(*operands, jaxpr=ClosedJaxpr(_reading_all(closed.jaxpr), ()))
    return results[: len(closed.jaxpr.outvars)], True


def _joined(closed: ClosedJaxpr, types: Sequence[Any]) -> ClosedJaxpr:
    """A jaxpr whose small constants are one array of each dtype, as each operand takes 0.1 µs."""
    groups: dict[Any, list[int]] = {}
    for index, value in enumerate(closed.consts):
        if not isinstance(value, Tracer) and np.size(value) <= JOINED:
            groups.setdefault(jnp.result_type(value), []).append(index)
    joined = [
        (
            jnp.asarray(np.concatenate([np.ravel(closed.consts[index]) for index in indices])),
            indices,
        )
        for indices in groups.values()
        if len(indices) > 1
    ]

    def run(*arguments: Any) -> list[Any]:
        values = list(closed.consts)
        for array, indices in joined:
            first = 0
            for index in indices:
                shape, last = np.shape(values[index]), first + np.size(values[index])
                values[index] = lax.reshape(lax.slice(array, [first], [last]), shape)
                first = last
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, values))(*arguments)

    return jax.make_jaxpr(run)(*types) if joined else closed


def part(fn: Callable[..., Any], *arguments: Any) -> Any:
    """fn(*arguments), which is a kernel of its own on the CPU if its program qualifies.

    For loops over small values in the middle of programs that are too large for a kernel. Results
    and arguments are pytrees of arrays.
    """
    flat, structure = jax.tree.flatten(arguments)
    found: list[Any] = []

    def run(*values: Any) -> list[Any]:
        leaves, results = jax.tree.flatten(fn(*jax.tree.unflatten(structure, values)))
        found.append(results)
        return leaves

    closed = jax.make_jaxpr(run)(*flat)
    jaxpr = ClosedJaxpr(closed.jaxpr, closed.consts)
    return jax.tree.unflatten(found[0], _part.bind(*flat, jaxpr=jaxpr))


def _reading_all(jaxpr: Any) -> Any:
    """A jaxpr with its constants as inputs, and with one entry of each input as a further result.

    XLA ends the process if nothing reads a parameter of a kernel.
    """
    inputs = (*jaxpr.constvars, *jaxpr.invars)
    types = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in inputs]
    entries = jax.make_jaxpr(
        lambda *xs: [lax.slice(x, [0] * x.ndim, [1] * x.ndim) for x in xs if x.size]
    )(*types).jaxpr
    renamed = dict(zip(entries.invars, inputs, strict=True))
    reading = [eqn.replace(invars=[renamed[var] for var in eqn.invars]) for eqn in entries.eqns]
    return jaxpr.replace(
        constvars=(),
        invars=inputs,
        outvars=[*jaxpr.outvars, *(renamed.get(var, var) for var in entries.outvars)],
        eqns=[*live(jaxpr), *reading],
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )


def _fits(equation: Any) -> bool:
    """Whether an equation of a jaxpr can be a part of a kernel."""
    known = traits(equation.primitive.name)
    if known.kernel is Kernel.ALWAYS:
        return True
    results = max((var.aval.size for var in equation.outvars), default=0)
    if known.kernel is Kernel.PART:
        return results <= LARGEST_ARRAY
    if equation.primitive.name == "dot_general":
        return _is_matrix_by_vector(equation) and results <= LARGEST_ARRAY
    operands = max((atom.aval.size for atom in equation.invars), default=0)
    bound = LARGEST_SUM if known.reduces else LARGEST_ARRAY
    return known.kernel is Kernel.SMALL and max(results, operands) < bound


def _is_matrix_by_vector(equation: Any) -> bool:
    """Whether a product is of a matrix or vector and a vector."""
    (_, (batch, _)) = equation.params["dimension_numbers"]
    ranks = sorted(atom.aval.ndim for atom in equation.invars)
    return not batch and ranks in ([1, 1], [1, 2])


def _lower_as_call(context: Any, *operands: Any, jaxpr: ClosedJaxpr) -> Any:
    with lowering_kernel():
        return lowered_call(context, operands, _kernel.name, jaxpr, **_ATTRIBUTES)


def _inline(*operands: Any, jaxpr: ClosedJaxpr) -> list[Any]:
    return jaxpr_as_fun(jaxpr)(*operands)


def _lower_part(context: Any, *operands: Any, jaxpr: ClosedJaxpr) -> Any:
    def run(*values: Any) -> list[Any]:
        if may_hold_kernels(context):
            return as_kernel(jaxpr_as_fun(jaxpr), *values)[0]
        return jaxpr_as_fun(jaxpr)(*values)

    return mlir.lower_fun(run, multiple_results=True)(context, *operands)


def _batch_part(operands: Any, axes: Any, *, jaxpr: ClosedJaxpr) -> Any:
    results = jax.vmap(jaxpr_as_fun(jaxpr), in_axes=axes)(*operands)
    return results, [0] * len(results)


_part.def_abstract_eval(lambda *_, jaxpr: jaxpr.out_avals)
_part.def_impl(_inline)
batching.primitive_batchers[_part] = _batch_part
mlir.register_lowering(_part, mlir.lower_fun(_inline, multiple_results=True))
mlir.register_lowering(_part, _lower_part, platform="cpu")
_kernel.def_abstract_eval(lambda *_, jaxpr: jaxpr.out_avals)
_kernel.def_impl(_inline)
mlir.register_lowering(_kernel, mlir.lower_fun(_inline, multiple_results=True))
mlir.register_lowering(_kernel, _lower_as_call, platform="cpu")
