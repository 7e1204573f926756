"""Compiled `ag.series` against the old way: Python loops over orders, in eager jnp.

The reference in this file solves feedback as the earlier Asgard did. A wire is a stream of
derivatives, found one by one in Python and remembered; each is an eager jnp operation, and a
product is one dot product of what is known. Nothing is slowed down: every derivative is computed
once, and the reference is timed when all that it calls is compiled and warm.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import timing
from jax import Array

import asgard as ag
from asgard.circuits.graph import Graph, flatten

ORDERS = (10, 20, 50)
GROWTH_ORDERS = (20, 40, 80, 160)
TARGET_ORDER, TARGET_RATIO = 20, 100


class Wire:
    """A stream of derivatives at 0; `find` gives derivative n from those before it."""

    def __init__(self, find: Callable[[int], Array]):
        self.find = find
        self.known: list[Array] = []

    def __getitem__(self, n: int) -> Array:
        while len(self.known) <= n:
            self.known.append(self.find(len(self.known)))
        return self.known[n]

    def upto(self, n: int) -> list[Array]:
        """Derivatives 0 to n."""
        return [self[k] for k in range(n + 1)]


def old_way(graph: Graph, order: int) -> list[list[Array]]:
    """The derivatives of a graph's outputs, order by order in Python; an input is constantly 1."""
    wires = {wire: _constant(one()) for wire in graph.inputs}
    for node in graph.nodes:
        wires[node.outs[0]] = _wire(node.atom, [*node.ins], wires)
    outputs = [wires[wire] for wire in graph.outputs]
    for n in range(order + 1):  # each order in turn, so that recursion goes no deeper than a turn
        for output in outputs:
            _ = output[n]
    return [output.known for output in outputs]


def _wire(atom: ag.Atom, ins: list[int], wires: dict[int, Wire]) -> Wire:
    """What each atom of these circuits does to streams of derivatives."""
    if isinstance(atom, ag.Const):
        return _constant(atom.value)
    if isinstance(atom, ag.Register):  # the integral is a shift
        initial = atom.initial
        assert isinstance(initial, Array)
        return Wire(lambda n: initial if n == 0 else wires[ins[0]][n - 1])
    if isinstance(atom, ag.Scalar):
        return Wire(lambda n: atom.factor * wires[ins[0]][n])
    if isinstance(atom, ag.Add):
        return Wire(lambda n: wires[ins[0]][n] + wires[ins[1]][n])
    if isinstance(atom, ag.Multiplication):
        return Wire(lambda n: _leibniz(wires[ins[0]].upto(n), wires[ins[1]].upto(n)))
    raise TypeError(f"the reference does not know {atom}")


def _constant(value: Array) -> Wire:
    return Wire(lambda n: value if n == 0 else zero())


@functools.cache
def zero() -> Array:
    """The derivatives of a constant."""
    return jnp.zeros(())


@functools.cache
def one() -> Array:
    """What the inputs are."""
    return jnp.ones(())


@functools.cache
def binomials(n: int) -> Array:
    """The coefficients of the product rule."""
    return jnp.asarray([math.comb(n, k) for k in range(n + 1)], float)


def _leibniz(a: list[Array], b: list[Array]) -> Array:
    """(ab)^(n), the sum of binomial(n, k) a^(k) b^(n-k)."""
    return jnp.dot(binomials(len(a) - 1) * jnp.stack(a), jnp.stack(b[::-1]))


def exponential() -> ag.Circuit:
    """f = 1 + the integral of f, the 1 as an input."""
    return (ag.Add() >> ag.Split() >> ag.Id() @ ag.Register("t")).trace()


def tangent() -> ag.Circuit:
    """f' = 1 + f^2, f(0) = 0."""
    square = ag.Split() >> ag.Multiplication()
    return (ag.Const(1.0) @ square >> ag.Add() >> ag.Register("t") >> ag.Split()).trace()


def lotka_volterra() -> ag.Circuit:
    """x' = a x - b x y, y' = -c y + d x y: hare and lynx."""
    product = ag.Multiplication() >> ag.Split()
    return (
        ag.Split() @ ag.Split()
        >> ag.Scalar(0.545) @ product @ ag.Scalar(-0.803)
        >> ag.Id() @ ag.Scalar(-0.028) @ ag.Scalar(0.024) @ ag.Id()
        >> ag.Add() @ ag.Add()
        >> ag.Register("t", 33.96) @ ag.Register("t", 5.93)
        >> ag.Split() @ ag.Split()
        >> ag.Permute((0, 2, 1, 3))
    ).trace(2)


CIRCUITS = {"e^t": exponential, "tangent": tangent, "Lotka-Volterra": lotka_volterra}


def compiled(circuit: ag.Circuit, order: int) -> Callable[[], tuple[Array, ...]]:
    """`ag.series` as one compiled function: coefficients a stream."""

    run = jax.jit(lambda circuit, ones: outputs(circuit, ones, order))
    ones = inputs(circuit)
    return lambda: run(circuit, ones)


def inputs(circuit: ag.Circuit) -> list[ag.Stream]:
    """The constant 1 for each input."""
    return [ag.Stream([1.0], "t")] * circuit.n_in


def outputs(circuit: ag.Circuit, streams: list[ag.Stream], order: int) -> tuple[Array, ...]:
    """The coefficients of each output."""
    found = ag.series(circuit, *streams, order=order)
    return tuple(s.coefficients for s in (found if isinstance(found, tuple) else (found,)))


def error(run: Callable[[], tuple[Array, ...]], reference: list[list[Array]]) -> float:
    """The largest difference of coefficients, relative to the largest of the neighbouring ones."""
    worst = 0.0
    for found, derivatives in zip(run(), reference, strict=True):
        expected = np.asarray([float(d) / math.factorial(n) for n, d in enumerate(derivatives)])
        size = np.abs(expected)
        scale = np.maximum(size, np.maximum(np.r_[0, size[:-1]], np.r_[size[1:], 0]))
        worst = max(worst, float(np.max(np.abs(np.asarray(found) - expected) / scale)))
    return worst


def compare(name: str, circuit: ag.Circuit, order: int) -> tuple[list[str], float]:
    """A row of the table, and how many times faster the compiled run is."""
    graph = flatten(circuit)
    run, ones = compiled(circuit, order), inputs(circuit)
    first = timing.timed(run)
    times = timing.interleaved(
        {
            "old": lambda: old_way(graph, order),
            "call": lambda: outputs(circuit, ones, order),
            "jit": run,
        },
        rounds=7,
    )
    ratio = times["old"] / times["call"]
    row = [
        name,
        str(order),
        f"{error(run, old_way(graph, order)):.0e}",
        *(
            timing.duration(seconds)
            for seconds in (times["old"], first, times["call"], times["jit"])
        ),
        f"{ratio:,.0f}",
        f"{times['old'] / times['jit']:,.0f}",
    ]
    return row, ratio


def growth(name: str, circuit: ag.Circuit) -> tuple[list[str], float]:
    """A row of the table of growth, and the exponent."""
    runs = {str(order): compiled(circuit, order) for order in GROWTH_ORDERS}
    times = timing.interleaved(runs, rounds=15)
    power = timing.exponent(GROWTH_ORDERS, list(times.values()))
    return [name, *map(timing.duration, times.values()), f"{power:.2f}"], power


def main() -> None:
    """Prints both tables and whether the targets are met."""
    print(timing.setting(), end="\n\n")
    compared = [compare(name, make(), order) for name, make in CIRCUITS.items() for order in ORDERS]
    header = ["circuit", "order", "largest error", "old way", "first run (compiles)"]
    header += ["`ag.series`", "inside one jit", "times faster", "times faster in jit"]
    print(timing.table(header, [row for row, _ in compared]), end="\n\n")
    grown = [growth(name, make()) for name, make in CIRCUITS.items()]
    header = ["compiled run", *(f"order {order}" for order in GROWTH_ORDERS), "exponent"]
    print(timing.table(header, [row for row, _ in grown]), end="\n\n")
    ratios = {row[0]: ratio for row, ratio in compared if row[1] == str(TARGET_ORDER)}
    listed = ", ".join(f"{name} {ratio:,.0f}" for name, ratio in ratios.items())
    power = max(power for _, power in grown)
    print(f"Times faster at order {TARGET_ORDER}: {listed} (target: {TARGET_RATIO}).")
    print(f"Cost grows as order^{power:.2f} or slower (target: 2).")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
