"""One system said as a function, by its right-hand side, as equations and wired by hand is one
system: the same values, the same numbers by name, the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from four_ways_systems import SYSTEMS

import asgard as ag
from asgard.circuits.graph import flatten
from asgard.language.rewriting.comparing import same_system

# Chaos, a reaction, one with an input, an array and a sequence.
QUICK = (
    "Rössler",
    "Brusselator, Tsit5",
    "a motor",
    "Lorenz-96 of 20",
    "smoothing",
)
CASES = [
    pytest.param(system, id=system.name, marks=() if system.name in QUICK else pytest.mark.slow)
    for system in SYSTEMS
]


def values(system, circuit):
    """The outputs side by side: series of low order where there are some, else a short run."""
    if system.calculus is None:
        streams = ag.series(circuit, *system.inputs, order=5)
        streams = streams if isinstance(streams, tuple) else (streams,)
        outputs = [stream.coefficients for stream in streams]
    else:
        outputs = system.run(circuit)
    return jnp.concatenate([jnp.ravel(x) for x in outputs])


def weighed(system, circuit):
    """A number that depends on all outputs, and the outputs."""
    found = values(system, circuit)
    return jnp.sum(found / (1 + jnp.arange(found.size))), found


def forms(system):
    """Values and gradients by the numbers of every form, in one program."""

    @jax.jit
    def run(circuits, numbers):
        slope = jax.value_and_grad(lambda x: weighed(system, x), has_aux=True)
        found = {}
        for name, circuit in circuits.items():
            (_, outputs), slopes = slope(circuit)
            named = ag.parameters(slopes)
            found[name] = outputs, {number: named[number] for number in numbers}

        def wired(numbers):
            return weighed(system, system.wired(**numbers))

        (_, outputs), slopes = jax.value_and_grad(wired, has_aux=True)(numbers)
        return {**found, "wired": (outputs, slopes)}

    builds = {name: build for name, build in system.forms.items() if name != "wired"}
    circuits = {name: build(**system.numbers) for name, build in builds.items()}
    return run(circuits, system.numbers)


@pytest.mark.parametrize("system", CASES)
def test_a_system_is_the_same_in_all_ways(system):
    found = forms(system)
    assert len(found) >= 3
    outputs, slopes = found.pop("wired")
    assert np.all(np.isfinite(outputs))
    size, steepest = np.max(np.abs(outputs)), max(map(np.max, map(np.abs, slopes.values())))
    assert steepest > 0
    for name, (others, other_slopes) in found.items():
        np.testing.assert_allclose(others, outputs, rtol=1e-12, atol=1e-14 * size, err_msg=name)
        for number, slope in slopes.items():
            np.testing.assert_allclose(
                other_slopes[number], slope, rtol=1e-11, atol=1e-13 * steepest, err_msg=name
            )


@pytest.mark.parametrize("system", CASES)
def test_the_wiring_graphs_of_all_ways_are_one_system(system):
    circuits = {name: build(**system.numbers) for name, build in system.forms.items()}
    if system.name == "a loop without registers":
        del circuits["wired"]  # which starts to solve from 0, and not from 0.5
    first, *others = circuits.values()
    assert all(same_system(first, other) for other in others)
    for circuit in circuits.values():
        simpler = ag.simplify(circuit)
        assert same_system(simpler, first)
        assert len(flatten(simpler).nodes) <= len(flatten(circuit).nodes)
        assert ag.parameters(simpler).keys() == ag.parameters(circuit).keys()


def test_there_are_twenty_five_systems_of_which_most_are_said_in_four_ways():
    assert len({system.name for system in SYSTEMS}) == 25
    assert sum(len(system.forms) == 4 for system in SYSTEMS) == 22
    assert set(QUICK) < {system.name for system in SYSTEMS}
