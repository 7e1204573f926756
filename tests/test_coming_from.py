"""What stands under "here" in the tables of docs/coming_from is code that runs."""

import ast
import builtins
import functools
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import asgard as ag
from asgard.calculi.stochastic.methods import METHODS

PAGES = sorted((Path(__file__).parent.parent / "docs" / "coming_from").glob("*.md"))
# Words of sentences, and of what has no code of its own.
WORDS = {"args", "fn(t, y, *, name=number)", "fn(t, y)", "solve_ivp", "*", "+", ".outputs"}
# What three dots stand for: arguments of a function, and values of a keyword.
ARGUMENTS = {
    "ag.simulate": "circuit, later",
    "ag.ensemble": "noisy, ts, calculus=ag.Stochastic(steps=2), key=key",
    "ag.uncertainty": "line, residuals",
    "ag.equations": "'diff(x, t) = -x'",
    "ag.Event": "'name'",
}
VALUES = {
    "atol": "1e-6",
    "breakpoints": "[0.5]",
    "by": "0.5",
    "dt": "0.5",
    "max_step": "0.5",
    "max_steps": "100",
    "method": "ag.Tsit5()",
    "paths": "3",
    "rtol": "1e-6",
}
# The functions that open a state, and the atom that is called at once.
OPENED = ("ag.register(", "ag.delay(", 'ag.Coordinate("t")()')


def cells(page):
    """The pieces of code under "here" in a page's table."""
    for line in page.read_text(encoding="utf-8").splitlines():
        row = re.fullmatch(r"\| (.*) \| (.*) \|", line)
        if row is not None:
            yield from re.findall(r"`([^`]+)`", row[2])


class Filled(ast.NodeTransformer):
    """Code with something in place of three dots."""

    def visit_Call(self, node):
        self.generic_visit(node)
        name = ast.unparse(node.func)
        if any(map(is_dots, node.args)):
            given = ast.parse(f"f({ARGUMENTS[name]})", mode="eval").body
            node.args, node.keywords = given.args, [*given.keywords, *node.keywords]
        for keyword in node.keywords:
            if is_dots(keyword.value):
                keyword.value = ast.parse(VALUES[keyword.arg], mode="eval").body
        return node


def is_dots(node):
    return isinstance(node, ast.Constant) and node.value in (..., "...")


@functools.cache
def names():
    """What the pieces of code speak of."""

    def fn(t, y):
        return {"name": -y["name"]}

    def g(t, wires):
        return wires["name"] - 0.7

    y0, ts = {"name": 1.0}, [0.0, 0.25, 0.5, 0.75, 1.0]
    circuit, calculus = ag.ode(fn, y0), ag.Real(order=8, rtol=1e-8, max_steps=200, dense=True)
    found = {"ag": ag, "jax": jax, "jnp": jnp, "lax": lax, "fn": fn, "g": g, "y0": y0, "ts": ts}
    found |= {"t0": 0.0, "t1": 1.0, "t": 0.25, "later": [1.0, 1.5], "order": 8, "i": 0, "T": 1.0}
    found |= {"name": "g", "initial": 0.0, "values": jnp.arange(5.0), "key": jax.random.key(0)}
    found |= {"circuit": circuit, "line": ag.Scalar(2.0), "stream": ag.Stream([1.0, 2.0], "t")}
    return found | {
        "run": ag.simulate(circuit, ts, calculus=calculus, events=ag.Event(g, name="g")),
        "noisy": ag.sde(lambda t, x: -x, lambda t, x: 0.1, 1.0),
        "drift": fn,
        "diffusion": fn,
        "residuals": lambda circuit: circuit.factor * jnp.arange(3.0) - jnp.array([0.1, 1.0, 2.1]),
    }


@functools.cache
def run(code):
    """Runs a piece of code."""
    setting = re.fullmatch(r"(\w+)=(?!=)(.*)", code)
    if setting is not None:
        assert setting[1] in inspect.signature(ag.simulate).parameters
        code = setting[2]
    tree = Filled().visit(ast.parse(code.replace("…", "..."), mode="eval"))
    made = compile(ast.fix_missing_locations(tree), code, "eval")
    if not code.startswith(OPENED):
        return eval(made, names())

    def opened(x):
        wire = eval(made, names())
        if "Coordinate" not in code:
            wire.input = x
        return wire

    return str(ag.circuit(opened)())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_stands_here_runs(page):
    for code in cells(page):
        if code in WORDS:
            continue
        if code.isidentifier() and code not in names():
            known = any(hasattr(place, code) for place in (ag, ag.Hybrid, builtins))
            assert known or code in inspect.signature(ag.Real).parameters
        elif code.startswith("@"):
            assert callable(run(code[1:]))
        elif code.startswith('"'):
            assert run(code) in ("cubic", *METHODS)
        else:
            run(code)
