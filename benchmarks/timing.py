"""What the benchmarks share: interleaved timing, growth exponents, tables."""

import datetime
import importlib.metadata
import itertools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax


def stay_in_thread() -> None:
    """Keeps programs in the thread that calls them; to be said before the first computation.

    Else a program of which XLA expects 1,000 operations and more runs on another thread, which here
    takes 50 to 70 µs to wake. Loops of diffrax's look cheaper to XLA, and are spared that.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def timed(run: Callable[[], Any]) -> float:
    """Seconds that one run takes, until its result is there."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def interleaved(
    runs: Mapping[str, Callable[[], Any]], rounds: int = 9, least: float = 0.005
) -> dict[str, float]:
    """Median seconds of each run.

    After one run to warm up, each round times every run in turn, so that a busy moment of the
    machine falls on all alike. A run shorter than `least` seconds is repeated within a round until
    it fills them.
    """
    repeats = {}
    for name, run in runs.items():
        timed(run)
        repeats[name] = max(1, math.ceil(least / timed(run)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                jax.block_until_ready(run())
            times[name].append((time.perf_counter() - start) / repeats[name])
    return {name: statistics.median(measured) for name, measured in times.items()}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The p of time ~ size^p: the slope of the least-squares line through the logarithms."""
    return statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    ).slope


def duration(seconds: float) -> str:
    """Seconds with a fitting unit, to three digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}" if seconds < 100 else f"{seconds:.0f} s"
    raise AssertionError


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, its numbers to the right."""
    return "\n".join(_lines(header, rows))


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table row by row, as they are measured, and an empty line."""
    for line in _lines(header, rows):
        print(line, flush=True)
    print(flush=True)


def _lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    for line in itertools.chain([header, [":--", *["--:"] * (len(header) - 1)]], rows):
        yield f"| {' | '.join(map(str, line))} |"


def setting() -> str:
    """When, with which versions and on what the benchmark runs."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    jaxlib = importlib.metadata.version("jaxlib")
    return (
        f"{datetime.date.today()}, jax {jax.__version__}, jaxlib {jaxlib}, "
        f"Python {platform.python_version()}, {jax.default_backend()}, "
        f"{os.cpu_count()} cores{load}"
    )
