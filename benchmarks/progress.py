"""What progress costs: runs, an ensemble and a fit with and without it, in turn.

Each pair is the same call, with `progress` a function that only counts and without it. A round
times both, in an order that changes, so that a busy moment of the machine falls on both alike; the
ratio is the median of the rounds' ratios. Target: at most 1.02. An argument chooses cases by a part
of their names.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import timing

import asgard as ag

KEY = jax.random.key(0)
ROUNDS = 9
MEAN = ag.statistics.Mean()


def lorenz(t: Any, y: Any) -> Any:
    """The Lorenz system."""
    return jnp.stack([10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])


def stiff(t: Any, y: Any) -> Any:
    """Van der Pol's oscillator."""
    return jnp.stack([y[1], 100 * (1 - y[0] ** 2) * y[1] - y[0]])


def loss(circuit: Any, data: Any) -> Any:
    """How far a decay is from data."""
    return jnp.mean((ag.simulate(circuit, jnp.linspace(0.0, 5.0, 50)).output - data) ** 2)


def decay(t: Any, x: Any) -> Any:
    return -x


def noise(t: Any, x: Any) -> Any:
    return 0.3 * jnp.ones_like(x)


def cases() -> dict[str, Callable[..., Any]]:
    """The calls, each of a second or more."""
    attractor, oscillator = ag.ode(lorenz, jnp.ones(3)), ag.ode(stiff, jnp.array([2.0, 0.0]))
    ring = ag.ode(lambda t, y: jnp.roll(y, 1) - 2 * y + jnp.roll(y, -1), jnp.arange(200.0) % 7)
    walk, sequence = ag.sde(decay, noise, 1.0), ag.recurrence(lambda n, x: 3.7 * x * (1 - x), 0.3)
    late = ag.equations("diff(x, t) = 0.2*x(t - 17)/(1 + x(t - 17)^10) - 0.1*x", initial={"x": 1.2})
    many = jnp.linspace(0.0, 10_000.0, 200_001)
    real = functools.partial(ag.Real, max_steps=10**7)

    def run(circuit: Any, ts: Any, calculus: Any, **options: Any) -> Callable[..., Any]:
        return functools.partial(
            ag.simulate, circuit, ts, calculus=calculus, throw=False, **options
        )

    def crowd(**options: Any) -> Callable[..., Any]:
        grid = ag.Stochastic(steps=1000)
        return functools.partial(
            ag.ensemble, walk, [0.0, 0.5, 1.0], calculus=grid, key=KEY, **options
        )

    data = jnp.exp(-2 * jnp.linspace(0.0, 5.0, 50))
    fitting = {"args": (data,), "optimizer": optax.adam(1e-3), "steps": 20_000}
    return {
        "Lorenz, 2 times": run(attractor, [0.0, 100_000.0], real()),
        "Lorenz, 200,001 times": run(attractor, many, real()),
        "Lorenz, Tsit5 at 1e-6": run(
            attractor, [0.0, 200_000.0], real(rtol=1e-6, method=ag.Tsit5())
        ),
        "van der Pol, Radau": run(oscillator, [0.0, 100_000.0], real(method=ag.Radau(), rtol=1e-6)),
        "200 states, Dopri8": run(ring, [0.0, 40_000.0], real(rtol=1e-8)),
        "Mackey-Glass, delays": run(late, [0.0, 20_000.0], real()),
        "a path": run(walk, [0.0, 1.0], ag.Stochastic(steps=10**8), key=KEY),
        "a sequence": run(sequence, [0.0, 10.0, 5e7], ag.Discrete()),
        "ensemble, reduced": crowd(paths=200_000, reduce=MEAN),
        "ensemble, stored": crowd(paths=200_000),
        "fit": functools.partial(ag.fit, ag.ode(decay, 2.0), loss, **fitting),
    }


def measured(run: Callable[..., Any]) -> list[Any]:
    """The median time without progress, the median ratios of times and of processor times, and how
    many reports there were."""
    told: list[Any] = []

    def report(*now: Any) -> None:
        told.append(now)

    def plain() -> Any:
        return run()

    def shown() -> Any:
        return run(progress=report)

    def taken(one: Callable[[], Any]) -> tuple[float, float]:
        began = time.process_time()
        seconds = timing.timed(one)
        return seconds, time.process_time() - began

    taken(plain)
    taken(shown)
    told.clear()
    taken(shown)
    reports = len(told)
    pairs = []
    for number in range(ROUNDS):
        order = [plain, shown] if number % 2 else [shown, plain]
        found = {one: taken(one) for one in order}
        pairs.append((found[plain], found[shown]))
    ratios = [
        statistics.median(with_it[kind] / without[kind] for without, with_it in pairs)
        for kind in (0, 1)
    ]
    seconds = statistics.median(without[0] for without, _ in pairs)
    return [timing.duration(seconds), *(f"{ratio:.3f}" for ratio in ratios), reports]


def main() -> None:
    """Prints the table."""
    jax.config.update("jax_enable_x64", True)
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    print(timing.setting())
    chosen = {name: run for name, run in cases().items() if wanted in name}

    def rows() -> Any:
        for name, run in chosen.items():
            yield [name, *measured(run)]

    timing.print_table(["case", "without", "ratio", "ratio of CPU time", "reports"], rows())


if __name__ == "__main__":
    main()
