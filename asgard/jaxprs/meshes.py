"""Programs that see no mesh, for callers that have one.

Under `jax.shard_map` the type of an array says over which axes of the mesh it varies. Under a mesh
with explicit axes it says how the array is sharded. JAX infers these types one operation at a time,
and refuses a loop whose carry starts as zeros and later becomes an array that varies. So a whole
run is traced without a mesh and becomes one primitive, whose operands and results have the types
that the caller's program needs. Derivatives and batches of it are primitives of the same kind.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec, get_abstract_mesh
from jaxtyping import Array

_NO_MESH = AbstractMesh((), ())


@dataclasses.dataclass(frozen=True, eq=False)
class _Body:
    """A program without types of meshes. JAX lowers the jaxprs that it sees in parameters with the
    types of the caller; it does not see this one."""

    jaxpr: ClosedJaxpr

    @property
    def run(self) -> Callable[..., list[Any]]:
        return jaxpr_as_fun(self.jaxpr)

    @property
    def avals_in(self) -> list[ShapedArray]:
        return [ShapedArray(aval.shape, aval.dtype) for aval in self.jaxpr.in_avals]


_call = Primitive("asgard_without_mesh")
_call.multiple_results = True


def without_mesh(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of pytrees that is traced as if there were no mesh.

    Arrays that vary over other axes of the mesh than the rest are made to vary over all of them.
    Arrays with explicit shardings are replicated: a batch is spread by `jax.vmap`, whose axis keeps
    its sharding.
    """

    @functools.wraps(fn)
    def run(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        indices = [index for index, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
        operands = _alike([leaves[index] for index in indices])
        if operands is None:
            return fn(*arguments)
        results: list[Any] = []

        def flat(*values: Any) -> list[Array]:
            for index, value in zip(indices, values, strict=True):
                leaves[index] = value
            found, tree = jax.tree.flatten(fn(*jax.tree.unflatten(structure, leaves)))
            results.append(tree)
            return list(map(jnp.asarray, found))

        found = _bind(flat, operands)
        return jax.tree.unflatten(results[-1], found)

    return run


def _alike(operands: list[Any]) -> list[Any] | None:
    """Operands with types of one kind: replicated, and varying over the same axes of the mesh.

    None if no mesh shows in their types.
    """
    types = [jax.typeof(x) for x in operands]
    axes = frozenset[Any]().union(*(aval.mat.varying for aval in types))
    meshes = [get_abstract_mesh(), *(aval.sharding.mesh for aval in types)]
    explicit = [mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types]
    if not operands or not (axes or explicit):
        return None
    operands = [
        jax.sharding.reshard(x, _replicated(aval.sharding.mesh))
        if AxisType.Explicit in aval.sharding.mesh.axis_types
        else x
        for x, aval in zip(operands, types, strict=True)
    ]
    missing = [tuple(axes - aval.mat.varying) for aval in types]
    return [
        lax.pcast(x, names, to="varying") if names else x
        for x, names in zip(operands, missing, strict=True)
    ]


def _replicated(mesh: AbstractMesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def _bind(
    fn: Callable[..., Sequence[Any]],
    operands: Sequence[Any],
    shardings: Sequence[NamedSharding] = (),
) -> list[Array]:
    """fn(*operands) as a call, with the shardings of its first results. Others are replicated."""
    types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
    with jax.sharding.use_abstract_mesh(_NO_MESH):
        closed = jax.make_jaxpr(fn)(*types)
    # What fn closes over is an operand too.
    jaxpr = closed.jaxpr
    inputs = (*jaxpr.constvars, *jaxpr.invars)
    jaxpr = jaxpr.replace(
        constvars=(), invars=inputs, debug_info=jaxpr.debug_info.with_unknown_names()
    )
    mesh = _typical([jax.typeof(x) for x in operands]).sharding.mesh
    rest = [_replicated(mesh)] * (len(jaxpr.outvars) - len(shardings))
    params = {"body": _Body(ClosedJaxpr(jaxpr, ())), "shardings": (*shardings, *rest)}
    return _call.bind(*closed.consts, *operands, **params)


def _typical(avals: Sequence[Any]) -> Any:
    """A type that shows the mesh, if one does."""
    return next((aval for aval in avals if not aval.sharding.mesh.empty), avals[-1])


def _types(*avals: Any, body: _Body, shardings: Sequence[NamedSharding]) -> tuple[list[Any], Any]:
    typical = _typical(avals)
    outs = []
    for aval, sharding in zip(body.jaxpr.out_avals, shardings, strict=True):
        spec = PartitionSpec(*sharding.spec, *[None] * (aval.ndim - len(sharding.spec)))
        outs.append(
            typical.update(
                shape=aval.shape,
                dtype=aval.dtype,
                weak_type=False,
                sharding=sharding.update(spec=spec),
            )
        )
    return outs, body.jaxpr.effects


def _batch(
    operands: Sequence[Any],
    axes: Sequence[Any],
    *,
    body: _Body,
    shardings: Sequence[NamedSharding],
) -> tuple[list[Array], list[int]]:
    x, axis = next((x, axis) for x, axis in zip(operands, axes, strict=True) if axis is not None)
    run = jax.vmap(body.run, in_axes=tuple(axes), axis_size=x.shape[axis])
    batch = jax.typeof(x).sharding
    over = [
        NamedSharding(batch.mesh, PartitionSpec(batch.spec[axis], *sharding.spec))
        for sharding in shardings
    ]
    results = _bind(run, operands, over)
    return results, [0] * len(results)


def _differentiate(
    primals: Sequence[Any], tangents: Sequence[Any], *, body: _Body, shardings: Sequence[Any]
) -> tuple[list[Array], list[Any]]:
    """The results with what their derivative needs, and the derivative: two calls, so that reverse
    mode knows the first and transposes the second."""
    moving = [index for index, dot in enumerate(tangents) if not isinstance(dot, ad.Zero)]
    smooth = [jnp.issubdtype(aval.dtype, jnp.inexact) for aval in body.jaxpr.out_avals]
    structures: list[Any] = []

    def forward(*primals: Any) -> list[Any]:
        values = list(primals)

        def run(*moved: Any) -> tuple[list[Any], list[Any]]:
            for index, value in zip(moving, moved, strict=True):
                values[index] = value
            found = body.run(*values)
            return [x for x, flag in zip(found, smooth, strict=True) if flag], found

        _, push, found = jax.linearize(run, *(primals[index] for index in moving), has_aux=True)
        kept, structure = jax.tree.flatten(push)
        structures.append(structure)
        return [*found, *kept]

    found = _bind(forward, primals, shardings)
    results, kept = found[: len(shardings)], found[len(shardings) :]

    def push(*operands: Any) -> list[Any]:
        return jax.tree.unflatten(structures[-1], operands[: len(kept)])(*operands[len(kept) :])

    given = [tangents[index] for index in moving]
    wanted = [sharding for sharding, flag in zip(shardings, smooth, strict=True) if flag]
    dots = iter(_bind(push, [*kept, *given], wanted))
    zeros = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in results]
    return results, [next(dots) if flag else zero for flag, zero in zip(smooth, zeros, strict=True)]


def _transpose(
    cotangents: Sequence[Any], *operands: Any, body: _Body, shardings: Sequence[Any]
) -> list[Any]:
    unknown = [ad.is_undefined_primal(x) for x in operands]
    known = [x for x, flag in zip(operands, unknown, strict=True) if not flag]
    given = [not isinstance(dot, ad.Zero) for dot in cotangents]
    wanted = [x.aval for x, flag in zip(operands, unknown, strict=True) if flag]
    types = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in wanted]

    def pull(*values: Any) -> Sequence[Any]:
        dots, rest = iter(values[: sum(given)]), values[sum(given) :]
        whole = [
            next(dots) if flag else jnp.zeros(aval.shape, aval.dtype)
            for flag, aval in zip(given, body.jaxpr.out_avals, strict=True)
        ]

        def run(*moving: Any) -> list[Any]:
            fixed, moved = iter(rest), iter(moving)
            return body.run(*(next(moved if flag else fixed) for flag in unknown))

        return jax.linear_transpose(run, *types)(whole)

    dots = [dot for dot, flag in zip(cotangents, given, strict=True) if flag]
    found = iter(_bind(pull, [*dots, *known], [aval.sharding for aval in wanted]))
    return [next(found) if flag else None for flag in unknown]


def _lower(context: Any, *operands: Any, body: _Body, shardings: Sequence[Any]) -> Any:
    del shardings
    plain = context.replace(avals_in=body.avals_in)
    with jax.sharding.use_abstract_mesh(_NO_MESH):
        return mlir.lower_fun(body.run)(plain, *operands)


_call.def_impl(lambda *operands, body, shardings: body.run(*operands))
_call.def_effectful_abstract_eval(_types)
ad.primitive_jvps[_call] = _differentiate
ad.primitive_transposes[_call] = _transpose
batching.primitive_batchers[_call] = _batch
mlir.register_lowering(_call, _lower)
