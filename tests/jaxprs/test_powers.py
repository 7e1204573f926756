"""Powers by products and roots."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag
from asgard.jaxprs.powers import LARGEST_EXPONENT, has_powers, power, powers_by_roots
from asgard.jaxprs.program import trace

EXPONENTS = [sign * quarters / 4 for quarters in (1, 2, 3, 4, 5, 6, 7, 10, 48) for sign in (1, -1)]


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_values_and_slopes_are_those_of_pow(dtype):
    x = jnp.array([0.1, 0.3, 1.0, 2.7, 9.0], dtype)
    for exponent in EXPONENTS:
        found, slope = jax.jvp(lambda x, e=exponent: power(x, e), (x,), (jnp.ones_like(x),))
        exact, true = jax.jvp(lambda x, e=exponent: x**e, (x,), (jnp.ones_like(x),))
        rounding = 8 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(found, exact, rtol=rounding)
        np.testing.assert_allclose(slope, true, rtol=2 * rounding)
        assert found.dtype == dtype


def test_where_a_power_has_no_usual_value():
    x = jnp.array([0.0, jnp.inf, -1.0, jnp.nan])
    for exponent in EXPONENTS:
        np.testing.assert_array_equal(power(x, exponent), x**exponent)
    # Derivatives of a root are infinite at zero; that of these is zero, and from 2 on the second.
    for exponent in (1.25, 1.5, 1.75, 2.25, 2.5, 3.75):
        slope = jax.grad(lambda x, e=exponent: power(x, e))
        for dtype in (jnp.float64, jnp.float32):
            zero = jnp.zeros((), dtype)
            assert 0 <= slope(zero) < 1e-6
            assert exponent < 2 or 0 <= jax.grad(slope)(zero) < 1e-5
            np.testing.assert_allclose(
                power(zero + 1e-16, exponent), (zero + 1e-16) ** exponent, 1e-6
            )


def test_only_known_multiples_of_a_quarter_are_written_so():
    x = jax.ShapeDtypeStruct((3,), jnp.float64)

    def writes(fn, *types):
        return has_powers(trace(lambda *values: (fn(*values),), *(types or (x,))))

    assert writes(lambda x: x**-1.5)
    assert writes(lambda x: jnp.exp(x) ** 0.25)
    assert not writes(lambda x: x ** (1 / 3))
    assert not writes(lambda x: x ** (LARGEST_EXPONENT + 0.5))
    assert not writes(lambda x: x ** np.array([1.5, 2.5, 3.5]))
    assert not writes(lambda x, y: x**y, x, x)
    for dtype in (jnp.complex128, jnp.float16, jnp.bfloat16):
        assert not writes(lambda x: x**1.5, jax.ShapeDtypeStruct((3,), dtype))
    fn = powers_by_roots(lambda x, y: (x**1.5 + x**y, jnp.sinc(x)))
    names = [one.name for one in trace(fn, x, x).equations]
    assert names.count("pow") == 1
    assert "sinc" in names


def pull(x, y, u, v):
    """A planet, and its rates."""
    strength = (x * x + y * y) ** -1.5
    return u, v, -x * strength, -y * strength


def test_a_run_takes_roots_and_keeps_its_numbers():
    """The same system with the root written by hand takes the same steps."""

    def by_hand(x, y, u, v):
        square = x * x + y * y
        strength = 1 / (square * jnp.sqrt(square))
        return u, v, -x * strength, -y * strength

    def run(rates, method):
        def end(start):
            def loop(x):
                return jnp.stack(rates(*x))

            circuit = (ag.Function(loop, 1) >> ag.Register("t", start) >> ag.Split()).trace()
            calculus = ag.Real(method=method, rtol=1e-6, atol=1e-6)
            return ag.simulate(circuit, [0.0, 3.0], calculus=calculus).output[-1]

        return end

    start = jnp.array([1.0, 0.0, 0.0, 1.2])
    for method, slopes in ((ag.Tsit5(), True), (ag.Radau(3), False)):
        ends = [run(rates, method) for rates in (pull, by_hand)]
        powers, found = [], []
        for end in ends:
            both = functools.partial(jax.jvp, end, tangents=(start,)) if slopes else end
            lowered = jax.jit(both).lower((start,) if slopes else start)
            powers.append(lowered.as_text().count(".power"))
            found.append(lowered.compile()((start,) if slopes else start))
        assert powers[0] == powers[1]
        for one, other in zip(*map(jax.tree.leaves, found), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_a_contact_that_rests_has_slopes():
    """Hertz's contact, max(x, 0)^1.5, where x is zero."""

    def end(stiffness):
        def rates(x):
            return jnp.stack([x[1], -stiffness * jnp.maximum(x[0], 0.0) ** 1.5 - x[1]])

        register = ag.Register("t", jnp.zeros(2))
        circuit = (ag.Function(rates, 1) >> register >> ag.Split()).trace()
        calculus = ag.Real(method=ag.Tsit5(), rtol=1e-6)
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus).output[-1].sum()

    value, slope = jax.jit(lambda x: jax.jvp(end, (x,), (1.0,)))(100.0)
    assert value == 0
    assert slope == 0
