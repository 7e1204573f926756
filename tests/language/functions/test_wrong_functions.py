"""Functions that say no circuit: errors that name the state and the line of the code."""

import linecache
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")
BOX = {}


def never_fed():
    x = ag.register("t", 1.0)  # here
    return x


def fed_twice():
    x = ag.register("t")
    x.input = x
    x.input = -x  # here
    return x


def of_wrong_shape():
    x = ag.register("t", jnp.zeros(3))
    x.input = jnp.zeros(2)  # here
    return x


def with_no_number():
    x = ag.stochastic_register("t", "W")
    x.input = None  # here
    return x


def with_one_wire_of_two():
    x = ag.jump_register("t", None, 1.0, "N")
    x.input = x  # here
    return x


def along_nothing():
    x = ag.register()  # here
    return x


def named_by_keyword():
    return ag.register("t", name="x")  # here


def the_circuit_of_a_state(u):
    return u - ag.Register("t")  # here


def fed_the_circuit_of_a_state():
    x = ag.register("t")
    x.input = ag.Register("t")  # here
    return x


def shown_to_three_digits(u):
    return f"{u:.3f}"  # here


def fed_by_a_wrong_name(u):
    x = ag.register("t")
    x.inputs = u  # here
    return x


def fed_where_nothing_is_held():
    x = ag.register("t")
    y = 2 * x
    y.input = x  # here
    return x


def read_before_it_is_fed():
    x = ag.register("t")
    x.input = x.input  # here
    return x


def started_from_a_wire(u):
    x = ag.register("t", u)  # here
    x.input = x
    return x


def along_no_name():
    return ag.register("t t")  # here


def python_if(u):
    if u > 0:  # here
        return u
    return -u


def python_math(u):
    return math.sin(u)  # here


def numpy_code(u):
    return np.sin(u)  # here


def own_error(u):
    return u / 0 + 1 / 0  # here


def wrong_jax(u):
    return u @ jnp.ones((2, 2))  # here


def too_few_wires(u):
    return ag.Add()(u)  # here


def too_many_wires(u):
    return (ag.Sin() >> ag.Cos())(u, u)  # here


def passes(u):
    return u


def wires_of_a_function(u):
    return ag.circuit(passes)()()  # here


def wires_as_numbers(u):
    return ag.circuit(passes)(u)  # here


def no_wire_for_a_circuit(u):
    return (ag.Sin() >> ag.Cos())("u")  # here


class Twice(ag.Atom):
    """Returns more than its output wire."""

    n_in = n_out = 1

    def __call__(self, x):
        return x, x


def an_atom_of_two_values(u):
    return Twice()(u)[0]  # here


def in_a_scan(u):
    def body(carry, _):
        x = ag.register("t")  # here
        return carry + x, None

    return jax.lax.scan(body, u, None, length=2)[0]


def fed_in_a_branch(u):
    x = ag.register("t")

    def branch(u):
        x.input = u  # here
        return u

    return jax.lax.cond(u > 0, branch, jnp.sin, u)


def of_another_function(u):
    BOX["state"].input = u  # here
    return u


def counts_by_a_number(u, *, times=3):
    for _ in range(times):  # here
        u = u + 1
    return u


def writes_into_an_array(u):
    x = jnp.zeros(3)
    x[0] = u  # here
    return x


def calls_itself(u):
    return ag.circuit(calls_itself)()(u)


INSIDE = {
    never_fed: r"register\(t\) is never fed: give it what goes in, as wire.input = …",
    fed_twice: r"register\(t\) is fed twice, the first time at test_wrong_functions.py, line 24",
    of_wrong_shape: r"register\(t\) holds a value of shape \(3,\), but is fed one of shape \(2,\)",
    with_no_number: r"stochastic_register\(t, W\) is fed None, which is no wire",
    with_one_wire_of_two: "JumpRegister takes 2 wires, but is fed 1",
    along_nothing: r"ag.register takes \(dim, initial=0.0\): missing a required argument: 'dim'",
    named_by_keyword: r"argument 'name'; ag.Var\(\"name\"\)\(wire\) names a wire",
    the_circuit_of_a_state: r"ag.Register is a circuit, and ag.register\(…\) the wire of what it",
    fed_the_circuit_of_a_state: r"is fed no wire: ag.Register is a circuit, and ag.register\(…\)",
    shown_to_three_digits: "a wire has no value yet, and so no digits",
    fed_by_a_wrong_name: "fed_by_a_wrong_name: AttributeError: a wire has no attribute 'inputs'",
    fed_where_nothing_is_held: "only what a state holds has an input",
    read_before_it_is_fed: r"register\(t\) has not been fed yet",
    started_from_a_wire: r"a number of register\(t\) depends on a wire",
    along_no_name: "a dimension is named by an identifier",
    python_if: "python_if: a wire has no value yet, so Python cannot branch on it: use jnp.where",
    python_math: "python_math: a wire has no value yet: use jax.numpy",
    numpy_code: "numpy_code: a wire has no value yet: use jax.numpy",
    counts_by_a_number: "counts_by_a_number: Python needs a known integer here",
    writes_into_an_array: "JAX arrays are immutable",
    own_error: "own_error: ZeroDivisionError: division by zero",
    wrong_jax: r"wrong_jax: ValueError: matmul .*taken for a number .* as in u=jnp.zeros\(3\)",
    too_few_wires: "add takes 2 wires, but is called on 1",
    too_many_wires: r"composition\(sin, cos\) takes 1 wire, but is called on 2",
    wires_of_a_function: "passes takes 1 wire, but is called on 0",
    wires_as_numbers: r"passes takes its numbers by keyword, and then wires",
    no_wire_for_a_circuit: r"composition\(sin, cos\) is called on 'u', which is no wire",
    an_atom_of_two_values: "Twice has n_out = 1, but returned 2",
    in_a_scan: r"register\(t\) is opened in in_a_scan inside of a jax.jit",
    fed_in_a_branch: r"register\(t\) is fed in fed_in_a_branch inside of a jax.jit",
    of_another_function: r"register\(t\) is fed after keeps has returned",
}


def keeps(u):
    BOX["state"] = ag.register("t")
    BOX["state"].input = u
    BOX["value"] = 2 * u
    return u


@pytest.mark.parametrize("function", INSIDE, ids=lambda function: function.__name__)
def test_an_error_names_the_line_of_the_code(function):
    ag.circuit(keeps)()
    with pytest.raises(ag.CircuitError, match=INSIDE[function]) as caught:
        ag.circuit(function)()
    error = caught.value
    assert error.file == __file__
    assert linecache.getline(__file__, error.line).endswith("# here\n")
    assert f'File "{__file__}", line {error.line}' in str(error)
    assert str(error).count("File") == 1


def returns_text(u):
    return "u"


def returns_nothing(u):
    u + 1


def returns_nothing_by_name(u):
    return {"a": None}


def returns_a_nest(u):
    return {"a": {"b": u}}


def returns_a_bad_name(u):
    return {"a b": u}


def returns_a_key(u):
    return jax.random.key(0)


def prints(u):
    jax.debug.print("{}", u)
    return u


def grows():
    x = ag.register("t", jnp.zeros(3))
    x.input = x[:, None] * x
    return x


def uses_a_wire_of_another_function(u):
    return u + BOX["value"]


def returns_a_wire_of_another_function(u):
    return BOX["value"]


def takes_any_number(*wires):
    return wires


AROUND = {
    calls_itself: "calls_itself: it calls itself without end",
    returns_text: "returns_text returns 'u', which is no wire",
    returns_nothing: "returns_nothing returns None, which is no wire",
    returns_nothing_by_name: "returns, as 'a', None, which is no wire",
    returns_a_nest: "returns, as 'a', a dictionary, which is no wire: name its wires one by one",
    returns_a_bad_name: "a wire is named by an identifier, not 'a b'",
    returns_a_key: "a random key, which is no wire",
    prints: "side effects, such as jax.debug.print",
    grows: "the shape of a state in grows grows with every turn",
    uses_a_wire_of_another_function: "uses a wire of another function",
    returns_a_wire_of_another_function: "uses a wire of another function",
    takes_any_number: r"takes \*wires, but a circuit has a fixed number",
}


@pytest.mark.parametrize("function", AROUND, ids=lambda function: function.__name__)
def test_an_error_of_the_whole_names_the_function(function):
    ag.circuit(keeps)()
    with pytest.raises(ag.CircuitError, match=AROUND[function]) as caught:
        ag.circuit(function)()
    assert linecache.getline(__file__, caught.value.line).startswith(f"def {function.__name__}(")


def test_numbers_are_given_by_the_names_they_have():
    @ag.circuit
    def gain(u, *, factor, name="a"):
        return factor * u

    with pytest.raises(ag.CircuitError, match="gain: factor has no default") as caught:
        gain()
    assert linecache.getline(__file__, caught.value.line).startswith("    def gain(")
    with pytest.raises(ag.CircuitError, match=r"gain: u is an input wire, .* as in \(…, \*, u\)"):
        gain(u=1.0, factor=2.0)
    with pytest.raises(ag.CircuitError, match=r"unknown parameter 'facter'; did you mean factor\?"):
        gain(facter=1.0)
    with pytest.raises(ag.CircuitError, match="gain: factor must be numbers"):
        gain(factor=np.array(["a"]))


def test_states_and_circuits_are_called_in_functions_only():
    with pytest.raises(ag.CircuitError, match=r"elsewhere the circuit is ag.Register"):
        ag.register("t")
    with pytest.raises(ag.CircuitError, match=r"composition\(sin, cos\) is a circuit, which runs"):
        (ag.Sin() >> ag.Cos())(1.0)
    gain = ag.circuit(keeps)
    with pytest.raises(ag.CircuitError, match="keeps is a circuit, which runs"):
        gain()(1.0)
    with pytest.raises(ag.CircuitError, match=r"keeps is a function, .* did you mean keeps\(\)\?"):
        gain >> ag.Sin()
    with pytest.raises(ag.CircuitError, match="did you mean to call it"):
        ag.Sin() >> gain
    with pytest.raises(ag.CircuitError, match="circuit decorates a function"):
        ag.circuit(ag.Sin())


def test_a_state_can_be_fed_only_while_its_function_runs():
    ag.circuit(keeps)()
    with pytest.raises(ag.CircuitError, match=r"register\(t\) is fed after keeps has returned"):
        BOX["state"].input = 1.0


def test_an_error_in_a_text_keeps_its_place():
    with pytest.raises(ag.ParseError) as caught:
        ag.circuit(lambda u: ag.parse("add(splitt)")(u))()
    assert (caught.value.file, caught.value.line, caught.value.column) == (None, 1, 5)


def test_a_wire_that_a_function_inside_closes_over_is_refused_in_a_term():
    @ag.circuit
    def outer(u):
        @ag.circuit
        def inner(v):
            return v + u

        return inner()(u), (inner() >> ag.Sin())(u)

    with pytest.raises(ag.CircuitError, match="inner uses a wire of another function"):
        ag.simulate(outer(), [0.0, 1.0], inputs=(1.0,))
