"""Loops that run for one value or for many side by side, as one JAX primitive.

Under `jax.vmap` such a call gets more lanes, not a leading axis (`lanes.py`). On the CPU it is
compiled as a kernel (`kernel.py`). Its derivatives are calls of the same kind, so they too run in
lanes and as kernels (`linear_call.py`). `lower` draws the whole way from a call to machine code.
"""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from .flags import Avals, Flags, flagged, merge, one_lane
from .hoisting import EXPANSIONS
from .kernel import as_kernel, may_hold_kernels
from .lanes import spread
from .settings import default_promotion

# The results of a call, as `bind` gives them.
Run = Callable[["LaneCall", Sequence[Any], Flags, int], list[Array]]


class LaneCall(abc.ABC):
    """What a call does.

    Everywhere, `laned` says which operands have lanes as their last axis, and `size` is how many
    lanes there are, or 0 for none. If there are any, all results have them, but those that are sums
    over all lanes.
    """

    primitive: ClassVar[Primitive]  # what it is a call of
    # Whether its last result, which `loop` does not give, says whether it ran as a kernel.
    reports_kernel: ClassVar[bool] = False

    @property
    def longest(self) -> int | None:
        """The most operations of a kernel: see `as_kernel`."""
        return None

    @property
    def shorter(self) -> "LaneCall | None":
        """The same call by a shorter program, for where this one is too long for a kernel."""
        return None

    @property
    @abc.abstractmethod
    def tile(self) -> int:
        """How many lanes a kernel has at most."""

    @property
    def sums(self) -> Flags | None:
        """Which results are sums over the lanes; None where none is. Such a call is not tiled."""
        return None

    def by_lane(self) -> "LaneCall":
        """The same call without sums: its results are those of each lane."""
        return self

    @abc.abstractmethod
    def outline(self, avals: Avals) -> list[Any]:
        """The types of the results from those of the operands, without lanes."""

    @abc.abstractmethod
    def room(self, avals: Avals) -> list[Any]:
        """The types of the large arrays that the loop writes to, without lanes. They start as
        zeros."""

    @abc.abstractmethod
    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        """The results. If `kernel` is set, without a scatter."""

    def compiled(
        self, run: Run, operands: Sequence[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array] | None:
        """The results as those of other calls, where `run` gives these; None for a call that has
        a loop of its own. `kernel` says that calls are kernels where they can be."""
        return None

    def in_batch(
        self, operands: Sequence[Any], laned: Flags, size: int, before: Flags, count: int
    ) -> list[Array]:
        """The results in a batch of `count` calls, with operands and lanes as they are there;
        `before` says which operands had lanes in each call. Where none had, a result without lanes
        is that of all calls."""
        return bind(self, operands, laned, size)

    @abc.abstractmethod
    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        """The results, and the derivatives of the inexact ones. Tangents may be symbolic zeros."""


def bind(
    call: LaneCall, operands: Sequence[Any], laned: Flags | None = None, size: int = 0
) -> list[Array]:
    """The results of a call."""
    flags = (False,) * len(operands) if laned is None else tuple(laned)
    return call.primitive.bind(*operands, call=call, laned=flags, size=size)


def lane_primitive(name: str, part_of_kernels: bool = False) -> Primitive:
    """A primitive of calls. If it is a part of kernels, a kernel holds its loop."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_abstract_eval(_abstract)
    primitive.def_impl(_run)
    ad.primitive_jvps[primitive] = _differentiate
    ad.primitive_transposes[primitive] = _transpose
    batching.primitive_batchers[primitive] = _batch
    mlir.register_lowering(primitive, _lower_whole)
    mlir.register_lowering(primitive, lower, platform="cpu")
    if part_of_kernels:
        EXPANSIONS[name] = _run
    return primitive


def lower(context: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
    """From a call to what XLA compiles, on the CPU.

        programs of one lane    what `LaneCall.loop` holds: jaxprs as flat lists (program.py)
              |  tiles of lanes, one after the other      _run_in_tiles
              |  a last axis for the lanes                lanes.run_in_lanes
        a loop over all lanes   a jaxpr again
              |  constant arrays computed before it,
              |  fixed points as loops of their own       hoisting.hoisted
        a flat jaxpr
              |  if all its operations qualify            kernel.as_kernel
        one kernel              or else XLA runs it operation by operation

    Under a mesh, in exports and on other backends the loop over all lanes is compiled as it is.
    """
    rule = _lower_in_tiles if may_hold_kernels(context) else _lower_whole
    return rule(context, *operands, **params)


@default_promotion()
def _run(
    *operands: Any, call: LaneCall, laned: Flags, size: int, kernel: bool = False
) -> list[Array]:
    """The results of all lanes at once, by a kernel if that is asked for and possible."""
    found = call.compiled(functools.partial(_run_one, kernel), operands, laned, size, kernel)
    if found is not None:
        return found
    tail = (size,) if size else ()
    avals = one_lane(operands, laned)
    outline = call.outline(avals)
    room = [jnp.zeros((*aval.shape, *tail), aval.dtype) for aval in call.room(avals)]

    def loop(call: LaneCall, *values: Any) -> list[Array]:
        given = list(values[: len(room)]), list(values[len(room) :])
        results = call.loop(*given, laned, size, kernel)
        if not size:
            return results
        found = zip(results, outline, sums_of(call, outline), strict=not call.reports_kernel)
        return [
            x if is_sum else spread((x, x.ndim > len(aval.shape)), size)
            for x, aval, is_sum in found
        ]

    def in_kernel(call: LaneCall, *values: Any) -> tuple[list[Array], bool]:
        shorter = call.shorter
        otherwise = None if shorter is None else functools.partial(in_kernel, shorter)
        run = functools.partial(loop, call)
        return as_kernel(run, *values, longest=call.longest, otherwise=otherwise)

    if kernel:
        results, is_kernel = in_kernel(call, *room, *operands)
    else:
        results, is_kernel = loop(call, *room, *operands), False
    return [*results, jnp.full(tail, is_kernel)] if call.reports_kernel else results


def _run_one(
    kernel: bool, call: LaneCall, operands: Sequence[Any], laned: Flags, size: int
) -> list[Array]:
    return _run(*operands, call=call, laned=laned, size=size, kernel=kernel)


@default_promotion()
def _run_in_tiles(*operands: Any, call: LaneCall, laned: Flags, size: int) -> list[Array]:
    """The results by kernels, of at most `call.tile` lanes each."""
    run = functools.partial(_run_one, True, call)
    if size <= call.tile:
        return run(operands, laned, size)
    return in_tiles(run, operands, laned, size, call.tile)


def in_tiles(
    run: Callable[[Sequence[Any], Flags, int], list[Array]],
    operands: Sequence[Any],
    laned: Flags,
    size: int,
    most: int,
    linear: Flags | None = None,
    sums: Flags | None = None,
) -> list[Array]:
    """What `run` gives of operands with lanes, in turn for at most so many lanes.

    `sums` says which results are sums over the lanes, in a call that is linear in some operands.
    """
    count = -(-size // most)
    width = -(-size // count)  # all tiles nearly full
    index = jnp.arange(count * width)
    if linear is not None:
        # The last tile is filled by the last lane, with zeros there, which add nothing to sums.
        operands = [
            jnp.concatenate([x, jnp.zeros_like(x[..., :1])], axis=-1) if flag and is_linear else x
            for x, flag, is_linear in zip(operands, laned, linear, strict=True)
        ]
    tiles = [
        jnp.moveaxis(x[..., jnp.minimum(index, x.shape[-1] - 1).reshape(count, width)], -2, 0)
        for x in flagged(laned, operands)
    ]
    results = lax.map(lambda tile: run(merge(laned, tile, operands), laned, width), tiles)
    pairs = zip(results, sums or (False,) * len(results), strict=True)
    return [
        jnp.sum(x, axis=0) if is_sum else _joined(jnp.moveaxis(x, 0, -2))[..., :size]
        for x, is_sum in pairs
    ]


def _joined(x: Array) -> Array:
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


_lower_whole = mlir.lower_fun(_run, multiple_results=True)
_lower_in_tiles = mlir.lower_fun(_run_in_tiles, multiple_results=True)


@default_promotion()
def _abstract(*operands: Any, call: LaneCall, laned: Flags, size: int) -> list[Any]:
    outline = call.outline(one_lane(operands, laned))
    tails = (() if is_sum or not size else (size,) for is_sum in sums_of(call, outline))
    pairs = zip(outline, tails, strict=True)
    return [ShapedArray((*aval.shape, *tail), aval.dtype) for aval, tail in pairs]


@default_promotion()
def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, call: LaneCall, laned: Flags, size: int
) -> tuple[list[Array], list[int | None]]:
    """A call with `count` times as many lanes, for a batch of `count` calls."""
    pairs = list(zip(operands, axes, strict=True))
    count = next(x.shape[axis] for x, axis in pairs if axis is not None)
    if count == 0:
        avals = _abstract(*map(_without, operands, axes), call=call, laned=laned, size=size)
        return [jnp.zeros((0, *aval.shape), aval.dtype) for aval in avals], [0] * len(avals)
    batched = []
    for (x, axis), flag in zip(pairs, laned, strict=True):
        if axis is not None:
            x = jnp.moveaxis(x, axis, -1 - flag)
        elif flag:
            x = jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], count, size))
        if size and (flag or axis is not None):
            x = x if flag else jnp.broadcast_to(x[..., None], (*x.shape, size))
            x = x.reshape(*x.shape[:-2], count * size)
        batched.append(x)
    flags = tuple(flag or axis is not None for flag, axis in zip(laned, axes, strict=True))
    results = call.by_lane().in_batch(batched, flags, count * max(size, 1), laned, count)
    if not size:
        outline = call.outline(one_lane(batched, flags))
        pairs = zip(results, outline, strict=True)
        return results, [x.ndim - 1 if x.ndim > len(aval.shape) else None for x, aval in pairs]
    results = [x.reshape(*x.shape[:-1], count, size) for x in results]
    return _summed(call, results), [x.ndim - 2 for x in results]


def sums_of(call: LaneCall, results: Sequence[Any]) -> Flags:
    """Which results of a call are sums over its lanes."""
    return (False,) * len(results) if call.sums is None else call.sums


def _summed(call: LaneCall, results: Sequence[Any]) -> list[Any]:
    """The results of `call.by_lane()` as those of a call: some are sums over its lanes."""
    pairs = zip(results, sums_of(call, results), strict=True)
    return [_sum_over_lanes(x) if is_sum else x for x, is_sum in pairs]


def _sum_over_lanes(x: Any) -> Any:
    if isinstance(x, ad.Zero):
        aval: Any = x.aval
        return ad.Zero(ShapedArray(aval.shape[:-1], aval.dtype))
    return jnp.sum(x, axis=-1)


def _without(x: Any, axis: int | None) -> Any:
    """The type of an operand without its axis of the batch."""
    shape = tuple(n for index, n in enumerate(x.shape) if axis is None or index != axis)
    return jax.ShapeDtypeStruct(shape, x.dtype)


@default_promotion()
def _differentiate(
    primals: Sequence[Any], tangents: Sequence[Any], *, call: LaneCall, laned: Flags, size: int
) -> tuple[list[Array], list[Any]]:
    results, derivatives = call.by_lane().differentiate(primals, tangents, laned, size)
    results, derivatives = _summed(call, results), _summed(call, derivatives)
    flags = [jnp.issubdtype(x.dtype, jnp.inexact) for x in results]
    zeros = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in results]
    return results, merge(flags, derivatives, zeros)


@default_promotion()
def _transpose(
    cotangents: Sequence[Any], *operands: Any, call: Any, laned: Flags, size: int
) -> list[Any]:
    unknown = [ad.is_undefined_primal(x) for x in operands]
    # The lanes of an operand that all of them share are summed.
    found = [
        jnp.sum(x, axis=-1) if x.ndim > operand.aval.ndim else x
        for x, operand in zip(
            call.transpose(cotangents, operands, laned, size),
            flagged(unknown, operands),
            strict=True,
        )
    ]
    return merge(unknown, found, [None] * len(operands))


LaneCall.primitive = lane_primitive("asgard_lane_call")
