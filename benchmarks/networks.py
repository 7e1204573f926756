"""Batches of equations with networks inside, at equal errors: values and gradients against diffrax.

In float32 by `jax.vmap`, with the weights as an argument, the same for all or each its own. Every
method runs at tolerances from 1e-1 to 1e-6; of the runs whose error is at most the one asked for,
the fastest counts. Those of all methods are then timed in turn. Errors are root mean squares over
the batch at all saved times, relative to that of the states, against diffrax's Dopri8 at 1e-10 in
float64. The gradient is that of the mean square of all saved states to the weights, with diffrax's
default adjoint.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing

import asgard as ag

ERRORS = (1e-2, 1e-3, 1e-4, 1e-5)
TOLERANCES = tuple(10.0 ** -(half / 2) for half in range(2, 13))
MAX_STEPS = 1024
Field = Callable[[Any, Any, Any], Any]
Run = Callable[[Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """y' = field(weights, t, y) from a batch of starts, saved at some times; with the same weights
    for all, or each with its `own`."""

    name: str
    field: Field
    weights: Any
    starts: Any
    times: Sequence[float]
    own: bool = False

    @property
    def axes(self) -> tuple[int | None, int, None]:
        """Those of weights, starts and the tolerance over which a batch is mapped."""
        return (0 if self.own else None, 0, None)


def perceptron(key: Any, sizes: Sequence[int]) -> list[Any]:
    """Random weights of a network's layers."""
    keys = jax.random.split(key, len(sizes))
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=False)
    return [jax.random.normal(one, (m, n), jnp.float32) / np.sqrt(m) for one, m, n in pairs]


def network(activation: Callable[[Any], Any], weights: Sequence[Any], y: Any) -> Any:
    """What a network makes of y."""
    for weight in weights[:-1]:
        y = activation(y @ weight)
    return y @ weights[-1]


def density(weights: Any, t: Any, y: Any) -> Any:
    """A flow, and the logarithm of its density by the trace of the Jacobian."""

    def slope(x: Any) -> Any:
        return network(jax.nn.softplus, weights, jnp.append(x, t))

    return slope(y[0]), -jnp.trace(jax.jacfwd(slope)(y[0]))


def estimated(weights: Any, t: Any, y: Any) -> Any:
    """The same by Hutchinson's estimate of the trace."""
    layers, noise = weights
    slope, pull = jax.vjp(lambda x: network(jnp.tanh, layers, jnp.append(x, t)), y[0])
    return slope, -jnp.dot(pull(noise)[0], noise)


def energy(weights: Any, t: Any, y: Any) -> Any:
    """A Hamiltonian network."""

    def total(y: Any) -> Any:
        return network(jnp.tanh, weights, y)[0] + 0.5 * jnp.sum(y**2)

    slope = jax.grad(total)(y)
    return jnp.stack([slope[1], -slope[0]])


def gated(weights: Any, t: Any, y: Any) -> Any:
    """A GRU in continuous time."""
    update, reset = (jax.nn.sigmoid(y @ weight) for weight in weights[:2])
    return (1 - update) * (jnp.tanh((reset * y) @ weights[2]) - y)


def predators(weights: Any, t: Any, y: Any) -> Any:
    """Lotka and Volterra's equations, and what a network adds."""
    eaten = y[0] * y[1]
    known = jnp.stack([1.3 * y[0] - 0.9 * eaten, 0.8 * eaten - 1.8 * y[1]])
    return known + 0.05 * network(jnp.tanh, weights, y)


def wide(weights: Any, t: Any, y: Any) -> Any:
    """A wide network."""
    return network(jnp.tanh, weights, y)


def decaying(weights: Any, t: Any, y: Any) -> Any:
    """A small network, and a decay."""
    return network(jnp.tanh, weights, y) - 0.1 * y


def convolved(weights: Any, t: Any, y: Any) -> Any:
    """Two convolutions of a picture, `[channels, height, width]`."""
    for weight in weights:
        y = jax.lax.conv_general_dilated(jnp.tanh(y)[None], weight, (1, 1), "SAME")[0]
    return y


def attention(weights: Any, t: Any, y: Any) -> Any:
    """Self-attention of tokens, `[tokens, features]`."""
    query, key, value = (y @ weight for weight in weights)
    return jax.nn.softmax(query @ key.T / np.sqrt(y.shape[1])) @ value - y


def graph(weights: Any, t: Any, y: Any) -> Any:
    """Messages along the edges of a graph, of nodes `[nodes, features]`."""
    edges, first, second = weights
    return jnp.tanh(edges @ (y @ first)) @ second - y


def all_problems() -> list[Problem]:
    """The problems, from random weights and starts."""
    key = jax.random.key(0)

    def normal(*shape: int) -> Any:
        return jax.random.normal(key, shape, jnp.float32)

    def of_density(starts: Any) -> Any:
        return starts, jnp.zeros(len(starts), jnp.float32)

    flow = perceptron(key, (3, 64, 64, 2))
    hutchinson = perceptron(key, (9, 64, 64, 8)), normal(8)
    small = perceptron(key, (2, 16, 16, 2))
    matrices = list(normal(3, 32, 32) / 6)
    edges = jnp.where(normal(30, 30) > 1, 0.25, 0.0), *normal(2, 8, 8) / 3
    keys = jax.random.split(key, 1000)
    many = jax.vmap(lambda one: perceptron(one, (4, 32, 32, 4)))(keys)
    unit, ten = (0.0, 1.0), np.linspace(0.0, 10.0, 50).tolist()
    return [
        Problem("flow, trace, 64", density, flow, of_density(normal(64, 2)), unit),
        Problem("flow, trace, 512", density, flow, of_density(normal(512, 2)), unit),
        Problem("flow, estimated, 256", estimated, hutchinson, of_density(normal(256, 8)), unit),
        Problem("Hamiltonian, 128", energy, perceptron(key, (2, 64, 64, 1)), normal(128, 2), ten),
        Problem("gated, 64", gated, matrices, normal(64, 32), np.linspace(0, 5, 20).tolist()),
        Problem("predators, 8", predators, small, 1 + jnp.abs(normal(8, 2)) / 2, ten),
        Problem(
            "own networks, 1,000",
            decaying,
            many,
            normal(1000, 4),
            np.linspace(0, 5, 11).tolist(),
            True,
        ),
        Problem(
            "convolution, 16",
            convolved,
            list(normal(2, 8, 8, 3, 3) / 8),
            normal(16, 8, 16, 16),
            unit,
        ),
        Problem("attention, 64", attention, list(normal(3, 8, 8) / 3), normal(64, 32, 8), unit),
        Problem("graph, 64", graph, edges, normal(64, 30, 8), unit),
        Problem("wide, 128", wide, perceptron(key, (32, 256, 256, 32)), normal(128, 32), unit),
    ]


def ours(problem: Problem, method: ag.StepMethod | None) -> Run:
    """The saved states, of the weights, the starts and the tolerance."""
    times = np.asarray(problem.times, "f4")

    def run(weights: Any, start: Any, tolerance: Any) -> Any:
        circuit = ag.ode(lambda t, y: problem.field(weights, t, y), start)
        calculus = ag.Real(method=method, rtol=tolerance, atol=tolerance, max_steps=MAX_STEPS)
        return ag.simulate(circuit, times, calculus=calculus, throw=False).outputs

    return jax.vmap(run, in_axes=problem.axes)


def in_diffrax(
    problem: Problem, solver: diffrax.AbstractSolver, dtype: Any = np.float32, most: int = MAX_STEPS
) -> Run:
    """The same by diffrax."""
    times = np.asarray(problem.times, dtype)

    def run(weights: Any, start: Any, tolerance: Any) -> Any:
        term = diffrax.ODETerm(lambda t, y, weights: problem.field(weights, t, y))
        return diffrax.diffeqsolve(
            *(term, solver, times[0], times[-1], None, start, weights),
            saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=most,
            throw=False,
        ).ys

    return jax.vmap(run, in_axes=problem.axes)


def joined(states: Any) -> np.ndarray:
    """All saved states in one vector."""
    return np.concatenate([np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(states)])


def picked(problem: Problem, run: Run, exact: np.ndarray, gradient: bool) -> dict[float, Any]:
    """For each error asked for, the run at the tolerance that meets it fastest."""
    value, best = jax.jit(run), {}

    def loss(weights: Any, starts: Any, tolerance: Any) -> Any:
        states = run(weights, starts, tolerance)
        return sum(jnp.mean(leaf**2) for leaf in jax.tree.leaves(states))

    timed = jax.jit(jax.value_and_grad(loss)) if gradient else value
    for tolerance in map(np.float32, TOLERANCES):
        one = functools.partial(timed, problem.weights, problem.starts, tolerance)
        found = joined(value(problem.weights, problem.starts, tolerance))
        error = np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2))
        timing.timed(one)
        seconds = min(timing.timed(one) for _ in range(3))
        for asked in ERRORS:
            if error <= asked and seconds < best.get(asked, (np.inf, None))[0]:
                best[asked] = seconds, one
        if ERRORS[-1] in best:
            break
    return {asked: one for asked, (_, one) in best.items()}


def rows(problem: Problem, gradient: bool) -> list[list[str]]:
    """A row for ours and one for diffrax's best, of times and its ratio to ours."""
    with jax.enable_x64(True):
        double = jax.tree.map(lambda x: x.astype("f8"), (problem.weights, problem.starts))
        end = jax.jit(in_diffrax(problem, diffrax.Dopri8(), np.float64, 10**4))
        exact = joined(end(*double, 1e-10))
    runs = {"ours": ours(problem, None), "Tsit5": ours(problem, ag.Tsit5())}
    runs |= {
        f"diffrax {type(solver).__name__}": in_diffrax(problem, solver)
        for solver in (diffrax.Tsit5(), diffrax.Dopri5(), diffrax.Dopri8())
    }
    best = {name: picked(problem, run, exact, gradient) for name, run in runs.items()}
    cells: dict[str, list[str]] = {"asgard": [], "diffrax": []}
    for asked in ERRORS:
        times = timing.interleaved({n: one[asked] for n, one in best.items() if asked in one}, 7)
        mine = min((s for n, s in times.items() if "diffrax" not in n), default=np.nan)
        other = min((s for n, s in times.items() if "diffrax" in n), default=np.nan)
        cells["asgard"].append(timing.duration(mine) if mine == mine else "")
        ratio = f"{timing.duration(other)} ({other / mine:.2f})"
        cells["diffrax"].append(ratio if other == other else "")
    name = problem.name + (", gradient" if gradient else "")
    return [[name, side, *row] for side, row in cells.items()]


def main(wanted: list[str]) -> None:
    """Prints the table, of the problems whose names begin as asked for."""
    print(f"{timing.setting()}, {peers.versions('diffrax')}\n")
    header = ["problem, batch", "by", *(f"error {asked:.0e}" for asked in ERRORS)]
    chosen = [p for p in all_problems() if not wanted or p.name.startswith(tuple(wanted))]
    cases = ((problem, gradient) for problem in chosen for gradient in (False, True))
    timing.print_table(header, (row for case in cases for row in rows(*case)))


if __name__ == "__main__":
    main(sys.argv[1:])
