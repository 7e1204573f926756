"""The Lorenz system to t = 20 at machine precision, against diffrax and heyoka.

Ours is a circuit, once of three wires that carry numbers and once of one wire that carries a
vector, and the latter also with its orders unrolled. diffrax runs the vector by Dopri8 at rtol =
atol = 1e-14, compiled, saving the end only; heyoka runs at its default tolerance, the resolution of
float64. Batches start at values spread over the attractor, ours and diffrax's under `jax.vmap`.
Errors are against heyoka in 200 bits.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing
from jax import Array

import asgard as ag

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
END, START = 20.0, np.ones(3)
TOLERANCE = 1e-14  # diffrax
EPSILON = float(np.finfo(float).eps)
BATCHES = (64, 1024)
CHECKED = 8  # of a batch, how many runs are compared to the reference
SAVED, SAVED_RUNS = 1000, 256
FIRST_CALLS = 5

Circuit = Callable[[Sequence[Any] | Array], ag.Circuit]


def rates(x: Any, y: Any, z: Any) -> list[Any]:
    """x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z."""
    return [SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z]


def of_wires(start: Sequence[Any] | Array) -> ag.Circuit:
    """Three wires that carry numbers, 0 -> 3."""
    x = ag.Scalar(-SIGMA) @ ag.Scalar(SIGMA) >> ag.Add()  # of x, y
    growth = ag.Scalar(RHO) @ (ag.Multiplication() >> ag.Scalar(-1.0))  # of x; x, z
    y = growth @ ag.Scalar(-1.0) >> ag.Add(3)  # of x, x, z, y
    z = ag.Multiplication() @ ag.Scalar(-BETA) >> ag.Add()  # of x, y, z
    copies = ag.Split(4) @ ag.Split(3) @ ag.Split(2)
    spread = copies >> ag.Permute((0, 4, 1, 2, 7, 5, 3, 6, 8))
    registers = ag.Register("t", start[0]) @ ag.Register("t", start[1]) @ ag.Register("t", start[2])
    twice = ag.Split() @ ag.Split() @ ag.Split() >> ag.Permute((0, 2, 4, 1, 3, 5))
    return (spread >> x @ y @ z >> registers >> twice).trace(3)


def of_a_vector(start: Sequence[Any] | Array) -> ag.Circuit:
    """One wire that carries a vector, 0 -> 1."""
    field = ag.Function(peers.vector_field(rates), 1)
    return (field >> ag.Register("t", start) >> ag.Split()).trace()


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to say the system and to run it."""

    circuit: Circuit
    calculus: ag.Real


UNROLLED = "one vector wire, unrolled"
OURS = {
    "scalar wires": Way(of_wires, ag.Real()),
    "one vector wire": Way(of_a_vector, ag.Real()),
    UNROLLED: Way(of_a_vector, ag.Real(method=ag.Taylor(unroll=True))),
}
# XLA uses half of a vector register of AVX-512 if it is not told otherwise.
WHOLE_VECTORS = {"xla_cpu_prefer_vector_width": 512}


def ours(way: Way, times: Sequence[float] = (0.0, END)) -> Callable[[Array], Array]:
    """y(0) to y at the times after the first, `[times, 3]`."""

    def run(start: Array) -> Array:
        found = ag.simulate(way.circuit(start), jnp.asarray(times), calculus=way.calculus)
        outputs = found.outputs
        return jnp.concatenate([x.reshape(len(times), -1) for x in outputs], axis=1)[1:]

    return run


def steps(way: Way) -> int:
    """How many steps our run takes."""
    found = ag.simulate(way.circuit(jnp.asarray(START)), [0.0, END], calculus=way.calculus)
    return int(found.stats["steps"])


def by_diffrax() -> Callable[[Array], tuple[Array, Array]]:
    """y(0) to y(END) and the steps."""
    field = peers.vector_field(rates)
    return peers.in_diffrax(field, diffrax.Dopri8(), TOLERANCE, END, first_step=0.01)


def error(found: Any, expected: np.ndarray) -> str:
    """The largest error of the ends compared, absolute."""
    return f"{np.max(np.abs(np.asarray(found).reshape(-1, 3)[: len(expected)] - expected)):.0e}"


def one_trajectory() -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table of one run, and the seconds of each."""
    start = jnp.asarray(START)
    expected = peers.exact(rates, START.tolist(), [END])
    heyoka = peers.in_heyoka(rates, 3, EPSILON, END)
    diffrax_run = peers.compiled(by_diffrax())
    made = {name: peers.compiled(ours(circuit)) for name, circuit in OURS.items()}
    runs: dict[str, Callable[[], Any]] = {
        name: lambda run=run: run(start) for name, run in made.items()
    }
    runs |= {"diffrax": lambda: diffrax_run(start), "heyoka": lambda: heyoka(START)}
    taken = {name: steps(circuit) for name, circuit in OURS.items()}
    taken |= {name: int(runs[name]()[1]) for name in ("diffrax", "heyoka")}
    times = timing.interleaved(runs, rounds=15)
    rows = []
    for name, run in runs.items():
        end = run() if name in OURS else run()[0]
        rows.append(
            [
                name,
                taken[name],
                error(end, expected),
                timing.duration(times[name]),
                timing.duration(times[name] / taken[name]),
                f"{times['diffrax'] / times[name]:.1f}",
                f"{times[name] / times['heyoka']:.1f}",
            ]
        )
    return rows, times


def starts(count: int) -> np.ndarray:
    """Initial values spread over the attractor, `[count, 3]`."""
    spread = np.random.default_rng(0).normal(size=(count, 3))
    return np.array([0.0, 0.0, 25.0]) + spread * [8.0, 8.0, 8.0]


def batch(size: int) -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table of a batch, and the seconds of each."""
    begin = starts(size)
    on_device = jnp.asarray(begin)
    expected = np.concatenate([peers.exact(rates, one, [END]) for one in begin[:CHECKED].tolist()])
    heyoka = peers.in_heyoka(rates, 3, EPSILON, END)
    heyoka_wide = peers.in_heyoka_batches(rates, 3, EPSILON, END)
    diffrax_run = peers.compiled(jax.vmap(lambda y: by_diffrax()(y)[0]))
    made = {name: peers.compiled(jax.vmap(ours(circuit))) for name, circuit in OURS.items()}
    for name in ("one vector wire", UNROLLED):
        run = peers.compiled(jax.vmap(ours(OURS[name])), compiler_options=WHOLE_VECTORS)
        made[f"{name}, whole vectors"] = run
    runs: dict[str, Callable[[], Any]] = {
        name: lambda run=run: run(on_device) for name, run in made.items()
    }
    runs |= {
        "diffrax": lambda: diffrax_run(on_device),
        "heyoka, one by one": lambda: np.stack([heyoka(one)[0] for one in begin]),
        "heyoka, batch mode": lambda: heyoka_wide(begin),
    }
    times = timing.interleaved(runs, rounds=5)
    rows = [
        [
            f"{size}",
            name,
            error(run(), expected),
            timing.duration(times[name]),
            timing.duration(times[name] / size),
            f"{times['diffrax'] / times[name]:.1f}",
            f"{times[name] / times['heyoka, one by one']:.2f}",
            f"{cores(run):.1f}",
        ]
        for name, run in runs.items()
    ]
    return rows, times


def cores(run: Callable[[], Any]) -> float:
    """How many cores a run keeps busy."""
    wall, busy = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return (time.process_time() - busy) / (time.perf_counter() - wall)


def many_saved_times() -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table of saved times, and what many cost relative to one."""
    begin = jnp.asarray(starts(SAVED_RUNS))
    runs: dict[str, Callable[[], Any]] = {}
    for name, circuit in OURS.items():
        for count in (1, SAVED):
            times = np.linspace(0.0, END, count + 1).tolist()
            run = peers.compiled(jax.vmap(ours(circuit, times)))
            runs[f"{name}, {count}"] = lambda run=run: run(begin)
    times = timing.interleaved(runs, rounds=5)
    cost = {name: times[f"{name}, {SAVED}"] / times[f"{name}, 1"] for name in OURS}
    rows = [
        [
            name,
            *(timing.duration(times[f"{name}, {count}"]) for count in (1, SAVED)),
            f"{cost[name]:.2f}",
        ]
        for name in OURS
    ]
    return rows, cost


def first_calls() -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table of first calls, and the seconds: to trace, lower, compile and run once."""
    start = jnp.asarray(START)
    made = {name: ours(circuit) for name, circuit in OURS.items()} | {"diffrax": by_diffrax()}
    stages: dict[str, list[list[float]]] = {name: [] for name in made}
    for _ in range(FIRST_CALLS):
        for name, run in made.items():
            jax.clear_caches()
            clock = [time.perf_counter()]
            stage: Any = peers.compiled(run)
            for advance in (
                lambda it: it.trace(start),
                lambda it: it.lower(),
                lambda it: it.compile(),
                lambda it: jax.block_until_ready(it(start)),
            ):
                stage = advance(stage)
                clock.append(time.perf_counter())
            stages[name].append([*np.diff(clock).tolist(), clock[-1] - clock[0]])
    medians = {
        name: [statistics.median(taken) for taken in zip(*measured, strict=True)]
        for name, measured in stages.items()
    }
    totals = {name: measured[-1] for name, measured in medians.items()}
    rows = [
        [name, *map(timing.duration, measured), f"{totals[name] / totals['diffrax']:.2f}"]
        for name, measured in medians.items()
    ]
    return rows, totals


def main() -> None:
    """Prints the tables and whether the targets are met."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'heyoka')}", end="\n\n")
    rows, one = one_trajectory()
    header = ["one trajectory", "steps", "error", "run", "a step", "times faster than diffrax"]
    print(timing.table([*header, "times heyoka's time"], rows), end="\n\n")
    batches = {}
    for size in BATCHES:
        rows, batches[size] = batch(size)
        header = ["batch", "", "error", "run", "a trajectory", "times faster than diffrax"]
        print(timing.table([*header, "times heyoka's time", "cores busy"], rows), end="\n\n")
    rows, cost = many_saved_times()
    header = [f"{SAVED_RUNS} trajectories", "1 saved time", f"{SAVED} saved times", "ratio"]
    print(timing.table(header, rows), end="\n\n")
    rows, first = first_calls()
    header = ["first call", "trace", "lower", "compile", "run", "together", "times diffrax's"]
    print(timing.table(header, rows), end="\n\n")
    for name, target in zip(OURS, (15, 20, 20), strict=True):
        print(f"{name}:")
        print(f"- {one['diffrax'] / one[name]:.1f} times faster than diffrax (target: {target});")
        print(f"- {one[name] / one['heyoka']:.1f} times heyoka's time (target: 8);")
        for size, taken in batches.items():
            ratio = taken["diffrax"] / taken[name]
            print(f"- {ratio:.1f} times faster than diffrax in a batch of {size} (target: 10);")
        taken = batches[max(BATCHES)]
        ratio = taken["heyoka, one by one"] / taken[name]
        print(f"- {ratio:.2f} times as fast as heyoka one by one in it (target: more than 1);")
        print(f"- {SAVED} saved times cost {cost[name]:.2f} times one (target: 1.4);")
        print(f"- first call {first[name] / first['diffrax']:.2f} times diffrax's (target: 1).")
    taken = batches[max(BATCHES)]
    ratio = taken[f"{UNROLLED}, whole vectors"] / taken["heyoka, batch mode"]
    print(f"Unrolled, with whole vectors: {ratio:.1f} times heyoka's batch mode (target: 2).")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
