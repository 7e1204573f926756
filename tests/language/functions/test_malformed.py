"""A well-formed function, spoilt in hundreds of ways: each is an error with the line at fault."""

import linecache
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

FUNCTION = """\
def system(u, v, *, a=1.0, b=(1.0, 2.0)):
    x = ag.register("t", a)
    y = ag.register("t", b)
    w = jnp.sin(x) * u
    y.input = w * y - v
    x.input = ag.Scalar(a)(v) - x
    z = ag.unknown(0.5)
    z.input = jnp.cos(z)
    n = ag.jump_register("t", None, 1.0, "N")
    n.input = (x, a)
    return {"x": x, "w": w + z}
"""

FAULTS = (
    "if u > 0: pass",
    "while v: pass",
    "assert u > 0",
    "u and v",
    "max(u, v)",
    "float(u)",
    "int(v)",
    "range(u)",
    "[1, 2][u]",
    "for _ in u: pass",
    "a, b = v",
    "math.sin(u)",
    "np.sin(v)",
    "jnp.sin('a')",
    "u @ v",
    "u[0]",
    "u.nothing",
    "u.input = v",
    "u.inputs = v",
    "x.inpt = v",
    "u[0].input = v",
    "f'{u:.3f}'",
    "math.floor(v)",
    "list(u)",
    "np.asarray(u)",
    "jnp.ones(3)[u]",
    "jnp.zeros(u)",
    "x.input = ag.Register('t')",
    "ag.register(1.0)",
    "ag.register('t', 1.0, 2.0)",
    "ag.register(t='t')",
    "ag.relay(1.0)",
    "ag.reset('t').input = u, v",
    "ag.counter().input = u, v",
    "ag.sample_hold().input = u",
    "-ag.Register('t')",
    "ag.Register('t').input = u",
    "ag.circuit(lambda q, *, k: k * q)()(u)",
    "ag.circuit(lambda q: q)(q=1.0)",
    "ag.recurrence(lambda n, y: y, 'a')",
    "ag.sde(lambda t, y: y, lambda t, y: y, 1.0, noise='pink')",
    "(lambda: ag.register('t'))()",
    "jax.grad(ag.Register('t'))(1.0)",
    "del nothing",
    "import nothing_of_this_name",
    "nothing + u",
    "1 / 0",
    "raise ValueError('own')",
    "jnp.zeros(3) + jnp.zeros(2)",
    "jnp.reshape(u, 3)",
    "x.input = [u, v]",
    "x.input = 1.0",
    "y.input = jnp.zeros(3)",
    "ag.register('t', 0.0)",
    "ag.delay('t')",
    "ag.unknown()",
    "ag.register('t t')",
    "ag.register('t', None)",
    "ag.register('t', 'one')",
    "ag.register()",
    "ag.register('t').input = 'u'",
    "ag.register('t').input = (u, v)",
    "ag.register('t', jnp.zeros(2)).input = jnp.zeros(3)",
    "ag.stochastic_register('t', 'W W')",
    "ag.jump_register('t', -1.0, 1.0, 'N')",
    "ag.Register('t', u)(v)",
    "ag.Register('t')()",
    "ag.Add()(u)",
    "ag.Sin()(u, v)",
    "(ag.Sin() >> ag.Cos())(u, v)",
    "(ag.Sin() >> ag.Cos())(None)",
    "ag.Sin() >> ag.Add()",
    "ag.Sin() >> u",
    "ag.Scalar('a')",
    "ag.Var('a b')(u)",
    "ag.circuit(lambda q: q)()()",
    "ag.circuit(lambda q: q)(u)",
    "ag.circuit(lambda *q: q)",
    "ag.ode(lambda t, y: (y, y), 1.0)",
    "jax.jit(lambda q: ag.register('t'))(u)",
    "jax.vmap(ag.Register('t'))(jnp.ones(2))",
    "jax.lax.cond(u > 0, ag.Register('t'), ag.Register('t'), u)",
    "jax.lax.scan(lambda c, _: (ag.Register('t')(c), None), u, None, length=2)",
)


# What is returned in place of the wires.
RETURNED = (
    "None",
    "'u'",
    "{'w': None}",
    "{'w v': u}",
    "{1: u}",
    "(u, (u, v))",
    "[u, ag.Register('t')]",
    "ag.Register('t')",
    "lambda: u",
    "jax.random.key(0)",
    "{u: v}",
    "(q for q in (u, v))",
    "object()",
    "type(u)",
)


def spoilt(fault, line):
    """The function with a fault as a line of its own."""
    lines = FUNCTION.splitlines(keepends=True)
    lines.insert(line - 1, f"    {fault}\n")
    return in_a_file(lines, f"<spoilt {FAULTS.index(fault)} at {line}>")


def in_a_file(lines, file):
    """The function that some lines of code define, and the name of its file."""
    linecache.cache[file] = (0, None, lines, file)
    namespace = {"ag": ag, "jax": jax, "jnp": jnp, "np": np, "math": math}
    exec(compile("".join(lines), file, "exec"), namespace)
    return namespace["system"], file


def test_the_function_itself_is_a_circuit():
    namespace = {"ag": ag, "jnp": jnp}
    exec(FUNCTION, namespace)
    assert ag.circuit(namespace["system"])().n_out == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_with_its_line(fault):
    for line in (2, 4, 6, 7, 9, 11):
        function, file = spoilt(fault, line)
        with pytest.raises(ag.CircuitError) as caught:
            ag.circuit(function)()
        assert caught.value.file == file
        # What is fed for a second time is known where the function feeds it itself.
        later = fault.startswith(("x.input", "y.input")) and caught.value.line in (6, 7)
        assert caught.value.line == line or later
        assert str(caught.value).count("File") == 1


@pytest.mark.parametrize("value", RETURNED)
def test_a_wrong_return_is_an_error_with_the_line_of_the_function(value):
    lines = [*FUNCTION.splitlines(keepends=True)[:-1], f"    return {value}\n"]
    function, file = in_a_file(lines, f"<returned {RETURNED.index(value)}>")
    with pytest.raises(ag.CircuitError, match=r"no wire|named by|unhashable") as caught:
        ag.circuit(function)()
    assert (caught.value.file, caught.value.line) in ((file, 1), (file, len(lines)))
