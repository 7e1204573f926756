"""Seconds to trace and to compile `ag.series`, against the order and against the circuit's size.

The scan driver. Every measurement is of a circuit of a structure that this process has not seen: a
dimension's name is part of the structure, so each has a dimension of its own.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator

import jax
import timing

import asgard as ag

ORDERS = (10, 20, 50, 100, 200)
SIZES = (10, 100, 1000)
ORDER = 20  # while the size varies
ATOMS = 10  # while the order varies
ROUNDS = 3


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


SHAPES: dict[str, Callable[[int, str], ag.Circuit]] = {"chain": chain, "loop": loop}


def fresh_dims() -> Iterator[str]:
    """Names that no circuit has had."""
    return (f"t{number}" for number in itertools.count())


def measure(shape: str, count: int, order: int, dim: str) -> tuple[float, float, float]:
    """Seconds to trace, to lower and to compile one run; the run is checked to be finite."""
    circuit = SHAPES[shape](count, dim)
    stream = ag.Stream([0.5, 1.0], dim)
    run = jax.jit(lambda circuit, stream: ag.series(circuit, stream, order=order))
    stages = []
    trace = timing.timed(lambda: stages.append(run.trace(circuit, stream)))
    lower = timing.timed(lambda: stages.append(stages[0].lower()))
    compile = timing.timed(lambda: stages.append(stages[1].compile()))
    result = stages[2](circuit, stream).coefficients
    assert result.shape == (order + 1,)
    assert bool(jax.numpy.isfinite(result).all())
    return trace, lower, compile


def medians(cases: list[tuple[str, int, int]]) -> dict[tuple[str, int, int], list[float]]:
    """Median seconds of each stage, by shape, size and order, rounds interleaved."""
    dims = fresh_dims()
    for shape in SHAPES:
        measure(shape, ATOMS, ORDER, next(dims))  # what JAX itself sets up once
    times: dict[tuple[str, int, int], list[tuple[float, float, float]]] = {c: [] for c in cases}
    for _ in range(ROUNDS):
        for case in cases:
            times[case].append(measure(*case, next(dims)))
    return {
        case: [statistics.median(stage) for stage in zip(*found, strict=True)]
        for case, found in times.items()
    }


def rows(
    sizes: tuple[int, ...], case: Callable[[str, int], tuple[str, int, int]]
) -> list[list[str]]:
    """A row for each shape and stage: the times, and their exponent."""
    times = medians([case(shape, size) for shape in SHAPES for size in sizes])
    found = []
    for shape in SHAPES:
        for place, stage in enumerate(("trace", "lower", "compile")):
            seconds = [times[case(shape, size)][place] for size in sizes]
            power = timing.exponent(sizes, seconds)
            last = timing.exponent(sizes[-2:], seconds[-2:])
            shown = [f"{power:.2f}", f"{last:.2f}"]
            found.append([shape, stage, *map(timing.duration, seconds), *shown])
    return found


def main() -> None:
    """Prints both tables."""
    print(timing.setting(), end="\n\n")
    ends = ["exponent", "exponent at the end"]
    header = [f"{ATOMS} atoms", "stage", *(f"order {order}" for order in ORDERS), *ends]
    print(timing.table(header, rows(ORDERS, lambda shape, n: (shape, ATOMS, n))), end="\n\n")
    header = [f"order {ORDER}", "stage", *(f"{size:,} atoms" for size in SIZES), *ends]
    print(timing.table(header, rows(SIZES, lambda shape, n: (shape, n, ORDER))))


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
