"""Runs compiled by XLA's older emitters on the CPU and by its newer ones: first and later calls.

`asgard.jaxprs.compiling` chooses between them for what is called outside of `jax.jit`. Seconds are
processor seconds, since the two compile in different numbers of threads.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import timing
from jax import Array

import asgard as ag
from asgard.jaxprs.compiling import Jit

ROUNDS = 9
Run = Callable[[], ag.Trajectory | ag.Fit]


def network(t: float, rows: Array) -> Array:
    """A network of 64 x 64, on a batch of rows."""
    net = eqx.nn.MLP(2, 2, 64, 2, activation=jax.nn.softplus, key=jax.random.key(0))
    return jax.vmap(net)(rows)


def simulated(system: Callable[..., Array], y0: Any, end: float, **options: Any) -> Run:
    """A run of the system to 11 times, as a user calls it outside of `jax.jit`."""
    circuit = ag.ode(system, np.asarray(y0))
    return functools.partial(
        ag.simulate, circuit, np.linspace(0.0, end, 11), calculus=ag.Real(**options)
    )


def solved(problem: problems.Problem, end: float, **options: Any) -> Run:
    """A run of a problem of the other benchmarks."""
    return simulated(lambda t, y: problem.field(y), problem.start, end, **options)


def fitted(circuit: ag.Circuit, shape: tuple[int, ...]) -> Run:
    """A hundred steps of a fit of the circuit, to zeros of a shape at 21 times."""
    ts, calculus = np.linspace(0.0, 10.0, 21), ag.Real(method=ag.Tsit5(), rtol=1e-5, max_steps=256)

    def loss(circuit: ag.Circuit, data: Array) -> Array:
        return jnp.mean((ag.simulate(circuit, ts, calculus=calculus).output - data) ** 2)

    args = (np.zeros((21, *shape)),)
    return functools.partial(
        ag.fit, circuit, loss, args=args, optimizer=optax.adam(1e-3), steps=100
    )


def predators_and_prey(t: float, y: Array, *, a: Array, b: Array) -> Array:
    """Lotka and Volterra's equations with two numbers that a fit moves."""
    return jnp.stack([a * y[0] - 0.1 * y[0] * y[1], -b * y[1] + 0.075 * y[0] * y[1]])


def learned(t: float, rows: Array, *, network: Any) -> Array:
    """A network on a batch of rows."""
    return jax.vmap(network)(rows)


def runs() -> dict[str, Run]:
    """The cases by their names."""
    lorenz = next(one for one in problems.EXPLICIT if one.name == "Lorenz")
    heat = next(one for one in problems.WIDE if one.name.startswith("heat"))
    wide = problems.lorenz_96
    rows = np.linspace(0.5, 1.0, 512).reshape(256, 2)
    net = eqx.nn.MLP(2, 2, 16, 2, activation=jnp.tanh, key=jax.random.key(0))
    return {
        "Lorenz, Taylor": solved(lorenz, 10.0),
        "Lorenz-96 of 200, Taylor(12)": solved(wide(200), 1.0, order=12),
        "Lorenz-96 of 1,000, Dopri8": solved(wide(1000), 1.0, method=ag.Dopri8(), rtol=1e-6),
        "Lorenz-96 of 5,000, Tsit5": solved(wide(5000), 1.0, method=ag.Tsit5(), rtol=1e-5),
        "heat, 1,000 points, Radau": solved(heat, 0.1, method=ag.Radau(), rtol=1e-6),
        "neural ODE, 256 rows, Tsit5": simulated(network, rows, 1.0, method=ag.Tsit5(), rtol=1e-5),
        "fit of predators and prey": fitted(
            ag.ode(predators_and_prey, np.array([10.0, 5.0]), a=1.0, b=1.5), (2,)
        ),
        "fit of a network, 32 rows": fitted(ag.ode(learned, rows[:32], network=net), (32, 2)),
    }


@contextmanager
def compiled(how: str) -> Iterator[None]:
    """Where all is compiled as `part`, by the newer emitters, or as `whole`, by the older ones."""
    chosen = Jit._program
    Jit._program = lambda self, system: getattr(self, how)  # type: ignore[method-assign]
    yield
    Jit._program = chosen  # type: ignore[method-assign]


def seconds(run: Run, how: str) -> float:
    """The processor seconds of a call."""
    with compiled(how):
        begun = time.process_time()
        jax.block_until_ready(jax.tree.leaves(run()))
        return time.process_time() - begun


def main() -> None:
    """Prints the table."""
    print(timing.setting(), end="\n\n")
    header = ["run", "first call, newer", "older", "times", "later calls, newer", "older", "times"]
    table = []
    for name, run in runs().items():
        first = [seconds(run, how) for how in ("part", "whole")]
        later = np.median([[seconds(run, h) for h in ("part", "whole")] for _ in range(ROUNDS)], 0)
        cells = [f"{first[0]:.2f} s", f"{first[1]:.2f} s", f"{first[1] / first[0]:.2f}"]
        cells += [f"{1e3 * later[0]:.2f} ms", f"{1e3 * later[1]:.2f} ms"]
        table.append([name, *cells, f"{later[1] / later[0]:.2f}"])
    timing.print_table(header, table)


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
