"""What solvers miss: 10,000 inputs of two pulses each, at random places and of random widths.

x' = u - x from 0, where u is 1 in two pulses before t = 10, else 0. Widths are between 1e-4 and 1,
evenly on a logarithmic scale. The pulses depend on time, or on a state that is the time. A run
is wrong where x(10) is off by more than a hundredth of what the pulses bring and ten tolerances,
and its status says that all is well. All runs have the tolerance 1e-6.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing
from jax import Array

import asgard as ag

COUNT, END, TOLERANCE = 10_000, 10.0, 1e-6
SEED = 2026


def pulses(time: Any, edges: Array) -> Array:
    """1 between the first two edges and between the last two, else 0."""
    first = (time >= edges[0]) & (time < edges[1])
    second = (time >= edges[2]) & (time < edges[3])
    return jnp.where(first | second, 1.0, 0.0)


def cases() -> np.ndarray:
    """Where the pulses of each input begin and end, `[cases, 4]`."""
    random = np.random.default_rng(SEED)
    begins = np.sort(random.uniform(0.0, END - 1.0, (COUNT, 2)))
    widths = 10 ** random.uniform(-4, 0, (COUNT, 2))
    ends = np.minimum(begins + widths, [[END]])
    ends[:, 0] = np.minimum(ends[:, 0], begins[:, 1])
    return np.stack([begins[:, 0], ends[:, 0], begins[:, 1], ends[:, 1]], axis=1)


def exact(edges: np.ndarray) -> np.ndarray:
    """x(10) of each input."""
    weights = np.exp(edges - END)
    return weights[:, 1] - weights[:, 0] + weights[:, 3] - weights[:, 2]


def ours(method: ag.StepMethod | None, of_state: bool) -> Callable[[Array], tuple[Array, Array]]:
    """x(10) and whether all is well, by a method, for pulses in time or of a state."""
    real = ag.Real(method=method, rtol=TOLERANCE, atol=TOLERANCE)

    def run(edges: Array) -> tuple[Array, Array]:
        def rates(t: Array, y: Array) -> Array:
            clock = y[1] if of_state else t
            return jnp.stack([pulses(clock, edges) - y[0], jnp.ones_like(t)])

        circuit = ag.ode(rates, jnp.zeros(2))
        found = ag.simulate(circuit, [0.0, END], calculus=real, throw=False)
        return found.output[-1, 0], found.status == ag.Status.ok

    return jax.jit(jax.vmap(run))


def theirs(solver: diffrax.AbstractSolver) -> Callable[[Array], tuple[Array, Array]]:
    """The same by diffrax."""

    def run(edges: Array) -> tuple[Array, Array]:
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: pulses(t, edges) - y),
            solver,
            *(0.0, END, None, jnp.zeros(())),
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
            max_steps=100_000,
            throw=False,
        )
        assert found.ys is not None
        return found.ys[-1], found.result == diffrax.RESULTS.successful

    return jax.jit(jax.vmap(run))


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    edges = cases()
    expected = exact(edges)
    runs = {
        "asgard, default": ours(None, of_state=False),
        "asgard, Tsit5": ours(ag.Tsit5(), of_state=False),
        "asgard, Dopri8": ours(ag.Dopri8(), of_state=False),
        "asgard, pulses of a state, default": ours(None, of_state=True),
        "asgard, pulses of a state, Tsit5": ours(ag.Tsit5(), of_state=True),
        "diffrax, Tsit5": theirs(diffrax.Tsit5()),
        "diffrax, Dopri8": theirs(diffrax.Dopri8()),
        "diffrax, Kvaerno5": theirs(diffrax.Kvaerno5()),
    }
    rows = []
    for name, run in runs.items():
        found, good = (np.asarray(one) for one in run(jnp.asarray(edges)))
        error = np.abs(found - expected)
        missed = good & (error > 0.01 * expected + 10 * TOLERANCE)
        rows.append((name, int(np.sum(missed)), int(np.sum(~good)), f"{np.max(error[good]):.1e}"))
    print(timing.setting() + "; " + peers.versions("diffrax") + "\n")
    header = ("run", f"wrong of {COUNT:,}, status ok", "another status", "largest error")
    timing.print_table(header, rows)


if __name__ == "__main__":
    main()
