"""Least squares on models with known answers, what it compiles, and what it refuses."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import equations

import asgard as ag
from asgard.fitting.least_squares import _solve

X = np.linspace(-1.0, 2.0, 12)
Y = 0.3 - 1.7 * X + 0.1 * np.sin(9 * X)


def line(circuit, x, y):
    numbers = ag.parameters(circuit)
    return numbers["const.value"] + numbers["scalar.factor"] * x - y


START = ag.Scalar(5.0) >> ag.Const(-2.0) @ ag.Id()


def fitted(circuit=START, residuals=line, **options):
    return ag.fit_residuals(circuit, residuals, **({"args": (X, Y), "steps": 60} | options))


def place(circuit):
    return np.array([float(value) for value in ag.parameters(circuit).values()])


@pytest.mark.parametrize("method", ["levenberg_marquardt", "gauss_newton"])
def test_a_line_is_that_of_linear_regression(method):
    slope, offset = np.polyfit(X, Y, 1)
    found = fitted(method=method)
    assert found.status == ag.FitStatus.converged
    np.testing.assert_allclose(place(found.circuit), [slope, offset], rtol=1e-7)
    np.testing.assert_allclose(found.loss, np.sum((offset + slope * X - Y) ** 2), rtol=1e-12)
    np.testing.assert_allclose(found.losses[0], np.sum((-2 + 5 * X - Y) ** 2), rtol=1e-12)


@pytest.mark.parametrize("method", ["levenberg_marquardt", "gauss_newton"])
@pytest.mark.parametrize("dtypes", [("f4", "f4"), ("f4", "f8")], ids=["single", "mixed"])
def test_numbers_keep_the_dtype_that_they_have(dtypes, method):
    factor, value = (np.dtype(dtype).type(x) for dtype, x in zip(dtypes, (5, -2), strict=True))
    circuit = ag.Scalar(factor) >> ag.Const(value) @ ag.Id()
    found = fitted(circuit, args=(X.astype("f4"), Y.astype("f4")), method=method)
    assert found.status == ag.FitStatus.converged
    assert tuple(x.dtype for x in ag.parameters(found.circuit).values()) == dtypes
    np.testing.assert_allclose(place(found.circuit), np.polyfit(X, Y, 1), rtol=1e-3)


def test_constraints_trainable_numbers_and_pytrees_of_residuals():
    circuit = ag.Scalar(ag.Bounded(-1.0, -1.5, 0.0)) >> ag.Const(ag.Fixed(0.3)) @ ag.Id()

    def pieces(circuit, x, y):
        all = line(circuit, x, y)
        return {"left": all[:5], "right": (all[5:].reshape(7, 1),)}

    found = fitted(circuit, pieces, steps=200)
    assert place(found.circuit)[1] == 0.3
    assert -1.5 < place(found.circuit)[0] < -1.49  # towards -1.7, out of reach
    only = fitted(trainable="const.value")
    np.testing.assert_allclose(place(only.circuit), [5.0, np.mean(Y - 5 * X)], rtol=1e-7)


def test_other_numbers_and_data_do_not_compile_again():
    fitted()
    before = _solve.jitted.whole._cache_size()
    fitted(ag.Scalar(1.0) >> ag.Const(0.5) @ ag.Id(), args=(2 * X, Y + 1), tol=None)
    fitted(residuals=line)
    assert _solve.jitted.whole._cache_size() == before


def test_it_calls_nothing_on_the_host():
    names = equations(lambda circuit: fitted(circuit).losses, START)
    assert "while" in names
    assert not [name for name in names if "callback" in name]


def test_fits_of_many_data_sets_go_side_by_side():
    data = jnp.stack([Y, 2 * Y, Y + X])
    found = jax.vmap(lambda y: fitted(args=(X, y)))(data)
    for lane, y in enumerate(data):
        slope, offset = np.polyfit(X, y, 1)
        numbers = ag.parameters(found.circuit)
        np.testing.assert_allclose(numbers["scalar.factor"][lane], slope, rtol=1e-7)
        np.testing.assert_allclose(numbers["const.value"][lane], offset, rtol=1e-7)


def stop_at(step):
    def report(now, *_):
        if now >= step:
            raise KeyboardInterrupt

    return report


def same(one, other):
    np.testing.assert_array_equal(one.losses, other.losses)
    np.testing.assert_array_equal(place(one.circuit), place(other.circuit))
    return one.steps == other.steps and one.status == other.status


def test_progress_is_told_and_a_checkpoint_goes_on_to_the_same_bits(tmp_path):
    whole, told, path = fitted(), [], tmp_path / "fit"
    assert same(fitted(every=2, progress=lambda *now: told.append(now)), whole)
    steps = int(whole.steps)
    assert [step for step, _, _ in told] == [*range(2, steps, 2), steps]
    assert told[-1] == (steps, 60, float(whole.loss))
    with pytest.raises(ag.Interrupted, match=f"at step 4 of 60.* the same call from {path}") as at:
        fitted(every=2, progress=stop_at(4), checkpoint=path)
    part = at.value.result
    assert part.status == ag.FitStatus.interrupted
    assert part.steps == 4
    np.testing.assert_array_equal(part.losses[:4], whole.losses[:4])
    again = []
    assert same(fitted(checkpoint=path, progress=lambda *now: again.append(now)), whole)
    assert again[0][0] > 4
    with pytest.raises(ag.CircuitError, match="checkpoint of another fit"):
        fitted(checkpoint=path, args=(X, Y + 1))


def test_a_fit_is_extended_past_its_steps(tmp_path):
    fitted(steps=3, tol=0.0, checkpoint=tmp_path / "fit")
    longer = fitted(steps=6, tol=0.0, checkpoint=tmp_path / "fit")
    assert same(longer, fitted(steps=6, tol=0.0))


def test_under_a_transformation_nothing_is_shown_or_saved(tmp_path):
    told = []

    def run(y, **options):
        return jax.jit(lambda y: fitted(args=(X, y), **options).losses)(y)

    run(Y, progress=lambda *now: told.append(now))
    assert told == []
    with pytest.raises(ag.CircuitError, match="no checkpoint"):
        run(Y, checkpoint=tmp_path / "fit")


def test_residuals_that_are_not_finite_end_the_fit():
    def broken(circuit, x, y):
        return jnp.log(-1 - line(circuit, x, y) ** 2)

    found = fitted(residuals=broken, throw=False)
    assert found.status == ag.FitStatus.nonfinite
    np.testing.assert_array_equal(place(found.circuit), place(START))
    with pytest.raises(ag.FitError, match="nonfinite at the start"):
        fitted(residuals=broken)


def test_without_optimistix_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optimistix", None)
    with pytest.raises(ImportError, match=r'pip install "asgard\[fit\]"'):
        fitted()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "newton"}, "method must be one of levenberg_marquardt, gauss_newton"),
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"residuals": 3}, "residuals must be a function"),
        ({"residuals": lambda c, x, y: "far"}, "residuals must be arrays"),
        ({"residuals": lambda c, x, y: jnp.arange(3)}, "real numbers, not 3 of int"),
        ({"residuals": lambda c, x, y: []}, "residuals must be arrays"),
        ({"trainable": "const.valu"}, "did you mean const.value"),
        ({"residuals": lambda c, x, y: jnp.sum(line(c, x, y) ** 2)}, "1 residual for 2 numbers"),
        ({"tol": "x"}, "tol must be a number"),
        ({"tol": [1.0, 2.0]}, "tol must be one number"),
        ({"progress": 3}, "progress must be True, False or a function"),
        ({"every": 0, "progress": True}, "every must be an integer of at least 1"),
        ({"circuit": ag.Scalar(1j) >> ag.Const(1.0) @ ag.Id()}, "moves real numbers"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(options, says, unchecked):
    with pytest.raises(ag.CircuitError, match=says):
        fitted(**options)
