"""Series of branches and loops inside functions: `cond`, `switch`, `scan`, `fori_loop`, `while`."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from helpers import cast, closed, equations, neighbour_error, slow
from jax import lax
from test_functions import HALF, MINUS, TWO, VECTOR, exact

import asgard as ag

ORDER = 12
DTYPES = [jnp.float64, slow(jnp.float32)]
DRIVERS = pytest.mark.parametrize("unroll", [False, True], ids=["scan", "unrolled"])


def repeated(u, turns, turn):
    for i in range(turns):
        u = turn(i, u)
    return u


def turns(u, start, turn):
    """A Python loop over the entries of a vector, as `lax.scan` runs it."""
    carry, found = start, []
    for entry in u:
        carry, out = turn(carry, entry)
        found.append(out)
    return carry, found


def weigh(values):
    return sum((k + 1) * v for k, v in enumerate(values)) / 4


def weighted(values):
    return values @ jnp.arange(1, values.size + 1, dtype=values.dtype) / 4


def nested(u):
    """A scan whose body has a loop and a branch, over a constant that is a series."""

    def turn(carry, entry):
        inner = lax.fori_loop(0, 2, lambda i, c: jnp.sin(c * entry) + i * u[0], carry)
        return inner, lax.cond(entry > 0, jnp.exp, lambda e: e * carry, entry)

    last, found = lax.scan(turn, u[3], u)
    return last + weighted(found)


def nested_exact(u):
    def turn(carry, entry):
        inner = repeated(carry, 2, lambda i, c: mp.sin(c * entry) + i * u[0])
        return inner, mp.exp(entry) if entry > 0 else entry * carry

    last, found = turns(u, u[3], turn)
    return last + weigh(found)


def counted(u):
    """A carry of which one part is a count, one a series from the start and one from later on."""

    def turn(carry, entry):
        count, first, second = carry
        return (count + 1, first * entry + count, second + first), second

    (count, _, second), found = lax.scan(turn, (0, u[0], jnp.ones((), u.dtype)), u)
    return second * count + weighted(found)


def counted_exact(u):
    def turn(carry, entry):
        count, first, second = carry
        return (count + 1, first * entry + count, second + first), second

    (count, _, second), found = turns(u, (0, u[0], 1), turn)
    return second * count + weigh(found)


def backward(u):
    last, found = lax.scan(lambda c, v: (jnp.sin(c * v), c + v), u[1], u, reverse=True)
    return last + weighted(found)


def backward_exact(u):
    last, found = turns(u[::-1], u[1], lambda c, v: (mp.sin(c * v), c + v))
    return last + weigh(found[::-1])


def doubled(u):
    """Doubled until it is past 4, and then a sine: how often depends on the value at order 0."""
    return jnp.sin(lax.while_loop(lambda v: v < 4, lambda v: v * 2 + u * v / 8, u))


def doubled_exact(u):
    v = u
    while v < 4:
        v = v * 2 + u * v / 8
    return mp.sin(v)


def batched(u):
    """As many turns for each entry as it wants."""
    halve = jax.vmap(lambda v: lax.while_loop(lambda w: w > 0.3, lambda w: w * jnp.cos(w) / 2, v))
    return weighted(halve(u))


def batched_exact(u):
    def halve(v):
        while v > 0.3:
            v = v * mp.cos(v) / 2
        return v

    return weigh(map(halve, u))


def newton(u):
    """The square root of u by Newton's iteration, a fixed number of turns counted by a while."""
    return lax.while_loop(
        lambda c: c[0] < 8, lambda c: (c[0] + 1, (c[1] + u / c[1]) / 2), (0, jnp.ones_like(u))
    )[1]


CASES = {
    "cond, true": (lambda u: lax.cond(u > 0, jnp.sin, jnp.exp, u), mp.sin, HALF),
    "cond, false": (
        lambda u: lax.cond(u > 0, jnp.sin, lambda v: jnp.exp(v) * u, u),
        lambda u: mp.exp(u) * u,
        MINUS,
    ),
    "switch": (
        lambda u: lax.switch(jnp.int32(u), [jnp.sin, lambda v: v / (1 + v), jnp.ones_like], u),
        lambda u: u / (1 + u),
        TWO,
    ),
    "constant branch": (
        lambda u: lax.cond(u > 0, lambda v: jnp.ones_like(v), jnp.exp, u) * u,
        lambda u: u,
        HALF,
    ),
    "platform": (
        lambda u: lax.platform_dependent(u, tpu=jnp.cos, default=jnp.sin),
        mp.sin,
        HALF,
    ),
    "fori_loop": (
        lambda u: lax.fori_loop(0, 4, lambda i, c: c * u + i, 0.5 * u),
        lambda u: repeated(u / 2, 4, lambda i, c: c * u + i),
        HALF,
    ),
    "map": (
        lambda u: weighted(lax.map(lambda v: v * jnp.exp(v), u)),
        lambda u: weigh([v * mp.exp(v) for v in u]),
        VECTOR,
    ),
    "associative_scan": (
        lambda u: weighted(lax.associative_scan(lambda a, b: a * b + a + b, u)),
        lambda u: weigh([mp.fprod([1 + v for v in u[: k + 1]]) - 1 for k in range(4)]),
        VECTOR,
    ),
    "nested": (nested, nested_exact, VECTOR),
    "counted": (counted, counted_exact, VECTOR),
    "backward": (backward, backward_exact, VECTOR),
    "while": (doubled, doubled_exact, HALF),
    "while, batched": (batched, batched_exact, VECTOR),
    "while, counted": (newton, mp.sqrt, TWO),
    "checkpoint": (jax.checkpoint(lambda u: jnp.sin(u) * u), lambda u: mp.sin(u) * u, HALF),
}


@functools.cache
def expand(dtype, order=ORDER, unroll=False):
    """The series of all cases, by one program."""
    streams = [cast(ag.Stream(inner, "t"), dtype) for _, _, inner in CASES.values()]

    def run(*xs):
        return tuple(fn(x) for (fn, _, _), x in zip(CASES.values(), xs, strict=True))

    circuit = ag.Function(run, len(CASES), len(CASES))
    results = ag.series(circuit, *streams, order=order, unroll=unroll)
    return {name: r.coefficients for name, r in zip(CASES, results, strict=True)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_control_flow_has_the_series_of_what_it_computes(name, dtype):
    _, function, inner = CASES[name]
    got = expand(dtype)[name]
    assert got.dtype == dtype
    assert neighbour_error(got, exact(function, inner, ORDER)) < 256 * float(jnp.finfo(dtype).eps)


@pytest.mark.parametrize("name", CASES)
def test_control_flow_has_the_same_series_unrolled(name):
    unrolled = expand(jnp.float64, order=3, unroll=True)
    np.testing.assert_allclose(unrolled[name], expand(jnp.float64)[name][:4], rtol=1e-13)


@pytest.mark.slow
def test_a_recurrent_network():
    cell = eqx.nn.GRUCell(1, 3, key=jax.random.key(0))

    def run(u):
        last, _ = lax.scan(lambda h, x: (cell(x[None], h), None), jnp.zeros(3), u)
        return jnp.sum(last * jnp.arange(1.0, 4.0))

    @jax.jit
    def derivatives(t):
        fns = [lambda t: run(jnp.stack([jnp.polyval(jnp.array(row[::-1]), t) for row in VECTOR]))]
        for _ in range(4):
            fns.append(lambda t, fn=fns[-1]: jax.jvp(fn, (t,), (1.0,))[1])
        return jnp.stack([fn(t) for fn in fns])

    got = ag.series(ag.Function(run, 1), ag.Stream(VECTOR, "t"), order=4).derivatives()
    np.testing.assert_allclose(got, derivatives(0.0), rtol=1e-12)


# In loops


def square(y):
    """y² in a roundabout way: a branch, a scan and a loop that counts."""
    above = lax.cond(y > 0, lambda v: v / 4, lambda v: -jnp.exp(v), y)
    total, _ = lax.scan(lambda c, k: (c + k * above, None), jnp.zeros_like(y), jnp.ones(4))
    return total * y


def counting_square(y):
    return lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + y * y / 3), (0, 0 * y))[1]


@DRIVERS
@pytest.mark.parametrize("fn", [square, counting_square])
def test_control_flow_in_a_guarded_loop(fn, unroll):
    # y' = y²: y = y0 / (1 - y0 t), whose coefficients are powers of y0.
    order = 6 if unroll else ORDER
    circuit = closed(ag.Function(fn, 1) >> ag.Register("t", 1.25))
    got = ag.series(circuit, order=order, unroll=unroll).coefficients
    np.testing.assert_allclose(got, 1.25 ** np.arange(1, order + 2), rtol=1e-13)


@DRIVERS
@pytest.mark.parametrize("fn", [square, slow(counting_square)])
def test_control_flow_along_two_dimensions(fn, unroll):
    # u_t = u² from u0(x): coefficient i in t is u0(x)^(i + 1).
    initial, order = [0.75, 0.5, -0.25], 3
    circuit = closed(ag.Function(fn, 1) >> ag.Register("t", ag.Stream(initial, "x")))
    got = ag.series(circuit, order=order, unroll=unroll).coefficients
    rows = [exact(lambda u, i=i: u ** (i + 1), initial, order) for i in range(order + 1)]
    assert neighbour_error(got, rows) < 1e-13


def test_gradients_and_batches_go_through_control_flow():
    def run(rate, start):
        def slope(y):
            return lax.scan(lambda c, k: (c + k * rate * square(y), None), 0 * y, jnp.ones(2))[0]

        return ag.series(closed(ag.Function(slope, 1) >> ag.Register("t", start)), order=4)

    rates, starts = jnp.array([0.5, 1.5]), jnp.array([1.0, 2.0])

    def both(rate, start):
        values = run(rate, start).coefficients
        return values, jax.jacrev(lambda r: run(r, start).coefficients)(rate)

    # y' = 2 r y²: coefficient n is (2 r)^n y0^(n + 1).
    values, slopes = jax.jit(jax.vmap(both))(rates, starts)
    n = np.arange(5)
    expected = (2 * rates[:, None]) ** n * starts[:, None] ** (n + 1)
    np.testing.assert_allclose(values, expected, rtol=1e-13)
    np.testing.assert_allclose(slopes, n * expected / rates[:, None], rtol=1e-12)


def test_a_loop_that_no_series_touches_runs_once():
    def run(u):
        return u * lax.while_loop(lambda c: c < 100, lambda c: c * 1.5, 1.0)

    names = equations(
        lambda: ag.series(ag.Function(run, 1), ag.Stream([1.0, 1.0], "t"), order=5).coefficients
    )
    assert names.count("while") == 1
