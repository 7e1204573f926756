"""Mutated texts either say a system or give a typed error with a place."""

import random

import pytest
from helpers import slow

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

TEXTS = [
    (
        "diff(x, t) = a*x - b*x*y\ndiff(y, t) = -c*y + d*x*y",
        {
            "parameters": {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0},
            "initial": {"x": 1.0, "y": 2.0},
        },
    ),
    (
        "diff(diff(q, t), t) = -w^2*sin(q) - g*diff(q, t)",
        {"parameters": {"w": 1.3, "g": 0.1}, "initial": {"q": 1.0, "diff(q, t)": 0.0}},
    ),
    ("x = x0 + int(a*x, t)", {"parameters": {"x0": 1.0, "a": -1.0}}),
    ("diff(u, t) = diff(u, x, 2)", {"initial": {"u": "1 - x^2"}}),
    (
        "dx = a*x*dt + b*x*dW\ny = int(b*x, W) + 2",
        {"parameters": {"a": 0.1, "b": 0.3}, "initial": {"x": 1.0}, "noise": ("W",)},
    ),
    ("sde(a*x, b, x)", {"parameters": {"a": 0.1, "b": 0.3}}),
    ("f = f0 + delay(f) + delay(delay(f))", {"inputs": ("f0",)}),
    ("diff(y, t) = -y + z # decay\n0 = z^3 + z - y", {"initial": {"y": 2.0}}),
    (
        "system tank(inflow, area) -> level {\n diff(level, t) = (inflow - level)/area\n}\n"
        "p = tank(inflow=3, 2)\nq = p.level + tank(p.level, 1)",
        {"initial": {"p.level": 1.0, "tank.level": 0.5}},
    ),
    (
        "g(v) = exp(-v)*if(v < 2, v, 1)\nh = apply(abstraction v. v*v, k)\n"
        "k = g(t) + $a\ndiff(m, t) = g(m) + h",
        {"parameters": {"a": 1.0}},
    ),
    (
        "x = 1 + int(relay(y, 1, 2) - x, t)\nreset(x, y > x*z, y)\ndiff(y, t, 2) = x - clock(2)\n"
        "reset(diff(y, t), 1 - x, counter(y)); z = sample_hold(x, -y, a)",
        {"parameters": {"a": 1.0}},
    ),
    ("exp(x) + 1 = 2*y; diff(y, t) = -x\nz/(1 + y) = tanh(3)", {}),
]
LETTERS = "()+-*/^=<>.,;$#{}\n xyztWdab0123\"'é!_"


def mutated(seed):
    """One of the texts with one to three changes, and what is said with it."""
    draw = random.Random(seed)
    text, said = TEXTS[seed % len(TEXTS)]
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.randint(1, 8))
        to = draw.randrange(len(text) + 1)
        text = draw.choice(
            [
                text[:start] + text[start + 1 :],
                text[:start] + draw.choice(LETTERS) + text[start:],
                text[:to] + text[start:end] + text[to:],
                text[:start] + text[end:],
            ]
        )
    return text, said


def error_of(text, said):
    """The error of a text, None where it says a system. Other errors are raised."""
    try:
        ag.equations(text, **said).circuit()
    except (ag.ParseError, ag.EquationError) as error:
        return error
    return None


@pytest.mark.parametrize("seeds", [range(60), slow(range(60, 560))], ids=["60", "500"])
def test_mutated_texts_give_typed_errors_with_a_place(seeds):
    errors = [error_of(*mutated(seed)) for seed in seeds]
    refused = [error for error in errors if error is not None]
    for error in refused:
        assert str(error).startswith(f"line {error.line}, column {error.column}: ")
    assert len(refused) > len(seeds) / 2
