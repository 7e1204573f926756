"""What is known of JAX's primitives, in one table.

`traits(name)` is the row of a primitive. One without a row has the default of every trait: it runs
in lanes by `jax.vmap`, it is no part of a kernel, and steps check it as if it could branch. To give
a primitive of your own a row, add it to `TABLE`:

```python
TABLE["my_primitive"] = Traits(elementwise=True, smooth=True, computes=True, kernel=Kernel.SMALL)
```
"""

import dataclasses
import enum
from collections.abc import Iterator


class Kernel(enum.Enum):
    """Whether XLA can compile a primitive as a part of a CPU kernel."""

    NEVER = 0
    SMALL = 1  # if its operands and results are small
    PART = 2  # if its results are small: it reads only a part of a large operand
    ALWAYS = 3  # it steers, calls or writes in place


@dataclasses.dataclass(frozen=True)
class Traits:
    """The traits of a primitive.

    - `elementwise`: each entry of a result is made of the operands' entries at its index.
    - `leading_axes`: it names axes counted from the first, so one more axis at the end of all
      operands is one more axis at the end of all results.
    - `smooth`: it is analytic wherever it is finite.
    - `moves`: it only moves numbers.
    - `computes`: it counts towards the length of a kernel.
    - `reduces`: it reduces many numbers to few.
    - `commutative`: its operands can be exchanged.
    - `takes_numbers`: it takes a number beside an array, as if the number were an array.
    - `left_by_xla`: XLA leaves it as an operation when all its operands are single numbers or
      ranges. It computes others when it compiles, and so makes constants.
    - `steered_from`: the operands from this index on only say where to read or write.
    - `calls`: the parameter that holds the jaxpr that it calls, if it only calls one.
    """

    elementwise: bool = False
    leading_axes: bool = False
    smooth: bool = False
    moves: bool = False
    computes: bool = False
    reduces: bool = False
    commutative: bool = False
    takes_numbers: bool = False
    left_by_xla: bool = False
    steered_from: int | None = None
    calls: str = ""
    kernel: Kernel = Kernel.NEVER


_SMALL, _PART, _ALWAYS = Kernel.SMALL, Kernel.PART, Kernel.ALWAYS
_ARITHMETIC = Traits(elementwise=True, computes=True, left_by_xla=True, kernel=_SMALL)
_ANALYTIC = dataclasses.replace(_ARITHMETIC, smooth=True)
_SELECTING = dataclasses.replace(_ARITHMETIC, computes=False)
_LEADING = Traits(leading_axes=True, kernel=_SMALL)
_LAYOUT = Traits(smooth=True, moves=True, kernel=_SMALL)
_LEFT_LAYOUT = dataclasses.replace(_LAYOUT, left_by_xla=True)
_SLICING = Traits(smooth=True, moves=True, kernel=_PART)
_CALL = Traits(calls="jaxpr")
_KERNEL_CALL = Traits(calls="jaxpr", kernel=_ALWAYS)


def _rows() -> Iterator[tuple[str, Traits]]:
    def rows(names: str, traits: Traits, **more: object) -> Iterator[tuple[str, Traits]]:
        return ((name, dataclasses.replace(traits, **more)) for name in names.split())

    yield from rows("add mul", _ANALYTIC, commutative=True, takes_numbers=True)
    yield from rows("add_any", _ANALYTIC, commutative=True)
    yield from rows("sub div pow", _ANALYTIC, takes_numbers=True)
    yield from rows("neg square integer_pow sqrt rsqrt", _ANALYTIC)
    yield from rows("polynomial one_minus_square", _ANALYTIC)  # jax >= 0.12
    yield from rows("exp exp2 expm1 log log2 log1p logistic erf erfc", _ANALYTIC)
    yield from rows("sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh", _ANALYTIC)
    yield from rows("rem abs sign floor ceil round max min clamp cbrt atan2 erf_inv", _ARITHMETIC)
    yield from rows("is_finite nextafter eq ne lt le gt ge and or xor not", _ARITHMETIC)
    yield from rows("shift_left shift_right_arithmetic shift_right_logical", _ARITHMETIC)
    yield from rows("reduce_precision real imag complex conj", _ARITHMETIC)
    yield from rows("select_n stop_gradient", _SELECTING)
    # Where sizes differ it has one axis more or less, so it is not marked elementwise.
    yield from rows("bitcast_convert_type", Traits(computes=True, kernel=_SMALL))
    yield from rows("convert_element_type copy copy_p", _SELECTING, smooth=True)

    yield from rows("reduce_sum", _LEADING, reduces=True, smooth=True)
    yield from rows(
        "reduce_prod reduce_max reduce_min reduce_and reduce_or", _LEADING, reduces=True
    )
    yield from rows("argmax argmin", Traits(reduces=True, kernel=_SMALL))
    yield from rows("cumsum", _LEADING, smooth=True)
    yield from rows("cumprod cummax cummin", _LEADING)
    yield from rows("concatenate stack unstack split rev", _LAYOUT, leading_axes=True)
    yield from rows("squeeze", _LEFT_LAYOUT, leading_axes=True)
    yield from rows("broadcast_in_dim reshape expand_dims transpose", _LEFT_LAYOUT)
    yield from rows("iota", _LEFT_LAYOUT, smooth=False)
    yield from rows("pad", _LAYOUT, steered_from=1)
    yield from rows("slice", _SLICING, left_by_xla=True)
    yield from rows("gather", _SLICING, steered_from=1)
    yield from rows("dynamic_slice", Traits(moves=True, kernel=_PART, steered_from=1))
    yield from rows("dynamic_update_slice", Traits(moves=True, kernel=_ALWAYS, steered_from=2))

    yield from rows("conv_general_dilated", Traits(smooth=True))
    yield from rows("dot_general", Traits(smooth=True, computes=True))
    yield from rows("asgard_convolution", Traits(computes=True, kernel=_SMALL))
    yield from rows("asgard_stored", _SELECTING, smooth=True, kernel=_ALWAYS)
    yield from rows("asgard_fenced", Traits(smooth=True, kernel=_ALWAYS))
    yield from rows("while scan cond", Traits(kernel=_ALWAYS))
    yield from rows("jit pjit", _KERNEL_CALL)
    yield from rows("closed_call custom_jvp_call custom_vjp_call", _KERNEL_CALL, calls="call_jaxpr")
    yield from rows("remat2 checkpoint", _CALL)
    yield from rows("core_call eval_jaxpr", _CALL, calls="call_jaxpr")
    yield from rows("custom_vjp_call_jaxpr", _CALL, calls="fun_jaxpr")


TABLE: dict[str, Traits] = dict(_rows())
_UNKNOWN = Traits()


def traits(name: str) -> Traits:
    """What is known of the primitive of a name."""
    return TABLE.get(name, _UNKNOWN)
