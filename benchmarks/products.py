"""Six bodies whose pulls are summed by `einsum`, and by a sum of products, one run and 64 at once.

The giant planets and Pluto go round the Sun on circles at first, in three dimensions. Runs are by
default (`Taylor`), and by `Dopri8` at 1e-8 and `Tsit5` at 1e-4; heyoka runs its own model at its
default tolerance. The runs of a batch end a little later one after another.

```bash
python benchmarks/products.py
```
"""

import functools
from collections.abc import Callable
from typing import Any

import heyoka as hy
import jax
import jax.numpy as jnp
import numpy as np
import peers
import timing

import asgard as ag

MASSES = np.array([1.0, 1e-3, 3e-4, 5e-5, 5e-5, 1e-8])
DISTANCES = np.array([0.0, 5.2, 9.5, 19.2, 30.1, 39.5])
BODIES, END, RUNS = len(MASSES), 600.0, 64
WITHOUT_ITSELF = 1 - np.eye(BODIES)
METHODS = {
    "default": ag.Real(),
    "Dopri8 at 1e-8": ag.Real(method=ag.Dopri8(), rtol=1e-8),
    "Tsit5 at 1e-4": ag.Real(method=ag.Tsit5(), rtol=1e-4),
}
Pulls = Callable[[Any, Any], Any]
FORMS: dict[str, Pulls] = {
    "einsum": lambda weights, between: jnp.einsum("ij,ijk->ik", weights, between),
    "a sum": lambda weights, between: jnp.sum(weights[..., None] * between, 1),
}


def start() -> tuple[np.ndarray, np.ndarray]:
    """Places and velocities on circles."""
    x, v = np.zeros((BODIES, 3)), np.zeros((BODIES, 3))
    x[:, 0] = DISTANCES
    v[1:, 1] = DISTANCES[1:] ** -0.5
    return x, v


def bodies(pulls: Pulls) -> ag.Circuit:
    """The bodies, whose pulls are summed by a function of weights and differences of places."""

    def rates(t: Any, y: Any) -> Any:
        del t
        between = y["x"][None] - y["x"][:, None]
        squares = jnp.sum(between * between, -1) + np.eye(BODIES)
        weights = MASSES * WITHOUT_ITSELF / (squares * jnp.sqrt(squares))
        return {"x": y["v"], "v": pulls(weights, between)}

    x, v = start()
    return ag.ode(rates, {"x": jnp.array(x), "v": jnp.array(v)})


def in_heyoka() -> Callable[[], Any]:
    """heyoka's model from the start."""
    begin = np.concatenate(start(), axis=1).ravel()
    integrator = hy.taylor_adaptive(hy.model.nbody(BODIES, masses=MASSES), begin)

    def run() -> Any:
        integrator.time = 0.0
        integrator.state[:] = begin
        integrator.propagate_until(END)
        return integrator.state

    return run


def main() -> None:
    """Prints the table."""
    runs: dict[str, Callable[[], Any]] = {}
    kernels: dict[str, str] = {}
    for form, pulls in FORMS.items():
        circuit = bodies(pulls)
        for method, calculus in METHODS.items():

            def end(last: Any, circuit: Any = circuit, calculus: Any = calculus) -> Any:
                run = ag.simulate(circuit, jnp.stack([0.0, last]), calculus=calculus)
                return run["x"][-1], run.stats["kernel"]

            ends = END + jnp.linspace(0.0, 0.1, RUNS)
            single, batch = jax.jit(end), jax.jit(jax.vmap(end))
            for count, run, given in (("one", single, END), (RUNS, batch, ends)):
                name = f"{form}, {method}, {count}"
                runs[name] = functools.partial(run, given)
                kernels[name] = "yes" if np.all(run(given)[1]) else "no"
    runs["heyoka, one"] = in_heyoka()
    rows = [
        [name, timing.duration(seconds), kernels.get(name, "")]
        for name, seconds in timing.interleaved(runs, rounds=5).items()
    ]
    print(f"{timing.setting()}, {peers.versions('heyoka')}", end="\n\n")
    timing.print_table(["pulls by, method, runs at once", "time", "a kernel"], rows)


if __name__ == "__main__":
    timing.stay_in_thread()
    with jax.enable_x64(True):
        main()
