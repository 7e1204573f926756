"""Jumps: what jump registers gain in a step."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...circuits.atoms.functions import Function
from ...circuits.atoms.registers import JumpRegister
from ...taylor.network import call
from ..pointwise import Feeds, Pointwise
from .noise import COUNT, SIZE, Numbers, label

# How many terms of the Poisson distribution's tail are summed, past the first, for means below 1.
_TERMS = 18


class DrawnJumps(eqx.Module):
    """What one register draws: a uniform number for the count of its jumps, `[…]`, and a normal one
    for the size of each, `[most, …]`."""

    count: Float[Array, "..."]
    sizes: Float[Array, "..."]


class Jumps:
    """The jump registers of a circuit, by their index among the state atoms."""

    def __init__(self, pointwise: Pointwise):
        self.pointwise = pointwise
        self.atoms: dict[int, JumpRegister] = {
            index: node.atom
            for index, node in enumerate(pointwise.states)
            if isinstance(node.atom, JumpRegister)
        }
        begin = pointwise.begin()
        self.shapes = {index: begin[index].shape for index in self.atoms}

    @property
    def numbers(self) -> int:
        """How many numbers a path draws for a step."""
        return sum((1 + a.most) * math.prod(self.shapes[i]) for i, a in self.atoms.items())

    def draw(self, numbers: Numbers, first: Array, steps: int) -> dict[int, DrawnJumps]:
        """What each register draws for some steps, `[steps, …, paths, *value]`."""
        found = {}
        for index, atom in self.atoms.items():
            shape = self.shapes[index]
            size = math.prod(shape)
            key = numbers.key(atom.noise, [label(COUNT)], size)
            count = numbers.uniforms(key, first, steps, shape)[:, 0]
            key = numbers.key(atom.noise, [label(SIZE, index=k) for k in range(atom.most)], size)
            sizes = numbers.normals(key, first, steps, shape).rows(steps)
            found[index] = DrawnJumps(count, sizes.swapaxes(1, 2))
        return found

    def gained(
        self, feeds: Feeds, length: Array, drawn: Mapping[int, DrawnJumps]
    ) -> dict[int, Array]:
        """What each register gains in a step; NaN where it jumps more often than it can."""
        found = {}
        for index, atom in self.atoms.items():
            value, own, rate = feeds.values[index], drawn[index], atom.rate
            if rate is None:
                rate = feeds.wires[self.pointwise.states[index].ins[1]]
            mean = jnp.broadcast_to(rate, value.shape).astype(own.count.dtype) * length
            tails = [poisson_tail(mean, number) for number in range(1, atom.most + 2)]
            total = jnp.where(own.count >= tails[-1], jnp.zeros_like(own.count), jnp.nan)
            for tail, normal in zip(tails, own.sizes, strict=False):
                total = total + jnp.where(own.count < tail, _size(atom, normal), 0)
            found[index] = value * total.astype(value.dtype)
        return found


def _size(atom: JumpRegister, normal: Array) -> Array:
    """The size of a jump, from a normal number."""
    if isinstance(atom.size, Function):
        return call(atom.size, normal)[0]
    return jnp.broadcast_to(atom.size, normal.shape).astype(normal.dtype)


def poisson_tail(mean: Array, least: int) -> Array:
    """The probability of at least so many events; NaN where the mean is no number of at least 0.

    Below a mean of 1 it is the sum of what it consists of, which may be small; from there on, 1
    less the probability of fewer events, in logarithms, since their powers overflow.
    """
    few, many = jnp.minimum(mean, 1), jnp.maximum(mean, 1)
    total = jnp.ones_like(mean)
    for number in range(least + _TERMS, least, -1):
        total = 1 + total * few / number
    largest = float(jnp.finfo(mean.dtype).max)
    factorial = min(math.prod(map(float, range(1, least + 1))), largest)
    total = total * few**least * jnp.exp(-few) / factorial
    logarithm = jnp.log(many)
    fewer = sum(
        jnp.exp(number * logarithm - many - math.lgamma(number + 1)) for number in range(least)
    )
    tail = jnp.where(mean < 1, total, 1 - fewer)
    return jnp.where((mean >= 0) & jnp.isfinite(mean), tail, jnp.nan)
