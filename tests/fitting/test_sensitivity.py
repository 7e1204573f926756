"""Sensitivities and standard errors against closed forms, and what they warn of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import equations
from systems import FAST, decay

import asgard as ag

TS = jnp.linspace(0.0, 1.0, 6)
RATE, START = 1.3, 2.0


def path(circuit):
    return ag.simulate(circuit, TS, calculus=FAST).output


@pytest.mark.parametrize("kind", [float, ag.Positive])
def test_sensitivities_are_the_derivatives_in_the_numbers(kind):
    rate = ag.Scalar(-1.0) >> ag.Scalar(kind(RATE))
    circuit = (rate >> ag.Register("t", kind(START)) >> ag.Split()).trace()
    found = ag.sensitivities(circuit, path)
    decayed = np.exp(-RATE * TS)
    np.testing.assert_allclose(found["register.initial"], decayed, rtol=1e-7)
    np.testing.assert_allclose(found["scalar[1].factor"], -START * TS * decayed, atol=1e-7)
    assert list(found) == list(ag.parameters(circuit))


def test_the_mode_is_the_one_with_fewer_passes():
    weights = ag.Const(jnp.arange(1.0, 6.0))

    def few(circuit):
        return jnp.sum(ag.parameters(circuit)["const.value"] ** 2)

    def many(circuit):
        return jnp.outer(jnp.ones(40), ag.parameters(circuit)["const.value"])

    np.testing.assert_allclose(ag.sensitivities(weights, few)["const.value"], 2 * np.arange(1, 6))
    found = ag.sensitivities(weights, many)["const.value"]
    np.testing.assert_allclose(found, np.broadcast_to(np.eye(5), (40, 5, 5)))

    def modes(fn):
        seen = []

        @jax.custom_vjp
        def marked(x):
            return x

        marked.defvjp(lambda x: (x, None), lambda _, g: seen.append("reverse") or (g,))
        try:
            ag.sensitivities(weights, lambda c: fn(jax.tree.map(marked, c)))
        except TypeError:  # forward mode refuses a function with a reverse rule alone
            seen.append("forward")
        return seen

    assert modes(few) == ["reverse"]
    assert modes(many) == ["forward"]


def test_functions_of_several_arrays_and_only_some_numbers():
    circuit = decay(RATE, START)

    def fn(circuit, scale):
        return {"end": scale * path(circuit)[-1], "mean": jnp.mean(path(circuit))}

    found = ag.sensitivities(circuit, fn, args=(3.0,), trainable="register.initial")
    assert list(found) == ["register.initial"]
    np.testing.assert_allclose(found["register.initial"]["end"], 3 * np.exp(-RATE), rtol=1e-7)
    mean = np.mean(np.exp(-RATE * TS))
    np.testing.assert_allclose(found["register.initial"]["mean"], mean, rtol=1e-7)


def test_complex_values_have_sensitivities():
    found = ag.sensitivities(ag.Scalar(2.0), lambda c: jnp.exp(1j * c.factor))
    np.testing.assert_allclose(found["scalar.factor"], 1j * np.exp(2j), rtol=1e-14)


X = np.linspace(0.0, 4.0, 15)
Y = 2.0 + 0.7 * X + 0.3 * np.cos(11 * X)
LINE = ag.Scalar(1.0) >> ag.Const(1.0) @ ag.Id()


def line(circuit, x, y):
    numbers = ag.parameters(circuit)
    return numbers["const.value"] + numbers["scalar.factor"] * x - y


def test_standard_errors_of_a_line_are_those_of_linear_regression():
    found = ag.fit_residuals(LINE, line, args=(X, Y), steps=50)
    errors = ag.uncertainty(found.circuit, line, args=(X, Y))
    theirs = scipy.stats.linregress(X, Y)
    np.testing.assert_allclose(errors["scalar.factor"], theirs.stderr, rtol=1e-6)
    np.testing.assert_allclose(errors["const.value"], theirs.intercept_stderr, rtol=1e-6)
    correlation = -X.mean() / np.sqrt(np.mean(X**2))
    np.testing.assert_allclose(errors.correlation, [[1, correlation], [correlation, 1]], rtol=1e-9)


@pytest.mark.slow
def test_standard_errors_are_the_spread_of_fits_to_noisy_data():
    noise = 0.2 * jax.random.normal(jax.random.key(0), (400, len(X)))

    def one(noise):
        data = (X, 2.0 + 0.7 * X + noise)
        circuit = ag.fit_residuals(LINE, line, args=data, steps=12).circuit
        found = ag.uncertainty(circuit, line, args=data)
        return found.values, found.standard_errors

    values, errors = jax.vmap(one)(noise)
    # The spread of 400 numbers is known to 1 / sqrt(800), 3.5 %; three of these.
    mean_error = np.sqrt(np.mean(errors**2, axis=0))
    np.testing.assert_allclose(np.std(values, axis=0), mean_error, rtol=0.12)


def test_numbers_that_cannot_be_told_apart_are_named():
    product = ag.Scalar(2.0) >> ag.Scalar(3.0) >> ag.Const(0.0) @ ag.Id()

    def of_product(circuit, x, y):
        p = ag.parameters(circuit)
        return p["const.value"] + p["scalar[0].factor"] * p["scalar[1].factor"] * x - y

    with pytest.warns(ag.IdentifiabilityWarning) as caught:
        ag.uncertainty(product, of_product, args=(X, Y))
    (warning,) = caught
    said = str(warning.message)
    assert "scalar[0].factor, scalar[1].factor" in said
    assert "const.value" not in said
    # With one of them fixed the rest is known, and nothing is said.
    known = ag.uncertainty(
        product, of_product, args=(X, Y), trainable=["scalar[0].factor", "const.value"]
    )
    assert known.condition < 10


def test_a_number_of_which_nothing_is_told_leaves_the_others_known():
    def slope_only(circuit, x, y):
        return line(circuit, x, y) - ag.parameters(circuit)["const.value"]

    with pytest.warns(ag.IdentifiabilityWarning, match="say next to nothing of const.value"):
        found = ag.uncertainty(LINE, slope_only, args=(X, Y))
    alone = ag.uncertainty(LINE, slope_only, args=(X, Y), trainable="scalar.factor")
    residual = np.sum((X - Y) ** 2)
    np.testing.assert_allclose(
        alone["scalar.factor"], np.sqrt(residual / (14 * np.sum(X**2))), rtol=1e-12
    )
    # One degree of freedom less is left.
    np.testing.assert_allclose(
        found["scalar.factor"], alone["scalar.factor"] * np.sqrt(14 / 13), rtol=1e-12
    )
    assert np.isposinf(found["const.value"])
    np.testing.assert_allclose(found.correlation, [[1, np.nan], [np.nan, np.nan]])


def test_a_perfect_fit_has_correlations():
    found = ag.uncertainty(LINE, line, args=(X, 1.0 + X))
    np.testing.assert_array_equal(found.standard_errors, [0.0, 0.0])
    correlation = -X.mean() / np.sqrt(np.mean(X**2))
    np.testing.assert_allclose(found.correlation, [[1, correlation], [correlation, 1]], rtol=1e-9)


def test_residuals_that_are_not_finite_are_said_to_be():
    with pytest.warns(ag.IdentifiabilityWarning, match="not finite"):
        ag.uncertainty(LINE, lambda c: jnp.nan * line(c, X, Y))


def test_under_a_trace_nothing_is_said():
    product = ag.Scalar(2.0) >> ag.Scalar(3.0)

    def of_product(circuit):
        p = ag.parameters(circuit)
        return p["scalar[0].factor"] * p["scalar[1].factor"] * X - Y

    condition = jax.jit(lambda c: ag.uncertainty(c, of_product).condition)(product)
    assert condition > 1e8
    names = equations(lambda c: ag.uncertainty(c, of_product).condition, product)
    assert not [name for name in names if "callback" in name]


def test_entries_of_arrays_have_names_of_their_own():
    weights = ag.Const(jnp.ones(2))

    def residuals(circuit):
        return jnp.stack([X, X**2], axis=1) @ ag.parameters(circuit)["const.value"] - Y

    found = ag.uncertainty(weights, residuals)
    assert found.names == ("const.value[0]", "const.value[1]")
    with pytest.raises(KeyError, match=r"there are const.value\[0\]"):
        found["const.value"]


def test_what_is_wrong_is_said(unchecked):
    with pytest.raises(ag.CircuitError, match="more residuals than numbers"):
        ag.uncertainty(LINE, lambda c: line(c, X[:2], Y[:2]))
    with pytest.raises(ag.CircuitError, match="a function of the circuit"):
        ag.uncertainty(LINE, 3)
    with pytest.raises(ag.CircuitError, match="a function of the circuit"):
        ag.sensitivities(LINE, 3)
    with pytest.raises(ag.CircuitError, match="arrays of floating-point numbers"):
        ag.sensitivities(LINE, lambda c: None)
    with pytest.raises(ag.CircuitError, match="in real numbers"):
        ag.sensitivities(ag.Const(1j), lambda c: jnp.abs(c.value))
    with pytest.raises(ag.CircuitError, match="nothing to fit"):
        ag.sensitivities(ag.Id(), lambda c: jnp.ones(3))
