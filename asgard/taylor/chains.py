"""Where long chains of operations are cut, so that XLA compiles them in linear time.

XLA on the CPU fuses a chain of operations on small values into one function, and the compiler's
time grows faster than the function does. Where a value of the chain is read twice, XLA computes the
chain up to it anew for each reader: code and time are then quadratic in the chain's length.
"""

import collections
from collections.abc import Collection, Iterable, Sequence

import jax
from jaxtyping import Array

from ..jaxprs.fences import computed_once, cut
from ..jaxprs.primitives import traits
from ..jaxprs.program import Equation
from .series import Order

# How many operations follow one another before a cut (of 1,000 products in a chain, XLA compiles
# pieces of 128 in 0.2 s and all of them in 0.5 s), and for how many of them counts one whose value
# is read twice.
LONGEST = 128
READ_TWICE = 16
# What XLA never computes anew for a reader: there a chain begins.
APART = "dot_general"


def cuts(
    steps: Sequence[tuple[Equation, Sequence[int]]], kept: Collection[int], outputs: Iterable[int]
) -> set[int]:
    """Which values to cut.

    **Arguments:** `steps` are equations in order, with the numbers of the values that they give;
    `kept` are the values that the memory reads, and `outputs` those that the program gives back.
    """
    readers = collections.Counter(number for equation, _ in steps for number in equation.ins)
    readers.update(kept)
    readers.update(outputs)
    depth: dict[int, int] = {}
    found: set[int] = set()
    for equation, outs in steps:
        deepest = max((depth.get(number, 0) for number in equation.ins), default=0)
        if equation.name == APART:
            deepest = 0
        elif not traits(equation.name).moves:
            deepest += READ_TWICE if any(readers[number] > 1 for number in outs) else 1
            if deepest >= LONGEST:
                deepest = 0
                found.update(set(outs).intersection(equation.outs))
        depth.update((number, deepest) for number in outs)
    return found


def cut_in_step(n: Order, value: Array) -> Array:
    """A value of the step of order n >= 1, which XLA does not fuse with what reads it.

    In a scan this is a branch. It gives back a number as it is, where `cut` takes an entry: XLA
    moves the reshape in that over one product of a chain in a pass over the whole program.
    """
    if isinstance(n, int):
        return cut(value)
    type_ = jax.ShapeDtypeStruct(value.shape, value.dtype)
    return computed_once(lambda: value, type_, n > 0)
