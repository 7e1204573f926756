"""Which entries of a result read which of an input, against Jacobians at random points."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asgard.jaxprs import dependence as module
from asgard.jaxprs.by_numpy import bind
from asgard.jaxprs.compiling import Jit
from asgard.jaxprs.dependence import dependence
from asgard.jaxprs.program import trace

SIZE = 12
TURNS = np.arange(SIZE)
MATRIX = np.diag(np.arange(1.0, SIZE)[: SIZE - 1], 1)
KERNEL = np.random.default_rng(0).normal(size=(2, 1, 2, 2))


def stencil(y):
    return jnp.pad(jnp.diff(y, 2), 1) + jnp.sin(y)


def convolved(x, kernel, strides, padding, **options):
    return lax.conv_general_dilated(x, jnp.asarray(kernel), strides, padding, **options)


def species(y):
    return y.reshape(3, 4)


@jax.custom_jvp
def shifted(y):
    """Its operations are those of each entry, and its derivative is that of the one before."""
    return jnp.floor(y)


shifted.defjvp(lambda y, moves: (shifted(*y), jnp.roll(moves[0], 1)))


PLAIN = {
    "neighbours": lambda y: jnp.roll(y, 1) * y - jnp.roll(y, -2),
    "a line": stencil,
    "two fields": lambda y: jnp.concatenate([y[6:] * y[:6], jnp.diff(y[:6], append=y[0])]),
    "a known matrix": lambda y: MATRIX @ y,
    "a known matrix from the right": lambda y: jnp.sin(y) @ MATRIX,
    "a product": lambda y: (y.reshape(3, 4) @ y.reshape(4, 3)).ravel(),
    "many products": lambda y: jnp.einsum("bij,bj->bi", y.reshape(3, 2, 2), y[:6].reshape(3, 2)),
    "products of many axes": lambda y: jnp.einsum("aib,jab->ji", y.reshape(2, 3, 2), KERNEL[:, 0]),
    "a sum": lambda y: y * jnp.sum(y[:3]),
    "sums of rows": lambda y: species(y) * jnp.sum(species(y), axis=0),
    "a grid": lambda y: (jnp.roll(species(y), 1, 0) + species(y)[::-1]).ravel(),
    "entries": lambda y: y[jnp.array([3, 3, 1, 0, 2, 5, 4, 7, 6, 11, 10, 9])] ** 2,
    "columns": lambda y: species(y)[:, jnp.array([2, 0])],
    "entries of a table": lambda y: species(y)[jnp.array([0, 2]), jnp.array([[1], [3]])],
    "windows": lambda y: jax.vmap(lambda i: lax.dynamic_slice(species(y), (i, i), (2, 3)))(
        jnp.array([0, 1, 5, -1])
    ),
    "an entry of each row": lambda y: jax.vmap(lambda row, i: row[i])(
        species(y), jnp.array([1, 0, 3])
    ),
    "entries outside": lambda y: jnp.take(y, jnp.array([1, 30, -2]), mode="fill", fill_value=7.0),
    "entries moved inside": lambda y: jnp.take(y, jnp.array([1, 30, -2]), mode="clip"),
    "a running sum": lambda y: jnp.cumsum(y),
    "running products of rows": lambda y: lax.cumprod(species(y), axis=1, reverse=True),
    "a known choice": lambda y: jnp.where(TURNS % 3 == 0, y[::-1], y),
    "held ends": lambda y: jnp.roll(y, 1).at[0].set(0.0).at[-1].set(y[3]),
    "added": lambda y: jnp.zeros(SIZE).at[1:].add(y[:-1]).at[jnp.array([2, 2])].add(y[5:7]),
    "added outside": lambda y: y.at[jnp.array([3, 40])].add(y[:2], mode="drop"),
    "added inside": lambda y: y.at[jnp.array([3, 40])].add(y[:2], mode="clip"),
    "a part of a grid": lambda y: (
        species(y).at[1:, 2].set(y[:2]).at[:, jnp.array([0, 3])].add(y[5])
    ),
    "an entry of each row set": lambda y: jax.vmap(lambda row, i: row.at[i].set(2.0))(
        species(y), jnp.array([1, 0, 3])
    ),
    "scaled": lambda y: y.at[3:6].multiply(y[6:9]),
    "pieces": lambda y: lax.dynamic_update_slice(y, lax.dynamic_slice(y, (6,), (3,)), (1,)),
    "a pad that crops and spreads": lambda y: lax.pad(y, y[0], [(-2, 3, 2)]),
    "a stencil": lambda y: jnp.convolve(y, np.array([1.0, 0.0, 2.0]), mode="same"),
    "a convolution of channels": lambda y: convolved(
        y.reshape(1, 2, 2, 3), KERNEL, (1, 2), "SAME", rhs_dilation=(1, 2), feature_group_count=2
    ),
    "a transposed convolution": lambda y: convolved(
        y.reshape(1, 1, 3, 4), KERNEL, (1, 1), [(1, 0), (-1, 2)], lhs_dilation=(2, 1)
    ),
    "a convolution, channels last": lambda y: convolved(
        y.reshape(2, 6, 1),
        KERNEL[:, 0, :, :1],
        (2,),
        "VALID",
        dimension_numbers=("NHC", "OHI", "NHC"),
    ),
    "halves": lambda y: y.astype(jnp.bfloat16).astype(y.dtype) * 2,
    "a function of a branch": lambda y: jnp.sinc(y) + jax.nn.relu(y),
    "a derivative of its own": shifted,
    "columns first": lambda y: lax.reshape(species(y), (6, 2), (1, 0)),
    "an empty part": lambda y: jnp.concatenate([jnp.pad(y[:0], 3), y[9:]]),
    "nothing": lambda y: jnp.zeros(SIZE),
}
polynomial: Any = getattr(lax, "polynomial", None)
if polynomial:  # jax >= 0.12
    PLAIN["a polynomial"] = lambda y: polynomial(
        y.reshape(4, 3), [y[:4].reshape(4, 1), y[4], y[3:6].reshape(1, 3), 2.0]
    )
INNER = {
    "a loop": lambda y: lax.fori_loop(0, 3, lambda i, z: jnp.sin(z) + y[i], y),
    "shifted copies": lambda y: lax.fori_loop(
        0, 4, lambda i, z: z + jnp.roll(y, i), jnp.zeros(SIZE)
    ),
    "species by a scan": lambda y: lax.scan(lambda c, u: (c, stencil(u)), 0.0, species(y))[1],
    "species with a counter": lambda y: lax.scan(
        lambda i, u: (i + 1, stencil(u) * y[i]), 0, species(y)
    )[1],
    "rows of a grid": lambda y: lax.map(stencil, species(y)),
    "entries by their index": lambda y: lax.map(lambda i: y[i] * y[(i + 2) % SIZE], TURNS),
    "entries set": lambda y: lax.fori_loop(
        1, SIZE - 1, lambda i, z: z.at[i].set(y[i - 1] - 2 * y[i] + y[i + 1]), jnp.zeros(SIZE)
    ),
    "two branches": lambda y: lax.cond(y[0] > 0, stencil, lambda y: jnp.roll(y, 3) ** 2, y),
    "a branch that reads nothing": lambda y: lax.cond(y[0] > 0, jnp.sin, jnp.zeros_like, y),
    "a known branch": lambda y: lax.switch(5, [jnp.sin, stencil, lambda y: y[::-1] ** 2], y),
    "branches by turns": lambda y: lax.fori_loop(
        0, 2, lambda i, z: lax.cond(i == 1, stencil, lambda z: z[::-1], z), y
    ),
    "branches by rows": lambda y: lax.map(
        lambda i: lax.cond(i % 2 == 0, lambda: y[i] * y[0], lambda: y[i]), TURNS
    ),
    "a known number of turns": lambda y: lax.while_loop(
        lambda c: c[0] < 2, lambda c: (c[0] + 1, stencil(c[1])), (0, y)
    )[1],
    "roots": lambda y: lax.while_loop(
        lambda z: jnp.any(jnp.abs(z**2 - y**2) > 1e-3), lambda z: (z + y**2 / z) / 2, 1 + y**2
    ),
    "roots one by one": lambda y: lax.map(
        lambda a: lax.while_loop(lambda z: abs(z**2 - a) > 1e-3, lambda z: (z + a / z) / 2, 1 + a),
        y**2,
    ),
    "a carry that spreads": lambda y: lax.scan(lambda c, u: (c + u, c), 0.0, y)[1],
    "backward": lambda y: lax.scan(lambda c, u: (c * u, c + u), 1.0, y, reverse=True)[1],
    "a swap": lambda y: jnp.concatenate(
        lax.fori_loop(0, 3, lambda i, c: (c[1] * 2, c[0] ** 2), (y[:6], y[6:]))
    ),
    "no turn": lambda y: lax.fori_loop(0, 0, lambda i, z: z[::-1], y),
    "one row again": lambda y: lax.scan(lambda c, _: (c, stencil(y)), None, None, 2)[1],
    "derivatives of their own": lambda y: lax.map(shifted, species(y)),
    "a table": lambda y: lax.map(
        lambda i: lax.map(lambda j: y[3 * i + j] ** 2, TURNS[:3]), TURNS[:4]
    ),
    "species in loops": lambda y: lax.scan(
        lambda c, u: (c, lax.fori_loop(0, 2, lambda i, z: z + jnp.roll(z, i), u)), 0.0, species(y)
    )[1],
    "steps kept": lambda y: lax.scan(jax.checkpoint(lambda z, _: (stencil(z), z)), y, None, 2)[1],
    "many turns of each entry": lambda y: lax.fori_loop(
        0, 5000, lambda i, z: z + 1e-3 * (y - z), jnp.zeros(SIZE)
    ),
}
# Of these not all that is in the pattern is in the Jacobian.
LARGER = {
    "choices": lambda y: jnp.where(y > y[0], y, 2 * y[::-1]),
    "smoothing": lambda y: lax.while_loop(
        lambda z: jnp.max(z) - jnp.min(z) > 1, lambda z: (z + jnp.roll(z, 1)) / 2, y
    ),
    "an entry found": lambda y: y * y[jnp.argmax(y)],
    "a row found": lambda y: (
        species(y) + lax.dynamic_slice(species(y), (jnp.argmax(y[:3]), 0), (1, 4))
    ),
    "a row written": lambda y: lax.dynamic_update_slice(
        species(y), y[None, :4], (jnp.argmax(y[:3]), 0)
    ),
    "an entry written": lambda y: y.at[jnp.argmax(y)].set(y[4]),
    "sorted": jnp.sort,
    "a solve": lambda y: jnp.linalg.solve(MATRIX + 3 * np.eye(SIZE), y),
    "a filter": lambda y: lax.associative_scan(jnp.multiply, y),
}
FUNCTIONS = {**PLAIN, **INNER, **LARGER}


@functools.cache
def jacobians():
    """By name where the Jacobian differs from zero at some of a few random points."""
    points = np.random.default_rng(1).normal(size=(6, SIZE))

    @Jit  # which compiles fast
    def jacobian(point):
        return jax.jacfwd(lambda y: {name: fn(y).ravel() for name, fn in FUNCTIONS.items()})(point)

    found = [jacobian(point) for point in points]
    return {name: np.any([one[name] != 0 for one in found], axis=0) for name in FUNCTIONS}


def found(fn, size=SIZE):
    program = trace(lambda y: (fn(y).ravel(),), jax.ShapeDtypeStruct((size,), jnp.float64))
    return dependence(program, program.inputs[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_entry_of_the_jacobian_is_missed(name):
    truth, pattern = jacobians()[name], found(FUNCTIONS[name])
    assert not np.any(truth & ~pattern)
    if name not in LARGER:
        np.testing.assert_array_equal(pattern, truth)


@pytest.mark.parametrize("name", INNER)
def test_nor_where_loops_are_not_followed_turn_by_turn(name, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "TURNS", 2)
    assert not np.any(jacobians()[name] & ~found(INNER[name]))


def test_keys_of_random_numbers_depend_on_nothing():
    def noisy(y):
        noise = jax.random.normal(jax.random.key(3), y.shape)
        return lax.fori_loop(0, 2, lambda i, z: z * jax.random.normal(jax.random.key(i)), y * noise)

    np.testing.assert_array_equal(found(noisy), np.eye(SIZE, dtype=bool))


@pytest.mark.parametrize("length", [30, 1000])
def test_a_band_stays_a_band_in_loops_over_many_points(length):
    def heat(y):
        points = jnp.arange(1, length - 1)
        return jnp.pad(lax.map(lambda i: y[i - 1] - 2 * y[i] + y[i + 1], points), 1)

    def twice(y):
        return lax.fori_loop(0, 2, lambda i, z: z + heat(z), y)

    distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    inside = (distance[0] > 0) & (distance[-1] > 0)
    assert np.array_equal(found(heat, length), (distance <= 1) & inside[:, None])
    assert not np.any(found(twice, length) & (distance > 2))


def test_numpy_computes_what_jax_computes():
    def fn(i, x, which):
        table = x.reshape(3, 4)
        yield i + 3, i - 3, i * 3, -i, i // 3, i % 3, jnp.sign(i), i == 2, i != 2, i < 2, i <= 2
        yield i > 2, i >= 2, (i > 2) & (i < 9), (i > 2) | ~(i < 0), jnp.clip(i, 1, 3)
        yield jnp.maximum(i, 2), jnp.minimum(x, 0.5), jnp.where(which, x, 1.0), x[i], x[-2::-3]
        yield i.astype(float), x.astype(int), (x > 0).astype(int), jnp.arange(4) + i
        yield (
            lax.broadcasted_iota(int, (2, 3), 1) * i,
            lax.pad(table, 2.0, [(-1, 2, 1), (1, -2, 0)]),
        )
        yield (
            table.T,
            table[:, None],
            table[::-1],
            jnp.split(x, [3, 5]),
            jnp.concatenate([x, x[:2]]),
        )
        yield lax.dynamic_update_slice(table, table[:2, :2], (i, 1)), jnp.squeeze(table[:1])
        yield jnp.stack([x, 2 * x], 1), jnp.unstack(table, axis=1)
        yield lax.select_n(i % 3, i, 2 * i, 3 * i), x[jnp.array([1, 30])]
        yield lax.rem(i, 0 * i), (10**6 * i).astype(jnp.float16)  # which is too large

    def flat(*inputs):
        return jax.tree.leaves(list(fn(*inputs)))

    inputs = np.int64(7), np.linspace(-2.0, 2.0, SIZE), np.arange(SIZE) % 2 == 0
    program = trace(flat, *(jax.ShapeDtypeStruct(np.shape(one), one.dtype) for one in inputs))
    values = dict(zip(program.inputs, inputs, strict=True)) | program.constants
    for equation in program.equations:
        results = bind(equation, [np.asarray(values[key]) for key in equation.ins])
        values |= dict(zip(equation.outs, results, strict=True))
    for number, expected in zip(program.outputs, jax.jit(flat)(*inputs), strict=True):
        assert np.asarray(values[number]).dtype == expected.dtype
        np.testing.assert_array_equal(values[number], expected)
