"""Loops that run for one value or for many side by side, as one JAX primitive.

Under `jax.vmap` such a call gets more lanes (`lanes.py`) in place of a leading axis; on the CPU it
is compiled as one kernel (`kernel.py`), so many lanes at a time; and its derivatives are calls of
the same kind, so that they too run in lanes and as kernels.
"""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from .hoisting import EXPANSIONS
from .kernel import as_kernel, may_hold_kernels
from .lanes import spread
from .settings import default_promotion

Avals = Sequence[Any]
Flags = Sequence[bool]


class LaneCall:
    """What a call does. Lanes are a last axis of those operands that `laned` says, and of all
    results."""

    primitive: ClassVar[Primitive]  # what it is a call of
    # Whether its last result, which `loop` does not give, says whether it ran as a kernel.
    reports_kernel: ClassVar[bool] = False

    @property
    def tile(self) -> int:
        """How many lanes go side by side on the CPU, at most."""
        raise NotImplementedError

    def outline(self, avals: Avals) -> list[Any]:
        """The types of the results from those of the operands, without lanes."""
        raise NotImplementedError

    def room(self, avals: Avals) -> list[Any]:
        """The types of the large arrays, zero at first, that the loop writes to."""
        raise NotImplementedError

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        """The results, with `size` lanes, or none where it is 0; `kernel` asks for no scatter."""
        raise NotImplementedError

    def plain(self, *operands: Any) -> list[Any]:
        """The results without lanes, by a loop that has all derivatives, whatever its speed."""
        raise NotImplementedError

    def differentiate(
        self, primals: Sequence[Any], tangents: Sequence[Any], laned: Flags, size: int
    ) -> tuple[list[Array], list[Any]]:
        """The results, and the derivatives of those that are inexact."""
        moving = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
        results = bind(self, primals, laned, size)
        flags = (*laned, *(flag for flag, moves in zip(laned, moving, strict=True) if moves))
        given = [tangent for tangent, moves in zip(tangents, moving, strict=True) if moves]
        return results, bind(Pushed(self, moving), [*primals, *given], flags, size)

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        """The cotangents of the operands that are unknown, each with lanes, from those of the
        results, which may be symbolic zeros."""
        raise NotImplementedError


class Pushed(LaneCall):
    """The derivatives of a call's inexact results, linear in the tangents of moving operands."""

    def __init__(self, call: LaneCall, moving: Flags):
        self.call, self.moving = call, moving

    @property
    def tile(self) -> int:
        return self.call.tile

    def outline(self, avals: Avals) -> list[Any]:
        return inexact(self.call.outline(avals[: len(self.moving)]))

    def room(self, avals: Avals) -> list[Any]:
        return 2 * self.call.room(avals[: len(self.moving)])

    def loop(
        self, room: list[Any], operands: list[Any], laned: Flags, size: int, kernel: bool
    ) -> list[Array]:
        count, half = len(self.moving), len(room) // 2
        # What moves has lanes, since its tangent may have them where it has not.
        flags = [
            flag or (moves and size > 0)
            for flag, moves in zip(laned[:count], self.moving, strict=True)
        ]

        def run(room: list[Any], values: list[Any]) -> list[Any]:
            whole = merge(self.moving, values, operands[:count])
            return inexact(self.call.loop(room, whole, flags, size, kernel))

        primals, tangents = in_lanes(
            chosen(self.moving, operands[:count]),
            chosen(self.moving, laned[:count]),
            operands[count:],
            laned[count:],
            size,
        )
        return jax.jvp(run, (room[:half], primals), (room[half:], tangents))[1]

    def plain(self, *operands: Any) -> list[Any]:
        count = len(self.moving)

        def run(*values: Any) -> list[Any]:
            return inexact(self.call.plain(*merge(self.moving, values, operands[:count])))

        return jax.jvp(run, chosen(self.moving, operands[:count]), list(operands[count:]))[1]

    def transpose(
        self, cotangents: Sequence[Any], operands: Sequence[Any], laned: Flags, size: int
    ) -> list[Array]:
        count = len(self.moving)
        given = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]

        def pull(cotangents: list[Any], *known: Any) -> list[Any]:
            def run(*values: Any) -> list[Any]:
                return inexact(self.call.plain(*merge(self.moving, values, known)))

            return list(jax.vjp(run, *chosen(self.moving, known))[1](cotangents))

        if size:
            axes = (-1, *(-1 if flag else None for flag in laned[:count]))
            pull = jax.vmap(pull, in_axes=axes, out_axes=-1)
        return pull(given, *operands[:count])


def inexact(values: Sequence[Any]) -> list[Any]:
    """Those that have derivatives."""
    return [value for value in values if jnp.issubdtype(value.dtype, jnp.inexact)]


def chosen(flags: Flags, values: Sequence[Any]) -> list[Any]:
    """The values whose flag is set."""
    return [value for value, flag in zip(values, flags, strict=True) if flag]


def merge(flags: Flags, values: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """One for each flag: the next of `values` where it is set, else that of `others`."""
    rest = iter(values)
    return [next(rest) if flag else other for flag, other in zip(flags, others, strict=True)]


def in_lanes(*groups: Any) -> tuple[list[Any], ...]:
    """Groups of arrays, each followed by which of them have lanes, and at last how many lanes:
    all of them with lanes, if there are any."""
    *rest, size = groups
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return tuple(
        [spread(pair, size) if size else pair[0] for pair in zip(values, flags, strict=True)]
        for values, flags in pairs
    )


def bind(
    call: LaneCall, operands: Sequence[Any], laned: Flags | None = None, size: int = 0
) -> list[Array]:
    """The results of a call."""
    flags = (False,) * len(operands) if laned is None else tuple(laned)
    return call.primitive.bind(*operands, call=call, laned=flags, size=size)


@default_promotion()
def _abstract(*operands: Any, call: LaneCall, laned: Flags, size: int) -> list[Any]:
    tail = (size,) if size else ()
    outline = call.outline(one_lane(operands, laned))
    return [ShapedArray((*aval.shape, *tail), aval.dtype) for aval in outline]


def one_lane(operands: Sequence[Any], laned: Flags) -> list[Any]:
    """The types of operands without their lanes."""
    return [
        jax.ShapeDtypeStruct(x.shape[: x.ndim - flag], x.dtype)
        for x, flag in zip(operands, laned, strict=True)
    ]


@default_promotion()
def _run(
    *operands: Any, call: LaneCall, laned: Flags, size: int, kernel: bool = False
) -> list[Array]:
    """The results of all lanes at once, as a kernel if that is asked for and possible."""
    tail = (size,) if size else ()
    avals = one_lane(operands, laned)
    outline = call.outline(avals)
    room = [jnp.zeros((*aval.shape, *tail), aval.dtype) for aval in call.room(avals)]

    def loop(*values: Any) -> list[Array]:
        given = list(values[: len(room)]), list(values[len(room) :])
        results = call.loop(*given, laned, size, kernel)
        if not size:
            return results
        pairs = zip(results, outline, strict=not call.reports_kernel)
        return [spread((x, x.ndim > len(aval.shape)), size) for x, aval in pairs]

    if kernel:
        results, is_kernel = as_kernel(loop, *room, *operands)
    else:
        results, is_kernel = loop(*room, *operands), False
    return [*results, jnp.full(tail, is_kernel)] if call.reports_kernel else results


@default_promotion()
def _run_in_tiles(*operands: Any, call: LaneCall, laned: Flags, size: int) -> list[Array]:
    """The results by kernels, each of as many lanes as the processor's cache holds."""
    run = functools.partial(_run, call=call, laned=laned, kernel=True)
    width = call.tile
    if size <= width:
        return run(*operands, size=size)
    count = -(-size // width)
    width = -(-size // count)  # all tiles nearly full
    lanes = jnp.minimum(jnp.arange(count * width), size - 1).reshape(count, width)
    tiles = [jnp.moveaxis(x[..., lanes], -2, 0) for x in chosen(laned, operands)]
    results = lax.map(lambda tile: run(*merge(laned, tile, operands), size=width), tiles)
    joined = [jnp.moveaxis(x, 0, -2) for x in results]
    return [x.reshape(*x.shape[:-2], count * width)[..., :size] for x in joined]


_lower = mlir.lower_fun(_run, multiple_results=True)
_lower_in_tiles = mlir.lower_fun(_run_in_tiles, multiple_results=True)


def _lower_on_cpu(context: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
    rule = _lower_in_tiles if may_hold_kernels(context) else _lower
    return rule(context, *operands, **params)


@default_promotion()
def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, call: LaneCall, laned: Flags, size: int
) -> tuple[list[Array], list[int]]:
    """More lanes: those of the batch, times those that there are."""
    pairs = list(zip(operands, axes, strict=True))
    count = next(x.shape[axis] for x, axis in pairs if axis is not None)
    if count == 0:
        avals = _abstract(*_without(pairs), call=call, laned=laned, size=size)
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
    results = bind(call, batched, flags, count * max(size, 1))
    if size:
        results = [x.reshape(*x.shape[:-1], count, size) for x in results]
    return results, [x.ndim - 1 - bool(size) for x in results]


def _without(pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    """The types of operands without their axis of the batch."""
    return [
        jax.ShapeDtypeStruct(
            tuple(n for place, n in enumerate(x.shape) if axis is None or place != axis), x.dtype
        )
        for x, axis in pairs
    ]


@default_promotion()
def _differentiate(
    primals: Sequence[Any], tangents: Sequence[Any], *, call: LaneCall, laned: Flags, size: int
) -> tuple[list[Array], list[Any]]:
    results, derivatives = call.differentiate(primals, tangents, laned, size)
    flags = [jnp.issubdtype(x.dtype, jnp.inexact) for x in results]
    zeros = [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in results]
    return results, merge(flags, derivatives, zeros)


@default_promotion()
def _transpose(
    cotangents: Sequence[Any], *operands: Any, call: LaneCall, laned: Flags, size: int
) -> list[Any]:
    unknown = [ad.is_undefined_primal(x) for x in operands]
    found = iter(call.transpose(cotangents, operands, laned, size))
    results: list[Any] = []
    for flag, is_laned in zip(unknown, laned, strict=True):
        if not flag:
            results.append(None)
            continue
        result = next(found)
        # An operand that all lanes share gets what they make together.
        results.append(jnp.sum(result, axis=-1) if size and not is_laned else result)
    return results


def lane_primitive(name: str, part_of_kernels: bool = False) -> Primitive:
    """A primitive of such calls, which kernels hold as loops of their own if they are to."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_abstract_eval(_abstract)
    primitive.def_impl(_run)
    ad.primitive_jvps[primitive] = _differentiate
    ad.primitive_transposes[primitive] = _transpose
    batching.primitive_batchers[primitive] = _batch
    mlir.register_lowering(primitive, _lower)
    mlir.register_lowering(primitive, _lower_on_cpu, platform="cpu")
    if part_of_kernels:
        EXPANSIONS[name] = _run
    return primitive


LaneCall.primitive = lane_primitive("asgard_lane_call")
