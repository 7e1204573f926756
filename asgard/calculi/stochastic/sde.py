"""A cut circuit as a stochastic differential equation, for one path.

Every state atom holds one part of the state. What goes into a register is its drift; what goes into
a stochastic register is multiplied by the increment of its noise, component by component; what goes
into a jump register, by the sum of the jumps of a step.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ...circuits.atoms.functions import Function
from ...circuits.atoms.registers import JumpRegister, Register, StochasticRegister
from ...circuits.circuit import brief
from ...circuits.graph import Node
from ...errors import CircuitError
from ...taylor.network import call
from ..pointwise import Contents, Feeds, Guesses, Pointwise
from .noise import COUNT, SIZE, Numbers, Source, label

# How many terms of the Poisson distribution's tail are summed, past the first, for means below 1.
_TERMS = 18

Increments = Mapping[str, Array]


class Mixing:
    """Correlated sources as combinations of independent ones, by the Cholesky factor."""

    def __init__(self, pairs: Sequence[tuple[str, str]], values: Any):
        self.names = tuple(dict.fromkeys(name for pair in pairs for name in pair))
        self.factor = jnp.linalg.cholesky(correlation_matrix(self.names, pairs, values))

    def __call__(self, independent: Increments) -> dict[str, Array]:
        """The correlated increments, by the same names."""
        mixed = dict(independent)
        for row, name in enumerate(self.names):
            terms = [
                self.factor[row, column].astype(independent[other].dtype) * independent[other]
                for column, other in enumerate(self.names[: row + 1])
            ]
            mixed[name] = sum(terms[1:], terms[0])
        return mixed


def correlation_matrix(
    names: Sequence[str], pairs: Sequence[tuple[str, str]], values: Any
) -> Array:
    """The correlation matrix of names, from a number for each of some pairs."""
    matrix = jnp.eye(len(names), dtype=jnp.result_type(*values))
    for (first, second), value in zip(pairs, values, strict=True):
        row, column = names.index(first), names.index(second)
        matrix = matrix.at[row, column].set(value).at[column, row].set(value)
    return matrix


class Equation:
    """The equation of a cut circuit: `feeds` evaluates it, `change` is linear in the increments."""

    def __init__(self, pointwise: Pointwise, mixing: Mixing | None):
        self.pointwise, self.mixing = pointwise, mixing
        self.sources = self._sources()
        self.jumping = [
            (place, node.atom)
            for place, node in enumerate(pointwise.states)
            if isinstance(node.atom, JumpRegister)
        ]
        if mixing is not None:
            self._check_mixing(mixing.names)

    @property
    def size(self) -> int:
        """How many independent Wiener processes there are, components counted."""
        return sum(math.prod(source.shape) for source in self.sources)

    def feeds(self, t: Array, contents: Contents, guesses: Guesses) -> Feeds:
        """What goes into the state atoms at one time."""
        return self.pointwise.feeds(t, contents, guesses)

    def change(self, feeds: Feeds, length: Any, independent: Increments) -> Contents:
        """Drifts times a length of time, and diffusions times increments of independent sources."""
        increments = independent if self.mixing is None else self.mixing(independent)
        found = []
        for node, value in zip(self.pointwise.states, feeds.values, strict=True):
            if isinstance(node.atom, Register):
                found.append(value * jnp.asarray(length).astype(value.dtype))
            elif isinstance(node.atom, StochasticRegister):
                found.append(value * increments[node.atom.noise].astype(value.dtype))
            else:
                found.append(jnp.zeros_like(value))
        return tuple(found)

    def unit(self, vector: Array) -> dict[str, Array]:
        """A vector of numbers, one for each independent process, as increments by name."""
        found, place = {}, 0
        for source in self.sources:
            size = math.prod(source.shape)
            found[source.name] = vector[place : place + size].reshape(source.shape)
            place += size
        return found

    def vector(self, increments: Increments) -> Array:
        """The inverse of `unit`."""
        return jnp.concatenate([increments[source.name].reshape(-1) for source in self.sources])

    def jumps(self, feeds: Feeds, length: Array, drawn: Mapping[int, Any]) -> dict[int, Array]:
        """What each jump register gains in a step; NaN where it jumps more often than it can."""
        found = {}
        for place, atom in self.jumping:
            value = feeds.values[place]
            count, sizes = drawn[place]
            rate = atom.rate
            if rate is None:
                rate = feeds.wires[self.pointwise.states[place].ins[1]]
            mean = jnp.broadcast_to(rate, value.shape).astype(count.dtype) * length
            tails = [poisson_tail(mean, number) for number in range(1, atom.most + 2)]
            total = jnp.where(count >= tails[-1], jnp.zeros_like(count), jnp.nan)
            for tail, size in zip(tails, sizes, strict=False):
                total = total + jnp.where(count < tail, self._size(atom, size), 0)
            found[place] = value * total.astype(value.dtype)
        return found

    def draw_jumps(self, numbers: Numbers, first: Array, steps: int) -> dict[int, Any]:
        """For each jump register a uniform number and as many normal ones as it can jump."""
        found = {}
        for place, atom in self.jumping:
            shape = self.pointwise.begin()[place].shape
            name, size = atom.noise, math.prod(shape)
            key = numbers.key(name, [label(COUNT)], size)
            count = numbers.uniforms(key, first, steps, shape)[:, 0]
            key = numbers.key(name, [label(SIZE, place=k) for k in range(atom.most)], size)
            sizes = numbers.normals(key, first, steps, shape).rows(steps)
            found[place] = count, sizes.swapaxes(1, 2)
        return found

    def reads(self, place: int) -> frozenset[int]:
        """The state atoms, by place, on whose content the feed of one depends."""
        driver = {wire: node for node in self.pointwise.cut.nodes for wire in node.outs}
        holders = {node.outs[0]: number for number, node in enumerate(self.pointwise.states)}
        pending, met, found = [self.pointwise.states[place].ins[0]], set(), set()
        while pending:
            wire = pending.pop()
            if wire in holders:
                found.add(holders[wire])
            elif wire in driver and wire not in met:
                met.add(wire)
                pending.extend(driver[wire].ins)
        return frozenset(found)

    def places(self, kind: type) -> list[tuple[int, Node]]:
        """The state atoms of a kind, with their places."""
        return [
            (p, node) for p, node in enumerate(self.pointwise.states) if isinstance(node.atom, kind)
        ]

    def _size(self, atom: JumpRegister, normal: Array) -> Array:
        if isinstance(atom.size, Function):
            return call(atom.size, normal)[0]
        return jnp.broadcast_to(atom.size, normal.shape).astype(normal.dtype)

    def _sources(self) -> tuple[Source, ...]:
        shapes = self._shapes(StochasticRegister)
        self._shapes(JumpRegister)
        return tuple(Source(name, shape) for name, shape in shapes.items())

    def _shapes(self, kind: type[StochasticRegister | JumpRegister]) -> dict[str, tuple[int, ...]]:
        """The shape of each noise that registers of a kind name."""
        shapes: dict[str, tuple[int, ...]] = {}
        begin = self.pointwise.begin()
        for place, node in self.places(kind):
            name, shape = noise_of(node), begin[place].shape
            if shapes.setdefault(name, shape) != shape:
                raise CircuitError(
                    f"{brief(node.atom)}: the noise {name} has components of shape "
                    f"{shapes[name]} in one register and {shape} in another; registers that share "
                    "a noise hold values of one shape",
                    atoms=[node.atom],
                )
        return shapes

    def _check_mixing(self, names: Sequence[str]) -> None:
        shapes = {source.name: source.shape for source in self.sources}
        unknown = [name for name in names if name not in shapes]
        if unknown:
            raise CircuitError(
                f"correlation names {', '.join(unknown)}; the circuit's noises are "
                f"{', '.join(shapes) or 'none'}"
            )
        if len({shapes[name] for name in names}) > 1:
            raise CircuitError("correlated noises have components of one shape")


def noise_of(node: Node) -> str:
    """The noise that a register names."""
    assert isinstance(node.atom, StochasticRegister | JumpRegister)
    return node.atom.noise


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


def added(contents: Contents, *changes: Contents) -> Contents:
    """The sum of contents, part by part."""
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), contents, *changes)


def scaled(factor: Any, contents: Contents) -> Contents:
    """Contents times a number."""
    return jax.tree.map(lambda part: part * jnp.asarray(factor).astype(part.dtype), contents)
