"""Inputs that switch on and off, of 200 random phases each: how many of them a run gets wrong.

x' = 1 in a part of each period and 0 in the rest, with a period of 1, from 0 to 10. The run is not
told by `breakpoints`, `Samples` or `max_step`, but in the last rows. It is wrong where its status
is ok and x(10) is off by more than 1e-6. All phases of one part are one batch under `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import timing
from jax import Array

import asgard as ag

PHASES, END = 200, 10.0
PARTS = (0.5, 0.3, 0.1, 0.03)
MAX_STEPS = (None, 0.05)


def switched(t: Array, arguments: tuple[Array, Array]) -> Array:
    """One in a part of each period."""
    part, phase = arguments
    return jnp.where(jnp.mod(t + phase, 1.0) < part, 1.0, 0.0)


def area(part: float, phase: np.ndarray) -> np.ndarray:
    """The integral of `switched` over the run: that of a period for each, and the ends'."""

    def until(t: np.ndarray) -> np.ndarray:
        return np.floor(t) * part + np.minimum(np.mod(t, 1.0), part)

    return until(END + phase) - until(phase)


def rows(max_step: float | None) -> list[list[str]]:
    """For each part: how many runs are wrong, how many say that they failed, and the steps."""

    @jax.jit
    @jax.vmap
    def run(part: Array, phase: Array) -> tuple[Array, Array, Array]:
        calculus = ag.Real(max_step=max_step)
        inputs = ((switched, (part, phase)),)
        found = ag.simulate(
            ag.Register("t"), [0.0, END], inputs=inputs, calculus=calculus, throw=False
        )
        return found.output[-1], found.status == ag.Status.ok, found.stats["steps"]

    phases = np.random.default_rng(0).uniform(size=PHASES)
    table = []
    for part in PARTS:
        end, ok, steps = map(np.asarray, run(np.full(PHASES, part), phases))
        error = np.abs(end - area(part, phases))
        wrong = ok & (error > 1e-6)
        largest = f"{np.max(error[ok], initial=0):.0e}"
        table.append([f"{part:g}", f"{max_step or 'none'}", f"{np.sum(wrong)}", largest])
        table[-1] += [f"{np.sum(~ok)}", f"{np.median(steps):.0f}"]
    return table


def main() -> None:
    """Prints the table."""
    print(timing.setting(), end="\n\n")
    header = ["on for", "`max_step`", "wrong of 200", "largest error", "failed", "steps (median)"]
    timing.print_table(header, [row for step in MAX_STEPS for row in rows(step)])


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
