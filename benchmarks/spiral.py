"""A whole training run: a neural ODE learns spirals by 500 steps of Adam, against diffrax.

The spirals are y' = A y³ (Chen, Rubanova, Bettencourt and Duvenaud, *Neural ordinary differential
equations*, 2018), from 64 starts, saved at 11 times; the network is a perceptron of two hidden
layers of 64 with softplus, in float32. All ways run the same 500 steps on all spirals at the same
tolerance, compiled as one loop. By us: `ag.fit`, and by hand with optax under `lax.scan`, each with
the batch in the wire; diffrax by `jax.vmap` with its default adjoint.

`python benchmarks/spiral.py losses` shows how far the losses of the two ways part, beside how far
each parts from itself where all weights begin some roundings away, in float32 and in float64.
"""

import sys
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import peers
import timing
from jax import Array
from neural_ode_batch import Slope

import asgard as ag

TIMES = np.linspace(0.0, 1.5, 11)
SPIRALS, WIDTH, STEPS = 64, 64, 500
TOLERANCES, MAX_STEPS = (1e-3, 1e-5), 64
OPTIMIZER = optax.adam(3e-3)
PEER = "diffrax and optax"
ROUNDINGS = 4
Loss = Callable[..., Array]


def spirals(key: Array) -> tuple[Array, Array]:
    """Starts `[spirals, 2]`, and the states at all times, `[times, spirals, 2]`."""
    matrix = jnp.array([[-0.1, 2.0], [-2.0, -0.1]])
    starts = jax.random.uniform(key, (SPIRALS, 2), minval=-1.5, maxval=1.5)
    term = diffrax.ODETerm(lambda t, y, args: y**3 @ matrix)
    control = diffrax.PIDController(rtol=1e-6, atol=1e-6)
    found = diffrax.diffeqsolve(
        *(term, diffrax.Tsit5(), TIMES[0], TIMES[-1], None, starts),
        saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
        stepsize_controller=control,
    )
    assert found.ys is not None
    return starts, found.ys


def circuit_of(network: Any, starts: Array) -> ag.Circuit:
    """All spirals on one wire; the starts are not learnt."""
    register = ag.Register("t", starts)
    return (ag.Function(Slope(network), 1) >> register >> ag.Split()).trace()


def ours(circuit: ag.Circuit, truth: Array, tolerance: Array) -> Array:
    """The mean square error of a circuit's run."""
    calculus = ag.Real(method=ag.Tsit5(), rtol=tolerance, atol=tolerance, max_steps=MAX_STEPS)
    found = ag.simulate(circuit, TIMES, calculus=calculus, throw=False).output
    return jnp.mean((found - truth) ** 2)


def in_diffrax(network: Any, starts: Array, truth: Array, tolerance: Array) -> Array:
    """The same by diffrax."""
    term = diffrax.ODETerm(lambda t, y, network: network(y))

    def run(start: Array) -> Any:
        return diffrax.diffeqsolve(
            *(term, diffrax.Tsit5(), TIMES[0], TIMES[-1], None, start, network),
            saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=MAX_STEPS,
        ).ys

    return jnp.mean((jnp.swapaxes(jax.vmap(run)(starts), 0, 1) - truth) ** 2)


def trained(loss: Loss, rest: Any) -> Callable[..., tuple[Any, Array]]:
    """All steps by hand: the weights after them, and each step's loss; to be compiled."""

    def run(weights: Any, starts: Array, truth: Array, tolerance: Array) -> tuple[Any, Array]:
        def of_weights(weights: Any) -> Array:
            return loss(eqx.combine(weights, rest), starts, truth, tolerance)

        def step(carry: Any, _: None) -> tuple[Any, Array]:
            weights, state = carry
            value, gradient = jax.value_and_grad(of_weights)(weights)
            updates, state = OPTIMIZER.update(gradient, state, weights)
            return (optax.apply_updates(weights, updates), state), value

        begin = weights, OPTIMIZER.init(weights)
        (weights, _), values = jax.lax.scan(step, begin, length=STEPS)
        return weights, values

    return run


def rows(tolerance: float) -> list[list[str]]:
    """A row for each way to train."""
    keys = jax.random.split(jax.random.key(0), 2)
    starts, truth = spirals(keys[0])
    network = eqx.nn.MLP(2, 2, WIDTH, 2, activation=jax.nn.softplus, key=keys[1])
    weights, rest = eqx.partition(network, eqx.is_array)
    circuit, data = circuit_of(network, starts), (truth, jnp.asarray(tolerance))

    def moves(name: str, value: Array) -> bool:
        return not name.endswith("initial")

    def fitted() -> Array:
        options: dict[str, Any] = {"optimizer": OPTIMIZER, "steps": STEPS, "trainable": moves}
        return ag.fit(circuit, ours, args=data, **options).losses

    def by_circuit(network: Any, starts: Array, *data: Array) -> Array:
        return ours(circuit_of(network, starts), *data)

    by_hand, by_diffrax = (peers.compiled(trained(loss, rest)) for loss in (by_circuit, in_diffrax))
    runs: dict[str, Callable[[], Array]] = {
        "ag.fit": fitted,
        "ours by hand": lambda: by_hand(weights, starts, *data)[1],
        PEER: lambda: by_diffrax(weights, starts, *data)[1],
    }
    firsts = {name: timing.timed(run) for name, run in runs.items()}
    losses = {name: run() for name, run in runs.items()}
    times = timing.interleaved(runs, rounds=5)
    return [
        [
            f"{tolerance:.0e}",
            name,
            *(f"{losses[name][step]:.4f}" for step in (100, 400, STEPS - 1)),
            timing.duration(firsts[name]),
            timing.duration(times[name]),
            f"{firsts[PEER] / firsts[name]:.2f}",
            f"{times[PEER] / times[name]:.2f}",
        ]
        for name in runs
    ]


def apart(tolerance: float, dtype: Any) -> list[list[str]]:
    """How far losses part after some steps: the two ways, and each from a start moved a little."""
    keys = jax.random.split(jax.random.key(0), 2)
    network = eqx.nn.MLP(2, 2, WIDTH, 2, activation=jax.nn.softplus, key=keys[1])
    starts, truth = spirals(keys[0])
    network, starts, truth = jax.tree.map(
        lambda x: x.astype(dtype) if eqx.is_array(x) else x, (network, starts, truth)
    )
    weights, rest = eqx.partition(network, eqx.is_array)
    data = truth, jnp.asarray(tolerance, dtype)
    moved = jax.tree.map(lambda x: x * (1 + ROUNDINGS * jnp.finfo(dtype).eps), weights)

    def by_circuit(network: Any, starts: Array, *data: Array) -> Array:
        return ours(circuit_of(network, starts), *data)

    found = {}
    for name, loss in (("ours", by_circuit), (PEER, in_diffrax)):
        run = peers.compiled(trained(loss, rest))
        found[name] = [run(begin, starts, *data)[1] for begin in (weights, moved)]
    (mine, mine_moved), (theirs, theirs_moved) = found.values()
    pairs = {
        "the two ways": (mine, theirs),
        "ours, moved": (mine, mine_moved),
        f"{PEER}, moved": (theirs, theirs_moved),
    }
    return [
        [
            jnp.dtype(dtype).name,
            f"{tolerance:.0e}",
            name,
            *(f"{float(jnp.max(jnp.abs(a - b)[:step])):.1e}" for step in (100, 400, STEPS)),
        ]
        for name, (a, b) in pairs.items()
    ]


def losses() -> None:
    """Prints how far losses part."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'equinox', 'optax')}\n")
    rows: list[list[str]] = []
    for dtype, tolerances in {"float32": (1e-3, 1e-5), "float64": (1e-3, 1e-5, 1e-7)}.items():
        with jax.enable_x64(dtype == "float64"):
            rows += [row for one in tolerances for row in apart(one, dtype)]
    header = ["", "tolerance", "largest difference of losses", "in 100 steps", "in 400", "in 500"]
    timing.print_table(header, rows)


def main() -> None:
    """Prints the table."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'equinox', 'optax')}\n")
    header = ["tolerance", "training", "loss after 100", "after 400", "last"]
    header += ["first run (compiles)", "run", "times faster, first", "times faster"]
    timing.print_table(header, (row for one in TOLERANCES for row in rows(one)))


if __name__ == "__main__":
    losses() if sys.argv[1:] == ["losses"] else main()
