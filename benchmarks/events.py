"""Hybrid systems against diffrax, and the cost of watching an event against heyoka's.

A ball of 30 bounces and a thermostat of 50 cycles. diffrax has events that end a solve: its runs
are scans over solves, each from the last event to the next, with Newton's method for its time.
Ours is one run. Errors are those of the last event's time, against closed forms.

Watching: a pendulum and a Hénon-Heiles orbit, alone and with one event that is watched, in heyoka
and here. The share is what watching adds to the run's time.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import heyoka
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import peers
import timing
from jax import Array

import asgard as ag

BOUNCES, RESTITUTION, GRAVITY = 30, 0.9, 9.81
CYCLES = 50
TOLERANCES = (1e-4, 1e-6, 1e-9)
ORBIT_END = 300.0


@ag.circuit
def ball() -> dict[str, Any]:
    """A ball that bounces, dropped from a height of 1."""
    height, speed = ag.register("t", 1.0), ag.reset("t", 0.0)
    height.input = speed
    speed.input = -GRAVITY, -height, -RESTITUTION * speed
    return {"height": height, "speed": speed}


@ag.circuit
def thermostat() -> dict[str, Any]:
    """A room that is heated from 19 to 21 degrees, again and again."""
    temperature, heating = ag.register("t", 19.0), ag.relay(-21.0, -19.0)
    heating.input = -temperature
    temperature.input = 10.0 + 20.0 * heating - temperature
    return {"temperature": temperature, "heating": heating}


def bounce_time() -> float:
    """The time of the last bounce."""
    first = np.sqrt(2 / GRAVITY)
    later = 2 * first * sum(RESTITUTION**k for k in range(1, BOUNCES))
    return float(first + later)


def switch_time() -> float:
    """The time of the last switch: each half of a cycle takes log(11 / 9)."""
    return float(2 * CYCLES * np.log(11 / 9))


def ours(circuit: Any, event: ag.Event, end: float, calculus: Any) -> Callable[[], Array]:
    """The time of the last event of a run to just past it."""

    @jax.jit
    def run() -> Array:
        found = ag.simulate(circuit, [0.0, end], events=event, calculus=calculus, throw=False)
        seen = found.events[event.name]
        return seen.times[seen.count - 1]

    return run


def theirs(
    field: Callable[..., Any],
    watched: Callable[..., Any],
    after: Callable[..., Any],
    start: Any,
    count: int,
    solver: Any,
    tolerance: float,
) -> Callable[[], Array]:
    """The time of the last of so many events, by one solve of diffrax after another."""
    finder = optimistix.Newton(0.1 * tolerance, 0.1 * tolerance)
    event = diffrax.Event(watched, finder)
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

    def one(carry: Any, number: Array) -> Any:
        time, state, args = carry
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            solver,
            time,
            time + 10.0,
            None,
            state,
            args=args,
            stepsize_controller=controller,
            event=event,
            max_steps=4096,
        )
        times, states = jax.tree.map(lambda x: x[-1], (solution.ts, solution.ys))
        return (times, *after(states, args)), None

    @jax.jit
    def run() -> Array:
        carry, _ = jax.lax.scan(one, (jnp.zeros(()), *start), jnp.arange(count))
        return carry[0]

    return run


def hybrids() -> list[list[str]]:
    """Times and errors of both, for each system."""
    rows = []
    for name, circuit, event, exact, peer in (
        (
            f"ball, {BOUNCES} bounces",
            ball(),
            ag.Event("height", direction=-1),
            bounce_time(),
            (
                lambda t, y, args: jnp.array([y[1], -GRAVITY]),
                lambda t, y, args, **_: jnp.where(y[1] < 0, y[0], 1.0),
                lambda y, args: (jnp.array([0.0, -RESTITUTION * y[1]]), args),
                (jnp.array([1.0, 0.0]), 0.0),
                BOUNCES,
            ),
        ),
        (
            f"thermostat, {CYCLES} cycles",
            thermostat(),
            ag.Event("heating", name="off"),
            switch_time(),
            (
                lambda t, y, on: 10.0 + 20.0 * on - y,
                lambda t, y, args, **_: jnp.where(args > 0.5, 21.0 - y, y - 19.0),
                lambda y, on: (y, 1.0 - on),
                (jnp.asarray(19.0), 1.0),
                2 * CYCLES,
            ),
        ),
    ):
        if name.startswith("thermostat"):
            event = ag.Event(
                lambda t, w: (
                    (1 - w["heating"]) * (w["temperature"] - 19.0)
                    + w["heating"] * (w["temperature"] - 21.0)
                ),
                name="switch",
            )
        end = exact + 1e-3
        runs, errors = {}, {}
        settings = {"Taylor": ag.Real(max_events=256)}
        for tolerance in TOLERANCES:
            settings[f"Tsit5 {tolerance:.0e}"] = ag.Real(
                method=ag.Tsit5(), rtol=tolerance, atol=tolerance, max_events=256
            )
        for label, calculus in settings.items():
            runs[f"ours, {label}"] = ours(circuit, event, end, calculus)
        for tolerance in TOLERANCES:
            for solver in (diffrax.Tsit5(), diffrax.Dopri8()):
                label = f"diffrax, {type(solver).__name__} {tolerance:.0e}"
                runs[label] = theirs(*peer, solver, tolerance)
        for label, run in runs.items():
            errors[label] = abs(float(run()) - exact)
        seconds = timing.interleaved(runs)
        best = min(s for label, s in seconds.items() if label.startswith("ours"))
        for label in runs:
            row = [name, label, f"{errors[label]:.0e}", timing.duration(seconds[label])]
            rows.append([*row, f"{seconds[label] / best:.1f}"])
    return rows


@ag.circuit
def pendulum() -> dict[str, Any]:
    """A pendulum from an angle of 1."""
    angle, speed = ag.register("t", 1.0), ag.register("t", 0.0)
    angle.input = speed
    speed.input = -jnp.sin(angle)
    return {"x": angle}


@ag.circuit
def henon_heiles() -> dict[str, Any]:
    """An orbit of Hénon and Heiles' Hamiltonian."""
    x, y = ag.register("t", 0.0), ag.register("t", 0.1)
    px, py = ag.register("t", 0.35), ag.register("t", 0.1)
    x.input, y.input = px, py
    px.input, py.input = -x - 2 * x * y, -y - x * x + y * y
    return {"x": x}


def heyokas(name: str, watched: bool) -> Callable[[], Any]:
    """heyoka's run, with an event at x = 0 or none."""
    if name == "pendulum":
        x, v = heyoka.make_vars("x", "v")
        system, start = [(x, v), (v, -heyoka.sin(x))], [1.0, 0.0]
    else:
        x, y, px, py = heyoka.make_vars("x", "y", "px", "py")
        system = [(x, px), (y, py), (px, -x - 2.0 * x * y), (py, -y - x * x + y * y)]
        start = [0.0, 0.1, 0.35, 0.1]
    seen: list[float] = []
    event = heyoka.nt_event(
        x, lambda ta, time, sign: seen.append(time), direction=heyoka.event_direction.positive
    )
    integrator = heyoka.taylor_adaptive(system, start, nt_events=[event] if watched else [])

    def run() -> Any:
        integrator.time, integrator.state[:] = 0.0, start
        integrator.propagate_until(ORBIT_END)
        return integrator.state.copy()

    return run


def watching() -> list[list[str]]:
    """What an event that is watched adds to a run, here and in heyoka."""
    rows = []
    for name, circuit in (("pendulum", pendulum()), ("Hénon-Heiles", henon_heiles())):
        calculus = ag.Real(max_events=256)
        crossed = ag.Event("x", direction=1)
        never = ag.Event(lambda t, wires: wires["x"] - 5.0, name="never")

        def run(events: Any, circuit: Any = circuit, calculus: Any = calculus) -> Any:
            def simulated() -> Any:
                found = ag.simulate(circuit, [0.0, ORBIT_END], events=events, calculus=calculus)
                return found.outputs, found.events

            return jax.jit(simulated)

        runs = {
            "none": run(()),
            "crossed": run((crossed,)),
            "never crossed": run((never,)),
            "heyoka": heyokas(name, watched=False),
            "heyoka, crossed": heyokas(name, watched=True),
        }
        found = ag.simulate(circuit, [0.0, ORBIT_END], events=(crossed,), calculus=calculus)
        seconds = timing.interleaved(runs, rounds=15)
        for label, base in (
            ("crossed", "none"),
            ("never crossed", "none"),
            ("heyoka, crossed", "heyoka"),
        ):
            share = seconds[label] / seconds[base] - 1
            row = [name, label, f"{int(found.events['x'].count)}"]
            times = [timing.duration(seconds[key]) for key in (base, label)]
            rows.append([*row, *times, f"{100 * share:.0f} %"])
    return rows


def main() -> None:
    """Prints both tables."""
    print(f"{timing.setting()}, {peers.versions('diffrax', 'heyoka')}", end="\n\n")
    header = ["system", "run", "error of the last event", "time", "ratio to our fastest"]
    timing.print_table(header, hybrids())
    print()
    header = ["orbit", "event", "crossings", "time without", "with", "share"]
    timing.print_table(header, watching())


if __name__ == "__main__":
    timing.stay_in_thread()
    with jax.enable_x64(True):
        main()
