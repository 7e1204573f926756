"""Texts of equations: printing and reading are inverse, and errors show their place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgard as ag
from asgard.language.equations import tree
from asgard.language.equations.reading import read, read_expression

pytestmark = pytest.mark.usefixtures("unchecked")

NAMES = st.sampled_from(["x", "y2", "_a", "dW", "tank", "abstractions", "e1"])
NUMBERS = st.floats(0, allow_infinity=False, allow_nan=False) | st.integers(0, 99).map(float)
LEAVES = (
    st.builds(tree.Number, NUMBERS)
    | st.builds(tree.Name, NAMES)
    | st.builds(tree.Parameter, NAMES)
    | st.builds(tree.Output, NAMES, NAMES)
)
RELATIONS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def several(part):
    return st.lists(part, min_size=2, max_size=4).map(tuple)


def factors(part):
    """Factors of a product, of which the first is no reciprocal."""
    rest = st.lists(part | st.builds(tree.Reciprocal, part), min_size=1, max_size=3)
    return st.tuples(part, rest).map(lambda both: (both[0], *both[1]))


EXPRESSIONS = st.recursive(
    LEAVES,
    lambda part: (
        st.builds(tree.Negative, part)
        | st.builds(tree.Sum, several(part))
        | st.builds(tree.Product, factors(part))
        | st.builds(tree.Power, part, part)
        | st.builds(tree.Comparison, RELATIONS, part, part)
        | st.builds(tree.Abstraction, st.sampled_from([("u",), ("u", "v")]), part)
        | st.builds(
            tree.Call, NAMES, st.lists(part | st.builds(tree.Given, NAMES, part)).map(tuple)
        )
    ),
    max_leaves=12,
)
STATEMENTS = st.builds(tree.Equation, EXPRESSIONS, EXPRESSIONS) | st.builds(
    tree.Call, NAMES, st.lists(EXPRESSIONS).map(tuple)
)
DEFINITIONS = st.builds(
    tree.Definition,
    NAMES,
    st.sampled_from([(), ("u",), ("u", "v")]),
    st.sampled_from([("y",), ("y", "z")]),
    st.lists(STATEMENTS, min_size=1, max_size=3).map(tuple),
)
SYSTEMS = st.builds(
    tree.System, st.lists(STATEMENTS | DEFINITIONS, min_size=1, max_size=4).map(tuple)
)


@settings(deadline=None)
@given(SYSTEMS)
def test_reading_inverts_printing(system):
    assert read(str(system)) == system
    assert str(read(str(system))) == str(system)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a-b - -c", "a - b - -c"),
        ("-(a + b)*c", "-(a + b)*c"),
        ("-a^2", "-a^2"),
        ("(-a)^2", "(-a)^2"),
        ("a/(b*c)/d*e", "a/(b*c)/d*e"),
        ("a^b^c", "a^b^c"),
        ("(a^b)^-c", "(a^b)^(-c)"),
        ("a - (b - c)", "a - (b - c)"),
        ("1.50*x + 1E3 + .5", "1.5*x + 1000 + 0.5"),
        ("if((a < b), (c), abstraction v.v)", "if(a < b, c, abstraction v. v)"),
        ("p . level + $a", "p.level + $a"),
    ],
)
def test_printed_as_one_would_write_it(text, printed):
    assert tree.expression_text(read_expression(text)) == printed


def test_lines_go_on_beside_operators_and_inside_parentheses():
    text = """
    diff(x,   # of a
         t) = a*x -
       b
       - c     # a line that begins with an operator
    y = 2; z = (1 +
      2)
    """
    assert str(read(text)) == "diff(x, t) = a*x - b - c\ny = 2\nz = (1 + 2)".replace(
        "(1 + 2)", "1 + 2"
    )


def test_a_sum_of_a_thousand_terms_is_flat():
    text = "y = " + " + ".join(f"{n}*x" for n in range(1000))
    (equation,) = read(text).statements
    assert len(equation.right.terms) == 1000


ERRORS = {
    "": (1, 1, "the text has no equations"),
    "# nothing\n": (1, 1, "the text has no equations"),
    "x = ": (1, 4, "the text ends too early"),
    "x = 2x": (1, 6, r"unexpected 'x': a product is 2\*x"),
    "x = 2(y + 1)": (1, 6, r"unexpected '\(': a product is 2\*x"),
    "x' = -x": (1, 2, r"a derivative is diff\(x, t\)"),
    "d^2x/dt^2 = -x": (1, 4, r"a derivative is diff\(x, t, 2\)"),
    "y = x if x > 0 else 0": (1, 7, r"a choice is if\(c, a, b\)"),
    "y = |x|": (1, 5, r"an absolute value is abs\(x\)"),
    "x = 2**3": (1, 7, r"unexpected '\*': a power is x\^2"),
    "x = sin(y, 3\ny = 2": (2, 1, "in the parentheses that open at line 1, column 8"),
    "x = 1 = 2": (1, 7, "a line has one '='"),
    "y = 1\nx = y < 2 < 3": (2, 11, r"two comparisons at once are \(0 < x\)\*\(x < 1\)"),
    "x = é": (1, 5, "unexpected 'é': names have letters from A to Z"),
    "x = −y": (1, 5, "unexpected '−': a minus is -"),
    "x = 2·y": (1, 6, r"a product is 2\*x"),
    "x = y²": (1, 6, r"a power is x\^2"),
    "x = 0,5": (1, 6, r"a number has a point, 0\.5"),
    "x := 3": (1, 3, "an equation is x = y"),
    "x = y > 0 ? 1 : 0": (1, 11, r"a choice is if\(c, a, b\)"),
    "x = np.sin(y)": (1, 11, r"a function has no module before it: sin\(x\)"),
    "\\frac{x}{2} = 1": (1, 1, r"a derivative is diff\(x, t\)"),
    "x = y'": (1, 6, "unexpected"),
    "x = 1e999": (1, 5, "'1e999' is more than float64 holds"),
    "x = abstraction u, u. 2": (1, 20, "u stands here twice"),
    "x)": (1, 2, r"unexpected '\)' \(expected '='\)"),
    "x + y": (1, 6, "ends too early"),
    "system a -> b { x = 1 }": (1, 10, r"expected '\('"),
    "x = " + "(-" * 101 + "y" + ")" * 101: (1, 206, "nests more than 100 deep"),
}


@pytest.mark.parametrize("text", ERRORS, ids=lambda text: text[:20])
def test_errors_show_their_place(text):
    line, column, message = ERRORS[text]
    with pytest.raises(ag.ParseError, match=message) as raised:
        ag.equations(text)
    assert (raised.value.line, raised.value.column) == (line, column)
    assert str(raised.value).startswith(f"line {line}, column {column}: ")
