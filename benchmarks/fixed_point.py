"""Fixed points against optimistix, and against a Python loop that runs until nothing changes.

Kepler's equation E = M + e sin E on many orbits, and a loop of 100 wires, at equal error.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from peers import versions
from timing import duration, interleaved, setting, table, timed

import asgard as ag

ORBITS = 100_000
WIRES = 100

Solve = Callable[..., jax.Array]


def orbit(e: Any) -> ag.Circuit:
    """The eccentric anomaly of a mean anomaly: 1 -> 1."""
    equation = (ag.Id() @ (ag.Sin() >> ag.Scalar(e))) >> ag.Add() >> ag.Var("x")
    return (equation >> ag.Split()).trace()


def of_circuit(circuit: ag.Circuit, inputs: Any, method: str, **guess: Any) -> jax.Array:
    """A loop's value at constant inputs."""
    stream = ag.Stream(inputs[..., None], "t")
    how = ag.FixedPoint(method, guess=guess)
    found = ag.series(circuit, stream, order=0, fixed_point=how)
    assert isinstance(found, ag.Stream)
    return found.coefficients[..., 0]


def of_optimistix(fn: Callable[..., Any], args: Any, start: Any, solver: Any) -> jax.Array:
    """The same by a solver of optimistix: the fixed point of fn(y, args)."""
    if isinstance(solver, optx.AbstractFixedPointSolver):
        return optx.fixed_point(fn, solver, start, args, max_steps=2000, throw=False).value
    residual = lambda y, args: fn(y, args) - y  # noqa: E731
    return optx.root_find(residual, solver, start, args, max_steps=2000, throw=False).value


def kepler() -> tuple[dict[str, Solve], tuple[Any, ...], Callable[[Any], float]]:
    """The solvers of Kepler's equation on all orbits, their arguments, and the error of a value."""
    rng = np.random.default_rng(0)
    e, m = jnp.asarray(rng.uniform(0, 0.9, ORBITS)), jnp.asarray(rng.uniform(0, 6.28, ORBITS))

    def equation(x: Any, args: Any) -> Any:
        e, m = args
        return m + e * jnp.sin(x)

    solvers: dict[str, Solve] = {
        f"asgard, {method}": jax.vmap(
            lambda e, m, method=method: of_circuit(orbit(e), m, method, x=m)
        )
        for method in ("auto", "newton")
    }
    for name, solver in peers().items():
        solvers[name] = jax.vmap(
            lambda e, m, solver=solver: of_optimistix(equation, (e, m), m, solver)
        )
    low, high = np.asarray(m, np.longdouble) - 1, np.asarray(m, np.longdouble) + 1
    for _ in range(70):
        middle = (low + high) / 2
        past = middle - np.asarray(e, np.longdouble) * np.sin(middle) > np.asarray(m)
        low, high = np.where(past, low, middle), np.where(past, middle, high)
    return solvers, (e, m), lambda found: float(np.max(np.abs(np.asarray(found) - low)))


def wires() -> tuple[dict[str, Solve], tuple[Any, ...], Callable[[Any], float]]:
    """The same for x = tanh(W x + b) with 100 unknowns."""
    rng = np.random.default_rng(1)
    weights = jnp.asarray(rng.normal(size=(WIRES, WIRES)) / 25)
    b = jnp.asarray(rng.uniform(-1, 1, WIRES))

    def fn(x: Any, args: Any) -> Any:
        weights, b = args
        return jnp.tanh(weights @ x + b)

    def circuit(weights: Any) -> ag.Circuit:
        affine = ag.Function(jax.tree_util.Partial(lambda w, b, x: fn(x, (w, b)), weights), 2)
        return (affine >> ag.Split()).trace()

    solvers: dict[str, Solve] = {
        f"asgard, {method}": lambda w, b, method=method: of_circuit(circuit(w), b, method)
        for method in ("auto", "newton", "picard")
    }
    for name, solver in peers().items():
        solvers[name] = lambda w, b, solver=solver: of_optimistix(
            fn, (w, b), jnp.zeros(WIRES), solver
        )
    exact = np.zeros(WIRES, np.longdouble)
    for _ in range(300):
        exact = np.tanh(np.asarray(weights, np.longdouble) @ exact + np.asarray(b))
    return solvers, (weights, b), lambda found: float(np.max(np.abs(np.asarray(found) - exact)))


def peers() -> dict[str, Any]:
    """Solvers of optimistix, at tolerances that bring them to the last digits."""
    return {
        "optimistix, FixedPointIteration": optx.FixedPointIteration(rtol=1e-15, atol=1e-15),
        "optimistix, Newton": optx.Newton(rtol=1e-15, atol=1e-15),
    }


def eagerly(b: Any, weights: Any, tolerance: float = 1e-15) -> Any:
    """The loop in Python, operation by operation, until nothing changes."""
    x = jnp.zeros(WIRES)
    for _ in range(2000):
        after = jnp.tanh(weights @ x + b)
        if jnp.max(jnp.abs(after - x)) < tolerance:
            return after
        x = after
    return x


def compare(title: str, problem: Any, rounds: int) -> None:
    """Prints errors, times and ratios to the fastest peer, for values and for gradients."""
    solvers, arguments, error = problem
    value = {name: jax.jit(solve) for name, solve in solvers.items()}
    slope = {
        name: jax.jit(jax.grad(lambda *a, solve=solve: jnp.sum(solve(*a)), argnums=(0, 1)))
        for name, solve in solvers.items()
    }
    errors = {name: error(run(*arguments)) for name, run in value.items()}
    runs = {name: (lambda run=run: run(*arguments)) for name, run in value.items()}
    values = interleaved(runs, rounds)
    runs = {name: (lambda run=run: run(*arguments)) for name, run in slope.items()}
    slopes = interleaved(runs, rounds)
    best = [min(t for n, t in found.items() if "optimistix" in n) for found in (values, slopes)]
    rows = [
        (
            name,
            f"{errors[name]:.0e}",
            duration(values[name]),
            f"{best[0] / values[name]:.2f}",
            duration(slopes[name]),
            f"{best[1] / slopes[name]:.2f}",
        )
        for name in solvers
    ]
    header = (
        title,
        "error",
        "value",
        "times faster than the best peer",
        "gradient",
        "times faster",
    )
    print(table(header, rows), end="\n\n")


def main() -> None:
    """Prints all tables."""
    jax.config.update("jax_enable_x64", True)
    print(f"{setting()}, {versions('optimistix')}", end="\n\n")
    compare(f"Kepler, {ORBITS:,} orbits", kepler(), rounds=9)
    problem = wires()
    compare(f"{WIRES} wires", problem, rounds=99)
    solvers, (weights, b), _ = problem
    compiled = jax.jit(solvers["asgard, auto"])
    slow = min(timed(lambda: eagerly(b, weights)) for _ in range(3))
    fast = interleaved({"asgard": lambda: compiled(weights, b)})["asgard"]
    rows = [
        ("a Python loop", duration(slow), "1"),
        ("asgard", duration(fast), f"{slow / fast:.0f}"),
    ]
    print(table((f"{WIRES} wires", "value", "times faster"), rows))


if __name__ == "__main__":
    main()
