"""The laws of a traced symmetric monoidal category, on canonical graphs and on values.

Both sides of each law have one wiring graph up to names. Where a side reads a closed loop with no
atom in it, both do.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import closed, slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import circuits

import asgard as ag
from asgard.circuits.graph import canonical

pytestmark = pytest.mark.usefixtures("unchecked")

LAWS = {}
COUNTS = st.integers(0, 2)


def law(holds):
    """Registers a law: a function that draws circuits and asserts that both sides are equal."""
    LAWS[holds.__name__] = holds
    return holds


def random(draw, n_in, n_out):
    return draw(circuits(n_in, n_out, depth=1))


def wires(n):
    """n wires, also where there is none."""
    return ag.Id(n) if n else NOTHING


NOTHING = ag.Const(0.0) >> ag.Discard()  # 0 -> 0, and no node that anything reads


def crossing(n, m):
    """n wires crossed with m wires after them."""
    return ag.Permute((*range(n, n + m), *range(n))) if n + m else NOTHING


def equal(left, right):
    assert (left.n_in, left.n_out) == (right.n_in, right.n_out)
    assert form(left) == form(right)


def form(circuit):
    try:
        return canonical(circuit)
    except ag.LoopError:
        return "reads a loop without an atom"


@law
def identity(data):
    f = data.draw(circuits(depth=2))
    equal(wires(f.n_in) >> f, f)
    equal(f >> wires(f.n_out), f)
    equal(f @ NOTHING, f)
    equal(NOTHING @ f, f)


@law
def associativity(data):
    a, b, c, d = (data.draw(COUNTS) for _ in range(4))
    f, g, h = random(data.draw, a, b), random(data.draw, b, c), random(data.draw, c, d)
    equal((f >> g) >> h, f >> (g >> h))
    equal((f @ g) @ h, f @ (g @ h))
    assert (f >> g) >> h == f >> (g >> h) == ag.Composition(f, g, h)
    assert (f @ g) @ h == f @ (g @ h) == ag.Monoidal(f, g, h)


@law
def interchange(data):
    a, b, c, x, y, z = (data.draw(COUNTS) for _ in range(6))
    f, g = random(data.draw, a, b), random(data.draw, b, c)
    h, k = random(data.draw, x, y), random(data.draw, y, z)
    equal((f @ h) >> (g @ k), (f >> g) @ (h >> k))


@law
def naturality_of_swap(data):
    f, g = data.draw(circuits(depth=1)), data.draw(circuits(depth=1))
    equal((f @ g) >> crossing(f.n_out, g.n_out), crossing(f.n_in, g.n_in) >> (g @ f))
    n, m = f.n_in, g.n_in
    equal(crossing(n, m) >> crossing(m, n), wires(n + m))


@law
def vanishing(data):
    a, b, n, m = (
        data.draw(COUNTS),
        data.draw(COUNTS),
        *data.draw(st.tuples(*[st.integers(1, 2)] * 2)),
    )
    f = random(data.draw, a + n + m, b + n + m)
    equal(f.trace(n + m), f.trace(m).trace(n))


@law
def superposing(data):
    a, b, n = data.draw(COUNTS), data.draw(COUNTS), data.draw(st.integers(1, 2))
    f, g = random(data.draw, a + n, b + n), data.draw(circuits(depth=1))
    equal((g @ f).trace(n), g @ f.trace(n))


@law
def yanking(data):
    n, m = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    f, g = random(data.draw, m, n), random(data.draw, n, m)
    equal(f >> crossing(n, n).trace(n) >> g, f >> g)
    equal((f @ wires(n) >> crossing(n, n)).trace(n), f)
    equal(ag.Swap().trace(), ag.Id())


@law
def sliding(data):
    a, b = data.draw(COUNTS), data.draw(COUNTS)
    n, m = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    f, g = random(data.draw, a + n, b + m), random(data.draw, m, n)
    equal((f >> wires(b) @ g).trace(n), (wires(a) @ g >> f).trace(m))


@law
def tightening(data):
    a, b, c, d = (data.draw(COUNTS) for _ in range(4))
    n = data.draw(st.integers(1, 2))
    f = random(data.draw, b + n, c + n)
    g, h = random(data.draw, a, b), random(data.draw, c, d)
    equal((g @ wires(n) >> f >> h @ wires(n)).trace(n), g >> f.trace(n) >> h)


@law
def graphs_that_differ_in_one_number_have_different_forms(data):
    f = data.draw(circuits())
    tagged = [form(f @ ag.Scalar(number)) for number in (2.0, 3.0)]
    assert tagged[0] != tagged[1] or isinstance(tagged[0], str)


@pytest.mark.parametrize("examples", [30, slow(200)])
@pytest.mark.parametrize("name", LAWS)
def test_laws_hold_for_random_circuits(name, examples):
    options = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
    settings(max_examples=examples, **options)(given(st.data())(LAWS[name]))()


STEP = ag.Add() >> ag.Sin() >> ag.Split()  # 2 -> 2
STATE = ag.Scalar(0.5) >> ag.Register("t", 0.25)  # 1 -> 1
GROWTH = closed(ag.Scalar(-1.0) >> ag.Register("t", 1.0))
VALUES = {
    "vanishing": (
        (STEP @ STEP >> ag.Id() @ ag.Swap() @ ag.Id() >> ag.Id(2) @ STATE @ STATE).trace(2),
        (STEP @ STEP >> ag.Id() @ ag.Swap() @ ag.Id() >> ag.Id(2) @ STATE @ STATE).trace().trace(),
    ),
    "sliding": (
        (STEP >> ag.Id() @ STATE).trace() @ ag.Id(),
        (ag.Id() @ STATE >> STEP).trace() @ ag.Id(),
    ),
    "tightening": (
        (ag.Exp() @ ag.Id() >> STEP >> ag.Cos() @ STATE).trace() @ ag.Id(),
        (ag.Exp() >> (STEP >> ag.Id() @ STATE).trace() >> ag.Cos()) @ ag.Id(),
    ),
    "superposing": ((ag.Exp() @ (STEP >> ag.Id() @ STATE)).trace(),
                    ag.Exp() @ (STEP >> ag.Id() @ STATE).trace()),
    "interchange": (
        ag.Id() @ ag.Exp() >> (STEP >> ag.Id() @ STATE).trace() @ ag.Sin(),
        (STEP >> ag.Id() @ STATE).trace() @ (ag.Exp() >> ag.Sin()),
    ),
    "yanking": (ag.Swap().trace() @ GROWTH >> ag.Add() >> ag.Split(),
                ag.Id() @ GROWTH >> ag.Add() >> ag.Split()),
}  # fmt: skip


@pytest.mark.parametrize("law", [law for law in VALUES if law != "yanking"])
def test_both_sides_of_a_law_have_the_same_values(law):
    streams = ag.Stream([0.5, 1.0, -0.25], "t"), ag.Stream([0.0, 1.0], "t")
    left, right = (ag.series(side, *streams, order=8) for side in VALUES[law])
    for a, b in zip(left, right, strict=True):
        assert jnp.isfinite(a.coefficients).all()
        np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=1e-13, atol=1e-15)


def test_yanking_has_the_same_values():
    left, right = (
        ag.series(side, ag.Stream([1.0, 2.0], "t"), order=4)[0].coefficients
        for side in VALUES["yanking"]
    )
    assert (left == right).all()
