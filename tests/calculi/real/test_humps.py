"""Guards that pass zero and come back within a small part of a step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import slow

import asgard as ag
from asgard.calculi.real.polynomial import series_about, value_at
from asgard.calculi.real.smoothness import curved_along
from asgard.calculi.real.system import EventLayout
from asgard.jaxprs.program import trace

END, LEVEL = 20.0, 0.6
METHODS = {
    "Taylor": {},
    "Tsit5": {"method": ag.Tsit5(), "rtol": 1e-5, "atol": 1e-5},
    "Dopri8": {"method": ag.Dopri8(), "rtol": 1e-9, "atol": 1e-9},
    "Radau": {"method": ag.Radau(), "rtol": 1e-8, "atol": 1e-8},
}
EACH = ["Taylor", "Tsit5", slow("Dopri8"), slow("Radau")]
# Along y = t steps are as long as they may. So are waves, a rise and a pulse as steep as these.
STEEP = np.geomspace(1.0, 200.0, 40)


def smooth(y, k, a, weights):
    parts = (
        jnp.sin(k * y) - LEVEL,
        jnp.tanh(k * (y - a)) - LEVEL,
        jnp.exp(-k * (y - a) ** 2) - LEVEL,
    )
    return jnp.sum(weights * jnp.stack(parts))


def piecewise(y, k, a, weights):
    return jnp.where(2 * y > a, smooth(y, k, a, weights), -1.0)


def cases():
    """Numbers of guards, and how often these rise past zero until the end, `[cases]`."""
    numbers, rises = [], []
    for number, k in enumerate(STEEP):
        a = 2.0 + 0.4 * number
        numbers += [(k, a, row) for row in np.eye(3)]
        rises += [np.floor((k * END - np.arcsin(LEVEL)) / (2 * np.pi)) + 1, 1, 1]
    return numbers, np.array(rises)


@functools.cache
def counted(method, guard):
    """How often a counter and an event see a guard rise, of its numbers."""

    @ag.circuit
    def circuit(*, k, a, weights):
        y, count = ag.register("t", 0.0), ag.counter()
        found = guard(y, k, a, weights)
        y.input, count.input = 1.0, found
        return {"count": count, "guard": found}

    def run(k, a, weights):
        given = ag.Real(max_events=1000, **METHODS[method])
        watched = ag.Event("guard", direction=1)
        found = ag.simulate(
            circuit(k=k, a=a, weights=weights), [0.0, END], events=watched, calculus=given
        )
        return found["count"][-1], found.events["guard"].count, found.status

    return jax.jit(run)


@pytest.mark.parametrize("method", EACH)
def test_no_rise_of_a_smooth_guard_is_stepped_over(method):
    numbers, rises = cases()
    counts = [counted(method, smooth)(*row) for row in numbers]
    assert all(status == ag.Status.ok for *_, status in counts)
    for found in zip(*[row[:2] for row in counts], strict=True):
        np.testing.assert_array_equal(np.stack(found), rises)


@pytest.mark.slow
def test_no_pulse_of_a_guard_of_pieces_is_stepped_over():
    for k, a, weights in cases()[0][2::3]:
        count, events, status = counted("Taylor", piecewise)(k, a, weights)
        assert status == ag.Status.ok
        assert (count, events) == (1, 1), k


LINES = {
    "a line": lambda t, y: 2 * y[:1] - t + 3,
    "a sum": lambda t, y: jnp.sum(y, keepdims=True),
    "a product with what only jumps": lambda t, y: y[2:] * (y[:1] - 1),
    "pieces of lines": lambda t, y: jnp.where(y[:1] > 1, y[1:2] - 1, jnp.abs(y[:1]) - t),
    "what switches in time": lambda t, y: jnp.where(t - jnp.floor(t) < 0.5, 1.0, -1.0) + y[:1],
}
CURVES = {
    "a product": lambda t, y: y[:1] * y[1:2],
    "a product with time": lambda t, y: t * y[:1],
    "a wave in time": lambda t, y: jnp.sin(t) + y[2:],
    "a quotient": lambda t, y: 1 / y[:1],
    "pieces of curves": lambda t, y: jnp.where(y[:1] > 1, y[:1] ** 2, y[:1]),
    "a line where a curve says so": lambda t, y: jnp.where(y[:1] ** 2 > 1, y[:1], 1.0),
    "a wave past what only jumps": lambda t, y: jnp.where(jnp.sin(t) > y[2], 1.0, 0.0)[None],
    "the size of a complex number": lambda t, y: jnp.abs(y[:1] + 1j * y[1:2]),
}


@pytest.mark.parametrize("name", [*LINES, *CURVES])
def test_guards_that_are_lines_along_a_line_are_known(name):
    no = np.zeros(1, bool)
    held = np.array([False, False, True])
    layout = EventLayout(np.full(3, -1), np.zeros(3, bool), held, no, no, ~no, no, most=1)
    types = jax.ShapeDtypeStruct((), float), jax.ShapeDtypeStruct((3,), float)
    guard = (LINES | CURVES)[name]
    program = trace(lambda t, y: (guard(t, y),), *types)
    assert curved_along(program, layout).tolist() == [name in CURVES]


def test_a_guard_that_cannot_be_expanded_is_refused_with_every_method():
    @ag.circuit
    def circuit():
        y = ag.register("t", 1.0)
        y.input = 1.0
        return {"guard": jax.scipy.special.gammainc(2.0, y) - 0.5}

    for method in (ag.Tsit5(), ag.Taylor(), ag.Radau()):
        calculus = ag.Real(method=method, rtol=1e-5)
        with pytest.raises(ag.CircuitError, match="igamma"):
            ag.simulate(circuit(), [0.0, 1.0], events=ag.Event("guard"), calculus=calculus)


@pytest.mark.parametrize("centre", [0.0, 0.5])
def test_a_polynomial_about_another_point_is_the_same(centre):
    coefficients = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    found = series_about(coefficients, jnp.asarray(0.3), centre, 9)
    for offset in (-0.4, 0.0, 1.1):
        moved = jnp.polyval(found[::-1], offset)
        exact = value_at(coefficients, jnp.asarray(0.3 + offset), centre)
        np.testing.assert_allclose(moved, exact, rtol=1e-12, atol=1e-12)
