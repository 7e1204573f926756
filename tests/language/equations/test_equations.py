"""Each kind of equation against a closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations

import asgard as ag
from asgard.circuits.graph import canonical, flatten

TS = jnp.array([0.0, 0.5, 1.0])
# Steps of Runge and Kutta compile faster than those of Taylor.
CALCULUS = ag.Real(method=ag.Dopri8(), rtol=1e-11, atol=1e-11)


def run(circuit, inputs=(), ts=TS):
    return ag.simulate(circuit, ts, inputs=inputs, calculus=CALCULUS)


def nodes(text, **said):
    """The atoms of a circuit of equations, as text, sorted."""
    graph = flatten(ag.equations(text, **said))
    return sorted(str(node.atom) for node in graph.nodes)


def test_differential_equations_of_any_order_and_kind_in_one_system():
    system = ag.equations(
        """
        diff(x, t) = a*x            # decay
        diff(q, t, 2) = -w^2*q      # of second order, with a power of a number
        diff(diff(p, t), t) + p = 0 # the same with w = 1, to be isolated
        s = 1 + int(a*s, t)         # an integral equation
        diff(v*v, t) = 1            # v v' = 1/2, so v^2 = 1 + t
        diff(m, t) = if(m >= 1/2, -1, 1)*(t >= 0)
        r = diff(q, t)
        """,
        parameters={"a": -1.0, "w": 2.0},
        initial={"x": 3.0, "q": 1.0, "diff(p, t)": 1.0, "v": 1.0, "m": 2.0},
    )
    found = run(system)
    expected = {
        "x": 3 * np.exp(-TS),
        "q": np.cos(2 * TS),
        "p": np.sin(TS),
        "s": np.exp(-TS),
        "v": np.sqrt(1 + TS),
        "m": 2 - TS,
        "r": -2 * np.sin(2 * TS),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-9, err_msg=name)
    assert list(ag.parameters(system)) == [
        *("a", "w"),
        *("initial['diff(p, t)']", "initial.m", "initial.q", "initial.v", "initial.x"),
    ]
    assert system.n_out == 7


def test_a_system_is_the_circuit_that_is_wired_by_hand():
    equations = ag.equations("diff(x, t, 2) = -9*sin(x)", initial={"x": 0.5})
    by_hand = (
        ag.Sin() >> ag.Scalar(-9.0) >> ag.Register("t") >> ag.Register("t", 0.5) >> ag.Split()
    ).trace()
    assert canonical(equations) == canonical(by_hand)


@pytest.mark.parametrize(
    "text",
    [
        "x = x0 + int(a*x, t)",
        "x - int(a*x, t) = x0",
        "diff(x, t) = a*x",
        "diff(x, t)/a = x",
        "dx = a*x*dt",
        "2*dx - 2*a*x*dt = 0",
        "0 = x*a - diff(x, t)",
        "x(t) = x0 + int(a*x(t), t)",
    ],
)
def test_forms_of_one_equation_are_one_circuit(text):
    initial = {} if "x0" in text else {"x": "x0"}
    found = ag.equations(text, parameters={"a": -2.0, "x0": 3.0}, initial=initial)
    by_hand = (ag.Scalar(-2.0) >> ag.Register("t", 3.0) >> ag.Split()).trace()
    assert canonical(found) == canonical(by_hand)


def test_a_partial_equation_is_a_series_from_polynomial_data():
    text = "diff(u, t) = k*diff(u, x, 2)"
    heat = ag.equations(text, parameters={"k": 0.5}, initial={"u": "1 + x^4"})
    found = ag.series(heat, order={"t": 2, "x": 4})
    expected = np.zeros((3, 5))
    expected[0, 0], expected[0, 4], expected[1, 2], expected[2, 0] = 1, 1, 6, 3
    np.testing.assert_allclose(found.coefficients, expected, atol=1e-14)
    stream = ag.Stream([1.0, 0.0, 0.0, 0.0, 1.0], "x")
    again = ag.equations(text, parameters={"k": 0.5}, initial={"u": stream})
    assert canonical(again) == canonical(heat)
    integral = ag.equations(
        "u = u0 + k*int(diff(diff(u, x), x), t)", parameters={"k": 0.5, "u0": stream}
    )
    assert any("stream over x" in str(node.atom) for node in flatten(integral).nodes)


def test_a_partial_equation_in_two_dimensions_and_of_a_system():
    """u = (x + y + t)^2 solves u_t = u_x (and v = u_y); the divergence of u grad u is a wire."""
    system = ag.equations(
        """
        diff(u, t) = diff(u, x)
        v = diff(u, y)
        w = diff(u*diff(u, x), x)
        """,
        initial={"u": "(x + y)^2"},
    )
    u, v, _ = ag.series(system, order={"t": 1, "x": 4, "y": 2})
    assert float(u.evaluate(t=0.0, x=0.5, y=0.25)) == pytest.approx(0.5625)
    assert float(v.evaluate(t=0.0, x=0.5, y=0.25)) == pytest.approx(1.5)
    atoms = [str(node.atom) for node in flatten(system).nodes]
    assert atoms.count("deregister(x)") == 2  # u_x is one wire


def test_algebraic_equations_explicit_implicit_and_coupled():
    system = ag.equations(
        """
        diff(y, t) = 0*z
        z = cos(z*y)
        0 = w^3 + w - 10*y
        a + b = 3*y
        a - b = c*y
        """,
        initial={"y": 1.0},
        inputs=("c",),
    )
    found = run(system, inputs=(1.0,))
    assert float(found["z"][-1]) == pytest.approx(0.7390851332151607, abs=1e-12)
    assert float(found["w"][-1]) == pytest.approx(2.0, abs=1e-12)
    np.testing.assert_allclose([found["a"][-1], found["b"][-1]], [2, 1], atol=1e-12)


def test_an_initial_value_of_an_algebraic_unknown_chooses_the_solution():
    for guess in (1.0, -1.0):
        root = ag.equations("x^2 = y", inputs=("y",), initial={"x": guess})
        newton = ag.FixedPoint("newton")
        found = ag.series(root, ag.Stream([4.0], "t"), order=0, fixed_point=newton)
        assert float(found.coefficients[0]) == pytest.approx(2 * guess)
    assert "initial.x" in ag.parameters(root)
    assert ag.to_equations(root.circuit()) == "x = x - u1 + x^2"


def test_unknowns_are_isolated_through_functions_with_one_inverse():
    """Each left side is that of y = 1/2, so each unknown is f(1/2) for the inverse f."""
    inverses = {
        "exp(a) + 2": math.log(0.5),
        "log(b)": math.exp(0.5),
        "sqrt(c)": 0.25,
        "3*arctan(d)/3": math.tan(0.5),
        "arcsin(e)": math.sin(0.5),
        "arccos(f)": math.cos(0.5),
        "sinh(g)": math.asinh(0.5),
        "tanh(h)": math.atanh(0.5),
        "arcsinh(i)": math.sinh(0.5),
        "arctanh(j)": math.tanh(0.5),
        "sigmoid(k)": 0.0,
        "erf(l)": 0.4769362762044699,
        "1/(m + 1)": 1.0,
        "2^n": -1.0,
        "o^0.5": 0.25,
        "3*(p + 2*p - 1)/2 - p": (0.5 + 1.5) / 3.5,
        "exp(tanh(q))": math.atanh(math.log(0.5)),
    }
    lines = [f"{left} = y" + " + 2" * left.endswith("+ 2") for left in inverses]
    system = ag.equations("diff(x, t) = 1\n" + "\n".join(lines), inputs=("y",))
    found = run(system, inputs=(0.5,))
    for letter, value in zip("abcdefghijklmnopq", inverses.values(), strict=True):
        assert float(found[letter][-1]) == pytest.approx(value, abs=1e-9), letter
    assert not found.loops


def test_an_inverse_is_not_a_number_where_there_is_none():
    system = ag.equations("sqrt(c) = y\nx = int(1, t)", inputs=("y",))
    found = ag.simulate(system, [0.0, 1.0], inputs=(-1.0,), throw=False, calculus=CALCULUS)
    assert np.isnan(found["c"]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dx = a*x*dt + b*x*dW", {}),
        ("dx - b*x*dW = a*x*dt", {"noise": ("W",)}),
        ("x = 1 + int(a*x, t) + int(b*x, W)", {"noise": ("W",)}),
        ("sde(a*x, b*x, x)", {}),
        ("sde(a*x, b*x, x, W)", {"noise": ("W",)}),
    ],
)
def test_forms_of_a_stochastic_equation_are_one_circuit(text, said):
    initial = {} if "1 +" in text else {"x": 1.0}
    found = ag.equations(text, parameters={"a": 0.1, "b": 0.3}, initial=initial, **said)
    drift = ag.Scalar(0.1) >> ag.Register("t", 1.0)
    noise = ag.Scalar(0.3) >> ag.StochasticRegister("t", "W")
    by_hand = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
    assert canonical(found) == canonical(by_hand)


def test_a_stochastic_equation_follows_its_increments():
    system = ag.equations("dx = a*x*dt + b*x*dW", parameters={"a": 0.1, "b": 0.3}, initial={"x": 1})
    steps = jnp.array([0.5, -0.25])
    calculus = ag.Stochastic(steps=1, noise={"W": steps})
    found = ag.simulate(system, TS, calculus=calculus, key=jax.random.key(0))
    euler = np.cumprod([1.0, *(1 + 0.1 * 0.5 + 0.3 * steps)])
    np.testing.assert_allclose(found["x"], euler, rtol=1e-12)


def test_sequences_by_unit_delays():
    fibonacci = ag.equations("f = f0 + delay(f) + delay(delay(f))", inputs=("f0",))
    pulse = ag.Samples(jnp.array([1.0, 0.0]))
    ts = jnp.arange(8)
    found = ag.simulate(fibonacci, ts, inputs=(pulse,), calculus=ag.Discrete())
    assert found["f"].tolist() == [1, 1, 2, 3, 5, 8, 13, 21]
    same = ag.equations(
        "f = delay(f) + delay(delay(f))", initial={"delay(f)": 1.0, "delay(delay(f))": 0.0}
    )
    assert ag.simulate(same, ts, calculus=ag.Discrete())["f"].tolist()[:5] == [1, 2, 3, 5, 8]


def test_functions_are_their_values():
    said = {"parameters": {"a": 2.0}, "initial": {"x": 1.0}}
    plain = nodes("diff(x, t) = (a*x)^2 + sin(x)", **said)
    for text in (
        "g(v) = (a*v)^2\ndiff(x, t) = g(x) + sin(x)",
        "diff(x, t) = apply(abstraction v. ($a*v)^2, x) + sin(x)",
        "h(f, v) = f(v)\ndiff(x, t) = h(abstraction v. (a*v)^2, x) + apply(h, k, x)\nk(v) = sin(v)",
        "twice(f, v) = f(f(v))\ng(v) = v\ndiff(x, t) = (a*twice(g, x))^2 + sin(x)",
    ):
        assert nodes(text, **said) == plain, text


def test_functions_that_nest_deep_and_often_are_expanded_once():
    lines = ["g0(v) = v + sin(v)"]
    lines += [f"g{n}(v) = g{n - 1}(g{n - 1}(v))" for n in range(1, 8)]
    found = nodes("\n".join([*lines, "y = g7(t)", "diff(x, t) = 1"]))
    assert found.count("sin") == 2**7


def test_subsystems_are_used_by_name_and_in_expressions():
    system = ag.equations(
        """
        system tank(inflow, rate) -> level, outflow {
            diff(level, t) = inflow - outflow
            outflow = rate*level
        }
        system half(u) -> y { y = u/2 }
        upper = tank(inflow=u, rate=a)
        lower = tank(upper.outflow, a)
        both = half(upper.level + lower.level) + half(upper.level + lower.level)
        quarter = half(half(both))
        """,
        parameters={"a": 1.0},
        initial={"tank.level": 2.0, "lower.level": 0.0},
        inputs=("u",),
        outputs=("lower.level", "both", "diff(upper.level, t)"),
    )
    found = run(system, inputs=(0.0,))
    upper, lower = 2 * np.exp(-TS), 2 * TS * np.exp(-TS)
    np.testing.assert_allclose(found["upper_level"], upper, atol=1e-9)
    for output, exact in zip(found.outputs, (lower, upper + lower, -upper), strict=True):
        np.testing.assert_allclose(output, exact, atol=1e-9)
    np.testing.assert_allclose(found["quarter"], (upper + lower) / 4, atol=1e-9)


def test_common_subexpressions_are_shared_wires():
    text = "diff(x, t) = sin(x*y)*x + sin(x*y)*y\ndiff(y, t) = exp(sin(x*y))"
    assert nodes(text).count("sin") == 1
    assert nodes(text).count("multiplication") == 3


def test_an_integral_that_several_equations_share_keeps_its_start():
    """x and y are one wire, and z differs from both by 1: all read the integral from 0."""
    system = ag.equations("x = 2 + int(x, t)\ny = 2 + int(x, t)\nz = 3 + int(x, t)")
    values = np.array([float(found[0]) for found in run(system).outputs])
    np.testing.assert_allclose(values, [2, 2, 3])
    assert nodes("x = 2 + int(x, t)\ny = 2 + int(x, t)") == [*("add", "const(2.0)", "register(t)")]


def test_a_sum_of_a_hundred_terms_has_the_nodes_of_one_by_hand():
    terms = " - ".join(f"{n}*x^{n}" for n in range(2, 102))
    found = nodes(f"diff(x, t) = {terms}")
    assert len(found) == 100 + 100 + 2  # powers, factors, the sum and the register
    assert "add(100)" in found


def test_a_parameter_in_many_places_is_one_number():
    system = ag.equations(
        "diff(x, t) = -a*x + a*y\ndiff(y, t) = a^2*sin(a*t)", parameters={"a": ag.Positive(0.5)}
    )
    assert list(ag.parameters(system)) == ["a"]
    slope = jax.jit(jax.grad(lambda system: run(system)["y"][-1]))(system)
    # y = a (1 - cos(a t)) has the derivative 1 - cos(a) + a sin(a) at t = 1.
    exact = 1 - math.cos(0.5) + 0.5 * math.sin(0.5)
    assert float(ag.parameters(slope)["a"]) == pytest.approx(exact, abs=1e-9)
    faster = ag.update(system, {"a": 1.0})
    assert float(ag.parameters(faster)["a"]) == 1.0
    in_a_term = ag.parameters(system >> ag.Add())
    assert list(in_a_term) == ["equations.a"]


def test_unknowns_that_are_constants_are_factors():
    said = {"parameters": {"a": 2.0}, "initial": {"x": 1.0}}
    assert nodes("diff(x, t) = k*x\nk = 2*b\nb = a + 1", outputs=("x",), **said) == [
        *("const(3.0)", "const(6.0)", "register(t, 1.0)", "scalar(6.0)")
    ]


def test_vectors():
    system = ag.equations(
        "diff(x, t) = rates*x", parameters={"rates": [-1.0, -2.0]}, initial={"x": [1.0, 1.0]}
    )
    np.testing.assert_allclose(run(system)["x"][-1], np.exp([-1, -2]), atol=1e-9)


def test_circuits_of_one_text_share_a_compilation():
    text = "diff(x, t) = if(x > 0, -a, a)*x"

    def made(a):
        return ag.equations(text, parameters={"a": a}, initial={"x": 1.0})

    with compilations() as first:
        run(made(0.25))
    with compilations() as second:
        found = run(made(0.5))
    assert len(first) == 1
    assert second == []
    np.testing.assert_allclose(found["x"], np.exp(-0.5 * TS), atol=1e-9)


def test_the_text_of_a_circuit_says_the_same_equations():
    text = "diff(x, t) = -a*x + sin(t)\ny = x^2"
    said = {"parameters": {"a": 0.5}, "initial": {"x": 1.0}}
    first = ag.equations(text, **said)
    again = ag.equations(str(first.system), **said)
    assert again == first
    assert jax.tree.structure(again) == jax.tree.structure(first)
    assert ag.parse("composition(E, add)", names={"E": first}) == first >> ag.Add()


def test_states_that_are_derivatives_have_names():
    circuit = ag.equations("diff(q, t, 3) = -q\nv = diff(q, t)", initial={"q": 1.0})
    _, state, _ = ag.vector_field(circuit)
    assert set(state) == {"q", "v", "diff_q_t_2"}
    run = ag.simulate(circuit, [0.0, 1.0])
    assert ag.linearize(circuit, run).A.shape == (2, 3, 3)
