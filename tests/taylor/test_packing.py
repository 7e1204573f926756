"""Packing: many small wires cost what one wide one does, and mean what they meant."""

import collections
import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import closed, equations, neighbour_error, slow, taylor
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.scipy import special
from systems import lorenz, lorenz_96_field, lorenz_96_of_wires, lorenz_of_wires, ode

import asgard as ag
from asgard.jaxprs.program import trace
from asgard.taylor.lifting import Lifted
from asgard.taylor.packing import NARROWEST, packed

SCALAR = jax.ShapeDtypeStruct((), jnp.float64)
COMPUTING = {"add", "sub", "mul", "div", "neg", "sin", "cos", "exp", "asgard_convolution"}
ORDER = 10


def computing(circuit, *streams):
    """How many equations of its series compute something, by name."""
    names = equations(lambda: ag.series(circuit, *streams, order=ORDER))
    return collections.Counter(name for name in names if name in COMPUTING)


def convolutions(circuit):
    return computing(circuit)["asgard_convolution"]


def start_96(count):
    return 8 + jnp.arange(count) % 3 / 10


def values(program, inputs):
    """The outputs of a program on its inputs, operation by operation."""
    found = dict(program.constants) | dict(zip(program.inputs, inputs, strict=True))
    for equation in program.equations:
        operands = [found[number] for number in equation.ins]
        found.update(zip(equation.outs, equation.bind(*operands), strict=True))
    return [found[number] for number in program.outputs]


def names(program):
    return collections.Counter(equation.name for equation in program.equations)


def test_scalar_wires_have_the_convolutions_of_a_vector():
    assert convolutions(lorenz_of_wires()) == convolutions(lorenz()) == 2
    start = start_96(8)
    assert convolutions(lorenz_96_of_wires(start)) == 1
    assert convolutions(ode(lorenz_96_field, start)) == 1


def test_more_wires_are_wider_operations_and_no_more_of_them():
    assert computing(lorenz_96_of_wires(start_96(6))) == computing(lorenz_96_of_wires(start_96(12)))


def test_many_scalar_wires_fit_a_kernel(monkeypatch):
    def is_kernel(count):
        def run(start):
            return ag.simulate(lorenz_96_of_wires(start), [0.0, 0.1], throw=False).outputs

        return "xla_cpu_small_call" in jax.jit(run).lower(start_96(count)).as_text()

    monkeypatch.setattr("asgard.jaxprs.kernel.LONGEST", 800)
    assert is_kernel(20)
    monkeypatch.setattr("asgard.taylor.packing.NARROWEST", 1000)
    assert not is_kernel(21)


def test_packed_wires_have_the_series_of_a_vector():
    start = start_96(8)
    wires = ag.series(lorenz_96_of_wires(start), order=15)
    vector = ag.series(ode(lorenz_96_field, start), order=15)
    for wire, expected in zip(wires, vector.coefficients, strict=True):
        assert neighbour_error(wire.coefficients, expected) < 64 * np.finfo(float).eps


RATES = (0.5, 1.0, 1.5, 2.0, -0.75)


def logistic(rate):
    """x' = rate x (1 - x) from 1/4, 0 -> 1."""
    growth = ag.Split() >> ag.Id() @ (ag.Scalar(-1.0) @ ag.Const(1.0) >> ag.Add())
    return closed(growth >> ag.Multiplication() >> ag.Scalar(rate) >> ag.Register("t", 0.25))


def exact_logistic(rate):
    return taylor(lambda t: 1 / (1 + 3 * mp.exp(-rate * t)), ORDER)


@pytest.mark.parametrize("unroll", [False, True])
def test_wires_that_differ_by_their_numbers(unroll):
    circuit = ag.Monoidal(*map(logistic, RATES))
    assert convolutions(circuit) == 1
    for rate, stream in zip(RATES, ag.series(circuit, order=ORDER, unroll=unroll), strict=True):
        error = neighbour_error(stream.coefficients, exact_logistic(rate))
        assert error < 16 * np.finfo(float).eps


@pytest.mark.parametrize("kind", ["grad", slow("jacfwd"), slow("vmap")])
def test_derivatives_and_batches_of_packed_wires(kind):
    rates = jnp.array(RATES)

    def total(rates, t):
        outputs = ag.simulate(ag.Monoidal(*map(logistic, rates)), jnp.stack([0.0 * t, t])).outputs
        return sum(output[-1] for output in outputs)

    def exact(rates, t):
        return jnp.sum(1 / (1 + 3 * jnp.exp(-rates * t)))

    t = jnp.float64(1.25)
    if kind != "vmap":
        found = jax.jit(getattr(jax, kind)(total))(rates, t)
        np.testing.assert_allclose(found, jax.grad(exact)(rates, t), rtol=1e-12)
        return
    batch = jnp.stack([rates, 2 * rates, rates / 3])
    found = jax.jit(jax.vmap(total, in_axes=(0, None)))(batch, t)
    np.testing.assert_allclose(found, jax.vmap(exact, in_axes=(0, None))(batch, t), rtol=1e-13)


def test_wires_of_other_types_are_packed_apart():
    kinds = [jnp.float32(1.0), jnp.float64(2.0), jnp.complex128(1j), jnp.array([1.0, 2.0])]
    rates = [rate for rate in kinds for _ in range(NARROWEST)]
    circuit = ag.Monoidal(
        *(closed(ag.Scalar(rate) >> ag.Register("t", jnp.ones_like(rate))) for rate in rates)
    )
    factorials = np.array([float(mp.factorial(n)) for n in range(ORDER + 1)])
    for rate, stream in zip(rates, ag.series(circuit, order=ORDER), strict=True):
        expected = np.asarray(rate)[..., None] ** np.arange(ORDER + 1) / factorials
        assert stream.coefficients.dtype == rate.dtype
        eps = np.finfo(rate.dtype).eps
        np.testing.assert_allclose(stream.coefficients, expected, rtol=4 * ORDER * eps)


def test_registers_that_feed_one_another():
    chain = ag.Const(1.0)
    for start in (0.0, 2.0, 0.0, -1.0):
        chain = chain >> ag.Register("t", start)
    # t, then 2 + t^2 / 2, then 2 t + t^3 / 6.
    np.testing.assert_array_equal(ag.series(chain, order=6).derivatives(), [-1, 0, 2, 0, 1, 0, 0])


def test_functions_that_have_rules_of_their_own_keep_them():
    def fn(u):
        x, *others = u
        return special.dawsn(x), jnp.stack([y * y for y in others])

    t = np.zeros((6, ORDER + 1))
    t[:, 0], t[:, 1] = np.linspace(0.5, 1, 6), 1
    found, squares = ag.taylor.expand(fn, ag.Stream(t, "t"))
    exact = taylor(
        lambda t: mp.sqrt(mp.pi) / 2 * mp.exp(-((t + 0.5) ** 2)) * mp.erfi(t + 0.5), ORDER
    )
    assert neighbour_error(found.coefficients, exact) < 128 * np.finfo(float).eps
    np.testing.assert_allclose(
        squares.coefficients[:, :3].T, [t[1:, 0] ** 2, 2 * t[1:, 0], [1] * 5]
    )


def test_powers_keep_what_is_known_of_their_exponents():
    def fn(u):
        return jnp.stack([x**exponent for exponent in (3.0, 2.5) for x in u])

    # u = t + t^2 from 0 on, where u^3 has a series and u^2.5 has none.
    t = np.zeros((NARROWEST, 5))
    t[:, 1:3] = 1
    aval = jax.ShapeDtypeStruct((NARROWEST,), jnp.float64)
    assert names(packed(trace(lambda u: [fn(u)], aval), [True]))["pow"] == 2
    found = ag.taylor.expand(fn, ag.Stream(t, "t")).coefficients
    np.testing.assert_array_equal(found[:NARROWEST], [[0, 0, 0, 1, 3]] * NARROWEST)
    assert not np.any(np.isfinite(found[NARROWEST:, 1:]))


def test_products_of_series_are_not_packed_with_products_by_numbers():
    def fn(u, c):
        return [jnp.stack([x * y for x, y in itertools.pairwise(u)] + [x * c for x in u])]

    aval = jax.ShapeDtypeStruct((NARROWEST + 1,), jnp.float64)
    program = packed(trace(fn, aval, SCALAR), [True, False])
    assert names(program)["mul"] == 2
    lifted = Lifted(program, [True, False], [False, False])
    products = [one for one in lifted.memory.steps if one.equation.name == "mul"]
    convolved = [one for one in products if len(one.reads) == 2]
    assert len(convolved) == 2
    u, c = jnp.linspace(0.5, 2, NARROWEST + 1), jnp.float64(3.0)
    np.testing.assert_array_equal(*values(program, [u, c]), *fn(u, c))


def test_what_is_taken_one_by_one_is_not_packed():
    def fn(*xs):
        return [-x for x in xs]

    program = trace(fn, *[SCALAR] * 8)
    assert packed(program, [True] * 8) is program


def test_wide_values_are_not_packed():
    aval = jax.ShapeDtypeStruct((8, 1000), jnp.float64)
    program = trace(lambda u: [jnp.stack([x * x for x in u])], aval)
    assert packed(program, [True]) is program


def test_the_order_in_which_wires_come_does_not_matter():
    order = [3, 0, 5, 1, 4, 2]

    def fn(u):
        squares = [u[place] * u[place] for place in order]
        return [jnp.stack([squares[place] + u[5 - place] for place in order])]

    aval = jax.ShapeDtypeStruct((6,), jnp.float64)
    program = packed(trace(fn, aval), [True])
    assert (names(program)["mul"], names(program)["add"]) == (1, 1)
    u = jnp.linspace(0.5, 2, 6)
    np.testing.assert_array_equal(*values(program, [u]), *fn(u))


OPERATIONS = {
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "max": jnp.maximum,
    "neg": lambda x, _: -x,
    "sign": lambda x, _: jnp.sign(x),
}


@st.composite
def straight_lines(draw):
    """A function of four numbers and an array of five, of operations on single numbers."""
    lines = draw(
        st.lists(
            st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 99), st.integers(0, 99)),
            min_size=8,
            max_size=60,
        )
    )
    chosen = draw(st.lists(st.integers(0, 99), min_size=1, max_size=4))
    together = draw(st.lists(st.integers(0, 99), min_size=2, max_size=12))

    def fn(a, b, c, d, u):
        known = [a, b, c, d, *u, jnp.float64(0.5), jnp.float64(2.0)]
        for name, one, other in lines:
            known.append(OPERATIONS[name](known[one % len(known)], known[other % len(known)]))
        return [
            *(known[-1 - place % len(known)] for place in chosen),
            jnp.stack([known[place % len(known)] for place in together]),
            jnp.stack(known[-6:]),
        ]

    return fn


@pytest.mark.usefixtures("unchecked")
@settings(max_examples=60, deadline=None)
@given(straight_lines(), st.lists(st.booleans(), min_size=5, max_size=5))
def test_packing_does_not_change_values(fn, series):
    program = trace(fn, *[SCALAR] * 4, jax.ShapeDtypeStruct((5,), jnp.float64))
    inputs = [*map(jnp.float64, (0.25, -1.5, 3.0, 0.5)), jnp.array([1.0, -2.0, 0.125, 4.0, -0.5])]
    found = values(packed(program, series), inputs)
    for one, other in zip(found, values(program, inputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_history_serves_the_entries_of_a_value():
    def product(u):
        return [u[0] * u[1]]

    def histories(count):
        program = trace(product, jax.ShapeDtypeStruct((count,), jnp.float64))
        lifted = Lifted(program, [True], [False])
        return sorted(lifted.avals[number].shape for number in lifted.memory.histories)

    assert histories(3) == [(3,)]
    assert histories(4) == [(4,)]
    # Of more entries, those alone that are read.
    assert histories(5) == [(), ()]


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("unroll", [False, slow(True)])
def test_series_by_entries_of_a_history(count, unroll):
    # x' = x y, y' = -x y, the others at rest: x + y stays 1, and x is logistic.
    def field(u):
        return jnp.stack([u[0] * u[1], -u[0] * u[1], *(0 * z for z in u[2:])])

    start = jnp.array([0.25, 0.75, *range(count - 2)])
    stream = ag.series(ode(field, start), order=ORDER, unroll=unroll)
    assert neighbour_error(stream.coefficients[0], exact_logistic(1)) < 16 * np.finfo(float).eps
    given = ag.Stream(stream.coefficients[:2], "t")
    product = ag.taylor.expand(lambda u: u[0] * u[1], given).coefficients
    slopes = stream.coefficients[0, 1:] * np.arange(1, ORDER + 1)
    np.testing.assert_allclose(product[:-1], slopes, rtol=1e-12, atol=1e-16)
