"""A batch of neural ODEs: values and gradients of the weights, against diffrax's Tsit5.

A perceptron of two hidden layers with softplus, in float32, from a batch of random starts, saved
at 11 times. Ours by `jax.vmap` of one run, and with the batch in the wire; diffrax's by `jax.vmap`
with its default adjoint, at the same tolerance. The gradient is that of a mean square. Runs may
take 64 steps, or as many as each library lets them by default, 65,536 and 4,096. First calls
compile.
"""

import time
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import peers
import timing

import asgard as ag

TIMES = jnp.linspace(0.0, 1.5, 11)
MAX_STEPS = 64
SIZES = ((64, 256), (128, 64))  # width of the layers, batch
TOLERANCES = (1e-3, 1e-5)
PEER, DEFAULT = "diffrax Tsit5", ", default steps"


class Slope(eqx.Module):
    """The slope by a network, of one state or of a batch of them."""

    network: Any

    def __call__(self, y):
        return self.network(y) if y.ndim == 1 else jax.vmap(self.network)(y)


def ours(
    starts: jax.Array, tolerance: float, in_wire: bool, max_steps: int = MAX_STEPS
) -> Callable[[Any], Any]:
    """The states `[batch, times, 2]` of a network."""
    calculus = ag.Real(method=ag.Tsit5(), rtol=tolerance, atol=tolerance, max_steps=max_steps)

    def run(network: Any, start: jax.Array) -> jax.Array:
        slope = ag.Function(Slope(network), 1)
        circuit = (slope >> ag.Register("t", start) >> ag.Split()).trace()
        return ag.simulate(circuit, TIMES, calculus=calculus, throw=False).output

    if in_wire:
        return lambda network: jnp.moveaxis(run(network, starts), 1, 0)
    return lambda network: jax.vmap(lambda start: run(network, start))(starts)


def in_diffrax(
    starts: jax.Array, tolerance: float, max_steps: int = MAX_STEPS
) -> Callable[[Any], Any]:
    """The same by diffrax."""
    term = diffrax.ODETerm(lambda t, y, network: network(y))

    def run(network: Any, start: jax.Array) -> Any:
        return diffrax.diffeqsolve(
            *(term, diffrax.Tsit5(), TIMES[0], TIMES[-1], None, start, network),
            saveat=diffrax.SaveAt(ts=TIMES),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=max_steps,
        ).ys

    return lambda network: jax.vmap(lambda start: run(network, start))(starts)


def rows(width: int, batch: int, tolerance: float) -> list[list[str]]:
    """A row for each way to run."""
    keys = jax.random.split(jax.random.key(0), 3)
    network = eqx.nn.MLP(2, 2, width, 2, activation=jax.nn.softplus, key=keys[0])
    starts = jax.random.normal(keys[1], (batch, 2))
    target = jax.random.normal(keys[2], (batch, len(TIMES), 2))
    weights, rest = eqx.partition(network, eqx.is_array)
    states = {
        "vmap": ours(starts, tolerance, False),
        "in the wire": ours(starts, tolerance, True),
        PEER: in_diffrax(starts, tolerance),
        "vmap" + DEFAULT: ours(starts, tolerance, False, max_steps=16**4),
        PEER + DEFAULT: in_diffrax(starts, tolerance, max_steps=4096),
    }
    runs, firsts = {}, {}
    for name, fn in states.items():

        def value(weights: Any, fn: Any = fn) -> Any:
            return fn(eqx.combine(weights, rest))

        def loss(weights: Any, value: Any = value) -> Any:
            return jnp.mean((value(weights) - target) ** 2)

        for kind, run in (("value", value), ("gradient", jax.value_and_grad(loss))):
            compiled = jax.jit(run)
            start = time.perf_counter()
            jax.block_until_ready(compiled(weights))
            firsts[name, kind] = time.perf_counter() - start
            runs[name, kind] = lambda compiled=compiled: compiled(weights)
    seconds = timing.interleaved({str(key): run for key, run in runs.items()}, rounds=15)
    found = []
    for name in states:
        cells = [f"{width}, {batch}", f"{tolerance:.0e}", name]
        peer = PEER + DEFAULT if name.endswith(DEFAULT) else PEER
        for kind in ("value", "gradient"):
            ratio = seconds[str((peer, kind))] / seconds[str((name, kind))]
            cells += [timing.duration(seconds[str((name, kind))]), f"{ratio:.2f}"]
        cells += [f"{firsts[name, kind]:.2f} s" for kind in ("value", "gradient")]
        found.append(cells)
    return found


def main() -> None:
    """Prints the table."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'equinox')}\n")
    header = ["width, batch", "tolerance", "run", "value", "times faster", "value and gradient"]
    header += ["times faster", "first value", "first gradient"]
    cases = ((*size, tolerance) for size in SIZES for tolerance in TOLERANCES)
    timing.print_table(header, (row for case in cases for row in rows(*case)))


if __name__ == "__main__":
    main()
