"""Circuits back to equations, as text and as LaTeX."""

import random

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import rendered, slow
from systems import Saturation

import asgard as ag
from asgard.circuits.atoms.registers import Register, State
from asgard.circuits.graph import canonical, flatten

pytestmark = pytest.mark.usefixtures("unchecked")

SWING = ag.Sin() >> ag.Scalar(-9.81) >> ag.Register("t", 0.0) >> ag.Register("t", 1.0)
HEAT = ag.Deregister("x") >> ag.Deregister("x") >> ag.Register("t", ag.Stream([1.0, 0, 2], "x"))
WIRED = {
    "x1 = int(-9.81*sin(angle), t)\nangle = 1 + int(x1, t)": (
        (SWING >> ag.Var("angle") >> ag.Split()).trace(),
        {},
    ),
    "x1 = 1 + 2*x^2 + int(diff(diff(x1, x), x), t)": ((HEAT >> ag.Split()).trace(), {}),
    "x1 = int(u1 - x1, t)": (
        (ag.Id() @ ag.Scalar(-1.0) >> ag.Add() >> ag.Register("t") >> ag.Split()).trace(),
        {"inputs": ("u1",)},
    ),
    "x1 = 1 + int(0.1*x3, t)\nx2 = int(0.3*x3, W)\nx3 = x1 + x2": (
        (
            ag.Split()
            >> (ag.Scalar(0.1) >> ag.Register("t", 1.0))
            @ (ag.Scalar(0.3) >> ag.StochasticRegister("t", "W"))
            >> ag.Add()
            >> ag.Split()
        ).trace(),
        {"noise": ("W",)},
    ),
    "x1 = delay(x1) + 1": ((ag.Delay("n") @ ag.Const(1.0) >> ag.Add() >> ag.Split()).trace(), {}),
    "x1 = u1/u2 - 2.5*exp(u3)^3": (
        ag.Divide() @ (ag.Exp() >> ag.Power(3) >> ag.Scalar(-2.5)) >> ag.Add(),
        {"inputs": ("u1", "u2", "u3")},
    ),
}


@pytest.mark.parametrize("text", WIRED)
def test_wired_circuits_print_as_equations_that_say_them(text):
    circuit, said = WIRED[text]
    assert ag.to_equations(circuit) == text
    again = ag.equations(text, outputs=(_output(circuit),), **said)
    assert canonical(again) == canonical(circuit)


def _output(circuit):
    """The name of the last equation of a circuit: that of its only output here."""
    return ag.to_equations(circuit).split("\n")[-1].split(" = ")[0]


def test_equations_print_as_their_text():
    text = "diff(x, t) = -a*x\ny = x^2"
    assert ag.to_equations(ag.equations(text, parameters={"a": 1.0})) == text


def test_other_atoms_are_called_by_name():
    assert ag.to_equations(Saturation(2.0)) == "x1 = Saturation(u1)"
    assert ag.to_equations(ag.Function(jnp.arctan2, 2)) == "x1 = arctan2(u1, u2)"


REFUSED = [
    (ag.Scalar([1.0, 2.0]), r"Scalar holds an array of shape \(2,\)"),
    (ag.Scalar(1j), "no known real number"),
    (ag.Const(float("nan")), "Const holds nan"),
    (ag.Delay("t", 1.0, by=2.0), r"there is no equation for delay\(t, 1.0"),
    (ag.JumpRegister("t", 1.0, 1.0, "N"), "there is no equation for JumpRegister"),
    (ag.Function(lambda x: (x, x), 1, 2), "an atom of several outputs has no equation"),
    (3, "to_equations takes a circuit, not int"),
]


@pytest.mark.parametrize(("circuit", "message"), REFUSED)
def test_what_has_no_equations_is_refused(circuit, message):
    with pytest.raises(ag.CircuitError, match=message):
        ag.to_equations(circuit)


FORMULAS = ["a*x", "x*y", "sin(y)", "x^3", "exp(-x)", "x/(1 + y^2)", "if(x < y, x, 2)", "b", "z"]


def generated(seed):
    """A system of two states and an algebraic unknown, and its parameters."""
    draw = random.Random(seed)

    def formula():
        terms = draw.sample(FORMULAS, draw.randint(1, 4))
        signs = [draw.choice([" + ", " - "]) for _ in terms]
        return "".join(sum(zip(signs, terms, strict=True), ())).removeprefix(" + ")

    left = draw.choice(["diff(y, t)", "2*diff(y, t) - x", "diff(y, t)/a"])
    lines = [
        f"diff(x, t) = ({formula()})*{draw.randint(1, 9) / 4}",
        f"{left} = {formula()}",
        draw.choice(["z = {}", "z + 1 = 3*({})", "exp(z) = 1 + ({})^2"]).format("x*y - cos(x)"),
    ]
    draw.shuffle(lines)
    return "\n".join(lines).replace("= ( - ", "= (-").replace("=  - ", "= -")


def slopes(circuit):
    """What flows into each register and what other named wires are, at a point, by name."""
    graph = flatten(circuit)
    values = {}
    for node in graph.nodes:
        if isinstance(node.atom, Register):
            values[node.outs[0]] = 0.3 + float(node.atom.initial)
    pending = [node for node in graph.nodes if not isinstance(node.atom, State)]
    while pending:
        ready = [node for node in pending if all(wire in values for wire in node.ins)]
        for node in ready:
            values[node.outs[0]] = float(node.atom(*(values[wire] for wire in node.ins)))
        pending = [node for node in pending if node.outs[0] not in values]
        assert ready
    found = {name: values[wires[0]] for name, wires in graph.names.items()}
    for node in graph.nodes:
        if isinstance(node.atom, Register):
            (name,) = (n for n, wires in graph.names.items() if wires[0] == node.outs[0])
            found[f"d{name}"] = values[node.ins[0]]
    return found


@pytest.mark.parametrize("seeds", [range(20), slow(range(20, 200))], ids=["20", "200"])
def test_text_to_circuit_to_text_to_circuit_keeps_all_values(seeds):
    for seed in seeds:
        said = {"parameters": {"a": 1.5, "b": 0.7}, "initial": {"x": 0.5, "y": 1.25}}
        first = ag.equations(generated(seed), **said)
        again = ag.equations(ag.to_equations(first), **said)
        assert again == first
        wired = ag.equations(ag.to_equations(first.circuit()))
        one, other = slopes(first), slopes(wired)
        assert one.keys() <= other.keys()
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


LATEX = {
    "diff(q, t, 2) = -w^2*sin(q) - g*diff(q, t)": (
        r"\frac{d^{2} q}{d t^{2}} = -w^{2}\,\sin\left(q\right) - g\,\frac{d q}{d t}"
    ),
    "diff(diff(u, t), x) = k*diff(u, x, 2)": (
        r"\frac{\partial^{2} u}{\partial t\,\partial x} = k\,\frac{\partial^{2} u}{\partial x^{2}}"
    ),
    "dx = a*x*dt + (b + x)*dW": r"dx = a\,x\,dt + \left(b + x\right)\,dW",
    "x = x0 + int(alpha*x + 1, t)": r"x = x_{0} + \int \left(\alpha\,x + 1\right)\,dt",
    "f = f0 + delay(f) + delay(delay(f))": r"f = f_{0} + f_{n-1} + f_{n-2}",
    "y = (a - b)/(2*c)*-d": r"y = \frac{\left(a - b\right)\,\left(-d\right)}{2\,c}",
    "y = 2*3*x - 1e-9*(-x)^2": r"y = 2 \cdot 3\,x - 10^{-9}\,\left(-x\right)^{2}",
    "sde(a*x, b, x)": r"dx = a\,x\,dt + b\,dW",
    "g(v, w) = abstraction u. u*v*w": r"g\left(v, w\right) = u \mapsto u\,v\,w",
    "y = sqrt(abs(x))*sigmoid(tank_level)": (
        r"y = \sqrt{\left|x\right|}\,\mathrm{sigmoid}\left(\mathrm{tank}_{\mathrm{level}}\right)"
    ),
    "y = if(x <= 2, 1, x)": (r"y = \begin{cases} 1 & x \leq 2 \\ x & \text{else} \end{cases}"),
    "diff(x*y, t) = x(t - tau)": r"\frac{d}{d t}\left(x\,y\right) = x\left(t - \tau\right)",
}


@pytest.mark.parametrize("text", LATEX)
def test_latex(text):
    found = ag.to_latex(text)
    assert found == LATEX[text]
    rendered(found)


def test_latex_of_several_equations_is_aligned():
    system = "system tank(u) -> y, z { diff(y, t) = u; z = 2*y }\np = tank(3)\nq = p.z != 4"
    lines = ag.to_latex(system).split("\n")
    assert lines[0] == r"\begin{aligned}"
    assert lines[1] == r"\mathrm{tank}\left(u\right) \to y, z: \\"
    assert lines[-2] == r"q &= z_{p} \neq 4"
    for line in lines[1:-1]:
        rendered(line.removesuffix(r" \\").replace("&", ""))
    circuit = ag.equations("diff(x, t) = -x\ny = 2*x")
    assert ag.to_latex(circuit) == ag.to_latex("diff(x, t) = -x\ny = 2*x")
    assert ag.to_latex(ag.Scalar(-2.0)) == r"x_{1} = -2\,u_{1}"
