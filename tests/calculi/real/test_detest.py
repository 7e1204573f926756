"""DETEST: 25 problems and 30 stiff ones, whose errors must stay near the tolerance."""

import detest
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag
from asgard.jaxprs.compiling import Jit

EXPLICIT = {"Taylor": ag.Taylor(), "Dopri8": ag.Dopri8(), "Tsit5": ag.Tsit5()}
TOLERANCES = (1e-3, 1e-6, 1e-9)
MOST = 10.0


def time(t):
    return t


def errors(problem, method):
    """The largest error at each tolerance, in its units, and whether all runs are ok."""

    def field(t, y):
        return jnp.stack([jnp.asarray(rate) + 0 * t for rate in problem.rates(jnp, t, y)])

    # Entries of stiff problems are of many sizes: each has its own absolute tolerance.
    largest = np.abs(problem.solution).max(axis=0)
    scale = largest if problem.stiff else 1.0 + largest
    unit = jnp.asarray(largest if problem.stiff else np.ones_like(largest))
    register = ag.Register("t", jnp.array(problem.start))
    circuit = (ag.Function(field, 2) >> register >> ag.Split()).trace()

    @Jit  # compiled as a run outside of `jax.jit` is: an eighth less processor time
    def run(tolerance):
        calculus = ag.Real(method=method, rtol=tolerance, atol=tolerance * unit)
        found = ag.simulate(
            circuit, jnp.asarray(problem.times), inputs=(time,), calculus=calculus, throw=False
        )
        return found.output, found.status

    found, ok = [], True
    for tolerance in TOLERANCES:
        values, status = run(tolerance)
        ok &= bool(status == ag.Status.ok)
        found.append(np.max(np.abs(values - problem.solution) / scale) / tolerance)
    return found, ok


def named(stiff, quick):
    """The problems, of which only some are quick."""
    return [
        pytest.param(one, marks=() if one.name in quick else (pytest.mark.slow,), id=one.name)
        for one in detest.PROBLEMS
        if one.stiff == stiff
    ]


@pytest.mark.parametrize("problem", named(False, ("D5",)))
@pytest.mark.parametrize("name", EXPLICIT)
def test_errors_stay_near_the_tolerance(name, problem):
    found, ok = errors(problem, EXPLICIT[name])
    assert ok
    assert max(found) < MOST


@pytest.mark.parametrize("problem", named(True, ("E5",)))
def test_errors_of_stiff_problems_stay_near_the_tolerance(problem):
    found, ok = errors(problem, ag.Radau())
    assert ok
    assert max(found) < MOST
