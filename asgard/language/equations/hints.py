"""What was meant by what no text of equations has: hints for errors."""

import re

# What functions of these names in other notations are here.
ELSEWHERE = {
    "acos": "arccos",
    "asin": "arcsin",
    "atan": "arctan",
    "fabs": "abs",
    "ln": "log",
    "max": "maximum",
    "min": "minimum",
    "pow": "x^y",
    "where": "if(c, a, b)",
}

# What is meant by what no text has.
_MEANT = {
    "'": "a derivative is diff(x, t), and a second one diff(x, t, 2)",
    "[": "a sequence one sample before is delay(x), and each entry of an array has its own name",
    "|": "an absolute value is abs(x)",
    "and": "two conditions that hold at once are (x > 0)*(x < 1)",
    "else": "a choice is if(c, a, b)",
    "if": "a choice is if(c, a, b)",
    "or": "one of two conditions is maximum(x < 0, x > 1)",
}


def advice(text: str, place: int, accepted: set[str]) -> str:
    """What may have been meant, where that is known."""
    before, after = text[:place], text[place : place + 1]
    beside = before.rstrip(" \t")[-1:]
    word = re.match(r"\w*", text[place:])
    meant = _MEANT.get(word[0] if word and word[0] else after)
    if meant is not None:
        return f": {meant}"
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
    if after == "=" or (after and after in "<>!"):
        return ": a line has one '=' or one comparison; a line that begins with - goes on"
    return ""
