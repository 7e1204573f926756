"""A method of steps from outside the package: that of Runge and Kutta, by fixed steps."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import with_values
from systems import oscillator

import asgard as ag
from asgard.calculi.real.methods.method import MOST_REFUSED, OK, Attempt


class Classical(ag.StepMethod):
    """Steps of one size, with a cubic through the values and slopes at both ends."""

    size: float = eqx.field(static=True)
    accepts: bool = eqx.field(static=True, default=True)
    reads: ClassVar[tuple[str, ...]] = ("field",)

    def degree(self, dtype):
        return 3

    def start(self, system, point, control, reach):
        return eqx.tree_at(lambda p: p.memory, point, (), is_leaf=lambda x: x is None)

    def attempt(self, system, point, reach, direction, control):
        size, clipped = reach.clip(jnp.full_like(point.time, self.size))
        slopes, change = self._stages(system, point.time, point.state, direction * size)
        return Attempt(
            size=size,
            clipped=clipped,
            begin=point.state,
            change=change,
            accepted=jnp.full(size.shape, self.accepts),
            status=jnp.full(size.shape, OK, jnp.int32),
            rejected=jnp.full(size.shape, not self.accepts, jnp.int32),
            bounded=jnp.zeros(size.shape, bool),
            step=size,
            memory=(),
            stages=(slopes[0], change),
        )

    def unit(self, offset):
        return offset

    def polynomial(self, system, point, attempt, stretch):
        return self._cubic(system, point.time, point.state, *attempt.stages, stretch.offset)

    def curve(self, system, time, state, stretch):
        slopes, change = self._stages(system, time, state, stretch.offset)
        return self._cubic(system, time, state, slopes[0], change, stretch.offset)

    def _stages(self, system, time, state, offset):
        slopes = [system.field(time, state)]
        for part in (0.5, 0.5, 1.0):
            moved = state + part * offset * slopes[-1]
            slopes.append(system.field(time + part * offset, moved))
        a, b, c, d = slopes
        return slopes, offset * (a + 2 * b + 2 * c + d) / 6

    def _cubic(self, system, time, state, slope, change, offset):
        first = offset * slope
        last = offset * system.field(time + offset, state + change)
        return jnp.stack([state, first, 3 * change - 2 * first - last, first + last - 2 * change])


def test_a_method_of_your_own_runs_saves_batches_and_differentiates():
    ts = np.linspace(0.0, 2.0, 5)
    calculus = ag.Real(method=Classical(0.05), max_steps=127)

    def run(start):
        circuit = ag.update(oscillator(), {"register[0].initial": start})
        return ag.simulate(circuit, ts, calculus=calculus).outputs[0]

    starts = jnp.array([1.0, 2.0])
    slopes, found = jax.jit(jax.vmap(with_values(jax.jacrev, run)))(starts)
    np.testing.assert_allclose(found, starts[:, None] * np.cos(ts), atol=1e-6)
    np.testing.assert_allclose(slopes, [np.cos(ts)] * 2, atol=1e-6)
    dense = ag.Real(method=Classical(0.05), max_steps=127, dense=True)
    whole = ag.simulate(oscillator(), ts, calculus=dense)
    assert whole.method == Classical(0.05)
    x, _ = whole.evaluate([0.33, 1.97]).outputs
    np.testing.assert_allclose(x, np.cos([0.33, 1.97]), atol=1e-5)


class Weighed(Classical):
    weight: jax.Array = eqx.field(default_factory=lambda: jnp.ones(3))


def test_a_run_tells_the_shapes_of_its_method_s_arrays():
    def run(weight):
        method = dataclasses.replace(Weighed(0.05), weight=weight)
        return ag.simulate(oscillator(), [0.0, 0.1], calculus=ag.Real(method=method))

    found = jax.eval_shape(run, jnp.ones(3)).method
    assert isinstance(found, Weighed)
    assert found.weight.shape == (3,)


def test_a_method_that_refuses_one_step_for_ever_ends():
    never = ag.Real(method=Classical(0.05, accepts=False))
    run = ag.simulate(oscillator(), [0.0, 1.0], calculus=never, throw=False)
    assert run.status == ag.Status.step_size
    assert run.stats["steps"] == 0
    assert run.stats["rejected"] == MOST_REFUSED + 1


def test_a_method_that_looks_at_no_numbers_ends_where_they_are_not_finite():
    escape = ag.ode(lambda t, x: x**2, 1.0)  # 1 / (1 - t)
    run = ag.simulate(
        escape, [0.0, 0.5, 1.5], calculus=ag.Real(method=Classical(0.05)), throw=False
    )
    assert run.status == ag.Status.nonfinite
    np.testing.assert_allclose(run.output[:2], [1, 2], rtol=1e-5)
    assert np.isnan(run.output[2])


CLASSICAL = Classical(0.05)


def attempt(**change):
    """The method with other fields of its attempts."""

    def changed(self, *arguments):
        return dataclasses.replace(CLASSICAL.attempt(*arguments), **change)

    return {"attempt": changed}


WRONG = [
    ({"reads": ("feild",)}, 'reads must be a tuple with "field", of "field", "expand", "jacobian"'),
    ({"derived": "jacobian"}, r"derived must be one of reads, \('field',\), not 'jacobian'"),
    ({"unrolls": 1}, "unrolls must be True or False, not 1"),
    ({"unrolls": True}, r"unrolls is for methods that read \"expand\", and reads is \('field',\)"),
    ({"unit": lambda self, offset: None}, r"unit must be f64\[\], not None"),
    (
        {"attempt": lambda self, system, point, *_: system.jacobian(point.time, point.state)},
        "attempt calls what is None: reads must name all programs",
    ),
    ({"curve": lambda self, system: None}, "curve is called with system, time, state, stretch"),
    (
        {"start": lambda self, system, point, *_: point if point.time > 0 else None},
        "start cannot be traced: write it with jax.numpy",
    ),
    ({"degree": lambda self, dtype: 3.0}, "degree must return an integer of at least 1, not 3.0"),
    ({"start": lambda self, *_: None}, "start must return a point, .* not None"),
    ({"start": lambda self, system, point, *_: point}, "start must give the point a memory"),
    ({"attempt": lambda self, *_: (1, 2)}, r"attempt must return an Attempt, not \(1, 2\)"),
    (attempt(change=jnp.ones(3)), r"attempt: change must be f64\[2\], not f64\[3\]"),
    (attempt(accepted=True), r"attempt: accepted must be bool\[\], not True"),
    (
        attempt(memory=jnp.ones(2)),
        r"attempt: memory must be like that of start, \(\), not f64\[2\]",
    ),
    ({"degree": lambda self, dtype: 4}, r"polynomial must be f64\[5,2\], not f64\[4,2\]"),
    ({"polynomial": lambda self, *_: None}, r"polynomial must be f64\[4,2\], not None"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_a_method_returns_is_checked(change, message):
    names = ("degree", "start", "attempt", "unit", "polynomial", "curve")
    functions = {name: Classical.__dict__[name] for name in (*names, "_stages", "_cubic")}
    numbers = {"size": 0.05, "accepts": True}
    method = type("Mine", (ag.StepMethod,), functions | numbers | change)()
    with pytest.raises(ag.CircuitError, match=f"^Mine: {message}"):
        ag.simulate(oscillator(), [0.0, 1.0], calculus=ag.Real(method=method))
