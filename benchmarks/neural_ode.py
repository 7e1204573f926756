"""Value and gradient of a neural ODE at 1e-6, against diffrax.

y' = MLP(y), two layers of 64 with tanh, y of two numbers, from 0 to 1. The loss is
|y(1) - target|^2 and the gradient goes to all weights; diffrax takes Tsit5 with its default
adjoint. Both have no more room for steps than they need. The reference is our run at machine
precision; the last rows tell how far Dopri8 at 1e-14 is from it.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing
from jax import Array

import asgard as ag

WIDTH, DEPTH, SIZE = 64, 2, 2
START, TARGET = (1.0, -0.5), (0.5, 0.5)
END, TOLERANCE = 1.0, 1e-6
SCALES = (1.0, 4.0)
ORDERS = (5, 8, 12)
ROOM = 64

Loss = Callable[[Any, Array], Array]


def network(scale: float) -> eqx.nn.MLP:
    """A network of which the last layer's weights are `scale` times as large as drawn."""
    drawn = eqx.nn.MLP(SIZE, SIZE, WIDTH, DEPTH, jax.nn.tanh, key=jax.random.key(0))
    return eqx.tree_at(lambda net: net.layers[-1].weight, drawn, replace_fn=lambda w: scale * w)


def distance(end: Array) -> Array:
    """The loss of an end."""
    return jnp.sum((end - jnp.asarray(TARGET)) ** 2)


def ours(order: int, rtol: float | None, max_steps: int) -> Loss:
    """The loss of the weights by a circuit that carries the state on one wire."""
    calculus = ag.Real(order=order, rtol=rtol, max_steps=max_steps)

    def loss(net: Any, start: Array) -> Array:
        circuit = (ag.Function(net, 1) >> ag.Register("t", start) >> ag.Split()).trace()
        return distance(ag.simulate(circuit, [0.0, END], calculus=calculus).output[-1])

    return loss


def by_diffrax(solver: diffrax.AbstractSolver, tolerance: float, max_steps: int) -> Loss:
    """The same by diffrax."""

    def loss(net: Any, start: Array) -> Array:
        run = peers.in_diffrax(net, solver, tolerance, END, max_steps=max_steps)
        return distance(run(start)[0])

    return loss


def flat(tree: Any) -> np.ndarray:
    """All numbers of a gradient."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def off(found: Any, expected: Any) -> str:
    """The error of a gradient, relative to its largest entry."""
    difference = np.max(np.abs(flat(found) - flat(expected)))
    return f"{difference / np.max(np.abs(flat(expected))):.0e}"


def compare(scale: float) -> tuple[list[list[str]], float]:
    """Rows of the table of one network, and how many times faster than Tsit5 our best run is."""
    start = jnp.asarray(START)
    weights, static = eqx.partition(network(scale), eqx.is_array)
    losses = {f"ours, order {order}": ours(order, TOLERANCE, ROOM) for order in ORDERS}
    losses["Tsit5"] = by_diffrax(diffrax.Tsit5(), TOLERANCE, ROOM)

    def differentiated(loss: Loss) -> Callable[..., Any]:
        return jax.value_and_grad(lambda w, y: loss(eqx.combine(w, static), y))

    exact = peers.compiled(differentiated(ours(20, None, 256)))(weights, start)[1]
    dopri8 = differentiated(by_diffrax(diffrax.Dopri8(), 1e-14, 4096))
    reference = off(peers.compiled(dopri8)(weights, start)[1], exact)
    runs, first, errors = {}, {}, {}
    for name, loss in losses.items():
        run = peers.compiled(differentiated(loss))
        first[name] = timing.timed(lambda run=run: run(weights, start))
        errors[name] = off(run(weights, start)[1], exact)
        runs[name] = lambda run=run: run(weights, start)
        value = peers.compiled(lambda w, y, loss=loss: loss(eqx.combine(w, static), y))
        runs[f"{name}, value"] = lambda value=value: value(weights, start)
    times = timing.interleaved(runs, rounds=11)
    rows = [
        [
            f"{scale:g}",
            name,
            errors[name],
            timing.duration(first[name]),
            timing.duration(times[f"{name}, value"]),
            timing.duration(times[name]),
            f"{times['Tsit5'] / times[name]:.2f}",
        ]
        for name in losses
    ]
    rows.append([f"{scale:g}", "Dopri8 at 1e-14", reference, "", "", "", ""])
    best = min(times[name] for name in losses if name != "Tsit5")
    return rows, times["Tsit5"] / best


def main() -> None:
    """Prints the table and the ratios."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'equinox')}", end="\n\n")
    compared = {scale: compare(scale) for scale in SCALES}
    header = ["last layer times", "", "gradient's error", "first run (compiles)"]
    header += ["value", "value and gradient", "times faster than Tsit5"]
    print(timing.table(header, [row for rows, _ in compared.values() for row in rows]), end="\n\n")
    for scale, (_, ratio) in compared.items():
        print(f"Last layer times {scale:g}: {ratio:.2f} times as fast as Tsit5.")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
