"""Branches that are held at a mode: their values, their guards, and the modes after these."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asgard.jaxprs.branching import ASKED, LARGEST, Held
from asgard.jaxprs.moduli import MODULUS, with_moduli
from asgard.jaxprs.program import trace
from asgard.jaxprs.unrolling import unrolled

CALLS = ("jit", "pjit", "closed_call")
OPERATIONS = {
    "less": lambda x: jnp.where(x < 0.3, 1.0, 2.0),
    "at most": lambda x: jnp.where(x <= 0.3, 1.0, 2.0),
    "greater": lambda x: jnp.where(x > 0.3, 1.0, 2.0),
    "at least": lambda x: jnp.where(x >= 0.3, 1.0, 2.0),
    "maximum": lambda x: jnp.maximum(x, 1 - x),
    "minimum": lambda x: jnp.minimum(2 * x, 1.0),
    "abs": jnp.abs,
    "sign": jnp.sign,
    "clamp": lambda x: lax.clamp(-0.5, x, jnp.asarray(1.5)),
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "round": jnp.round,
    "remainder": lambda x: lax.rem(x, jnp.asarray(0.7)),
    "mod": lambda x: jnp.mod(x, 0.7),
}
POINTS = np.linspace(-2.13, 2.17, 29)


@pytest.mark.parametrize("name", OPERATIONS)
def test_held_branches_are_the_function_until_their_guards_pass_zero(name):
    fn = OPERATIONS[name]
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    held = Held.of(trace(lambda x: [fn(x)], number), [True])
    assert held.count >= 1
    none = jnp.zeros(held.count)

    @jax.jit
    @jax.vmap
    def at(x):
        """What is held, at a point and beside it, and the function there; the guards."""
        modes = held.modes([x])
        pairs = [(held.outputs(modes, [x])[0], fn(x))]
        for y in (x - 0.05, x + 0.05):
            # Where a guard has passed zero the next mode is that of the new point. One may move
            # another, as a remainder moves what compares it.
            after = modes
            for _ in range(2):
                passed = held.guards(after, none, [y]) > 0
                after = jnp.where(passed, held.after(after, none, [y]), after)
            pairs.append((held.outputs(after, [y])[0], fn(y)))
        return pairs, held.guards(modes, none, [x])

    pairs, guards = at(POINTS)
    assert np.all(guards <= 0)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["floor", "ceil", "round", "sign"])
def test_where_branches_meet_the_mode_is_that_of_the_function(name):
    fn = {"floor": jnp.floor, "ceil": jnp.ceil, "round": jnp.round, "sign": jnp.sign}[name]
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    held = Held.of(trace(lambda x: [fn(x)], number), [True])
    with jax.disable_jit():
        for x in map(jnp.asarray, (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5)):
            modes = held.modes([x])
            assert held.outputs(modes, [x])[0] == fn(x)
            asked = jnp.full(held.count, ASKED)
            np.testing.assert_array_equal(held.after(modes, asked, [x]), modes)


def test_what_does_not_move_is_large_or_no_float_keeps_asking():
    vector = jax.ShapeDtypeStruct((LARGEST + 1,), jnp.result_type(float))
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    whole = jax.ShapeDtypeStruct((), jnp.result_type(int))

    def fn(x, t, n):
        return [jnp.maximum(x, 0.0), jnp.abs(t), jnp.maximum(n, 0)]

    assert Held.of(trace(fn, vector, number, whole), [True, False, True]).count == 0
    assert Held.of(trace(fn, vector, number, whole), [True, True, True]).count == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_short_loops_that_branch_are_written_out(reverse):
    def turn(total, row):
        inner, _ = lax.scan(lambda a, x: (jnp.maximum(a, x), None), total, row)
        return inner + 1.0, inner * row[0]

    def fn(rows, start):
        return jax.tree.leaves(lax.scan(turn, start, rows, reverse=reverse))

    rows, start = jnp.arange(6.0).reshape(3, 2) - 2.5, jnp.asarray(-1.0)
    program = trace(fn, rows, start)
    written = unrolled(program, CALLS)
    assert [one.name for one in program.equations].count("scan") == 1
    assert "scan" not in [one.name for one in written.equations]
    for found, expected in zip(written.run(rows, start), fn(rows, start), strict=True):
        np.testing.assert_array_equal(found, expected)
    long = trace(lambda x: [lax.fori_loop(0, 9, lambda k, a: jnp.maximum(a, k * x), x)], start)
    assert unrolled(long, CALLS) is long


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: x % 2.0,
        lambda x, y: jnp.mod(x, y),
        lambda x, y: jnp.mod(jnp.stack([x, y]), 0.7),
        lambda x, y: jnp.remainder(x, jnp.stack([y, -y])),
    ],
)
def test_a_modulus_is_one_branch(fn):
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    held = Held.of(trace(lambda x, y: [fn(x, y)], number, number), [True, True])
    assert [one.name for one in held.program.equations].count(MODULUS) == 1
    assert held.count == jnp.size(fn(1.0, 2.0))
    assert all(one.name not in ("rem", "lt", "ne") for one in held.program.equations)


def test_what_is_no_modulus_stays():
    def fn(x, y):
        rest = lax.rem(x, y)
        other = (rest < 0) != (y < 0)
        return [
            jnp.where(rest < 0, rest + y, rest),
            jnp.where(other, rest + y, rest),
            jnp.where(other & (rest != 1), rest + y, rest),
            jnp.where(other & (rest != 0), rest - y, rest),
        ]

    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    program = trace(fn, number, number)
    assert with_moduli(program) is program


def largest(x):
    return lax.stop_gradient(jnp.maximum(-jnp.inf, jnp.max(x)))


def across(x, axis):
    """Powers shifted by the largest of each row, over their sums along an axis."""
    most = jnp.maximum(-jnp.inf, jnp.max(x, axis=1, keepdims=True))
    powers = jnp.exp(x - lax.stop_gradient(most))
    return powers / jnp.sum(powers, axis, keepdims=True)


@pytest.mark.parametrize(
    ("fn", "branches"),
    [
        (jax.nn.softmax, False),
        (jax.nn.log_softmax, False),
        (jax.nn.logsumexp, False),
        (lambda x: jax.nn.softmax(x.reshape(2, 2), axis=0), False),
        (lambda x: jnp.maximum(x, 0.5) + jax.nn.softmax(x), True),
        (lambda x: jnp.exp(x - jnp.maximum(-jnp.inf, jnp.max(x))), True),
        (lambda x: largest(x) * x, True),
        (lambda x: x - largest(x), True),
        (lambda x: (jax.nn.softmax(x), largest(x)), True),
        (lambda x: jax.nn.softmax(x, where=np.arange(4) > 0), False),
        (lambda x: jax.grad(lambda x: jnp.sum(jax.nn.softmax(x)[:2]))(x), False),
        (lambda x: jnp.exp(x - largest(x)), True),
        (lambda x: (x - largest(x), jax.nn.softmax(x)), True),
        (lambda x: jax.nn.softmax(x) + largest(x), True),
        (lambda x: jnp.log(jnp.sum(jnp.exp(x - largest(x)))), True),
        (lambda x: jnp.log(jnp.sum(jnp.exp(x - largest(x)))) + 2 * largest(x), True),
        (lambda x: jnp.exp(x - largest(x)) / (1 + jnp.sum(jnp.exp(x - largest(x)))), True),
        (lambda x: across(x.reshape(2, 2), 1), False),
        (lambda x: across(x.reshape(2, 2), 0), True),
    ],
)
def test_the_largest_exponent_of_a_softmax_is_no_branch(fn, branches):
    numbers = jax.ShapeDtypeStruct((4,), jnp.result_type(float))
    held = Held.of(trace(lambda x: jax.tree.leaves(fn(x)), numbers), [True])
    assert (held.count > 0) == branches
