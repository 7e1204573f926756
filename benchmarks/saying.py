"""Systems said as functions, by right-hand sides and as equations, measured against hand wiring.

    python benchmarks/saying.py             # all of them
    python benchmarks/saying.py Lorenz      # those whose names have this word
    python benchmarks/saying.py growth      # equations of 10 to 300 unknowns

Targets: the same run time within 5 %; to build, trace and compile at most 10 % more than by hand.
The time of equations grows at most as the number of unknowns to the power 1.2.
"""

import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import compile as compiling
import jax
import numpy as np
from four_ways import SYSTEMS, System
from timing import duration, exponent, interleaved, print_table, setting

import asgard as ag

ROUNDS = 7
UNKNOWNS = (10, 30, 100, 300)
WAYS = ("function", "right side", "equations")


def running(system: System) -> dict[str, float]:
    """Median seconds of a compiled run of each form. Raises where their values differ."""
    circuits = {name: build(**system.numbers) for name, build in system.forms.items()}
    compiled = {name: jax.jit(system.run) for name in circuits}
    values = {name: compiled[name](circuit) for name, circuit in circuits.items()}
    for found in values.values():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12),
            found,
            values["wired"],
        )
    runs = {n: lambda n=n: compiled[n](circuits[n]) for n in circuits}
    return interleaved(runs, rounds=21)


def building(system: System) -> dict[str, float]:
    """Median processor seconds to build a circuit of each form, and to trace and compile a run.

    Python collects garbage before each, and not meanwhile: a collection takes as long as 20 % of
    one, and would fall on the same forms in each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in system.forms}
    for _ in range(ROUNDS):
        for name, build in system.forms.items():
            jax.clear_caches()
            gc.collect()
            gc.disable()
            start = time.process_time()
            circuit = build(**system.numbers)
            jax.jit(lambda circuit: system.run(circuit)).lower(circuit).compile()
            seconds[name].append(time.process_time() - start)
            gc.enable()
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def ring(count: int, time: str) -> str:
    """The equations of Lorenz-96: alike in all unknowns."""
    names = [f"x{index}" for index in range(count)]
    return "\n".join(
        f"diff({x}, {time}) = ({names[(i + 1) % count]} - {names[i - 2]})*{names[i - 1]} - {x} + f"
        for i, x in enumerate(names)
    )


def mixed(count: int, time: str) -> str:
    """A chain of equations of five kinds, one of which is algebraic and one of second order."""
    kinds = (
        "diff({x}, {t}) = f*sin({y}) - {x}",
        "diff({x}, {t}, 2) = {y}*{z} - {x} - diff({x}, {t})",
        "diff({x}, {t}) = tanh({y} - {x}^2) + f",
        "{x} = {y}/(1 + {z}^2) - f*{y}",
        "diff({x}, {t}) = exp(-{x}) - {x}*{y} + cos({t})",
    )
    return "\n".join(
        kinds[i % len(kinds)].format(
            x=f"x{i}", y=f"x{(i - 1) % count}", z=f"x{(i - 2) % count}", t=time
        )
        for i in range(count)
    )


STAGES = ("read", "trace", "lower", "compile")


def stages(system: Callable[[int, str], str], count: int, time: str) -> tuple[float, ...]:
    """Processor seconds to read equations, and to trace, lower and compile a run of them.

    `time` is the name of their dimension: one that is new makes a structure that is new.
    """
    made: list[ag.Circuit] = []
    text, numbers, initial = system(count, time), {"f": 0.5}, {"x0": 0.3}
    read = compiling.processor_seconds(
        lambda: made.append(ag.equations(text, parameters=numbers, initial=initial))
    )
    others = compiling.stages(lambda circuit: ag.simulate(circuit, [0.0, 1.0]).outputs, made[0])
    return read, *others


def growth(system: Callable[[int, str], str]) -> Iterator[Sequence[str]]:
    """A row for each stage and for all: the seconds at each number of unknowns, the exponent."""
    times = (f"t{number}" for number in itertools.count())
    stages(system, UNKNOWNS[0], next(times))  # what is set up once
    found = [
        [statistics.median(stage) for stage in zip(*rounds, strict=True)]
        for rounds in (
            [stages(system, count, next(times)) for _ in range(3 if count < 100 else 1)]
            for count in UNKNOWNS
        )
    ]
    columns = {name: [seconds[index] for seconds in found] for index, name in enumerate(STAGES)}
    for name, seconds in {**columns, "all": [sum(one) for one in found]}.items():
        powers = exponent(UNKNOWNS, seconds), exponent(UNKNOWNS[-2:], seconds[-2:])
        yield (system.__name__, name, *map(duration, seconds), *(f"{p:.2f}" for p in powers))


def row(name: str, seconds: dict[str, float]) -> tuple[str, ...]:
    base = seconds["wired"]
    ratios = (f"{seconds[way] / base:.2f}" if way in seconds else "" for way in WAYS)
    return (name, duration(base), *ratios)


def compare(word: str) -> None:
    """Prints how long the systems whose names have a word run, and take to be built."""
    chosen = [system for system in SYSTEMS if word in system.name]
    print("A run, wired by hand; and the others' times over it.\n")
    header = ("system", "wired", *WAYS)
    print_table(header, (row(system.name, running(system)) for system in chosen))
    print("To build, trace and compile, in processor seconds.\n")
    print_table(header, (row(system.name, building(system)) for system in chosen))


if __name__ == "__main__":
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    print(f"{setting()}\n")
    if word == "growth":
        header = (
            "equations",
            "stage",
            *(f"{n} unknowns" for n in UNKNOWNS),
            "exponent",
            "at the end",
        )
        print_table(header, itertools.chain(growth(ring), growth(mixed)))
    else:
        compare(word)
