"""A step of a fit of Lotka-Volterra to the pelt records of lynx and hare, against other ways.

The loss is the root mean square error of logarithms, over six numbers, moved by Adam. Measured per
step are: `ag.fit`; the same written by hand with diffrax and optax under `lax.scan`, at a tolerance
of equal accuracy; and the old way, in which Python rebuilds the circuit for each of twelve runs and
takes central differences. Besides, what the loop of `ag.fit` adds to a bare jitted gradient step.

Accuracy is that of the gradient at the start, relative, against heyoka in 200 bits.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import peers
import timing
from jax import Array

import asgard as ag

RECORDS = Path(__file__).parents[1] / "examples" / "data" / "lynx_hare.csv"
START = np.array([0.6, 0.03, 0.7, 0.02, 30.0, 5.0])
STEPS = 200
RATE = 1e-3
# Each side with no more room for steps than it needs, since reverse mode pays for it.
OURS = ag.Real(order=12, rtol=1e-7, max_steps=64)
PEERS = {
    "Tsit5 at 1e-7": (diffrax.Tsit5(), 1e-7, 256, "reverse"),
    "Tsit5 at 1e-7, forward": (diffrax.Tsit5(), 1e-7, 256, "forward"),
    "Dopri8 at 1e-6": (diffrax.Dopri8(), 1e-6, 128, "reverse"),
    "Dopri8 at 1e-6, forward": (diffrax.Dopri8(), 1e-6, 128, "forward"),
}
MOST_OVERHEAD = 0.05
OLD_WAY = 100

Numbers = dict[str, Any]
NAMES = ("a", "b", "c", "d", "x", "y")


class LynxHare(ag.Block):
    """The system by its six numbers."""

    a: Array
    b: Array
    c: Array
    d: Array
    x: Array
    y: Array

    def circuit(self) -> ag.Circuit:
        meet = ag.Multiplication() >> ag.Split()
        copies = ag.Split() @ ag.Split()  # x, x, y, y: what grows, what meets, what dies
        grow_and_meet = copies >> ag.Scalar(self.a) @ meet @ ag.Scalar(-self.c)
        balance = ag.Id() @ ag.Scalar(-self.b) @ ag.Scalar(self.d) @ ag.Id() >> ag.Add() @ ag.Add()
        registers = ag.Register("t", self.x) @ ag.Register("t", self.y)
        twice = ag.Split() @ ag.Split() >> ag.Permute((0, 2, 1, 3))
        return (grow_and_meet >> balance >> registers >> twice).trace(2)


def records() -> tuple[Array, Array]:
    """Years since 1900, and the logarithms of what was counted, [years, species]."""
    years, *counted = np.loadtxt(RECORDS, delimiter=",", skiprows=1, unpack=True)
    return jnp.asarray(years - years[0]), jnp.log(jnp.stack(counted, axis=1))


def error(states: Array, logs: Array) -> Array:
    """The root mean square error of logarithms."""
    return jnp.sqrt(jnp.mean((jnp.log(states) - logs) ** 2))


def ours(circuit: ag.Circuit, ts: Array, logs: Array) -> Array:
    """The loss by us."""
    outputs = ag.simulate(circuit, ts, calculus=OURS).outputs
    return error(jnp.stack(outputs, axis=1), logs)


def by_diffrax(
    solver: diffrax.AbstractSolver, tolerance: float, max_steps: int, mode: str
) -> Callable[[Numbers, Array, Array], tuple[Array, Numbers]]:
    """The loss and its gradient by diffrax, in forward or reverse mode as it does either best."""
    adjoints = {"forward": diffrax.ForwardMode, "reverse": diffrax.RecursiveCheckpointAdjoint}
    adjoint = adjoints[mode]()

    def loss(numbers: Numbers, ts: Array, logs: Array) -> Array:
        a, b, c, d, x, y = (numbers[name] for name in NAMES)

        def rates(t: Any, state: Array, args: Any) -> Array:
            x, y = state
            return jnp.stack([a * x - b * x * y, -c * y + d * x * y])

        found = diffrax.diffeqsolve(
            *(diffrax.ODETerm(rates), solver, ts[0], ts[-1], None, jnp.stack([x, y])),
            saveat=diffrax.SaveAt(ts=ts),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=max_steps,
            adjoint=adjoint,
        )
        assert found.ys is not None
        return error(found.ys, logs)

    def twice(*arguments: Any) -> tuple[Array, Array]:
        value = loss(*arguments)
        return value, value

    if mode == "reverse":
        return jax.value_and_grad(loss)
    return lambda *arguments: jax.jacfwd(twice, has_aux=True)(*arguments)[::-1]


def by_hand(both: Callable[..., Any], optimizer: Any) -> Callable[..., Any]:
    """A loop of optax under `lax.scan`, from a loss and its gradient."""

    def fit(numbers: Any, ts: Array, logs: Array) -> Any:
        def step(carry: Any, _: None) -> tuple[Any, Array]:
            numbers, state = carry
            value, gradient = both(numbers, ts, logs)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(numbers, updates), state), value

        return jax.lax.scan(step, (numbers, optimizer.init(numbers)), length=STEPS)

    return jax.jit(fit)


def old_way(data: tuple[Array, Array]) -> Callable[[], np.ndarray]:
    """One step of Adam in Python: a circuit is built for each run, and differences are taken."""
    optimizer = optax.adam(RATE)
    ts, logs = data

    def loss(numbers: np.ndarray) -> float:
        circuit = LynxHare(*numbers)
        outputs = ag.simulate(circuit, ts, calculus=OURS).outputs
        return float(error(jnp.stack(outputs, axis=1), logs))

    def step() -> np.ndarray:
        gradient = np.empty(6)
        for place in range(6):
            moved = np.zeros(6)
            moved[place] = 1e-6 * START[place]
            gradient[place] = (loss(START + moved) - loss(START - moved)) / (2 * moved[place])
        updates, _ = optimizer.update(gradient, optimizer.init(START))
        return np.asarray(optax.apply_updates(START, updates))

    return step


def exact_gradient(data: tuple[Array, Array]) -> np.ndarray:
    """The loss's slopes by central differences of sixth order, in 60 digits of the states."""
    ts, logs = (np.asarray(part) for part in data)

    def loss(numbers: np.ndarray) -> float:
        a, b, c, d, *start = numbers
        states = peers.exact(
            lambda x, y: [a * x - b * x * y, -c * y + d * x * y], start, ts[1:].tolist()
        )
        found = np.log(np.vstack([start, states]))
        return float(np.sqrt(np.mean((found - logs) ** 2)))

    gradient = np.empty(6)
    for place in range(6):
        step = np.zeros(6)
        step[place] = 1e-3 * START[place]
        weights = ((1, 45), (2, -9), (3, 1))
        slope = sum(w * (loss(START + k * step) - loss(START - k * step)) for k, w in weights)
        gradient[place] = slope / (60 * step[place])
    return gradient


def main() -> None:
    """Prints the tables and whether the targets are met."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'optax')}", end="\n\n")
    data, optimizer = records(), optax.adam(RATE)
    circuit = LynxHare(*START)
    numbers = dict(zip(NAMES, map(jnp.asarray, START), strict=True))
    losses = {name: by_diffrax(*setting) for name, setting in PEERS.items()}
    exact = exact_gradient(data)

    def miss(gradient: Numbers) -> float:
        slopes = np.array([gradient[name] for name in NAMES])
        return float(np.max(np.abs(slopes / exact - 1)))

    misses = {"ag.fit": miss(ag.parameters(jax.jit(jax.grad(ours))(circuit, *data)))}
    runs: dict[str, Callable[[], Any]] = {
        "ag.fit": lambda: ag.fit(circuit, ours, args=data, optimizer=optimizer, steps=STEPS).losses,
    }
    hand = {name: by_hand(loss, optimizer) for name, loss in losses.items()}
    plain = by_hand(jax.value_and_grad(ours), optimizer)
    runs["ours by hand"] = lambda: plain(circuit, *data)[1]
    misses["ours by hand"] = misses["ag.fit"]
    for name, loss in losses.items():
        misses[name] = miss(jax.jit(loss)(numbers, *data)[1])
        runs[name] = lambda run=hand[name]: run(numbers, *data)[1]
    first = {name: timing.timed(run) for name, run in runs.items()}
    times = {name: time / STEPS for name, time in timing.interleaved(runs).items()}
    slow = old_way(data)
    times["the old way"] = timing.interleaved({"old": slow}, rounds=5)["old"]

    rows = [
        [
            name,
            f"{misses[name]:.0e}" if name in misses else "",
            f"{first[name]:.2f} s" if name in first else "",
            timing.duration(time),
            f"{time / times['ag.fit']:.2f}",
        ]
        for name, time in times.items()
    ]
    header = ["a step of Adam", "gradient's error", "first fit (compiles)", "time", "to ag.fit"]
    print(timing.table(header, rows), end="\n\n")
    overhead(circuit, data, optimizer)
    peer = min(times[name] for name in PEERS)
    for what, holds in (
        (
            f"at least as fast as diffrax and optax by hand ({peer / times['ag.fit']:.2f})",
            times["ag.fit"] <= peer,
        ),
        (
            f"{OLD_WAY} times faster than the old way",
            times["the old way"] >= OLD_WAY * times["ag.fit"],
        ),
    ):
        print(f"{'met' if holds else 'MISSED'}: {what}")


def overhead(circuit: ag.Circuit, data: tuple[Array, Array], optimizer: Any) -> None:
    """Prints what the loop adds to a gradient and an update, jitted by themselves.

    A call of a jitted function costs some tens of microseconds before it runs, which a loop saves.
    So what the loop of `ag.fit` adds is the difference to the plainest of loops, which does nothing
    but bare steps. A step is the difference between fits of two lengths: what is left is the fixed
    cost of a call, in which the start is checked and the optimiser's state is made.
    """
    state = optimizer.init(circuit)

    def bare(circuit: Any, state: Any, ts: Array, logs: Array) -> tuple[Any, Any]:
        gradient = jax.grad(ours)(circuit, ts, logs)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(circuit, updates), state

    def plain(steps: int) -> Callable[[], Any]:
        loop = jax.jit(
            lambda *start: jax.lax.fori_loop(0, steps, lambda _, k: bare(k[0], k[1], *data), start)
        )
        return lambda: loop(circuit, state)

    def fitted(steps: int) -> Callable[[], Any]:
        return lambda: ag.fit(circuit, ours, args=data, optimizer=optimizer, steps=steps).losses

    step = jax.jit(bare)
    runs = {"bare": lambda: step(circuit, state, *data)}
    for name, loop in (("plain", plain), ("fit", fitted)):
        runs |= {f"{name} short": loop(STEPS), f"{name} long": loop(5 * STEPS)}
    times = timing.interleaved(runs, rounds=21)
    each = {
        name: (times[f"{name} long"] - times[f"{name} short"]) / (4 * STEPS)
        for name in ("plain", "fit")
    }
    rows = [["a bare jitted step", timing.duration(times["bare"]), ""]]
    for name, label in (("plain", "a plain loop of bare steps"), ("fit", "ag.fit")):
        fixed = max(times[f"{name} short"] - STEPS * each[name], 0.0)
        rows.append([label, timing.duration(each[name]), timing.duration(fixed)])
    print(timing.table(["loop", "a step", "a call besides"], rows), end="\n\n")
    added = (each["fit"] - each["plain"]) / times["bare"]
    print(f"{'met' if added < MOST_OVERHEAD else 'MISSED'}: the loop adds {added:+.1%} to a step")


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
