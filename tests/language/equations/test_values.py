"""Random formulas have the values that Python gives them."""

import math
import random

import numpy as np
import pytest
from helpers import slow

import asgard as ag
from asgard.circuits.graph import flatten

pytestmark = pytest.mark.usefixtures("unchecked")

SAID = {"a": 1.5, "b": -0.75}
INPUTS = {"x": 0.8, "y": 1.7, "u": -0.4}


def formula(draw, depth):
    """A random formula, in which parts come again, as text for equations."""
    if depth == 0 or draw.random() < 0.15:
        return draw.choice([*INPUTS, *INPUTS, *SAID, "2", "0.5", "3"])
    one, other = formula(draw, depth - 1), formula(draw, depth - 1)
    form = draw.choice(
        [
            *("({0} + {1})", "({0} - {1})", "({0} + {1} - {0})", "(-{0})", "({0}*{1})"),
            *("({0}*{1}*{0})", "({0}/(2 + {1}^2))", "(1/({0}^2 + 1)*{1})", "{0}^2", "-{0}^3"),
            *("sin({0})", "exp(-{0}^2)", "if({0} < {1}, {1}, {0})", "2*({0} - 3*{1} + {1})"),
            *("a*({0} + b*{1})", "-(b*{0} - {1})", "(({0} < {1}) + {1})", "g({0})", "h({0}, {1})"),
        ]
    )
    return f"({form.format(f'({one})', f'({other})')})"


def python_value(text):
    """The value of a formula by Python itself."""
    names = {"sin": math.sin, "exp": math.exp, **SAID, **INPUTS}
    names["where"] = lambda condition, then, otherwise: then if condition else otherwise
    names["g"] = lambda v: v - v**2 / (1 + v**2)
    names["h"] = lambda v, w: names["g"](v) * w - v
    return float(eval(text.replace("^", "**").replace("if(", "where("), {}, names))


def circuit_values(circuit):
    """The values of named wires without states, by calling atoms."""
    graph = flatten(circuit)
    values = dict(zip(graph.inputs, INPUTS.values(), strict=True))
    pending = list(graph.nodes)
    while pending:
        ready = [node for node in pending if all(wire in values for wire in node.ins)]
        for node in ready:
            values[node.outs[0]] = float(node.atom(*(values[wire] for wire in node.ins)))
        pending = [node for node in pending if node.outs[0] not in values]
    return {name: values[wires[0]] for name, wires in graph.names.items()}


@pytest.mark.parametrize("seeds", [range(8), slow(range(8, 120))], ids=["8", "112"])
def test_formulas_have_their_values_also_where_they_are_isolated(seeds):
    for seed in seeds:
        draw = random.Random(seed)
        first, second = formula(draw, 4), formula(draw, 3)
        text = f"""
        g(v) = v - v^2/(1 + v^2)
        h(v, w) = g(v)*w - v
        p = {first}
        q - {first} = {second}
        3*(r + {second}) - r/2 = {first} + r
        exp(s/2) = {second}^2 + 1
        """
        p, q = python_value(first), python_value(second)
        expected = {
            "p": p,
            "q": p + q,
            "r": (p - 3 * q) / 1.5,
            "s": 2 * math.log(q**2 + 1),
        }
        system = ag.equations(text, parameters=SAID, inputs=tuple(INPUTS))
        found = circuit_values(system)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9, err_msg=text)
