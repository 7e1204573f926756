"""Stochastic ensembles against diffrax, NumPy and the limit that drawing the numbers sets.

Geometric Brownian motion and the Heston model by Euler's method, 500 steps to t = 1, the mean at
the end over all paths. diffrax runs as fast as it can: `UnsafeBrownianPath` with `DirectAdjoint`,
`vmap` over keys, and also `VirtualBrownianTree`. NumPy steps over arrays of all paths. The limit is
the same loop that only draws as many numbers by `jax.random.normal`, with the same kind of key and
dtype, at whichever width of tile is fastest.

`python benchmarks/sde.py 20000 200000` runs these numbers of paths; without, those up to a million,
and 10⁸ by ourselves alone. It takes some twenty minutes.
"""

import functools
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing
from jax import Array, lax

import asgard as ag

STEPS, END = 500, 1.0
DT = END / STEPS
MU, SIGMA = 0.05, 0.2
RATE, KAPPA, THETA, XI, START, RHO = 0.03, 2.0, 0.06, 0.4, 0.05, -0.6
PATHS = (20_000, 200_000, 1_000_000)
WIDTHS = (2**14, 2**16, 2**18)
FEW, MOST = 20_000, 10**8


def gbm() -> tuple[ag.Circuit, dict[tuple[str, str], float]]:
    """Geometric Brownian motion."""
    drift = ag.Scalar(MU) >> ag.Register("t", 1.0)
    noise = ag.Scalar(SIGMA) >> ag.StochasticRegister("t", "W")
    return (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace(), {}


def heston() -> tuple[ag.Circuit, dict[tuple[str, str], float]]:
    """The Heston model with full truncation: 0 -> 1, the price."""
    reverting = ag.Function(lambda v: KAPPA * (THETA - jnp.maximum(v, 0)), 1)
    rough = ag.Function(lambda v: XI * jnp.sqrt(jnp.maximum(v, 0)), 1)
    variance = (reverting >> ag.Register("t", START)) @ (rough >> ag.StochasticRegister("t", "V"))
    variance = (ag.Split() >> variance >> ag.Add() >> ag.Split()).trace()
    root = ag.Function(lambda v, s: jnp.sqrt(jnp.maximum(v, 0)) * s, 2)
    noise = root >> ag.StochasticRegister("t", "S")
    drift = ag.Scalar(RATE) >> ag.Register("t", 1.0)
    spread = (ag.Id() @ ag.Split()) >> (noise @ drift) >> ag.Add() >> ag.Split()
    return variance >> spread.trace(), {("V", "S"): RHO}


def ours(model: Callable[[], Any], dtype: str, paths: int) -> Callable[[Array], Any]:
    """The mean by `ag.ensemble`."""
    circuit, correlation = model()
    circuit = jax.tree.map(lambda leaf: leaf.astype(dtype), circuit)
    numbers = {pair: np.asarray(value, dtype) for pair, value in correlation.items()}
    calculus = ag.Stochastic(steps=STEPS, correlation=numbers)
    mean = ag.statistics.Mean(of=lambda price: price[-1])
    ts = jnp.asarray([0.0, END], dtype)

    def run(key: Array) -> Array:
        found = ag.ensemble(
            circuit, ts, calculus=calculus, key=key, paths=paths, reduce=mean, throw=False
        )
        return found.statistics

    return run


def limit(size: int, dtype: str, paths: int, width: int) -> Callable[[Array], Array]:
    """As many normal numbers, drawn and summed in tiles."""
    width = min(width, paths)

    def tile(key: Array) -> Array:
        def step(total: Array, number: Array) -> tuple[Array, None]:
            drawn = jax.random.normal(jax.random.fold_in(key, number), (size, width), dtype)
            return total + drawn.sum(0), None

        return jnp.sum(lax.scan(step, jnp.zeros(width, dtype), jnp.arange(STEPS))[0])

    def run(key: Array) -> Array:
        numbers = jnp.arange(-(-paths // width))
        return lax.map(lambda number: tile(jax.random.fold_in(key, number)), numbers)

    return jax.jit(run)


def by_diffrax(model: Callable[[], Any], dtype: str, paths: int, tree: bool) -> Any:
    """The mean by diffrax, `vmap`ped over keys."""
    terms, start = _diffrax_terms(model, dtype)
    shape = jax.ShapeDtypeStruct((len(start),), jnp.dtype(dtype))

    def one(key: Array) -> Array:
        if tree:
            brownian: Any = diffrax.VirtualBrownianTree(0.0, END, DT / 2, shape, key)
        else:
            brownian = diffrax.UnsafeBrownianPath(shape, key)
        found = diffrax.diffeqsolve(
            *(terms(brownian), diffrax.Euler(), 0.0, END, DT, start),
            max_steps=STEPS + 1,
            adjoint=diffrax.RecursiveCheckpointAdjoint() if tree else diffrax.DirectAdjoint(),
        )
        values = found.ys
        assert values is not None
        return values[-1, 0]

    return jax.jit(lambda key: jnp.mean(jax.vmap(one)(jax.random.split(key, paths))))


def _diffrax_terms(model: Callable[[], Any], dtype: str) -> tuple[Callable[[Any], Any], Array]:
    if model is gbm:

        def drift(t: Any, y: Array, args: Any) -> Array:
            return MU * y

        def diffusion(t: Any, y: Array, args: Any) -> Array:
            return SIGMA * y[None]

        start = jnp.ones(1, dtype)
    else:
        other = math.sqrt(1 - RHO**2)

        def drift(t: Any, y: Array, args: Any) -> Array:
            return jnp.stack([RATE * y[0], KAPPA * (THETA - jnp.maximum(y[1], 0))])

        def diffusion(t: Any, y: Array, args: Any) -> Array:
            root = jnp.sqrt(jnp.maximum(y[1], 0))
            price = root * y[0]
            return jnp.stack(
                [jnp.stack([RHO * price, other * price]), jnp.stack([XI * root, 0 * root])]
            )

        start = jnp.asarray([1.0, START], dtype)
    terms = lambda path: diffrax.MultiTerm(  # noqa: E731
        diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path)
    )
    return terms, start


def by_numpy(model: Callable[[], Any], dtype: str, paths: int) -> Callable[[Array], np.ndarray]:
    """The mean by NumPy's generator, over arrays of all paths."""
    dt, root = np.asarray(DT, dtype), np.asarray(math.sqrt(DT), dtype)
    drawn: Any = {"dtype": dtype}

    def run(key: Array) -> np.ndarray:
        del key
        random = np.random.default_rng(0)
        price, variance = np.ones(paths, dtype), np.full(paths, START, dtype)
        for _ in range(STEPS):
            w = root * random.standard_normal(paths, **drawn)
            if model is gbm:
                price += price * (np.asarray(MU, dtype) * dt + np.asarray(SIGMA, dtype) * w)
                continue
            v = root * random.standard_normal(paths, **drawn)
            positive = np.maximum(variance, 0)
            spread = np.sqrt(positive)
            both = np.asarray(RHO, dtype) * v + np.asarray(math.sqrt(1 - RHO**2), dtype) * w
            price += price * (np.asarray(RATE, dtype) * dt + spread * both)
            variance += np.asarray(KAPPA, dtype) * (THETA - positive).astype(dtype) * dt
            variance += np.asarray(XI, dtype) * spread * v
        return price.mean()

    return run


def compare(model: Callable[[], Any], dtype: str, paths: int) -> list[str]:
    """One row of the table: seconds and ratios."""
    size = 1 if model is gbm else 2
    run = functools.partial(by_diffrax, model, dtype)
    runs: dict[str, Callable[[Array], Any]] = {"ours": ours(model, dtype, paths)}
    # Of many paths only the widest, which is as fast as any: each takes minutes.
    widths = WIDTHS if paths < PATHS[-1] else WIDTHS[-1:]
    runs |= {f"limit {width}": limit(size, dtype, paths, width) for width in widths}
    runs["NumPy"] = by_numpy(model, dtype, paths)
    runs["diffrax"] = run(paths, False)
    if paths == FEW:
        runs["tree"] = run(paths, True)
    key = jax.random.key(0)
    calls = {name: functools.partial(fn, key) for name, fn in runs.items()}
    times, work = measured(calls, rounds=3 if paths < PATHS[-1] else 1)
    fastest = min((name for name in calls if name.startswith("limit")), key=lambda n: times[n])
    # The limit draws whole tiles; ours pads too, at its own width.
    draws = paths * STEPS * size
    return [
        f"{model.__name__}, {dtype}",
        f"{paths:,}",
        timing.duration(times["ours"]),
        f"{times['ours'] / draws * 1e9:.2f} ns",
        f"{times[fastest] / times['ours']:.2f}",
        f"{times['diffrax'] / times['ours']:.1f}",
        f"{times['tree'] / times['ours']:.0f}" if paths == FEW else "",
        f"{times['NumPy'] / times['ours']:.1f}",
        timing.duration(work["ours"]),
        f"{work[fastest] / work['ours']:.2f}",
        f"{work['diffrax'] / work['ours']:.1f}",
    ]


def measured(
    calls: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of each call, by the clock and of all processors, in rounds of all calls.

    Processor seconds are disturbed less by what else runs on the machine.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            clock, work = time.perf_counter(), time.process_time()
            jax.block_until_ready(call())
            found[name].append((time.perf_counter() - clock, time.process_time() - work))
    medians = {name: np.median(pairs, axis=0) for name, pairs in found.items()}
    return {n: float(m[0]) for n, m in medians.items()}, {
        n: float(m[1]) for n, m in medians.items()
    }


def comparisons(numbers: Sequence[int]) -> Iterator[list[str]]:
    """The rows of all models, dtypes and numbers of paths, as they are measured."""
    for paths in numbers:
        for dtype in ("float32", "float64"):
            with jax.enable_x64(dtype == "float64"):
                for model in (gbm, heston):
                    yield compare(model, dtype, paths)


def memory(steps: Sequence[int]) -> Iterator[list[str]]:
    """The temporary memory of a compiled run, by its number of steps."""
    circuit, _ = gbm()
    for count in steps:

        def run(circuit: ag.Circuit, count: int = count) -> Any:
            return ag.ensemble(
                *(circuit, [0.0, END]),
                calculus=ag.Stochastic(steps=count),
                key=jax.random.key(0),
                paths=10**6,
                reduce=ag.statistics.Mean(),
            ).statistics

        analysis: Any = jax.jit(run).lower(circuit).compile().memory_analysis()
        yield [f"{count:,}", f"{analysis.temp_size_in_bytes / 1e6:.2f} MB"]


def many() -> list[str]:
    """A run of 10⁸ paths in the memory of a tile."""
    paths = MOST
    with jax.enable_x64(False):
        run = ours(gbm, "float32", paths)
        jax.block_until_ready(ours(gbm, "float32", FEW)(jax.random.key(0)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = timing.timed(lambda: run(jax.random.key(0)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    number = f"{seconds / paths / STEPS * 1e9:.2f} ns"
    return ["gbm, float32", timing.duration(seconds), number, f"{grown:.0f} MB more"]


def main() -> None:
    """Prints the tables."""
    print(f"{timing.setting()}, {peers.versions('diffrax')}, NumPy {np.__version__}", end="\n\n")
    header = ["500 steps", "paths", "ours", "a number", "of the limit", "times faster than diffrax"]
    header += ["than its virtual tree", "than NumPy"]
    header += ["processor time", "of the limit", "times less than diffrax"]
    wanted = [int(number) for number in sys.argv[1:]] or [*PATHS, MOST]
    timing.print_table(["steps, 10⁶ paths", "memory"], memory((500, 5_000, 50_000)))
    timing.print_table(header, comparisons([paths for paths in wanted if paths < MOST]))
    if MOST in wanted:
        timing.print_table(["10⁸ paths, 500 steps", "time", "a number", "memory"], [many()])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"Peak memory of the process, peers included: {peak:.1f} GB.")


if __name__ == "__main__":
    main()
