"""Ensembles over 1, 2, 4 and 8 virtual devices, with as many paths on each.

Virtual devices of one CPU share its cores, so times say little: what is shown is that a device's
program stays the same, and that it holds no collective inside of a loop.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import re
from typing import Any

import jax
import timing

import asgard as ag

DEVICES = (1, 2, 4, 8)
ON_EACH, STEPS = 2**15, 100
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def mean(circuit: ag.Circuit, key: jax.Array, devices: int) -> Any:
    """The mean over `ON_EACH` paths for each of some devices."""
    mesh = jax.make_mesh((devices,), ("paths",), devices=jax.devices()[:devices])
    return ag.ensemble(
        *(circuit, [0.0, 1.0]),
        calculus=ag.Stochastic(steps=STEPS),
        key=key,
        paths=ON_EACH * devices,
        mesh=mesh,
        reduce=ag.statistics.Mean(of=lambda x: x[-1]),
    ).statistics


def computations(text: str) -> dict[str, str]:
    """The computations of a compiled program, by name."""
    parts = re.split(r"\n(?=%|ENTRY)", text)
    named = ((re.match(r"(?:ENTRY )?%?([\w.\-]+)", part), part) for part in parts)
    return {match.group(1): part for match, part in named if match}


def loops(text: str) -> list[str]:
    """The computations that run inside of loops."""
    named = computations(text)
    pending = re.findall(r"(?:body|condition)=%?([\w.\-]+)", text)
    reached: dict[str, str] = {}
    while pending:
        name = pending.pop()
        if name in named and name not in reached:
            reached[name] = named[name]
            pending += re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)", named[name])
    return list(reached.values())


def operations(inside: list[str]) -> list[tuple[str, str]]:
    """What computations do: the type and the name of each operation, in alphabetical order."""
    found = (re.findall(r" = (\S+) ([a-z\-]+)\(", computation) for computation in inside)
    return sorted(operation for each in found for operation in each)


def main() -> None:
    """Prints the table."""
    print(timing.setting(), end="\n\n")
    drift = ag.Scalar(0.05) >> ag.Register("t", 1.0)
    noise = ag.Scalar(0.2) >> ag.StochasticRegister("t", "W")
    circuit = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
    key, rows, first = jax.random.key(0), [], None
    for devices in DEVICES:
        run = jax.jit(lambda circuit, key, n=devices: mean(circuit, key, n))
        compiled = run.lower(circuit, key).compile()
        inside = loops(compiled.as_text() or "")
        program = operations(inside)
        first = program if first is None else first
        memory: Any = compiled.memory_analysis()
        seconds = timing.interleaved({"run": lambda run=run: run(circuit, key)}, rounds=5)["run"]
        rows.append(
            [
                str(devices),
                f"{ON_EACH * devices:,}",
                str(len(program)),
                str(sum(word in part for part in inside for word in COLLECTIVES)),
                "yes" if program == first else "no",
                f"{memory.temp_size_in_bytes / 1e3:.0f} kB",
                timing.duration(seconds),
            ]
        )
    header = ["devices", "paths", "operations in loops", "collectives in them"]
    header += ["the same as on one device", "memory of a device", f"time, {os.cpu_count()} cores"]
    print(timing.table(header, rows))


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
