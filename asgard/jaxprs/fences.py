"""Fences: what keeps XLA from undoing the structure of a program.

XLA's CPU backend fuses an operation with all that read it, and computes it again in each of them.
It folds what it knows when it compiles, and it drops an `optimization_barrier` before it fuses.
What stands between two fusions is the boundary of a loop or branch, or an operation that it never
fuses.
None of this is documented. `tests/jaxprs/test_fences.py` has a test of each function here, which
counts operations in compiled programs: of what XLA does without the fence, and with it.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Complex, Float, Inexact

from .kernel_context import in_kernel, lowered_call
from .primitives import traits
from .program import Equation, Program, trace

# Operations that end in a product.
PRODUCTS = ("mul", "integer_pow", "square")
# Up to so many values a call takes less time than a branch.
SMALL = 4
# Of so many values a maximum needs a fence.
LARGE = 4096
# Functions of which XLA computes many values at once, but not so many if it fuses two of them. Of
# so many values one gets a fence.
AT_ONCE = ("exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "erf")
MANY = 1024


def computed_once(fn: Callable[[], Any], types: Any, always: Bool[Array, ""]) -> Any:
    """fn(), which XLA does not compute again in each operation that reads it.

    A branch that is always taken. XLA must not know that, so `always` is traced and true. Measured
    where steps of the Lorenz system are checked: a batch of 64 runs takes half the time, one run
    5 % less.

    **Arguments:** `types` are those of fn's results: a tree of arrays, which must not be fn's
    results themselves (XLA drops a branch whose two sides are the same), or of
    `jax.ShapeDtypeStruct`.
    """

    def never() -> Any:
        return jax.tree.map(_any_like, types)

    return lax.cond(always, fn, never)


def always_true(values: Inexact[Array, "..."]) -> Bool[Array, ""]:
    """True, which XLA does not know, by the first of some values, whatever that is.

    It must hold for NaN, too: `x == x` did not, and where a batch's first run had none for its last
    time, the branches of all other runs were not taken, and they were wrong with the status ok.
    """
    return values[(0,) * values.ndim] * 0 != 1


def _any_like(x: Any) -> Any:
    # Zeros would be one more constant, which XLA allocates at each call.
    return lax.full(x.shape, 0, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x


def one_in_another(program: Program, inputs: Collection[int], lanes: int) -> set[int]:
    """The values of a program that one function gives and another one reads, as log1p(exp(x)) does:
    those to compute by `computed_once`, if the program runs in so many lanes, or in none for 0.

    XLA fuses both to one loop, which takes longer than two loops do. Measured: log1p(exp(-|x|)) of
    16,384 numbers takes 32 µs in float32 and 110 µs in float64, apart 18 µs and 59 µs; of 1,024 it
    takes 1.9 µs, apart 1.1 µs.

    **Arguments:** `inputs` are the numbers of those inputs of which values depend. What the others
    alone determine, XLA computes outside of a loop.
    """
    found: set[int] = set()
    # For each value that depends on the inputs, the results of functions that XLA could fuse it of.
    behind: dict[int, set[int]] = {number: set() for number in inputs}
    for equation in program.equations:
        if behind.keys().isdisjoint(equation.ins):
            continue
        known = traits(equation.name)
        fused = known.elementwise or known.moves
        results = set().union(*(behind.get(number, ()) for number in equation.ins if fused))
        if equation.name in AT_ONCE:
            found |= results
            size = math.prod(program.avals[equation.outs[0]].shape) * max(lanes, 1)
            results = set(equation.outs) if size >= MANY else set()
        behind.update((number, results) for number in equation.outs)
    return found


def stored(value: Array) -> Array:
    """The value, which a kernel computes once for all that reads it.

    There it is the argument of a call that XLA is told not to inline, and XLA fuses nothing across
    a call. Elsewhere it is the value. Measured where the orders of a series are written out: the
    1,300 products of Kepler's orbit to order 20 became 4,100 without it, and runs took 1.7 times as
    long.
    """
    return _stored.bind(value)


_stored = Primitive("asgard_stored")


def _lower_stored(context: mlir.LoweringRuleContext, value: Any) -> Any:
    return _lower_call(context, value) if in_kernel() else [value]


def _lower_call(context: mlir.LoweringRuleContext, value: Any) -> Any:
    aval = context.avals_in[0]
    assert isinstance(aval, ShapedArray)
    # XLA drops a call of a function that does nothing.
    turned = lax.bitwise_not if aval.dtype == bool else lax.neg
    same = jax.make_jaxpr(lambda x: turned(turned(x)))(aval)
    return lowered_call(context.replace(avals_in=[aval]), [value], _stored.name, same)


_stored.def_impl(lambda value: value)
_stored.def_abstract_eval(lambda aval: aval)
ad.deflinear2(_stored, lambda cotangent, _: [cotangent])
batching.defvectorized(_stored)
mlir.register_lowering(_stored, _lower_stored, cacheable=False)


def stored_if_small(fn: Callable[[], Array], type_: Any, always: Bool[Array, ""]) -> Array:
    """fn(), computed once as by `computed_once`. In kernels small arrays are `stored`.

    Measured for the stages of Runge-Kutta steps of 2 to 4 numbers: runs take 7 to 17 % less than
    with branches, and compile sooner. Of 40 numbers they take 10 % more, of 200 a quarter.
    """
    if math.prod(type_.shape) > SMALL:
        return computed_once(fn, type_, always)
    return _fenced.bind(fn(), always)


_fenced = Primitive("asgard_fenced")
_lower_branch = mlir.lower_fun(
    lambda value, always: computed_once(
        lambda: value, jax.ShapeDtypeStruct(value.shape, value.dtype), always
    ),
    multiple_results=False,
)


def _lower_fenced(context: mlir.LoweringRuleContext, value: Any, always: Any) -> Any:
    return _lower_call(context, value) if in_kernel() else _lower_branch(context, value, always)


def _fenced_in_batches(operands: Sequence[Any], axes: Sequence[Any]) -> tuple[Array, Any]:
    value, always = operands
    if axes[1] is not None:
        always = lax.index_in_dim(always, 0, axes[1], keepdims=False)
    return _fenced.bind(value, always), axes[0]


_fenced.def_impl(lambda value, always: value)
_fenced.def_abstract_eval(lambda value, always: value)
ad.primitive_jvps[_fenced] = lambda primals, tangents: (_fenced.bind(*primals), tangents[0])
batching.primitive_batchers[_fenced] = _fenced_in_batches
mlir.register_lowering(_fenced, _lower_fenced, cacheable=False)


def cut(value: Array) -> Array:
    """The value, by an operation that XLA does not fuse with what reads it: a cumulative sum.

    It ends a chain of operations of which each is read twice: XLA would compute the chain up to
    each reader again, in code and time quadratic in the chain's length. Measured: the series of a
    chain of 120 atoms compiles in 0.9 s in place of 5.3 s.
    """
    return lax.cumsum(jnp.stack([value, jnp.zeros_like(value)]), axis=0)[0]


def as_pair(first: Float[Array, "..."], second: Float[Array, "..."]) -> Complex[Array, "..."]:
    """Two arrays that one computation makes, as one complex array.

    As two arrays XLA makes each by itself, and computes what both share twice. Measured: two
    arrays of a million normal numbers take 1.2 times as long as their pairs.
    """
    return lax.complex(first, second)


def of_pair(pair: Complex[Array, "..."], is_second: Bool[Array, ""]) -> Float[Array, "..."]:
    """One of the two arrays of a pair."""
    return jnp.where(is_second, pair.imag, pair.real)


def one_by_one(fn: Callable[[Any], Any], rows: Any) -> Any:
    """fn of each row, in a loop, whose boundary XLA does not fuse across.

    XLA computes what makes a row once, and not again in each operation that reads the results.
    Measured: an ensemble of 4,096 paths with halved steps takes 11 times as long by `jax.vmap`.
    """
    return lax.map(fn, rows)


def turns(count: int) -> int:
    """How many turns a loop has that does something in `count` of them: at least 2.

    XLA replaces a loop of one turn by its body, which it fuses with what surrounds it. Then the
    same step can round differently in loops of different lengths.
    """
    return max(2, count)


def hidden(values: Sequence[Array]) -> list[Array]:
    """The values, of which XLA knows none when it compiles the program that reads them.

    For the operands of a kernel: XLA ends the process when it finds an array there whose entries it
    knows. The barrier outlasts the passes that would put constants there.
    """
    return lax.optimization_barrier(list(values))


def largest_of(values: Float[Array, "..."], axes: Sequence[int]) -> Float[Array, "..."]:
    """The largest of values along axes; NaN where one of them is.

    XLA's CPU backend hands maxima of 4,096 values and more to a library that drops NaN, and finds
    the largest of the others (jaxlib 0.10.2). So the error of a step that is no number was below
    every bound, and runs of 5,000 states ended in NaN with the status ok.
    """
    found = lax.reduce_max(values, axes)
    if values.size < LARGE:
        return found
    return jnp.where(lax.reduce_or(values != values, axes), jnp.nan, found)


def smallest_of(values: Float[Array, "..."], axes: Sequence[int]) -> Float[Array, "..."]:
    """The smallest of values along axes; NaN where one of them is."""
    return -largest_of(-values, axes)


def with_rounded_products(program: Program) -> Program:
    """The program, with each product rounded before something is added to it.

    XLA's CPU backend joins a product and a sum to one operation with one rounding. Then the
    differences a - b and b - a of two products no longer cancel, and reactions that keep a sum lose
    it where large rates are nearly equal. Measured: Robertson's reactions to 1e11 by `Radau(5)` at
    1e-11 take 1,244 steps, with an error of 1e-14; without the fence 20,491 steps, and 8e-10.

    A zero is added to each product: that sum is the product, rounded, and can be joined to it. XLA
    must not know the zero, so it is made from the first input: a time, a scalar that is finite.
    """

    def run(*inputs: Array) -> list[Array]:
        zero = jnp.where(inputs[0] < jnp.inf, -0.0, jnp.nan)

        def rounded(equation: Equation, operands: list[Any]) -> list[Any]:
            (product,) = equation.bind(*operands)
            is_exact = not jnp.issubdtype(product.dtype, jnp.inexact)
            return [product if is_exact else product + zero.astype(product.dtype)]

        return program.run_by(dict.fromkeys(PRODUCTS, rounded), inputs)

    return trace(run, *(program.avals[number] for number in program.inputs))
