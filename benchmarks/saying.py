"""One system said in three ways: as a function, by its right-hand side, wired by hand.

    python benchmarks/saying.py

Targets: the same run time within 5 %; to build, trace and compile at most 10 % more than by hand.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from timing import duration, interleaved, print_table, setting

import asgard as ag

Build = Callable[[], ag.Circuit]
ROUNDS = 7


@dataclasses.dataclass(frozen=True)
class System:
    """A system: a right-hand side with its initial state, and the circuit wired by hand.

    The function under `@ag.circuit` opens a register for each leaf of the state and feeds it by the
    right-hand side. `field()` makes the right-hand side anew, so nothing of it is known before.
    """

    name: str
    field: Callable[[], Callable[..., Any]]
    start: Any
    wired: Build
    end: float = 5.0
    method: ag.StepMethod | None = None

    def function(self) -> ag.Circuit:
        """The system as a function on wires."""
        field, start = self.field(), self.start

        @ag.circuit
        def system():
            states = jax.tree.map(lambda leaf: ag.register("t", leaf), start)
            slopes = field(ag.Coordinate("t")(), states)
            pairs = zip(jax.tree.leaves(states), jax.tree.leaves(slopes), strict=True)
            for state, slope in pairs:
                state.input = slope
            return tuple(jax.tree.leaves(states))

        return system()

    def ode(self) -> ag.Circuit:
        """The system by its right-hand side."""
        return ag.ode(self.field(), self.start)

    def run(self, circuit: ag.Circuit) -> tuple[Any, ...]:
        """The outputs of a circuit at ten times."""
        ts = np.linspace(0.0, self.end, 10)
        return ag.simulate(circuit, ts, calculus=ag.Real(method=self.method)).outputs


def wired(rate: ag.Circuit, *starts: float) -> ag.Circuit:
    """The loop of a circuit from states to their rates, whose states are also the outputs."""
    count = len(starts)
    registers = [ag.Register("t", start) for start in starts]
    loop = rate >> (ag.Monoidal(*registers) if count > 1 else registers[0])
    copies = ag.Monoidal(*[ag.Split()] * count) if count > 1 else ag.Split()
    order = [2 * i for i in range(count)] + [2 * i + 1 for i in range(count)]
    return (loop >> copies >> ag.Permute(order)).trace(count)


def of_vector(fn: Callable[..., Any], start: Any) -> ag.Circuit:
    """x' = fn(x) on one wire that carries an array."""
    return (ag.Function(fn, 1) >> ag.Register("t", start) >> ag.Split()).trace()


def lorenz_by_hand() -> ag.Circuit:
    product = ag.Multiplication() >> ag.Scalar(-1.0)
    x = ag.Scalar(-10.0) @ ag.Scalar(10.0) >> ag.Add()
    y = ag.Scalar(28.0) @ product @ ag.Scalar(-1.0) >> ag.Add(3)
    z = ag.Multiplication() @ ag.Scalar(-8 / 3) >> ag.Add()
    # Of (x, y, z): x, y | x, x, z, y | x, y, z.
    copies = ag.Split(4) @ ag.Split(3) @ ag.Split(2)
    order = ag.Permute((0, 4, 1, 2, 7, 5, 3, 6, 8))
    return wired(copies >> order >> x @ y @ z, 1.0, 1.0, 1.0)


def lotka_volterra_by_hand() -> ag.Circuit:
    prey = ag.Scalar(0.55) @ ag.Scalar(-0.028) >> ag.Add()
    predator = ag.Scalar(-0.8) @ ag.Scalar(0.024) >> ag.Add()
    meet = ag.Id() @ (ag.Multiplication() >> ag.Split()) @ ag.Id() >> ag.Permute((0, 1, 3, 2))
    return wired(ag.Split() @ ag.Split() >> meet >> prey @ predator, 34.0, 5.9)


def pendulum_by_hand() -> ag.Circuit:
    swing = (ag.Sin() >> ag.Scalar(-9.81)) @ ag.Scalar(-0.1) >> ag.Add()
    rates = ag.Id() @ ag.Split() >> ag.Permute((1, 0, 2)) >> ag.Id() @ swing
    return wired(rates, 1.0, 0.0)


def van_der_pol_by_hand() -> ag.Circuit:
    # mu (1 - x²) v - x
    bend = ag.Power(2) >> ag.Scalar(-1.0) >> ag.Id() @ ag.Const(1.0) >> ag.Add()
    pull = bend @ ag.Id() >> ag.Multiplication() >> ag.Scalar(5.0)
    rates = ag.Split() @ ag.Split() >> ag.Permute((2, 0, 3, 1))
    return wired(rates >> ag.Id() @ (pull @ ag.Scalar(-1.0) >> ag.Add()), 2.0, 0.0)


def lorenz_field():
    return lambda t, y: (10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2])


def lotka_volterra_field():
    return lambda t, y: (0.55 * y[0] - 0.028 * y[0] * y[1], -0.8 * y[1] + 0.024 * y[0] * y[1])


def ring(x: Any) -> Any:
    """The right-hand side of the Lorenz-96 system."""
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8.0


def kinetics(y: Any) -> Any:
    """The right-hand side of Robertson's problem."""
    slow, fast, quick = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return jnp.stack([fast - slow, slow - fast - quick, quick])


def brusselator(y: Any) -> Any:
    u, v = y
    return jnp.stack([1 + u**2 * v - 4 * u, 3 * u - u**2 * v])


NETWORK = eqx.nn.MLP(4, 4, 16, 1, activation=jnp.tanh, key=jax.random.key(0))
FOUR, RING = jnp.linspace(-1.0, 1.0, 4), 8.0 + jnp.sin(jnp.arange(20.0))
ROBERTSON, PAIR = jnp.array([1.0, 0.0, 0.0]), jnp.array([1.5, 3.0])

SYSTEMS = [
    System("decay", lambda: lambda t, y: -y, 1.0, lambda: wired(ag.Scalar(-1.0), 1.0)),
    System(
        "oscillator",
        lambda: lambda t, y: (y[1], -y[0]),
        (1.0, 0.0),
        lambda: wired(ag.Swap() >> ag.Id() @ ag.Scalar(-1.0), 1.0, 0.0),
    ),
    System(
        "pendulum",
        lambda: lambda t, y: (y[1], -9.81 * jnp.sin(y[0]) - 0.1 * y[1]),
        (1.0, 0.0),
        pendulum_by_hand,
    ),
    System(
        "Van der Pol",
        lambda: lambda t, y: (y[1], 5.0 * (1 - y[0] ** 2) * y[1] - y[0]),
        (2.0, 0.0),
        van_der_pol_by_hand,
    ),
    System("Lotka–Volterra", lotka_volterra_field, (34.0, 5.9), lotka_volterra_by_hand),
    System("Lorenz", lorenz_field, (1.0, 1.0, 1.0), lorenz_by_hand),
    System(
        "Brusselator, Tsit5",
        lambda: lambda t, y: brusselator(y),
        PAIR,
        lambda: of_vector(lambda y: brusselator(y), PAIR),
        method=ag.Tsit5(),
    ),
    System(
        "Lorenz-96 of 20",
        lambda: lambda t, y: ring(y),
        RING,
        lambda: of_vector(lambda y: ring(y), RING),
    ),
    System(
        "Robertson, Radau",
        lambda: lambda t, y: kinetics(y),
        ROBERTSON,
        lambda: of_vector(lambda y: kinetics(y), ROBERTSON),
        end=100.0,
        method=ag.Radau(),
    ),
    System(
        "neural ODE, Tsit5",
        lambda: lambda t, y: NETWORK(y),
        FOUR,
        lambda: of_vector(lambda y: NETWORK(y), FOUR),
        method=ag.Tsit5(),
    ),
]


def forms(system: System) -> dict[str, Build]:
    """The ways to say a system, by name."""
    return {"wired": system.wired, "function": system.function, "ode": system.ode}


def running(system: System) -> dict[str, float]:
    """Median seconds of a compiled run of each form. Raises where their values differ."""
    circuits = {name: build() for name, build in forms(system).items()}
    compiled = {name: jax.jit(system.run) for name in circuits}
    values = {name: compiled[name](circuit) for name, circuit in circuits.items()}
    for found in values.values():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, values["wired"]
        )
    runs = {n: lambda n=n: compiled[n](circuits[n]) for n in circuits}
    return interleaved(runs, rounds=21)


def building(system: System) -> dict[str, float]:
    """Median processor seconds to build a circuit of each form, and to trace and compile a run."""
    seconds: dict[str, list[float]] = {name: [] for name in forms(system)}
    for _ in range(ROUNDS):
        for name, build in forms(system).items():
            jax.clear_caches()
            start = time.process_time()
            jax.jit(lambda circuit: system.run(circuit)).lower(build()).compile()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def row(name: str, seconds: dict[str, float]) -> tuple[str, ...]:
    base = seconds["wired"]
    ratios = (f"{seconds[form] / base:.2f}" for form in ("function", "ode"))
    return (name, duration(base), *ratios)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(f"{setting()}\n")
    print("A run, wired by hand; and the others' times over it.\n")
    header = ("system", "wired", "function", "ode")
    print_table(header, (row(system.name, running(system)) for system in SYSTEMS))
    print("To build, trace and compile, in processor seconds.\n")
    print_table(header, (row(system.name, building(system)) for system in SYSTEMS))
