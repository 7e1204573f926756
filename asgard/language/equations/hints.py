"""What was meant by what no text of equations has: hints for errors."""

import re
from collections.abc import Collection

# What functions of these names in other notations are here.
ELSEWHERE = {
    **dict.fromkeys(("D", "ddt", "der", "deriv", "derivative"), "diff(x, t)"),
    **dict.fromkeys(("integral", "integrate"), "int(x, t)"),
    **dict.fromkeys(("heaviside", "Heaviside", "step"), "(x >= 0), which is 1 or 0"),
    **dict.fromkeys(("sgn", "sign"), "if(x < 0, -1, 1)"),
    **dict.fromkeys(("pow", "power"), "x^y"),
    "acos": "arccos",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atanh": "arctanh",
    "cbrt": "x^(1/3)",
    "fabs": "abs",
    "ln": "log",
    "log10": "log(x)/log(10)",
    "log2": "log(x)/log(2)",
    "max": "maximum",
    "min": "minimum",
    "where": "if(c, a, b)",
}
# What stands before a function's name in Python.
MODULES = ("jnp", "math", "np", "numpy")

# What is meant by what no text has.
_MEANT = {
    "'": "a derivative is diff(x, t), and a second one diff(x, t, 2)",
    "[": "a sequence one sample before is delay(x), and each entry of an array has its own name",
    "|": "an absolute value is abs(x)",
    "?": "a choice is if(c, a, b)",
    ":": "an equation is x = y",
    "\\": "this is no LaTeX: a derivative is diff(x, t), a quotient a/b",
    "−": "a minus is -",
    "·": "a product is 2*x",
    "×": "a product is 2*x",
    "²": "a power is x^2",
    "³": "a power is x^3",
    "√": "a root is sqrt(x)",
    "∂": "a derivative is diff(u, x)",
    "∫": "an integral is int(x, t)",
    "≤": "a condition is x <= y",
    "≥": "a condition is x >= y",
    "and": "two conditions that hold at once are (x > 0)*(x < 1)",
    "else": "a choice is if(c, a, b)",
    "if": "a choice is if(c, a, b)",
    "or": "one of two conditions is maximum(x < 0, x > 1)",
}


def derivative(name: str, unknowns: Collection[str]) -> str | None:
    """What is meant by a name that nothing determines, where it or another unknown looks like a
    derivative: `dt2`, or x beside `x_dot`."""
    if re.fullmatch(r"d[A-Za-z]\d|d\d[A-Za-z]\w*", name):
        return f"{name} is a name of its own: a second derivative is diff(x, t, 2)"
    meant = rf"{re.escape(name)}(_?dot|_?prime)|d_?{re.escape(name)}(_?dt)?"
    found = next((other for other in unknowns if re.fullmatch(meant, other)), None)
    if found is None:
        return None
    return f"{found} is an unknown of its own: the derivative of {name} is diff({name}, t)"


def advice(text: str, place: int, accepted: set[str]) -> str:
    """What may have been meant, where that is known."""
    before, after = text[:place], text[place : place + 1]
    beside = before.rstrip(" \t")[-1:]
    word = re.match(r"\w*", text[place:])
    meant = _MEANT.get(word[0] if word and word[0] else after) or _MEANT.get(after)
    if meant is not None:
        return f": {meant}"
    if after.isalpha() and not after.isascii():
        return ": names have letters from A to Z, such as theta"
    if after == "," and beside.isdigit():
        return ": a number has a point, 0.5"
    if re.search(rf"\b({'|'.join(MODULES)})\.\w+\s*$", before):
        return ": a function has no module before it: sin(x)"
    if after == "*" and beside == "*":
        return ": a power is x^2"
    if re.search(r"\bd\^\d$", before):
        return f": a derivative is diff(x, t, {before[-1]})"
    if (
        "TIMES" in accepted
        and (beside.isalnum() or beside == ")")
        and (after.isalnum() or after == "(")
    ):
        return ": a product is 2*x"
    if after and after in "<>" and re.search(r"[<>]=?[^<>()\n,]*$", before):
        return ": two comparisons at once are (0 < x)*(x < 1)"
    if after == "=" or (after and after in "<>!"):
        return ": a line has one '=' or one comparison; a line that begins with - goes on"
    return ""
