"""Error against time on four problems, for tolerances from 1e-3 to 1e-15: a table and a picture.

Ours is a circuit of one vector wire, by each method of steps: Taylor at the default order and at an
order that goes with the tolerance, Dopri8, Tsit5 and Radau of 5 stages. diffrax runs Tsit5 and
Dopri8, heyoka its scalar integrator, whose order goes with the tolerance too. All save the end
only, and are compiled before they are timed. Errors are relative to the largest number of the end,
against heyoka in 200 bits. A run of more than 200,000 steps is left out.

```bash
python benchmarks/work_precision.py  # writes docs/images/work_precision.png
```
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import peers
import timing
from jax import Array

import asgard as ag

TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13, 1e-15)
MAX_STEPS = 200_000
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "work_precision.png"
MOON = 0.012277471  # its share of the mass of earth and moon
FORCING, RING = 8.0, 40  # of Lorenz 96
ECCENTRICITY = 0.9
DAMPING = 5.0  # mu of van der Pol


def van_der_pol(x: Any, v: Any) -> list[Any]:
    """x'' = mu (1 - x^2) x' - x."""
    return [v, DAMPING * (1.0 - x * x) * v - x]


def arenstorf(x: Any, y: Any, u: Any, v: Any) -> list[Any]:
    """A satellite between earth and moon, in the frame that turns with them."""
    earth = (1 - MOON) * ((x + MOON) ** 2 + y * y) ** -1.5
    moon = MOON * ((x - (1 - MOON)) ** 2 + y * y) ** -1.5
    pull_x = (x + MOON) * earth + (x - (1 - MOON)) * moon
    return [u, v, x + 2.0 * v - pull_x, y - 2.0 * u - y * (earth + moon)]


def lorenz_96(*x: Any) -> list[Any]:
    """x_i' = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + F on a ring."""
    return [(x[(i + 1) % RING] - x[i - 2]) * x[i - 1] - x[i] + FORCING for i in range(RING)]


def lorenz_96_of_a_vector(x: Array) -> Array:
    """The same as one expression."""
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + FORCING


def kepler(x: Any, y: Any, u: Any, v: Any) -> list[Any]:
    """x'' = -x / |x|^3 in the plane."""
    pull = (x * x + y * y) ** -1.5
    return [u, v, -1.0 * x * pull, -1.0 * y * pull]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Rates as expressions, and as a function of a vector; from `start` to t = `end`."""

    name: str
    rates: peers.Rates
    start: tuple[float, ...]
    end: float
    field: Callable[[Array], Array]


PROBLEMS = (
    Problem("van der Pol, mu = 5", van_der_pol, (2.0, 0.0), 20.0, peers.vector_field(van_der_pol)),
    Problem(
        "Arenstorf orbit",
        arenstorf,
        (0.994, 0.0, 0.0, -2.00158510637908252240537862224),
        17.0652165601579625588917206249,
        peers.vector_field(arenstorf),
    ),
    Problem(
        "Lorenz 96, 40 variables",
        lorenz_96,
        (8.01, *[8.0] * (RING - 1)),
        5.0,
        lorenz_96_of_a_vector,
    ),
    Problem(
        "Kepler, e = 0.9, 3 orbits",
        kepler,
        (1 - ECCENTRICITY, 0.0, 0.0, math.sqrt((1 + ECCENTRICITY) / (1 - ECCENTRICITY))),
        6 * math.pi,
        peers.vector_field(kepler),
    ),
)

# A method takes a problem and a tolerance, and gives a run with its end and its steps.
Method = Callable[[Problem, float], Callable[[], tuple[Any, Any]]]


def ours(chosen: Callable[[float], ag.StepMethod]) -> Method:
    """A circuit of one wire; methods are static, tolerances are not."""

    def run(problem: Problem, way: Any, start: Array, rtol: Array) -> tuple[Array, Array]:
        field = ag.Function(problem.field, 1)
        circuit = (field >> ag.Register("t", start) >> ag.Split()).trace()
        calculus = ag.Real(method=way, rtol=rtol, max_steps=MAX_STEPS)
        found = ag.simulate(circuit, [0.0, problem.end], calculus=calculus, throw=False)
        return found.output[-1], found.stats["steps"]

    compiled = jax.jit(run, static_argnums=(0, 1))

    def method(problem: Problem, tolerance: float) -> Callable[[], tuple[Any, Any]]:
        start = jnp.asarray(problem.start)
        return lambda: compiled(problem, chosen(tolerance), start, tolerance)

    return method


def by_diffrax(solver: diffrax.AbstractSolver) -> Method:
    """One compilation for all tolerances."""

    def run(problem: Problem, start: Array, tolerance: Array) -> tuple[Array, Array]:
        solve = peers.in_diffrax(problem.field, solver, tolerance, problem.end, max_steps=MAX_STEPS)
        return solve(start)

    compiled = jax.jit(run, static_argnums=0)

    def method(problem: Problem, tolerance: float) -> Callable[[], tuple[Any, Any]]:
        start = jnp.asarray(problem.start)
        return lambda: compiled(problem, start, tolerance)

    return method


def by_heyoka(problem: Problem, tolerance: float) -> Callable[[], tuple[Any, Any]]:
    """An integrator for each tolerance."""
    start = np.array(problem.start)
    run = peers.in_heyoka(problem.rates, len(start), tolerance, problem.end)
    return lambda: run(start)


def order_by_tolerance(tolerance: float) -> int:
    """Lower than the default where few digits are asked for."""
    return min(20, 4 + round(-math.log10(tolerance)))


METHODS: dict[str, Method] = {
    "our Taylor(20)": ours(lambda _: ag.Taylor(20)),
    "our Taylor(20), unrolled": ours(lambda _: ag.Taylor(20, unroll=True)),
    "our Taylor, order by tolerance": ours(lambda rtol: ag.Taylor(order_by_tolerance(rtol))),
    "our Dopri8": ours(lambda _: ag.Dopri8()),
    "our Tsit5": ours(lambda _: ag.Tsit5()),
    "our Radau(5)": ours(lambda _: ag.Radau(5)),
    "diffrax Tsit5": by_diffrax(diffrax.Tsit5()),
    "diffrax Dopri8": by_diffrax(diffrax.Dopri8()),
    "heyoka": by_heyoka,
}


@dataclasses.dataclass(frozen=True)
class Point:
    """What one method came to at one tolerance."""

    error: float
    steps: int
    seconds: float


def worst(end: Any, expected: np.ndarray) -> float:
    """The largest error, relative to the largest number."""
    return float(np.max(np.abs(np.asarray(end) - expected)) / np.max(np.abs(expected)))


def measure(problem: Problem, tolerance: float, expected: np.ndarray) -> dict[str, Point]:
    """Each method at one tolerance; one that fails is left out."""
    runs, found = {}, {}
    for name, method in METHODS.items():
        run = method(problem, tolerance)
        end, steps = run()
        error = worst(end, expected)
        if math.isfinite(error) and int(steps) < MAX_STEPS:
            runs[name], found[name] = run, (error, int(steps))
    times = timing.interleaved(runs, rounds=5)
    return {name: Point(error, steps, times[name]) for name, (error, steps) in found.items()}


def row(problem: Problem, tolerance: float, points: dict[str, Point]) -> list[str]:
    """A row of the table: error, steps and time of each method."""
    cells = [problem.name, f"{tolerance:.0e}"]
    for name in METHODS:
        point = points.get(name)
        if point is None:
            cells.append("-")
        else:
            cells.append(f"{point.error:.0e}, {point.steps}, {timing.duration(point.seconds)}")
    return cells


def seconds_for(points: list[Point], error: float) -> float | None:
    """The time that a method takes to come to an error, between its neighbours on the picture."""
    known = sorted(points, key=lambda point: point.seconds)
    for before, after in itertools.pairwise(known):
        if after.error <= error < before.error:
            part = math.log(before.error / error) / math.log(before.error / after.error)
            return before.seconds * (after.seconds / before.seconds) ** part
    return None


def is_ours(name: str) -> bool:
    """Whether a method is one of Asgard's."""
    return name.startswith("our ")


def draw(measured: dict[str, dict[str, list[Point]]]) -> None:
    """Error against time, a panel a problem."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for panel, (name, methods) in zip(panels.flat, measured.items(), strict=True):
        for method, points in methods.items():
            errors = [max(point.error, 1e-17) for point in points]
            style = "o-" if is_ours(method) else "s--"
            panel.loglog(errors, [point.seconds for point in points], style, label=method, ms=4)
        panel.set(title=name, xlabel="relative error at the end", ylabel="seconds")
        panel.invert_xaxis()
        panel.grid(alpha=0.3)
    entries = panels.flat[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=4)
    figure.savefig(PICTURE, dpi=120)


def main() -> None:
    """Prints the tables and writes the picture."""
    names = ("diffrax", "heyoka", "matplotlib")
    print(f"{timing.setting()}, {peers.versions(*names)}", end="\n\n")
    measured: dict[str, dict[str, list[Point]]] = {}
    rows = []
    for problem in PROBLEMS:
        (expected,) = peers.exact(problem.rates, problem.start, [problem.end])
        methods: dict[str, list[Point]] = {name: [] for name in METHODS}
        for tolerance in TOLERANCES:
            points = measure(problem, tolerance, expected)
            rows.append(row(problem, tolerance, points))
            for name, point in points.items():
                methods[name].append(point)
        measured[problem.name] = methods
    print(timing.table(["error, steps, time", "tolerance", *METHODS], rows), end="\n\n")
    rows = []
    for name, methods in measured.items():
        for error in (1e-4, 1e-6, 1e-8, 1e-10):
            others = {way: seconds_for(points, error) for way, points in methods.items()}
            known = [time for way, time in others.items() if time and is_ours(way)]
            own = min(known, default=None)
            others = others.values()
            cells = [f"{other / own:.2f}" if own and other else "-" for other in others]
            rows.append([name, f"{error:.0e}", *cells])
    header = ["time to an error, over that of our fastest", "error", *METHODS]
    print(timing.table(header, rows), end="\n\n")
    draw(measured)
    print(f"Written to {PICTURE.name}.")


if __name__ == "__main__":
    timing.stay_in_thread()
    with jax.enable_x64(True):
        main()
