"""Series along one dimension: closed forms, loops, and what a run costs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import (
    cast,
    closed,
    compilations,
    drawn,
    equations,
    neighbour_error,
    polynomial,
    taylor,
)

import asgard as ag

DTYPES = {jnp.float64: 1e-13, jnp.float32: 8 * float(jnp.finfo(jnp.float32).eps)}

GROWTH = (ag.Add() >> ag.Split() >> ag.Id() @ ag.Register("t")).trace()  # f = input + ∫ f
ONE = ag.Stream([1.0], "t")
ROTATION = closed(ag.Swap() >> ag.Register("t") @ (ag.Scalar(-1.0) >> ag.Register("t", 1.0)))
TANGENT = closed(ag.Power(2) @ ag.Const(1.0) >> ag.Add() >> ag.Register("t"))
LOGISTIC = closed(
    ag.Split(3)
    >> ag.Scalar(1.5) @ (ag.Multiplication() >> ag.Scalar(-0.375))
    >> ag.Add()
    >> ag.Register("t", 0.5)
)


def lotka_volterra(a, b, c, d, x0, y0):
    interaction = ag.Id() @ (ag.Multiplication() >> ag.Split()) @ ag.Id()
    prey = ag.Scalar(a) @ ag.Scalar(-b) >> ag.Add() >> ag.Register("t", x0)
    predator = ag.Scalar(d) @ ag.Scalar(-c) >> ag.Add() >> ag.Register("t", y0)
    return closed(ag.Split() @ ag.Split() >> interaction >> prey @ predator)


def coefficients(circuit, *streams, **options):
    result = ag.series(circuit, *streams, **options)
    results = result if isinstance(result, tuple) else (result,)
    return [stream.coefficients for stream in results]


# Closed forms


def test_growth_has_derivatives_of_one():
    result = ag.series(GROWTH, ONE, order=40)
    np.testing.assert_allclose(result.derivatives(), np.ones(41), rtol=2e-15)


EXACT = {
    "growth": (GROWTH, (ONE,), [mp.exp]),
    "rotation": (ROTATION, (), [mp.sin, mp.cos]),
    "logistic": (LOGISTIC, (), [lambda t: 4 / (1 + 7 * mp.exp(-mp.mpf(1.5) * t))]),
    "tangent": (TANGENT, (), [mp.tan]),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", EXACT)
def test_loops_have_the_series_of_their_closed_forms(name, dtype):
    circuit, streams, exact = EXACT[name]
    order = 40 if dtype == jnp.float64 else 30
    results = coefficients(cast(circuit, dtype), *cast(streams, dtype), order=order)
    for got, function in zip(results, exact, strict=True):
        assert got.dtype == dtype
        assert neighbour_error(got, taylor(function, order)) < DTYPES[dtype]


def test_tangent_numbers_are_exact():
    expected = [0, 1, 0, 2, 0, 16, 0, 272, 0, 7936]
    assert ag.series(TANGENT, order=9).derivatives().tolist() == expected
    # Unrolled, XLA fuses products and sums, which may round the last bit another way.
    unrolled = ag.series(TANGENT, order=9, unroll=True).derivatives()
    np.testing.assert_allclose(unrolled, expected, rtol=1e-15)


def test_lotka_volterra():
    a, b, c, d, x0, y0 = numbers = (0.545, 0.028, 0.803, 0.024, 33.96, 5.93)
    order = 20
    with mp.workdps(40):
        a, b, c, d, x0, y0 = map(mp.mpf, numbers)
        x, y = [x0], [y0]
        for n in range(order):
            xy = sum(x[k] * y[n - k] for k in range(n + 1))
            x.append((a * x[n] - b * xy) / (n + 1))
            y.append((d * xy - c * y[n]) / (n + 1))
    for unroll in (False, True):
        prey, predator = coefficients(lotka_volterra(*numbers), order=order, unroll=unroll)
        assert neighbour_error(prey, x) < 1e-13
        assert neighbour_error(predator, y) < 1e-13


def test_transcendental_loops():
    # y' = exp(-y) sin t, y(0) = 1: e^y = e + 1 - cos t
    force = ag.Coordinate("t") >> ag.Sin()
    body = (ag.Scalar(-1.0) >> ag.Exp()) @ force >> ag.Multiplication() >> ag.Register("t", 1.0)
    exact = taylor(lambda t: mp.log(mp.e + 1 - mp.cos(t)), 20)
    for unroll in (False, True):
        (got,) = coefficients(closed(body), order=20, unroll=unroll)
        assert neighbour_error(got, exact) < 1e-13


def test_coordinates_start_at_the_centre():
    circuit = ag.Id() @ ag.Coordinate("t") >> ag.Multiplication()
    given = ag.Stream([0.0, 1.0], "t", 2.0)
    assert ag.series(circuit, given, order=3).coefficients.tolist() == [0.0, 2.0, 1.0, 0.0]
    shifted = ag.series(ag.Id() @ (ag.Coordinate("t") >> ag.Exp()) >> ag.Add(), given, order=5)
    assert shifted.center == 2.0
    exact = [math.exp(2) / math.factorial(n) + (n == 1) for n in range(6)]
    np.testing.assert_allclose(shifted.coefficients, exact, rtol=1e-15)


def test_taylor_polynomials_are_cut_at_their_degree():
    result = ag.series(ag.TaylorPolynomial("sin", 5, "t"), order=8)
    assert result.derivatives().tolist() == [0, 1, 0, -1, 0, 1, 0, 0, 0]


# Registers and deregisters

POLYNOMIAL = ag.Stream([1.0, 2.0, 3.0, 4.0], "t")


@pytest.mark.parametrize("unroll", [False, True])
def test_registers_and_deregisters_are_inverse(unroll):
    def run(circuit):
        return ag.series(circuit, POLYNOMIAL, order=3, unroll=unroll).coefficients.tolist()

    assert run(ag.Register("t", 5.0) >> ag.Deregister("t")) == [1.0, 2.0, 3.0, 4.0]
    assert run(ag.Deregister("t") >> ag.Register("t")) == [0.0, 2.0, 3.0, 4.0]
    assert run(ag.Deregister("t") >> ag.Register("t", 1.0)) == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_top_coefficient_of_a_derivative_is_computed(order):
    derivative = ag.series(ag.Deregister("t"), POLYNOMIAL, order=order).coefficients
    assert derivative.tolist() == [2.0, 6.0, 12.0, 0.0][: order + 1]
    twice = ag.Exp() >> ag.Deregister("t") >> ag.Exp() >> ag.Deregister("t")
    exact = taylor(lambda t: mp.exp(mp.exp(t)) * mp.exp(t), order)
    got = ag.series(twice, ag.Stream([0.0, 1.0], "t"), order=order).coefficients
    assert neighbour_error(got, exact) < 1e-13
    loop = ag.series(GROWTH >> ag.Deregister("t") >> ag.Deregister("t"), ONE, order=order)
    assert loop.derivatives().tolist() == [1.0] * (order + 1)


# x'' = -x - x'/2, x(0) = 1, x'(0) = 0: derivatives by the recurrence.
DAMPED = [1.0, 0.0]
for _ in range(9):
    DAMPED.append(-DAMPED[-2] - DAMPED[-1] / 2)
RETIMED = {
    "a derivative taken back inside the loop": closed(
        ag.Split()
        >> ag.Scalar(-1.0) @ (ag.Deregister("t") >> ag.Scalar(-0.5))
        >> ag.Add()
        >> ag.Register("t")
        >> ag.Register("t", 1.0)
    ),
    "a derivative taken before a register": closed(
        ag.Split()
        >> ag.Scalar(-1.0) @ ag.Scalar(-0.5)
        >> ag.Register("t") @ ag.Id()
        >> ag.Add()
        >> ag.Deregister("t")
        >> ag.Register("t")
        >> ag.Register("t", 1.0)
    ),
}
RETIMED_EXACT = {
    "a derivative taken back inside the loop": DAMPED,
    # x'' = (-∫x - x/2)' with x'(0) = 0: the same equation.
    "a derivative taken before a register": DAMPED,
}


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("order", [0, 1, 10])
@pytest.mark.parametrize("name", RETIMED)
def test_loops_run_where_registers_outnumber_deregisters(name, order, unroll):
    result = ag.series(RETIMED[name], order=order, unroll=unroll).derivatives()
    np.testing.assert_allclose(result, RETIMED_EXACT[name][: order + 1], rtol=1e-14, atol=1e-14)


def test_a_register_cancels_a_deregister_in_a_loop():
    deregister, register = ag.Deregister("t"), ag.Register("t")
    one = ag.Register("t", 1.0)
    for body in (register >> deregister >> one, one >> deregister >> one, one >> one >> deregister):
        got = ag.series(closed(body), order=6).derivatives()
        # x = 1 + ∫x, in each of them.
        np.testing.assert_allclose(got, np.ones(7), rtol=1e-15)


def test_loops_that_lose_orders_are_refused_by_name():
    lossy = closed(ag.Exp() >> ag.Deregister("t") >> ag.Deregister("t") >> ag.Register("t", 1.5))
    with pytest.raises(ag.LoopError) as raised:
        ag.series(lossy, order=3)
    for part in ("exp", "deregister(t)", "register(t, 1.5)", "along t"):
        assert part in str(raised.value)
    with pytest.raises(ag.LoopError, match="as many derivatives as it integrates"):
        ag.series(closed(ag.Deregister("t") >> ag.Register("t")), order=3)


def test_algebraic_loops_run_beside_guarded_ones():
    # An algebraic loop inside the component of a guarded one: x = (y + x) / 2 is x = y.
    inner = (ag.Add() >> ag.Scalar(0.5) >> ag.Split()).trace()
    found = ag.series(closed(inner >> ag.Register("t", 1.0)), order=5).derivatives()
    np.testing.assert_allclose(found, np.ones(6), rtol=1e-14)


def test_what_nothing_reads_is_not_run():
    algebraic = ag.Id() @ (ag.Exp() >> ag.Split()).trace() >> ag.Id() @ ag.Discard()
    assert ag.series(algebraic, POLYNOMIAL, order=3).coefficients.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert ag.series(ag.Id() @ ag.Id(1).trace(), POLYNOMIAL, order=1).coefficients.tolist() == [
        1,
        2,
    ]
    assert ag.series(ag.Discard(), POLYNOMIAL, order=3) == ()


# What a run costs


def nested(depth):
    """f = ∫ (input + depth f) as `depth` traces, one inside the other."""
    circuit = ag.Register("t")
    for _ in range(depth):
        circuit = (ag.Add() >> circuit >> ag.Split()).trace()
    return circuit


FLAT = (
    ag.Add() @ ag.Id(2) >> ag.Add() @ ag.Id() >> ag.Add() >> ag.Register("t") >> ag.Split(4)
).trace(3)


def test_nested_traces_and_a_flat_one_give_one_scan_and_the_same_numbers():
    def run(circuit):
        return lambda: ag.series(circuit, ONE, order=12).coefficients

    assert equations(run(nested(3))).count("scan") == 1
    assert equations(run(nested(3))) == equations(run(FLAT))
    exact = taylor(lambda t: (mp.exp(3 * t) - 1) / 3, 12)
    for circuit in (nested(3), FLAT):
        assert neighbour_error(run(circuit)(), exact) < 1e-13


@pytest.mark.parametrize(
    "circuit", [ROTATION, LOGISTIC, TANGENT, *RETIMED.values(), GROWTH >> GROWTH]
)
def test_a_run_takes_as_many_equations_at_order_10_as_at_order_200(circuit):
    def count(order):
        return equations(lambda: coefficients(circuit, *[ONE] * circuit.n_in, order=order))

    assert count(10) == count(200)
    # Two loops one after the other run in one scan too.
    assert count(10).count("scan") == 1


def test_the_unrolled_driver_has_no_scan():
    assert "scan" not in equations(lambda: coefficients(TANGENT, order=5, unroll=True))


def recompiled(run, *variants):
    """How often a function of one argument compiles `series` over variants of it."""
    run(variants[0])
    with compilations() as programs:
        results = [run(variant) for variant in variants[1:]]
    assert all(jnp.isfinite(r.coefficients).all() for r in results)
    return len(programs)


def test_changed_numbers_do_not_compile_again():
    circuit = closed(ag.Scalar(0.5) >> ag.Register("t", 1.0))
    names = {"scalar.factor": [2, 3.0, np.float32(1.5), jnp.asarray(4)], "register.initial": [7]}
    variants = [circuit] + [
        ag.update(circuit, {name: value}) for name, values in names.items() for value in values
    ]
    variants.append(closed(ag.Scalar(3) >> ag.Register("t", 0)))
    assert recompiled(lambda c: ag.series(c, order=7), *variants) == 0
    streams = [[1.0, 2.0], [3, 4], np.array([5.0, 6.0]), jnp.zeros(2)]
    given = [ag.Stream(numbers, "t", centre) for centre, numbers in enumerate(streams)]
    assert recompiled(lambda stream: ag.series(GROWTH, stream, order=7), *given) == 0
    assert recompiled(lambda stream: ag.series(GROWTH, stream, order={"t": 8}), *given) == 0


def test_what_is_static_does_compile_again():
    with compilations() as programs:
        for order in (3, 4):
            ag.series(GROWTH >> ag.Sqrt(), ONE, order=order)
    assert len(programs) == 2


# Transformations


def decay(rate):
    return closed(ag.Scalar(-rate) >> ag.Register("t", 1.0))


def test_gradients_go_through_the_scan():
    order = np.arange(6)
    factorial = np.array([math.factorial(n) for n in order])

    def run(rate):
        return ag.series(decay(rate), order=5).coefficients

    exact = -order * (-2.0) ** np.maximum(order - 1, 0) / factorial
    for slopes in jax.jit(lambda rate: (jax.jacfwd(run)(rate), jax.jacrev(run)(rate)))(2.0):
        np.testing.assert_allclose(slopes, exact, rtol=1e-14)
    gradient = jax.jit(jax.grad(lambda c: ag.series(c, order=5).evaluate(t=0.5)))(decay(2.0))
    np.testing.assert_allclose(
        ag.parameters(gradient)["register.initial"],
        sum((-1.0) ** order / factorial),  # of x0 e^(-2 t) at t = 1/2, to order 5
        rtol=1e-14,
    )


def test_series_map_over_circuits_and_streams():
    rates = jnp.array([0.5, 1.0, 3.0])

    @jax.jit
    def run(rates):
        circuits = jax.vmap(decay)(rates)
        given = jax.vmap(lambda c: ag.Stream(c, "t"))(jnp.eye(2))
        return (
            jax.vmap(lambda c: ag.series(c, order=4).derivatives())(circuits),
            jax.vmap(lambda s: ag.series(GROWTH, s, order=3).derivatives())(given),
        )

    over_circuits, over_streams = run(rates)
    np.testing.assert_allclose(over_circuits, (-rates[:, None]) ** np.arange(5), rtol=1e-14)
    assert over_streams.tolist() == [[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]


def test_jitted_gradients_over_a_batch():
    def loss(rate, point):
        return ag.series(decay(rate), order=20).evaluate(t=point)

    points = jnp.linspace(0.0, 0.5, 4)
    got = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(1.0, points)
    np.testing.assert_allclose(got, -points * jnp.exp(-points), rtol=1e-13)


# Values of any shape


class Linear(ag.Atom):
    """A matrix times a value."""

    matrix: jax.Array
    n_in = n_out = 1

    def __call__(self, x):
        return self.matrix @ x


TURN = jnp.array([[0.0, 1.0], [-1.0, 0.0]])


@pytest.mark.parametrize("initial", [np.array([0.0, 1.0]), np.eye(2)], ids=["vector", "matrix"])
def test_loops_carry_vectors_and_matrices(initial):
    result = ag.series(closed(Linear(TURN) >> ag.Register("t", initial)), order=12)
    exact = [np.linalg.matrix_power(TURN, n) @ initial / math.factorial(n) for n in range(13)]
    assert result.value_shape == initial.shape
    np.testing.assert_allclose(result.coefficients, np.stack(exact, axis=-1), rtol=1e-15)


def test_initial_values_broadcast_to_what_the_loop_carries():
    rates = jnp.array([1.0, 2.0, 3.0])
    result = ag.series(closed(ag.Scalar(rates) >> ag.Register("t", 1.0)), order=3)
    assert result.derivatives().tolist() == [[1, 1, 1, 1], [1, 2, 4, 8], [1, 3, 9, 27]]


def test_numbers_scale_vectors_in_loops():
    # x' = |x|^2 x has the number |x|^2 multiply the vector x; r' = r^3 from r = 1/2.
    cube = ag.Function(lambda x: jnp.sum(x * x) * x, 1)
    result = ag.series(closed(cube >> ag.Register("t", jnp.array([0.3, 0.4]))), order=1)
    np.testing.assert_allclose(result.coefficients, [[0.3, 0.075], [0.4, 0.1]], rtol=1e-14)
    exact = taylor(lambda t: 1 / mp.sqrt(4 - 2 * t), 10)
    for unroll in (False, True):
        result = ag.series(
            closed(cube >> ag.Register("t", jnp.array([0.5, 0.0]))), order=10, unroll=unroll
        )
        assert neighbour_error(result.coefficients[0], exact) < 1e-13


def test_a_network_in_a_loop():
    mlp = drawn(eqx.nn.MLP, 2, 2, 4, 1, activation=jnp.tanh)
    start = jnp.array([1.0, 0.5])
    circuit = closed(ag.Function(mlp, 1) >> ag.Register("t", start))

    # The derivatives of y along y' = f(y): each is the last, differentiated along f.
    @jax.jit
    def along_the_flow(y):
        fns = [lambda y: y]
        for _ in range(5):
            fns.append(lambda y, fn=fns[-1]: jax.jvp(fn, (y,), (mlp(y),))[1])
        return jnp.stack([fn(y) for fn in fns], axis=-1)

    for unroll in (False, True):
        got = ag.series(circuit, order=5, unroll=unroll).derivatives()
        np.testing.assert_allclose(got, along_the_flow(start), rtol=1e-12, atol=1e-14)
    loss = jax.jit(jax.grad(lambda c: jnp.sum(ag.series(c, order=3).coefficients)))(circuit)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(loss))


def test_float32_stays_float32():
    circuit = cast(lotka_volterra(0.5, 0.25, 0.75, 0.5, 2.0, 1.0), jnp.float32)
    assert all(c.dtype == jnp.float32 for c in coefficients(circuit, order=4))


# Composition of power series


def test_substitution_composes_power_series():
    result = ag.series(ag.parse("compose(exp(8), scalar(2.0), t)"), order=10)
    assert result.derivatives().tolist() == [2.0**n for n in range(9)] + [0.0, 0.0]
    tangent = ag.Coordinate("t") >> ag.Tan()
    inner = ag.Sin() >> ag.Scalar(0.5)
    exact = taylor(lambda t: mp.tan(mp.sin(t) / 2), 12)
    got = ag.series(ag.Substitution(tangent, inner, "t"), order=12).coefficients
    assert neighbour_error(got, exact) < 1e-13
    nested = ag.Substitution(ag.Substitution(tangent, inner, "t"), ag.Scalar(3.0), "t")
    exact = taylor(lambda t: mp.tan(mp.sin(3 * t) / 2), 12)
    assert neighbour_error(ag.series(nested, order=12).coefficients, exact) < 1e-13


def test_the_inner_series_of_a_substitution_must_vanish_at_the_centre():
    circuit = ag.Substitution(ag.TaylorPolynomial("exp", 8, "t"), ag.Cos(), "t")
    with pytest.raises(ag.CircuitError, match="must vanish at the centre along t"):
        ag.series(circuit, order=4)
    # Under a trace nothing can be raised: the coefficients are NaN.
    assert jnp.isnan(jax.jit(lambda c: ag.series(c, order=4).coefficients)(circuit)).all()


def test_a_substitution_is_along_one_dimension():
    outer = ag.TaylorPolynomial("exp", 4, "t")
    with pytest.raises(ag.DimensionError, match="the inner series may depend on t only, not on x"):
        ag.series(ag.Substitution(outer, ag.Register("x"), "t"), order=4)
    with pytest.raises(ag.DimensionError, match="the outer series may depend on t only, not on x"):
        ag.series(ag.Substitution(outer >> ag.Register("x"), ag.Id(), "t"), order=4)


def test_polynomial_streams_are_zero_past_what_they_give():
    given = ag.Stream([0.25, 1.0, -0.5], "t")
    exact = taylor(lambda t: mp.exp(polynomial([0.25, 1.0, -0.5], t)), 12)
    assert neighbour_error(ag.series(ag.Exp(), given, order=12).coefficients, exact) < 1e-13
    assert ag.series(ag.Id(), given, order=1).coefficients.tolist() == [0.25, 1.0]
