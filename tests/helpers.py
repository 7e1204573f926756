"""What tests of series share: errors against exact coefficients, loops, and a look into jaxprs."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxlib.version
import mpmath as mp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import asgard as ag


def slow(*parameters: Any) -> Any:
    """One case of a parametrised test that only the slow tier runs."""
    return pytest.param(*parameters, marks=pytest.mark.slow)


# Options that compile a program by the emitters that XLA takes of itself: see `conftest.py`.
AS_FOR_USERS: dict[str, Any] = (
    {"xla_cpu_use_fusion_emitters": True} if jaxlib.version.__version_info__[:2] < (0, 11) else {}
)

_PROGRAMS: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration_secs, fun_name="", **_: (
        _PROGRAMS.append(fun_name) if event.endswith("backend_compile_duration") else None
    )
)


@contextlib.contextmanager
def compilations(small: bool = False) -> Iterator[list[str]]:
    """The programs that XLA compiles inside of the block: runs, series and fits, as one each.
    `small` ones are operations on known numbers, too, which JAX compiles one by one."""
    found: list[str] = []
    start = len(_PROGRAMS)
    yield found
    new = _PROGRAMS[start:]
    found.extend(name for name in new if small or "_run" in name or "joined" in name)


def neighbour_error(got: Any, exact: Any, reach: int = 1) -> float:
    """The largest error of coefficients, relative to the largest neighbouring coefficient.

    Coefficient n is compared with the largest exact one within `reach` of n along each axis, since
    one coefficient may vanish, or nearly so, where those beside it do not. Anything that is not
    finite is an infinite error.
    """
    got = np.asarray(got)
    exact = np.asarray(exact, dtype=object)
    assert got.shape == exact.shape
    if not np.isfinite(got).all():
        return float("inf")
    worst = mp.mpf(0)
    for place in np.ndindex(got.shape):
        error = abs(mp.mpf(float(got[place])) - exact[place])
        near = tuple(slice(max(0, n - reach), n + reach + 1) for n in place)
        scale = max(abs(number) for number in exact[near].flat)
        worst = max(worst, (error / scale if scale else mp.inf) if error else 0)
    return float(worst)


def with_values(derive: Callable[..., Any], fn: Callable[..., Any], argnums: Any = 0) -> Any:
    """The function's derivatives by `derive`, such as `jax.jacfwd`, and its values, which are those
    that the derivatives are taken at: a run beside its derivatives would compile twice."""

    def twice(*given: Any) -> tuple[Any, Any]:
        found = fn(*given)
        return found, found

    return derive(twice, argnums, has_aux=True)


def in_both_modes(fn: Callable[..., Any], *given: Any, has_aux: bool = False) -> Any:
    """A function's values, and its Jacobians `[values, numbers]` in forward and in reverse mode.

    Both are those of one run, which is compiled once: reverse mode transposes what forward mode is.
    Numbers and values are the entries of all arguments and results, one after the other. What the
    function gives beside its results (`has_aux`) comes last.
    """
    numbers, unravel = ravel_pytree(given)

    def flat(numbers: jax.Array) -> Any:
        found = fn(*unravel(numbers))
        return (ravel_pytree(found[0])[0], found[1]) if has_aux else ravel_pytree(found)[0]

    values, push, *aux = jax.linearize(flat, numbers, has_aux=has_aux)
    pull = jax.linear_transpose(push, numbers)
    forward = _rows(push, len(numbers)).T
    return values, forward, _rows(lambda row: pull(row)[0], len(values)), *aux


def _rows(fn: Callable[[jax.Array], jax.Array], count: int) -> jax.Array:
    """What a linear function makes of each unit vector; a single one has no batch."""
    return jax.vmap(fn)(jnp.eye(count)) if count > 1 else fn(jnp.ones(1))[None]


def taylor(function: Callable[[Any], Any], order: int, digits: int = 40) -> list[Any]:
    """Exact Taylor coefficients at 0, by mpmath."""
    with mp.workdps(digits):
        return mp.taylor(function, 0, order)


def polynomial(coefficients: Any, x: Any) -> Any:
    """The exact value of a polynomial whose coefficients are floats."""
    value = mp.mpf(0)
    for coefficient in reversed(coefficients):
        value = value * x + mp.mpf(float(coefficient))
    return value


def copies(n: int) -> ag.Circuit:
    """n wires, twice."""
    return ag.Composition(
        ag.Split(2) if n == 1 else ag.Monoidal(*[ag.Split(2)] * n),
        ag.Permute((*range(0, 2 * n, 2), *range(1, 2 * n, 2))),
    )


def closed(body: ag.Circuit) -> ag.Circuit:
    """The loop that feeds the outputs of a circuit n -> n back to its inputs, and gives them."""
    return (body >> copies(body.n_out)).trace(body.n_out)


def drawn(module: Any, *sizes: Any, seed: int = 0, **options: Any) -> Any:
    """A module such as `eqx.nn.MLP`, with numbers that NumPy draws. JAX compiles some twenty
    programs to draw them: 0.7 s."""
    rng = np.random.default_rng(seed)

    def filled(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        bound = leaf.shape[-1] ** -0.5
        return jnp.asarray(rng.uniform(-bound, bound, leaf.shape), leaf.dtype)

    shapes = eqx.filter_eval_shape(lambda: module(*sizes, **options, key=jax.random.key(0)))
    numbers, rest = eqx.partition(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    return eqx.combine(jax.tree.map(filled, numbers), rest)


def cast(tree: Any, dtype: Any) -> Any:
    """A circuit or stream with all its numbers in one dtype."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def equations(fn: Callable[..., Any], *args: Any) -> list[str]:
    """The names of all equations that a function traces to, those of inner jaxprs too."""

    def walk(jaxpr: Any) -> Iterator[str]:
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for parameter in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "jaxpr")
            ):
                if hasattr(parameter, "jaxpr"):
                    yield from walk(parameter.jaxpr)

    return list(walk(jax.make_jaxpr(fn)(*args).jaxpr))


def rendered(latex: str) -> None:
    """Lets matplotlib's mathtext read LaTeX. It knows no cases."""
    from matplotlib.mathtext import MathTextParser

    if "cases" not in latex:
        plain = re.sub(r"\\text\{", r"\\mathrm{", latex)
        MathTextParser("path").parse(f"${plain}$")
