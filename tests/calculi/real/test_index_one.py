"""Loops without registers under `Radau`: differential-algebraic equations of index 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

UB, UF, ALPHA, BETA = 6.0, 0.026, 0.99, 1e-6
CAPACITIES = [1e-6 * k for k in range(1, 6)]
# The Test Set for IVP Solvers, release 2.4: the eight voltages at t = 0.2.
AMPLIFIER = np.array(
    [
        *(-0.5562145012262709e-2, 0.3006522471903042e1, 0.2849958788608128e1),
        *(0.2926422536206241e1, 0.2704617865010554e1, 0.2761837778393145e1),
        *(0.4770927631616772e1, 0.1236995868091548e1),
    ]
)


def currents(t, y):
    """The right-hand sides of the transistor amplifier, of its eight voltages."""
    signal, r0, r = 0.1 * jnp.sin(200 * jnp.pi * t), 1000.0, 9000.0

    def gate(voltage):
        return BETA * (jnp.exp(voltage / UF) - 1)

    first, second = gate(y[1] - y[2]), gate(y[4] - y[5])
    return jnp.stack(
        [
            (y[0] - signal) / r0,
            (2 * y[1] - UB) / r - (ALPHA - 1) * first,
            y[2] / r - first,
            (y[3] - UB) / r + ALPHA * first,
            (2 * y[4] - UB) / r - (ALPHA - 1) * second,
            y[5] / r - second,
            (y[6] - UB) / r + ALPHA * second,
            y[7] / r,
        ]
    )


def voltages(x, u):
    """All voltages, from those of the five capacitors and of three nodes."""
    a, b, c = u
    return jnp.stack([a, a + x[0], x[1], b, b + x[2], x[3], c, c + x[4]])


def amplifier():
    """t -> voltages of the capacitors, and of three nodes, which a loop solves for."""

    def balance(t, x, u):
        f = currents(t, voltages(x, u))
        missing = jnp.stack([f[0] + f[1], f[3] + f[4], f[6] + f[7]])
        return u - missing * jnp.array([600.0, 2000.0, 4000.0])

    def rates(t, x, u):
        f = currents(t, voltages(x, u))
        slopes = zip((f[0], -f[2], f[3], -f[5], f[6]), CAPACITIES, strict=True)
        return jnp.stack([slope / capacity for slope, capacity in slopes])

    start = jnp.array([UB / 2, UB / 2, -UB / 2, UB / 2, -UB])
    nodes = (ag.Function(balance, 3) >> ag.Var("nodes") >> ag.Split()).trace()
    both = (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    solved = both >> (ag.Id(2) @ (nodes >> ag.Split()))
    integrated = ag.Function(rates, 3) >> ag.Register("t", start) >> ag.Split()
    return (solved >> (integrated @ ag.Id()) >> ag.Permute((0, 2, 1))).trace()


def time(t):
    return t


@pytest.mark.slow
def test_the_transistor_amplifier():
    guess = ag.FixedPoint("newton", guess={"nodes": jnp.array([0.0, UB, UB])})
    calculus = ag.Real(method=ag.Radau(), rtol=1e-8, atol=1e-8, fixed_point=guess)
    run = ag.simulate(amplifier(), [0.0, 0.2], inputs=(time,), calculus=calculus)
    x, u = (output[-1] for output in run.outputs)
    np.testing.assert_allclose(voltages(x, u), AMPLIFIER, atol=1e-7)


def diode():
    """A capacitor that discharges through a resistor and a diode, whose current a loop solves."""

    def current(v, z):
        return (v - 0.025 * jnp.log1p(z / 1e-9)) / 100.0

    through = (ag.Function(current, 2) >> ag.Var("current") >> ag.Split()).trace()
    return (through >> ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()).trace()


def test_a_diode_and_its_derivative_by_every_kind_of_step():
    def end(start, method):
        circuit = ag.update(diode(), {"register.initial": start})
        newton = ag.FixedPoint("newton")  # compiles fastest
        options = {"rtol": 1e-9, "atol": 1e-12, "max_steps": 255, "fixed_point": newton}
        calculus = ag.Real(method=method, **options)
        return ag.simulate(circuit, [0.0, 50.0, 100.0], calculus=calculus).output[-1]

    start = jnp.asarray(1.0)
    found, slope = jax.jit(jax.value_and_grad(lambda s: end(s, ag.Radau())))(start)
    expected, forward = jax.jit(lambda s: jax.jvp(lambda s: end(s, ag.Taylor(12)), (s,), (1.0,)))(
        start
    )
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(slope, forward, rtol=1e-6)


@pytest.mark.slow
def test_a_loop_is_solved_anew_past_a_jump():
    # x' = z with z = u - x^3 z: at t = 1 the input jumps, and z with it.
    solve = ag.Function(lambda u, x, z: u - x**3 * z, 3)
    loop = (solve >> ag.Var("z") >> ag.Split()).trace()
    circuit = (loop >> ag.Register("t", 0.3) >> ag.Split()).trace()

    def end(method):
        calculus = ag.Real(
            method=method,
            rtol=1e-9,
            atol=1e-12,
            breakpoints=[1.0],
            fixed_point=ag.FixedPoint("newton"),
        )
        run = ag.simulate(circuit, [0.0, 2.0], inputs=(switch,), calculus=calculus)
        return run.output[-1]

    np.testing.assert_allclose(end(ag.Radau()), end(ag.Taylor()), rtol=1e-8)


def switch(t):
    return jnp.where(t < 1.0, 1.0, -0.5)


def test_gradients_of_a_loop_go_through_events():
    """A jump takes no time: a step of no size has no equations for the unknown."""

    @ag.circuit
    def leak(*, rate):
        y, z = ag.register("t", 1.0), ag.unknown(0.5)
        y.input, z.input = -rate * z, z - (2 * z - y) / 4  # y = 2 z
        return {"y": y, "z": z}

    def end(rate):
        low = ag.Event(lambda t, wires: wires["y"] - 0.8, name="low")
        calculus = ag.Real(method=ag.Radau(3), rtol=1e-6, max_steps=64, max_events=4)
        return ag.simulate(leak(rate=rate), [0.0, 1.0], events=low, calculus=calculus)["z"][-1]

    np.testing.assert_allclose(jax.grad(end)(1.0), -0.25 * np.exp(-0.5), rtol=1e-5)
