"""Atoms with events: their text, their numbers by name, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

ATOMS = [
    *(ag.Reset("t"), ag.Reset("x", -1.5), ag.SampleHold(), ag.SampleHold(2.0, "n")),
    *(ag.Counter(), ag.Counter(3.0, "n"), ag.Relay(-1.0, 2.0), ag.Relay(0.1, 0.1, 5.0, -5.0, "n")),
    *(ag.Pulse(2.0), ag.Pulse(0.1, 0.25, -1e-3, "n"), ag.Clock(3.0), ag.Clock(3.0, 0.5, "n")),
]


@pytest.mark.parametrize("atom", ATOMS, ids=str)
def test_every_atom_comes_back_from_its_text(atom):
    within = atom >> ag.Scalar(2.0)
    for circuit in (atom, within):
        read = ag.parse(str(circuit))
        assert read == circuit
        assert str(read) == str(circuit)


def test_what_a_text_leaves_out_has_its_default():
    for text, atom in {
        "reset(t)": ag.Reset("t", 0.0),
        "sample_hold": ag.SampleHold(0.0, "t"),
        "counter": ag.Counter(0.0, "t"),
        "relay(1, 2)": ag.Relay(1.0, 2.0, 0.0, 1.0, "t"),
        "relay(1, 2, 3, 4, n)": ag.Relay(1.0, 2.0, 3.0, 4.0, "n"),
        "pulse(2)": ag.Pulse(2.0, 0.5, 0.0, "t"),
        "clock(2, 1)": ag.Clock(2.0, 1.0, "t"),
    }.items():
        assert ag.parse(text) == atom


def test_numbers_have_names_and_can_be_replaced():
    circuit = ag.Pulse(2.0, 0.25) @ ag.Clock(3.0) >> ag.SampleHold(-1.0) >> ag.Relay(0.0, 1.0)
    known = ag.parameters(circuit)
    expected = {"pulse.period": 2.0, "pulse.duty": 0.25, "clock.period": 3.0}
    expected |= {"sample_hold.initial": -1.0, "relay.low": 0.0, "relay.high": 1.0, "relay.on": 1.0}
    assert expected.items() <= {name: float(value) for name, value in known.items()}.items()
    changed = ag.update(circuit, {"relay.high": 4.0, "pulse.duty": 0.75})
    assert float(ag.parameters(changed)["relay.high"]) == 4.0
    assert str(changed) == str(circuit).replace("0.0, 1.0, 0.0", "0.0, 4.0, 0.0").replace(
        "0.25", "0.75"
    )


def test_a_pulse_and_a_clock_at_points():
    times = np.array([-2.0, -1.6, 0.0, 0.49, 0.5, 1.9, 2.0, 2.3, 2.5])
    pulse, clock = ag.Pulse(2.0, 0.25), ag.Clock(2.0, 0.5)
    np.testing.assert_array_equal(pulse(times), np.mod(times, 2.0) < 0.5)
    np.testing.assert_array_equal(clock(times), np.mod(times - 0.5, 2.0) < 1.0)


def test_numbers_that_are_not_known_are_taken_as_they_are():
    def found(low):
        return ag.Relay(low, 1.0).low + ag.Pulse(low, low).period + ag.Clock(low).period

    assert jax.jit(found)(0.5) == 1.5
    np.testing.assert_array_equal(jax.vmap(found)(jnp.array([0.25, 2.0])), [0.75, 6.0])
    assert ag.Pulse(ag.Positive(1.0), ag.Bounded(0.5, 0.0, 1.0)) is not None


BAD = {
    "low above high": (lambda: ag.Relay(2.0, 1.0), "low must not be above high, but 2.0 > 1.0"),
    "some above": (lambda: ag.Relay([0.0, 2.0], 1.0), "low must not be above high"),
    "no number": (lambda: ag.Relay(float("nan"), 1.0), "low must not be above high"),
    "other shapes": (lambda: ag.Relay([0.0] * 2, [1.0] * 3), "does not fit that of high"),
    "complex low": (lambda: ag.Relay(1j, 2.0), "Relay: low must be a real number"),
    "complex on": (lambda: ag.Relay(1.0, 2.0, on=1j), "Relay: on must be a real number"),
    "text": (lambda: ag.Relay("a", 2.0), "Relay: low must be a number"),
    "none": (lambda: ag.Relay(None, 2.0), "None is no number"),
    "a function": (lambda: ag.Relay(abs, 2.0), "Relay: low must be a number"),
    "a stream": (lambda: ag.Relay(ag.Stream([1.0], "x"), 2.0), "Relay: low must be a number"),
    "dimension": (lambda: ag.Relay(1.0, 2.0, dim="a b"), "a dimension is named by an identifier"),
    "duty above": (lambda: ag.Pulse(1.0, 1.5), "duty must be from 0 to 1, not 1.5"),
    "duty below": (lambda: ag.Pulse(1.0, -0.5), "duty must be from 0 to 1"),
    "duty nan": (lambda: ag.Pulse(1.0, float("nan")), "duty must be from 0 to 1"),
    "duty complex": (lambda: ag.Pulse(1.0, 0.5j), "Pulse: duty must be a real number"),
    "no period": (lambda: ag.Pulse(0.0), "Pulse: period must be above 0"),
    "back": (lambda: ag.Clock(-1.0), "Clock: period must be above 0"),
    "endless": (lambda: ag.Clock(float("inf")), "Clock: period must be above 0 and finite"),
    "complex period": (lambda: ag.Clock(1j), "Clock: period must be a real number"),
    "phase": (lambda: ag.Clock(1.0, float("inf")), "Clock: phase must be finite"),
    "complex phase": (lambda: ag.Pulse(1.0, 0.5, 1j), "Pulse: phase must be a real number"),
    "dimension 3": (lambda: ag.Clock(1.0, dim=3), "a dimension is named by an identifier"),
    "text for initial": (lambda: ag.SampleHold("t"), "which is no number"),
    "in a text": (lambda: ag.parse("relay(2, 1)"), "low must not be above high"),
    "in a text, too": (lambda: ag.parse("pulse(0)"), "period must be above 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_numbers_are_told(case):
    build, message = BAD[case]
    with pytest.raises(ag.CircuitError, match=message):
        build()


class Unguarded(ag.Hybrid):
    """Its guard returns nothing."""

    dim: str = eqx.field(static=True, default="t")
    initial: jax.Array = 0.0
    n_in = 0

    def guard(self, content):
        return None

    def jump(self, content):
        return content


CALCULI = {"Real": ag.Real(), "Stochastic": ag.Stochastic(steps=1), "Discrete": ag.Discrete()}
WRONG = {
    "complex trigger": (ag.SampleHold(), (1.0, 1j), "sample_hold.*those of real wires"),
    "complex value": (ag.SampleHold(), (1j, 1.0), "those of real wires"),
    "complex content": (ag.Counter(1j), (1.0,), "those of real wires"),
    "trigger of another shape": (
        ag.Reset("t"),
        (1.0, np.zeros(3), 0.0),
        r"reset.*guard has the shape \(3,\), which does not fit its content's, \(\)",
    ),
    "value of another shape": (
        ag.Reset("t"),
        (1.0, 0.0, np.zeros(3)),
        r"its jump has the shape \(3,\)",
    ),
    "content of another shape": (
        ag.SampleHold(np.zeros(5)),
        (np.zeros(3), 1.0),
        r"initial content has shape \(5,\)",
    ),
    "a guard of nothing": (Unguarded(), (), "Unguarded: its guard returned None"),
    "bounds of another shape": (ag.Relay(np.zeros(5), 1.0), (np.zeros(3),), "relay.*evaluated on"),
    "a stream": (
        ag.SampleHold(),
        (ag.Stream([1.0, 2.0], "x"), 1.0),
        "depends on x; events are those of one time",
    ),
    "along another dimension": (
        ag.Counter(dim="x") >> ag.Register("t"),
        (1.0,),
        "counter.*events, which belong to runs along its dimension: use simulate",
    ),
}


@pytest.mark.parametrize("calculus", CALCULI)
def test_wires_that_do_not_fit_are_told_under_every_calculus(calculus):
    for circuit, inputs, message in WRONG.values():
        with pytest.raises(ag.CircuitError, match=message):
            ag.simulate(circuit, [0.0, 1.0], inputs=inputs, calculus=CALCULI[calculus], dim="t")


def test_what_has_no_events_says_so():
    for atom in (ag.Counter(), ag.Relay(0.0, 1.0)):
        name = str(atom)[:5]
        with pytest.raises(ag.CircuitError, match=f"{name}.*use simulate"):
            ag.series(atom, ag.Stream([0.0, 1.0], "t"), order=3)
        with pytest.raises(ag.CircuitError, match=f"{name}.*use simulate"):
            ag.vector_field(atom, (1.0,))
        refused = pytest.raises(ag.CircuitError, match=f"{name}.*not jax.disable_jit")
        with refused, jax.disable_jit():
            ag.simulate(atom, [0.0, 1.0], inputs=(1.0,))
        with pytest.raises(ag.CircuitError, match=f"{name}.*a steady state has no events: put"):
            ag.simulate(atom, [0.0, 1.0], inputs=(1.0,), calculus=ag.Steady())
