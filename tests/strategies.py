"""Random circuits for hypothesis."""

import itertools

from hypothesis import strategies as st

import asgard as ag

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
_DIMS = st.sampled_from(["t", "x", "id", "nan", "Time_2"])
_UNARY = (ag.Exp, ag.Log, ag.Sqrt, ag.Sin, ag.Cos, ag.Tanh, ag.Sigmoid, ag.Abs, ag.Arctan, ag.Erf)
_BINARY = (ag.Add, ag.Multiplication, ag.Divide, ag.Maximum, ag.Minimum)
_SERIES = st.builds(
    lambda function, degree, inner, dim: ag.Substitution(
        ag.TaylorPolynomial(function, degree, dim), inner, dim
    ),
    st.sampled_from(["exp", "sin", "cos"]),
    st.integers(0, 9),
    st.builds(ag.Scalar, _NUMBERS),
    _DIMS,
)

# The atoms of each type.
_ATOMS: dict[tuple[int, int], st.SearchStrategy[ag.Circuit]] = {
    (0, 1): st.builds(ag.Const, _NUMBERS) | st.builds(ag.Coordinate, _DIMS) | _SERIES,
    (1, 0): st.builds(ag.Discard),
    (1, 1): st.one_of(
        st.sampled_from(_UNARY).map(lambda atom: atom()),
        st.builds(ag.Scalar, _NUMBERS),
        st.builds(ag.Power, st.integers(-3, 5) | _NUMBERS),
        st.builds(ag.Var, _DIMS),
        st.builds(ag.Register, _DIMS, _NUMBERS),
        st.builds(ag.Delay, _DIMS, _NUMBERS),
        st.builds(ag.Deregister, _DIMS),
        st.builds(ag.StochasticRegister, _DIMS, _DIMS, _NUMBERS),
    ),
    (1, 2): st.builds(ag.Split),
    (2, 1): st.sampled_from(_BINARY).map(lambda atom: atom()),
    (2, 2): st.builds(ag.Swap),
}


@st.composite
def circuits(
    draw: st.DrawFn,
    n_in: int | None = None,
    n_out: int | None = None,
    depth: int = 3,
    traces: bool = True,
) -> ag.Circuit:
    """Well-typed circuits of built-in atoms, with scalar numbers.

    **Arguments:** `n_in`, `n_out`: the degree, 0 to 3 where it is not given; `depth`: how deep
    combinators nest; `traces`: whether there may be a `Trace`.
    """
    n_in = draw(st.integers(0, 3)) if n_in is None else n_in
    n_out = draw(st.integers(0, 3)) if n_out is None else n_out
    forms = ["composition", "monoidal", "trace"] if traces else ["composition", "monoidal"]
    form = draw(st.sampled_from(["atoms", *forms])) if depth > 0 else "atoms"

    def inner(n_in: int, n_out: int) -> ag.Circuit:
        return draw(circuits(n_in, n_out, depth - 1, traces))

    if form == "composition":
        between = draw(st.lists(st.integers(0, 3), min_size=1, max_size=2))
        degrees = [n_in, *between, n_out]
        return ag.Composition(*(inner(*degree) for degree in itertools.pairwise(degrees)))
    if form == "monoidal":
        top_in, top_out = draw(st.integers(0, n_in)), draw(st.integers(0, n_out))
        return ag.Monoidal(inner(top_in, top_out), inner(n_in - top_in, n_out - top_out))
    if form == "trace":
        wires = draw(st.integers(1, 2))
        return ag.Trace(inner(n_in + wires, n_out + wires), wires)
    return draw(_atoms(n_in, n_out))


def _atoms(n_in: int, n_out: int) -> st.SearchStrategy[ag.Circuit]:
    """An atom of the degree given, or else atoms side by side."""
    kinds = [_ATOMS[n_in, n_out]] if (n_in, n_out) in _ATOMS else []
    if n_in == n_out > 0:
        kinds += [st.just(ag.Id(n_in)), st.permutations(range(n_in)).map(ag.Permute)]
    if n_in == 1 and n_out > 0:
        kinds.append(st.just(ag.Split(n_out)))
    if n_out == 1 and n_in > 0:
        kinds.append(st.sampled_from([ag.Add(n_in), ag.Multiplication(n_in)]))
    if n_in == n_out == 0:
        kinds.append(st.builds(ag.Composition, _ATOMS[0, 1], _ATOMS[1, 0]))
    if not kinds:
        both = min(n_in, n_out)
        rest = (0, 1) if n_out > n_in else (1, 0)
        beside = [_ATOMS[1, 1]] * both + [_ATOMS[rest]] * (max(n_in, n_out) - both)
        kinds.append(st.tuples(*beside).map(lambda circuits: ag.Monoidal(*circuits)))
    return st.one_of(kinds)
