"""The Taylor coefficients of a problem: `ag.taylor.ode` against probdiffeq and jet-array.

The problem is Pleiades, seven stars in a plane (Hairer, Norsett and Wanner, *Solving Ordinary
Differential Equations I*, section II.10): 28 numbers, expanded at the start to order 20 in float64.
All methods are given the same function, in two writings: with x and y in one array, which suits the
peers best, and with x and y apart, as in probdiffeq's documentation. They run interleaved in one
process, each inside one `jax.jit`; compilation (trace, lower, compile, each time of a function of
its own) is timed apart. Errors are against the recurrence of the coefficients, written out below in
mpmath with 40 digits.

Two of probdiffeq's methods are left out: `jetexpand_ode_doubling_unroll` takes four minutes to
compile and a second to run, and the compilation of `jetexpand_ode_via_jvp` doubles with each order
(7 s at order 8). jet-array expands functions, not equations: it is called order by order, unrolled
or in a scan over padded series. With the compilations of the unrolled ones all takes minutes.
"""

import importlib.metadata
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jet_array
import mpmath as mp
import numpy as np
import timing
from jax import Array, lax
from probdiffeq import probdiffeq

import asgard as ag

ORDER = 20
GROWTH_ORDERS = (10, 20, 40, 80)
TARGET_RUN, TARGET_COMPILE, TARGET_POWER = 12, 8, 2.1
OURS, PADDED_SCAN = "`ag.taylor.ode`", "probdiffeq, padded scan"

MASSES = np.arange(1.0, 8.0)
STARS = 7
APART = np.eye(STARS)  # keeps a star's distance from itself off zero
START = np.array(
    [
        *(3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0),  # x
        *(3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0),  # y
        *(0.0, 0.0, 0.0, 0.0, 0.0, 1.75, -1.5),  # x'
        *(0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0),  # y'
    ]
)

Slope = Callable[[Any, Array], Array]
Method = Callable[[Slope, Array, int], Array]


def together(t: Any, state: Array) -> Array:
    """The stars' accelerations, x and y in one array."""
    places, speeds = state[: 2 * STARS].reshape(2, STARS), state[2 * STARS :]
    apart = places[:, None, :] - places[:, :, None]
    cubes = (jnp.sum(apart * apart, axis=0) + APART) ** 1.5
    return jnp.concatenate([speeds, jnp.sum(MASSES * apart / cubes, axis=2).ravel()])


def separate(t: Any, state: Array) -> Array:
    """The same with x and y in arrays of their own."""
    x, y, speeds = state[:STARS], state[STARS : 2 * STARS], state[2 * STARS :]
    dx, dy = x[None, :] - x[:, None], y[None, :] - y[:, None]
    cubes = (dx**2 + dy**2 + APART) ** (3 / 2)
    ddx, ddy = jnp.sum(MASSES * dx / cubes, axis=1), jnp.sum(MASSES * dy / cubes, axis=1)
    return jnp.concatenate([speeds, ddx, ddy])


WRITINGS: dict[str, Slope] = {"x and y together": together, "x and y apart": separate}


def ours(slope: Slope, start: Array, order: int) -> Array:
    """One scan over the orders."""
    return ag.taylor.ode(slope, start, order)


def from_probdiffeq(expansion: Callable[..., Any]) -> Method:
    """A method of probdiffeq; it gives derivatives."""

    def run(slope: Slope, start: Array, order: int) -> Array:
        problem = probdiffeq.ode(lambda y, /, *, t: slope(t, y))
        derivatives, _ = expansion(num=order)(problem, (start,), t=0.0)
        factorials = np.array([float(math.factorial(n)) for n in range(order + 1)])
        return jnp.stack(derivatives) / factorials[:, None]

    return run


def jet_array_unrolled(slope: Slope, start: Array, order: int) -> Array:
    """The slope's series to order k gives coefficient k + 1, for one k after another."""
    series = slope(0.0, start)[None]
    for k in range(1, order):
        _, slopes = jet_array.jet(lambda y: slope(0.0, y), (start,), (series,))
        series = jnp.concatenate([series, slopes[-1:] / (k + 1)])
    return jnp.concatenate([start[None], series])


def jet_array_scan(slope: Slope, start: Array, order: int) -> Array:
    """The same in a scan, the series padded by zeros and the work bounded by `effective_order`."""

    def step(series: Array, k: Array) -> tuple[Array, None]:
        first, rest = jet_array.jet(lambda y: slope(0.0, y), (start,), (series,), effective_order=k)
        found = jnp.concatenate([first[None], rest])[k] / (k + 1)
        return lax.dynamic_update_index_in_dim(series, found, k, axis=0), None

    series, _ = lax.scan(step, jnp.zeros((order, *start.shape)), jnp.arange(order))
    return jnp.concatenate([start[None], series])


METHODS: dict[str, Method] = {
    OURS: ours,
    PADDED_SCAN: from_probdiffeq(probdiffeq.jetexpand_ode_padded_scan),
    "probdiffeq, unrolled": from_probdiffeq(probdiffeq.jetexpand_ode_unroll),
    "jet-array, scan": jet_array_scan,
    "jet-array, unrolled": jet_array_unrolled,
}


def reference(order: int) -> np.ndarray:
    """The exact coefficients to 40 digits, `[order + 1, 28]`, rounded once at the end."""
    with mp.workdps(40):
        states = [[mp.mpf(float(number)) for number in START]]
        pairs = list(itertools.combinations(range(STARS), 2))
        apart = {pair: ([], []) for pair in pairs}  # x_j - x_i and y_j - y_i
        squares, powers = ({pair: [] for pair in pairs} for _ in range(2))  # r^2 and r^-3
        for n in range(order):
            slope = [*states[n][2 * STARS :], *[mp.mpf(0)] * (2 * STARS)]
            for pair in pairs:
                i, j = pair
                for axis, series in enumerate(apart[pair]):
                    series.append(states[n][axis * STARS + j] - states[n][axis * STARS + i])
                squares[pair].append(sum(_convolve(series, series, n) for series in apart[pair]))
                powers[pair].append(_next_power(squares[pair], powers[pair], n))
                for axis, series in enumerate(apart[pair]):
                    pull = _convolve(series, powers[pair], n)
                    slope[(2 + axis) * STARS + i] += int(MASSES[j]) * pull
                    slope[(2 + axis) * STARS + j] -= int(MASSES[i]) * pull
            states.append([number / (n + 1) for number in slope])
        return np.array([[float(number) for number in state] for state in states])


def _convolve(a: list[Any], b: list[Any], n: int) -> Any:
    return mp.fdot(zip(a[: n + 1], reversed(b[: n + 1]), strict=True))


def _next_power(u: list[Any], power: list[Any], n: int) -> Any:
    """Coefficient n of u^(-3/2): n u_0 p_n is the sum over k of (-3k/2 - (n - k)) u_k p_(n-k)."""
    if n == 0:
        return u[0] ** mp.mpf(-1.5)
    terms = ((mp.mpf(-k) / 2 - n) * u[k] * power[n - k] for k in range(1, n + 1))
    return mp.fsum(terms) / (n * u[0])


def error(found: Array, exact: np.ndarray) -> float:
    """The largest error of an order, relative to the order's largest coefficient."""
    off = np.max(np.abs(np.asarray(found) - exact), axis=1)
    return float(np.max(off / np.max(np.abs(exact), axis=1)))


def compiled(method: Method, slope: Slope, order: int) -> tuple[Callable[[], Array], float]:
    """A method inside one jit, and the seconds that it takes to trace, lower and compile."""
    start = jnp.asarray(START)
    begin = time.perf_counter()
    # Functions of their own each time, so that nothing is found in a cache.
    run = jax.jit(lambda y: method(lambda t, y: slope(t, y), y, order)).lower(start).compile()
    seconds = time.perf_counter() - begin
    return lambda: run(start), seconds


def compilations(
    methods: dict[str, Method], slope: Slope, order: int, rounds: int
) -> tuple[dict[str, Callable[[], Array]], dict[str, float]]:
    """Each method compiled, and the median of the seconds; the methods take turns."""
    runs: dict[str, Callable[[], Array]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            runs[name], taken = compiled(method, slope, order)
            seconds[name].append(taken)
    return runs, {name: statistics.median(taken) for name, taken in seconds.items()}


def compare(writing: str, slope: Slope, exact: np.ndarray) -> tuple[list[list[str]], float, float]:
    """Rows of the table, and how many times the padded scan takes to run and to compile."""
    runs, compile_times = compilations(METHODS, slope, ORDER, rounds=5)
    run_times = timing.interleaved(runs, rounds=21, least=0.02)
    rows = [
        [
            writing,
            name,
            f"{error(run(), exact):.0e}",
            timing.duration(run_times[name]),
            f"{run_times[name] / run_times[OURS]:.1f}",
            timing.duration(compile_times[name]),
            f"{compile_times[name] / compile_times[OURS]:.1f}",
        ]
        for name, run in runs.items()
    ]
    faster = run_times[PADDED_SCAN] / run_times[OURS]
    return rows, faster, compile_times[PADDED_SCAN] / compile_times[OURS]


def growth(exact: np.ndarray) -> tuple[list[list[str]], float, float]:
    """Rows of our growth with the order, and the exponents of running and of compiling."""
    runs, seconds = {}, {}
    for order in GROWTH_ORDERS:
        made, taken = compilations({OURS: ours}, together, order, rounds=5)
        runs[str(order)], seconds[str(order)] = made[OURS], taken[OURS]
    times = timing.interleaved(runs, rounds=21, least=0.02)
    power = timing.exponent(GROWTH_ORDERS, list(times.values()))
    compile_power = timing.exponent(GROWTH_ORDERS, list(seconds.values()))
    errors = [f"{error(run(), exact[: int(order) + 1]):.0e}" for order, run in runs.items()]
    rows = [
        ["run", *map(timing.duration, times.values()), f"{power:.2f}"],
        ["compile", *map(timing.duration, seconds.values()), f"{compile_power:.2f}"],
        ["largest error", *errors, ""],
    ]
    return rows, power, compile_power


def main() -> None:
    """Prints both tables and whether the targets are met."""
    peers = [f"{name} {importlib.metadata.version(name)}" for name in ("probdiffeq", "jet-array")]
    print(f"{timing.setting()}, {', '.join(peers)}", end="\n\n")
    exact = reference(max(GROWTH_ORDERS))
    compared = {name: compare(name, slope, exact[: ORDER + 1]) for name, slope in WRITINGS.items()}
    header = [f"order {ORDER}", "method", "largest error"]
    header += ["run", "times ours", "compile", "times ours"]
    print(timing.table(header, [row for rows, _, _ in compared.values() for row in rows]))
    grown, power, compile_power = growth(exact)
    header = [OURS, *(f"order {order}" for order in GROWTH_ORDERS), "exponent"]
    print(f"\n{timing.table(header, grown)}\n")
    for name, (_, run, compiling) in compared.items():
        print(
            f"Against the padded scan, {name}: runs {run:.1f} times faster (target: {TARGET_RUN}), "
            f"compiles {compiling:.1f} times faster (target: {TARGET_COMPILE})."
        )
    print(f"Run time grows as order^{power:.2f} (target: {TARGET_POWER}),")
    print(f"compile time as order^{compile_power:.2f} (target: flat).")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
