"""JAX's primitives by what they do to the axes of their operands."""


def named(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


ELEMENTWISE = named(
    """
    add add_any sub mul div rem neg abs sign floor ceil round max min clamp square integer_pow pow
    sqrt rsqrt cbrt exp exp2 expm1 log log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh
    acosh atanh logistic erf erfc erf_inv is_finite nextafter eq ne lt le gt ge and or xor not
    shift_left shift_right_arithmetic shift_right_logical
    select_n convert_element_type reduce_precision real imag complex conj stop_gradient copy copy_p
    """
)
# Those that name axes from the first on, which a further axis at the end does not change.
ALONG_AXES = named(
    """
    reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or squeeze rev
    cumsum cumprod cummax cummin concatenate stack unstack split
    """
)
STRUCTURAL = named("broadcast_in_dim reshape expand_dims transpose pad iota")
# Those that are analytic wherever they are finite, and those that only move numbers about.
SMOOTH = named(
    """
    add add_any sub mul div neg square integer_pow pow sqrt rsqrt exp exp2 expm1 log log2 log1p sin
    cos tan asin acos atan sinh cosh tanh asinh acosh atanh logistic erf erfc polynomial
    one_minus_square dot_general
    conv_general_dilated reduce_sum cumsum concatenate stack unstack split slice squeeze rev
    gather broadcast_in_dim reshape expand_dims transpose pad convert_element_type copy copy_p
    """
)
