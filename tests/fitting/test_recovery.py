"""Numbers of known systems, found again from data that SciPy made of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from helpers import closed
from systems import ode

import asgard as ag

CALCULUS = ag.Real(order=8, rtol=1e-7, max_steps=127)


def solved(rates, start, ts):
    """The solution of y' = rates(y), [len(y), times]."""
    options = {"method": "DOP853", "rtol": 1e-10, "atol": 1e-12, "t_eval": np.asarray(ts)}
    return scipy.integrate.solve_ivp(lambda t, y: rates(y), (ts[0], ts[-1]), start, **options).y


class FitzHughNagumo(ag.Block):
    """v' = v - v^3 / 3 - w + 0.5, w' = (v + a - b w) / tau."""

    a: jax.Array
    b: jax.Array
    tau: jax.Array

    def circuit(self):
        cubic = ag.Power(3) >> ag.Scalar(-1 / 3)
        terms = ag.Split(3) @ ag.Split() >> ag.Permute((0, 1, 3, 2, 4))  # v, v, w | v, w
        voltage = ag.Id() @ cubic @ ag.Scalar(-1.0) @ ag.Const(0.5) >> ag.Add(4)
        recovery = ag.Id() @ ag.Scalar(-self.b) @ ag.Const(self.a) >> ag.Add(3)
        slow = recovery >> ag.Scalar(1 / self.tau) >> ag.Register("t", 1.0)
        return closed(terms >> (voltage >> ag.Register("t", -1.0)) @ slow)


@pytest.mark.slow
def test_fitzhugh_nagumo_is_found_from_its_voltage_alone():
    ts = jnp.linspace(0.0, 40.0, 41)

    def voltage(circuit):
        return ag.simulate(circuit, ts, calculus=CALCULUS).outputs[0]

    truth = {"a": 0.7, "b": 0.8, "tau": 12.5}
    a, b, tau = truth.values()
    rates = lambda y: [y[0] - y[0] ** 3 / 3 - y[1] + 0.5, (y[0] + a - b * y[1]) / tau]  # noqa: E731
    data = solved(rates, [-1.0, 1.0], ts)[0]
    start = FitzHughNagumo(*map(ag.Positive, (0.5, 1.0, 10.0)))
    found = ag.fit_residuals(
        start, lambda circuit, data: voltage(circuit) - data, args=(data,), steps=40
    )
    assert found.status == ag.FitStatus.converged
    for name, value in ag.parameters(found.circuit).items():
        np.testing.assert_allclose(value, truth[name], rtol=1e-5)


class Lorenz(ag.Block):
    """The Lorenz system on one wire that carries a vector."""

    sigma: jax.Array
    rho: jax.Array
    beta: jax.Array
    start: jax.Array

    def circuit(self):
        return ode(Field(jnp.stack([self.sigma, self.rho, self.beta])), self.start)


class Field(eqx.Module):
    """Its right-hand side."""

    numbers: jax.Array

    def __call__(self, state):
        (sigma, rho, beta), (x, y, z) = self.numbers, state
        return jnp.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])


@pytest.mark.slow
def test_lorenz_is_found_from_short_windows():
    # Over its whole length a chaotic path says nothing of its numbers: over windows it does.
    truth = jnp.array([10.0, 28.0, 8 / 3])
    windows, points = 10, 5
    ts = jnp.linspace(0.0, 8.0, windows * points + 1)
    exact = solved(Field(truth), [1.0, 1.0, 20.0], ts).T
    noise = 1e-3 * jax.random.normal(jax.random.key(0), exact.shape)
    data = exact + noise
    cut = jnp.stack([data[k * points : (k + 1) * points + 1] for k in range(windows)])
    within = ts[: points + 1]

    def residuals(circuit, cut):
        def window(seen):
            begun = ag.update(circuit, {"start": seen[0]})
            return ag.simulate(begun, within, calculus=CALCULUS).output[1:] - seen[1:]

        return jax.vmap(window)(cut)

    start = Lorenz(ag.Positive(8.0), ag.Positive(20.0), ag.Positive(2.0), jnp.zeros(3))
    found = ag.fit_residuals(
        start, residuals, args=(cut,), steps=40, trainable=["sigma", "rho", "beta"]
    )
    names = ["sigma", "rho", "beta"]
    numbers = np.array([ag.parameters(found.circuit)[name] for name in names])
    # To first order in the noise the optimum is a step of Gauss and Newton from the truth.
    there = Lorenz(*truth, jnp.zeros(3))
    slopes = ag.sensitivities(there, residuals, args=(cut,), trainable=names).values()
    columns = np.stack([np.ravel(slope) for slope in slopes], axis=1)
    step = np.linalg.lstsq(columns, -np.ravel(residuals(there, cut)))[0]
    assert np.all(np.abs(step / truth) < 2e-3)
    np.testing.assert_allclose(numbers, truth + step, rtol=1e-5)


class Controlled(ag.Block):
    """A plant x' = u - x with y = x + u / 10 under u = 4 tanh((p e + i ∫ e + d (e - q)) / 4).

    e = 1 - y is the error, and e - q with q' = 10 (e - q) its filtered derivative. The plant's
    direct path makes a loop without a register: each evaluation solves for u.
    """

    proportional: jax.Array
    integral: jax.Array
    derivative: jax.Array

    def circuit(self):
        leak = (ag.Id() @ ag.Scalar(-1.0)) >> ag.Add() >> ag.Register("t", 0.0) >> ag.Split()
        plant = ag.Split() >> (leak.trace() @ ag.Scalar(0.1)) >> ag.Add()
        smooth = (ag.Id() @ ag.Scalar(-1.0)) >> ag.Add() >> ag.Scalar(10.0)
        smooth = (smooth >> ag.Register("t", 0.0) >> ag.Split()).trace()
        filtered = ag.Split() >> (ag.Id() @ (smooth >> ag.Scalar(-1.0))) >> ag.Add()
        terms = (
            ag.Scalar(self.proportional)
            @ (ag.Register("t", 0.0) >> ag.Scalar(self.integral))
            @ (filtered >> ag.Scalar(self.derivative))
        )
        # The control saturates softly, so that the loop is not linear.
        control = (
            ag.Split(3) >> terms >> ag.Add(3) >> ag.Scalar(0.25) >> ag.Tanh() >> ag.Scalar(4.0)
        )
        error = (ag.Const(1.0) @ ag.Scalar(-1.0)) >> ag.Add()
        return (error >> control >> plant >> ag.Split()).trace()


@pytest.mark.slow
def test_gains_of_a_controller_are_found_through_a_loop_with_a_fixed_point():
    ts = jnp.linspace(0.0, 3.0, 31)
    calculus = ag.Real(order=4, rtol=1e-6, max_steps=511, fixed_point=ag.FixedPoint("newton"))

    def response(circuit):
        return ag.simulate(circuit, ts, calculus=calculus).output

    truth = {"proportional": 2.0, "integral": 1.5, "derivative": 0.3}
    p, i, d = truth.values()

    def control(state):
        """u, and the error that makes it."""
        x, total, smooth = state

        def miss(u):
            e = 1 - x - 0.1 * u
            return 4 * np.tanh((p * e + i * total + d * (e - smooth)) / 4) - u

        u = scipy.optimize.brentq(miss, -5.0, 5.0, xtol=1e-13)
        return u, 1 - x - 0.1 * u

    def rates(state):
        u, e = control(state)
        return [u - state[0], e, 10 * (e - state[2])]

    states = solved(rates, [0.0, 0.0, 0.0], ts).T
    wanted = np.array([1 - control(state)[1] for state in states])
    start = Controlled(*map(ag.Positive, (1.0, 1.0, 0.1)))
    found = ag.fit_residuals(
        start, lambda circuit, wanted: response(circuit) - wanted, args=(wanted,), steps=40
    )
    for name, value in ag.parameters(found.circuit).items():
        np.testing.assert_allclose(value, truth[name], rtol=1e-4)


class Friction(eqx.Module):
    """What slows a pendulum, as a network of its speed."""

    layers: eqx.nn.MLP

    def __call__(self, speed):
        return self.layers(speed[None])[0]


@pytest.mark.slow
def test_a_neural_term_inside_a_known_equation_is_learned():
    def pendulum(friction):
        # v' = -sin(x) + friction(v), x' = v.
        pull = ag.Sin() >> ag.Scalar(-1.0)
        rate = pull @ ag.Function(friction, 1) >> ag.Add() >> ag.Register("t", 0.0)
        loops = ag.Id() @ ag.Split() >> rate @ ag.Register("t", 2.0) >> ag.Swap()
        return closed(loops)

    ts = jnp.linspace(0.0, 6.0, 25)

    def residuals(circuit, data):
        return jnp.stack(ag.simulate(circuit, ts, calculus=CALCULUS).outputs) - data

    def truth(v):
        return -0.4 * v - 0.1 * v**3

    data = solved(lambda y: [truth(y[0]) - np.sin(y[1]), y[0]], [0.0, 2.0], ts)[::-1]
    layers = eqx.nn.MLP(1, 1, 5, 1, activation=jnp.tanh, key=jax.random.key(0))
    start = pendulum(Friction(layers))
    network = [name for name in ag.parameters(start) if name.startswith("function")]
    options = {"args": (data,), "steps": 80, "trainable": network}
    found = ag.fit_residuals(start, residuals, **options)
    errors = np.sqrt(np.asarray([found.losses[0], found.loss]) / data.size)
    assert errors[0] > 0.3
    assert errors[1] < 3e-3
    # At the speeds that were seen, the network is the friction.
    speeds = jnp.linspace(float(data[1].min()), float(data[1].max()), 9)
    (atom,) = [part for part in found.circuit.parts if isinstance(part, ag.Function)]
    np.testing.assert_allclose(jax.vmap(atom.fn)(speeds), truth(speeds), atol=0.03)
