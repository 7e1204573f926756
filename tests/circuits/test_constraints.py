"""Constraints stand for numbers wherever circuits go."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import FAST, Decay, lotka_volterra

import asgard as ag
from asgard.circuits.constraints import resolved
from asgard.circuits.graph import canonical

RTOL = 8 * np.finfo(np.float64).eps


class Growth(ag.Block):
    """x' = rate x, with the rate negated in its wiring, so that it must be a number there."""

    rate: jax.Array

    def circuit(self):
        loop = ag.Scalar(-self.rate) >> ag.Scalar(-1.0) >> ag.Register("t", 1.0) >> ag.Split()
        return loop.trace()


class Gain(eqx.Module):
    """An equinox module with a number that may be under a constraint."""

    gain: jax.Array

    def __call__(self, x):
        return self.gain * x


def of_atoms(number):
    """x' = -2 x from 1.5, and its square root times 3, with numbers in four kinds of atoms."""
    loop = (ag.Scalar(-2.0) >> ag.Register("t", number(1.5)) >> ag.Split()).trace()
    return ((loop >> ag.Power(number(0.5))) @ ag.Const(number(3.0))) >> ag.Multiplication()


PLACES = {
    "atoms": of_atoms,
    "block": lambda number: Growth(number(0.7)),
    "block in a term": lambda number: ag.Const(1.0) >> Decay(number(0.7)),
    "function": lambda number: (
        ag.Function(Gain(number(0.7)), 1) >> ag.Register("t", 1.0) >> ag.Split()
    ).trace(),
}


def bounded(number):
    return ag.Bounded(number, -10.0, 10.0)


@pytest.mark.parametrize("kind", [ag.Positive, bounded, ag.Fixed])
@pytest.mark.parametrize("place", PLACES)
def test_a_circuit_runs_as_with_plain_numbers(place, kind):
    plain, constrained = PLACES[place](jnp.asarray), PLACES[place](kind)
    assert canonical(plain) == canonical(constrained)
    assert (plain.n_in, plain.n_out) == (constrained.n_in, constrained.n_out)
    assert str(plain) == str(constrained)
    assert ag.parameters(plain) == ag.parameters(constrained)


def test_runs_and_series_read_the_numbers():
    circuit = of_atoms(ag.Positive)
    found = ag.simulate(circuit, [0.0, 0.5], calculus=FAST).output
    np.testing.assert_allclose(found, 3 * np.sqrt(1.5 * np.exp([0.0, -1.0])), rtol=1e-7)
    series = ag.series(circuit, order=1).coefficients
    np.testing.assert_allclose(series, 3 * np.sqrt(1.5) * np.array([1.0, -1.0]), rtol=RTOL)


def test_gradients_are_those_to_the_numbers():
    slopes = jax.jit(jax.grad(lambda circuit: ag.series(circuit, order=4).evaluate(t=0.25)))
    plain, constrained = (ag.parameters(slopes(of_atoms(k))) for k in (float, ag.Positive))
    for name, slope in plain.items():
        np.testing.assert_allclose(constrained[name], slope, rtol=RTOL)
    fixed = ag.parameters(slopes(of_atoms(ag.Fixed)))
    assert fixed["register.initial"] == fixed["const.value"] == 0
    np.testing.assert_allclose(fixed["scalar.factor"], plain["scalar.factor"], rtol=RTOL)


def test_batches_of_constrained_circuits_run():
    starts = jnp.array([0.5, 1.0, 4.0])
    circuit = of_atoms(ag.Positive)

    @jax.jit
    def run(starts):
        stacked = jax.vmap(lambda start: ag.update(circuit, {"register.initial": start}))(starts)
        return jax.vmap(lambda circuit: ag.series(circuit, order=0).coefficients)(stacked)

    found = run(starts)
    np.testing.assert_allclose(found[:, 0], 3 * np.sqrt(starts), rtol=RTOL)


def test_names_and_values_are_those_of_the_numbers():
    circuit = lotka_volterra(a=ag.Positive(0.5), x=ag.Bounded(30.0, 0.0, 100.0))
    assert list(ag.parameters(circuit)) == list(ag.parameters(lotka_volterra()))
    assert ag.parameters(circuit)["register[0].initial"] == 30.0
    moved = ag.update(circuit, {"register[0].initial": 40.0})
    assert ag.parameters(moved)["register[0].initial"] == 40.0
    assert jax.tree.structure(moved) == jax.tree.structure(circuit)


def test_text_is_of_the_numbers_and_repr_of_the_constraints():
    circuit = (
        ag.Scalar(ag.Positive(2.0)) >> ag.Scalar(ag.Bounded(1.5, 1, 2)) >> ag.Power(ag.Fixed(0.5))
    )
    assert str(circuit) == "composition(scalar(2.0), scalar(1.5), power(0.5))"
    assert ag.parse(str(circuit)) == resolved(circuit)
    for shown in ("Positive(2.0)", "Bounded(1.5, 1.0, 2.0)", "Fixed(0.5)"):
        assert shown in repr(circuit)
    assert repr(ag.Power(ag.Positive(2.0))) == "Power(Positive(2.0))"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("make", [ag.Positive, lambda value: ag.Bounded(value, -0.5, 2.0)])
def test_free_values_are_anything_and_lead_back(make, dtype):
    constraint = make(jnp.asarray([1e-3, 0.2, 1.9], dtype))
    rtol = 16 * float(jnp.finfo(dtype).eps)
    back = constraint.at(constraint.free()).value
    # Beside a bound a number is known as well as its distance from the other one.
    np.testing.assert_allclose(back, constraint.value, rtol, atol=rtol * (make is not ag.Positive))
    # Free values at which the map is flat still give numbers that a fit may start from.
    for extreme in (-1e4, 1e4 if make is not ag.Positive else 80.0):
        constraint.at(jnp.full(3, extreme, dtype)).check()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 0.0), (0.0, 1e-30)])
def test_a_bound_at_0_is_kept_away_from_too(bounds, dtype):
    middle = jnp.asarray(sum(bounds) / 2, dtype)
    for extreme in (-1e4, 1e4):
        there = jax.jit(lambda free: ag.Bounded(middle, *bounds).at(free))(dtype(extreme))
        there.check()
        assert jnp.isfinite(jax.jit(lambda c: c.free())(there))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: ag.Positive(0.0), r"above 0 and finite, not 0\.0"),
        (lambda: ag.Positive([1.0, -1.0]), r"Positive: .* not \[ 1. -1.\]"),
        (lambda: ag.Positive(float("nan")), "above 0"),
        (lambda: ag.Bounded(3.0, 0.0, 2.0), r"between 0\.0 and 2\.0, not 3\.0"),
        (lambda: ag.Bounded(0.0, 0.0, 2.0), "between"),
        (lambda: ag.Bounded(1.0, 2.0, 0.0), "low must be below high"),
        (lambda: ag.Bounded(1.0, 0.0, float("inf")), "use Positive"),
        (lambda: ag.Bounded(1.0, [0.0, 1.0], 2.0), "low and high must be numbers"),
        (lambda: ag.Positive("two"), "no number or array"),
        (lambda: ag.Bounded(0.5, "a", 1.0), "low and high must be numbers"),
        (lambda: ag.Positive(1j), "must be real"),
        (lambda: ag.Bounded(1j, 0.0, 1.0), "must be real"),
        (lambda: ag.Scalar(ag.Positive(None)), "None is no number"),
        (lambda: ag.update(ag.Scalar(ag.Positive(1.0)), {"scalar.factor": -1.0}), "above 0"),
    ],
)
def test_a_number_out_of_its_bound_is_refused(wrong, says, unchecked):
    with pytest.raises(ag.CircuitError, match=says):
        wrong()
