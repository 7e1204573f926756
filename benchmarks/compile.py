"""Processor seconds to trace, to lower and to compile circuits, against the order and the size.

Every measurement is of a circuit of a structure that this process has not seen: a dimension's name
is part of the structure, so each has a dimension of its own. Processor time is taken, not time on
the clock, so that other work on the machine counts less.
"""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import timing

import asgard as ag

ORDERS = (10, 20, 50, 100, 200)
ROUNDS = 3
Stages = tuple[float, ...]


def links(count: int) -> list[ag.Circuit]:
    """`count` atoms that compute, as circuits 1 -> 1: sin, products, sums and scalars in turn."""
    kinds = [
        ag.Sin(),
        ag.Split() >> ag.Multiplication(),
        ag.Scalar(0.5),
        ag.Split() >> ag.Add(),
        ag.Scalar(0.4),
    ]
    return list(itertools.islice(itertools.cycle(kinds), count))


def chain(count: int, dim: str) -> ag.Circuit:
    """`count` atoms one after another; the dimension is that of the stream put in."""
    return ag.Composition(ag.Id(), *links(count))


def loop(count: int, dim: str) -> ag.Circuit:
    """`count` atoms in one loop: f = x + the integral of a chain of f."""
    body = ag.Composition(*links(count - 2), ag.Register(dim))
    return (ag.Add() >> ag.Split() >> ag.Id() @ body).trace()


def scalars(count: int, dim: str) -> ag.Circuit:
    """A chain of `count` scalars."""
    return ag.Composition(*[ag.Scalar(1.0001)] * count)


def loops(count: int, dim: str) -> ag.Circuit:
    """`count` equal loops side by side, x' = -x in each."""
    one = (ag.Scalar(-1.0) >> ag.Register(dim, 1.0) >> ag.Split()).trace()
    return ag.Monoidal(*[one] * count)


def lorenz_96(count: int, dim: str) -> ag.Circuit:
    """The Lorenz-96 system on `count` scalar wires."""
    # Of x_(i+1), x_(i-2), x_(i-1), x_i.
    product = (ag.Id() @ ag.Scalar(-1.0) >> ag.Add()) @ ag.Id() >> ag.Multiplication()
    rate = product @ ag.Scalar(-1.0) @ ag.Const(8.0) >> ag.Add(3)
    reads = [4 * ((i + d) % count) + k for i in range(count) for k, d in enumerate((1, -2, -1, 0))]
    rates = ag.Monoidal(*[ag.Split(4)] * count) >> ag.Permute(tuple(reads))
    registers = ag.Monoidal(*(ag.Register(dim, 8.0 + 0.01 * (i == 0)) for i in range(count)))
    copied = ag.Monoidal(*[ag.Split()] * count)
    order = [2 * i + k for k in range(2) for i in range(count)]
    body = rates >> ag.Monoidal(*[rate] * count) >> registers >> copied >> ag.Permute(tuple(order))
    return body.trace(count)


def processor_seconds(run: Callable[[], Any]) -> float:
    """Seconds that all cores together work on a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def stages(run: Callable[..., Any], *arguments: Any) -> Stages:
    """Seconds to trace, to lower and to compile a function; its results are checked."""
    done: list[Any] = []
    compiled = jax.jit(run)
    trace = processor_seconds(lambda: done.append(compiled.trace(*arguments)))
    lower = processor_seconds(lambda: done.append(done[0].lower()))
    compile = processor_seconds(lambda: done.append(done[1].compile()))
    for array in jax.tree.leaves(done[2](*arguments)):
        assert bool(jax.numpy.isfinite(array).all())
    return trace, lower, compile


def of_series(shape: Callable[[int, str], ag.Circuit], count: int, order: int, dim: str) -> Stages:
    """The stages of a circuit's series."""
    circuit = shape(count, dim)
    streams = [ag.Stream([0.5, 1.0], dim)] * circuit.n_in

    def run(circuit: ag.Circuit, *streams: ag.Stream) -> list[jax.Array]:
        found = ag.series(circuit, *streams, order=order)
        return [stream.coefficients for stream in jax.tree.leaves(found, is_leaf=_is_stream)]

    return stages(run, circuit, *streams)


def of_run(shape: Callable[[int, str], ag.Circuit], count: int, order: int, dim: str) -> Stages:
    """The stages of a run of a circuit over time."""
    return stages(lambda circuit: ag.simulate(circuit, [0.0, 1.0]).outputs, shape(count, dim))


def of_text(shape: Callable[[int, str], ag.Circuit], count: int, order: int, dim: str) -> Stages:
    """Seconds to read a text that nests so deep."""
    text = "monoidal(id, trace(" * (count // 2) + "swap" + "))" * (count // 2)
    return (processor_seconds(lambda: ag.parse(text)),)


def _is_stream(node: Any) -> bool:
    return isinstance(node, ag.Stream)


@dataclasses.dataclass(frozen=True)
class Growth:
    """What is measured against the size."""

    name: str
    measure: Callable[..., Stages]
    shape: Callable[[int, str], ag.Circuit]
    sizes: Sequence[int]
    order: int
    target: float  # seconds for the last size

    def row(self, dims: Iterator[str]) -> list[str]:
        """The seconds of all stages together, and their exponents."""
        self.measure(self.shape, self.sizes[0], self.order, next(dims))  # what is set up once
        seconds = [
            statistics.median(
                sum(self.measure(self.shape, size, self.order, next(dims))) for _ in range(rounds)
            )
            for size, rounds in zip(self.sizes, (ROUNDS, 1, 1), strict=True)
        ]
        ends = [timing.exponent(self.sizes, seconds), timing.exponent(self.sizes[1:], seconds[1:])]
        shown = [f"{timing.duration(s)} ({n:,})" for n, s in zip(self.sizes, seconds, strict=True)]
        return [self.name, *shown, f"{self.target:g} s", *(f"{end:.2f}" for end in ends)]


GROWTH = (
    Growth("chain of scalars, series", of_series, scalars, (1000, 3000, 10_000), 2, 20.0),
    Growth("chain of many kinds, series", of_series, chain, (100, 300, 1000), 20, 20.0),
    Growth("loop of many kinds, series", of_series, loop, (100, 300, 1000), 20, 20.0),
    Growth("equal loops, series", of_series, loops, (100, 300, 1000), 10, 15.0),
    Growth("equal loops, simulate", of_run, loops, (100, 300, 1000), 20, 15.0),
    Growth("Lorenz-96, simulate", of_run, lorenz_96, (20, 60, 200), 20, 4.0),
    Growth("nested text, parse", of_text, chain, (10_000, 30_000, 100_000), 0, 10.0),
)


def by_order(dims: Iterator[str]) -> Iterator[list[str]]:
    """A row for each shape and stage: the seconds at each order, and their exponent."""
    for shape in (chain, loop):
        of_series(shape, 10, 20, next(dims))
        rounds = [[of_series(shape, 10, n, next(dims)) for n in ORDERS] for _ in range(ROUNDS)]
        for index, stage in enumerate(("trace", "lower", "compile")):
            seconds = [
                statistics.median(found[place][index] for found in rounds)
                for place in range(len(ORDERS))
            ]
            power = f"{timing.exponent(ORDERS, seconds):.2f}"
            yield [shape.__name__, stage, *map(timing.duration, seconds), power]


def main() -> None:
    """Prints both tables."""
    print(timing.setting(), end="\n\n")
    dims = (f"t{number}" for number in itertools.count())
    header = ["10 atoms", "stage", *(f"order {order}" for order in ORDERS), "exponent"]
    timing.print_table(header, by_order(dims))
    header = ["all stages", "small", "medium", "large", "target", "exponent", "at the end"]
    timing.print_table(header, (growth.row(dims) for growth in GROWTH))


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
