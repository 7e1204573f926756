"""Systems said as functions, by right-hand sides and as equations, measured against hand wiring.

    python benchmarks/saying.py             # all of them
    python benchmarks/saying.py Lorenz      # those whose names have this word

Targets: the same run time within 5 %; to build, trace and compile at most 10 % more than by hand.
"""

import statistics
import sys
import time

import jax
import numpy as np
from four_ways import SYSTEMS, System
from timing import duration, interleaved, print_table, setting

ROUNDS = 7
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
    """Median processor seconds to build a circuit of each form, and to trace and compile a run."""
    seconds: dict[str, list[float]] = {name: [] for name in system.forms}
    for _ in range(ROUNDS):
        for name, build in system.forms.items():
            jax.clear_caches()
            start = time.process_time()
            circuit = build(**system.numbers)
            jax.jit(lambda circuit: system.run(circuit)).lower(circuit).compile()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def row(name: str, seconds: dict[str, float]) -> tuple[str, ...]:
    base = seconds["wired"]
    ratios = (f"{seconds[way] / base:.2f}" if way in seconds else "" for way in WAYS)
    return (name, duration(base), *ratios)


if __name__ == "__main__":
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [system for system in SYSTEMS if word in system.name]
    print(f"{setting()}\n")
    print("A run, wired by hand; and the others' times over it.\n")
    header = ("system", "wired", *WAYS)
    print_table(header, (row(system.name, running(system)) for system in chosen))
    print("To build, trace and compile, in processor seconds.\n")
    print_table(header, (row(system.name, building(system)) for system in chosen))
