"""What is malformed is refused by an error of ours that says what is wrong."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import closed

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

T = ag.Stream([1.0, 2.0], "t")
VECTOR = ag.Stream(jnp.ones((2, 3)), "t")
LONGER = ag.Stream(jnp.ones((3, 3)), "t")


class Miscounted(ag.Block):
    """Says another count than that of its circuit."""

    n_in = 2

    def circuit(self):
        return ag.Exp()


class Either(ag.Block):
    """Is another circuit for another number."""

    factor: jax.Array

    def circuit(self):
        return ag.Scalar(self.factor) if self.factor > 0 else ag.Id()


class Blank(ag.Block):
    def circuit(self):
        return 3.0


class Uncounted(ag.Atom):
    n_in = 1
    n_out = -1

    def __call__(self, x):
        return x


class Labelled(ag.Atom):
    label: str
    n_in = n_out = 1

    def __call__(self, x):
        return x


class Clock(ag.Atom):
    n_in = n_out = 1
    coordinates = "time"

    def __call__(self, time, x):
        return x


class Failing(ag.Atom):
    n_in = n_out = 1

    def __call__(self, x):
        return x.nothing


def grow(x):
    return jnp.concatenate([x, x])


def simulated(x):
    return ag.simulate(ag.Register("t", x), [0.0, 1.0], inputs=(1.0,)).output[-1]


CONSTRUCTIONS = {
    "composition of unequal counts": (
        lambda: ag.Add() >> ag.Add(),
        ag.DegreeError,
        "add has 1 output, but add takes 2 inputs",
    ),
    "composition of one": (
        lambda: ag.Composition(ag.Exp()),
        ag.DegreeError,
        "Composition takes 2 circuits or more, not 1",
    ),
    "composition with a number": (
        lambda: ag.Exp() >> 2.0,
        ag.CircuitError,
        "Composition joins circuits, not float",
    ),
    "product with a class": (
        lambda: ag.Monoidal(ag.Exp(), ag.Sin),
        ag.CircuitError,
        "Sin is a class of circuits; did you mean Sin()?",
    ),
    "trace of too many wires": (
        lambda: ag.Add().trace(2),
        ag.DegreeError,
        "trace over 2 wires: add has 2 inputs and 1 output",
    ),
    "trace of no wires": (lambda: ag.Id().trace(0), ag.CircuitError, "wires must be an integer of"),
    "add of no wires": (lambda: ag.Add(0), ag.CircuitError, "n must be an integer of at least 1"),
    "split of half a wire": (lambda: ag.Split(1.5), ag.CircuitError, "Split: n must be an integer"),
    "permutation that repeats": (
        lambda: ag.Permute((0, 0)),
        ag.CircuitError,
        "must hold each of 0 to 1 once, not (0, 0)",
    ),
    "permutation of numbers that are not whole": (
        lambda: ag.Permute((1.0, 0.0)),
        ag.CircuitError,
        "must hold each of 0 to 1 once, not (1.0, 0.0)",
    ),
    "coordinates as a text": (
        Clock,
        ag.CircuitError,
        'Clock.coordinates must be a tuple of names, such as ("t",), not \'time\'',
    ),
    "register along a phrase": (
        lambda: ag.Register("two words"),
        ag.CircuitError,
        "a dimension is named by an identifier, not 'two words'",
    ),
    "register along a number": (lambda: ag.Register(1.0), ag.CircuitError, "not 1.0"),
    "register with a text": (
        lambda: ag.Register("t", "zero"),
        ag.CircuitError,
        "Register.initial holds 'zero', which is no number or array",
    ),
    "noise without a name": (
        lambda: ag.StochasticRegister("t", ""),
        ag.CircuitError,
        "a noise is named by an identifier, not ''",
    ),
    "variable without a name": (lambda: ag.Var("2x"), ag.CircuitError, "not '2x'"),
    "scalar of a text": (lambda: ag.Scalar("two"), ag.CircuitError, "Scalar.factor holds 'two'"),
    "polynomial of an unknown function": (
        lambda: ag.TaylorPolynomial("tan", 3, "t"),
        ag.CircuitError,
        "knows exp, sin, cos, not 'tan'",
    ),
    "polynomial of a negative degree": (
        lambda: ag.TaylorPolynomial("exp", -1, "t"),
        ag.CircuitError,
        "-1",
    ),
    "substitution of an outer with inputs": (
        lambda: ag.Substitution(ag.Exp(), ag.Id(), "t"),
        ag.DegreeError,
        "outer must be 0 -> 1, but exp is 1 -> 1",
    ),
    "substitution of no circuit": (
        lambda: ag.Substitution(1.0, ag.Id(), "t"),
        ag.CircuitError,
        "outer must be a circuit, not",
    ),
    "function that is none": (
        lambda: ag.Function(3.0, 1),
        ag.CircuitError,
        "Function wraps a callable, not 3.0",
    ),
    "function of minus one wire": (
        lambda: ag.Function(jnp.sin, -1),
        ag.CircuitError,
        "n_in must be an integer of at least 0, not -1",
    ),
    "block that gives no circuit": (
        lambda: Blank() >> ag.Exp(),
        ag.CircuitError,
        "Blank.circuit() must return a circuit, not float",
    ),
    "block of another count than its circuit": (
        lambda: Miscounted(),
        ag.DegreeError,
        "Miscounted.n_in is 2, but that of its circuit is 1; leave it out",
    ),
    "block whose wiring depends on a number": (
        lambda: ag.simulate(Either(1.0), [0.0, 1.0], inputs=(1.0,)),
        ag.CircuitError,
        "Either: its circuit depends on a number, which has no value in a run",
    ),
    "atom of minus one wire": (
        lambda: Uncounted(),
        ag.DegreeError,
        "Uncounted.n_out must be a count, not -1",
    ),
    "atom that holds a text": (lambda: Labelled("a"), ag.CircuitError, "static=True"),
    "stream without its axis": (
        lambda: ag.Stream(1.0, "t"),
        ag.DimensionError,
        "name one coefficient axis each, but the coefficients have shape ()",
    ),
    "stream of no coefficients": (lambda: ag.Stream([], "t"), ag.DimensionError, "shape (0,)"),
    "stream along one dimension twice": (
        lambda: ag.Stream([[1.0]], ("t", "t")),
        ag.DimensionError,
        "dims must be different names",
    ),
    "stream along a number": (lambda: ag.Stream([1.0], (1,)), ag.DimensionError, "names, not (1,)"),
    "stream about too many centres": (
        lambda: ag.Stream([1.0], "t", [1.0, 2.0]),
        ag.DimensionError,
        "not of shape (2,)",
    ),
    "stream of a text": (lambda: ag.Stream("abc", "t"), ag.CircuitError, "must be numbers"),
    "stream along an array": (
        lambda: ag.Stream([1.0], jnp.ones(())), ag.DimensionError, "dims must be names",
    ),
    "samples of no kind": (
        lambda: ag.Samples([1.0], [0.0], jnp.ones(())), ag.CircuitError, "kind must be one of",
    ),
    "register with a pytree": (
        lambda: ag.Register("t", {"a": 1.0}), ag.CircuitError, "a wire carries one array",
    ),
    "scalar past float64": (
        lambda: ag.Scalar(10**400), ag.CircuitError, "Scalar.factor is more than a float holds",
    ),
    "integers past 64 bits": (
        lambda: ag.Scalar([2**70, 1]), ag.CircuitError, "no array of numbers",
    ),
    "stream of integers past 64 bits": (
        lambda: ag.Stream([2**70], "t"), ag.CircuitError, "must be numbers",
    ),
    "samples past 64 bits": (
        lambda: ag.Samples([2**70], [0.0]), ag.CircuitError, "must be an array of numbers",
    ),
    "a count past 32 bits": (lambda: ag.Split(2**70), ag.CircuitError, "at most 2147483647"),
    "an order past 32 bits": (lambda: ag.Real(order=2**70), ag.CircuitError, "must be at most"),
    "an array for a count": (
        lambda: ag.Real(max_steps=jnp.ones((), int)), ag.CircuitError, "must be an integer of",
    ),
    "an array for a flag": (
        lambda: ag.Real(dense=jnp.ones((), bool)), ag.CircuitError, "must be True or False",
    ),
    "a number that unrolls steps": (
        lambda: ag.Taylor(unroll=1), ag.CircuitError,
        "Taylor: unroll must be True or False",
    ),
    "evaluation at no point": (lambda: T.evaluate(), ag.DimensionError, "('t',), not for ()"),
    "evaluation along another": (lambda: T.evaluate(x=1.0), ag.DimensionError, "not for ('x',)"),
}  # fmt: skip


def run(circuit, *streams, order=3):
    return lambda: ag.series(circuit, *streams, order=order)


RUNS = {
    "no circuit": (run(3.0), ag.CircuitError, "series runs a circuit, not 3.0"),
    "a class": (run(ag.Exp, T), ag.CircuitError, "series runs a circuit, not <class"),
    "too few streams": (run(ag.Add(), T), ag.DegreeError, "takes 2 inputs, but 1 stream was given"),
    "too many streams": (run(ag.Exp(), T, T), ag.DegreeError, "takes 1 input, but 2 streams were"),
    "an array": (run(ag.Exp(), jnp.ones(3)), ag.CircuitError, "series takes streams, not"),
    "a negative order": (run(ag.Exp(), T, order=-1), ag.CircuitError, "at least 0, not -1"),
    "a fractional order": (run(ag.Exp(), T, order=1.5), ag.CircuitError, "integer of at least 0"),
    "a bool for an order": (run(ag.Exp(), T, order=True), ag.CircuitError, "not True"),
    "no order": (run(ag.Exp(), T, order=None), ag.CircuitError, "not None"),
    "a fractional order along t": (
        run(ag.Exp(), T, order={"t": 0.5}), ag.CircuitError, "order along t must be an integer",
    ),
    "an order for an unknown dimension": (
        run(ag.Exp(), T, order={"t": 1, "q": 2}), ag.DimensionError, "each of t; it has one for q",
    ),
    "no order for a dimension": (
        run(ag.Register("x"), T, order={"t": 1}), ag.DimensionError, "t, x; it has none for x",
    ),
    "an order for a number": (
        run(ag.Exp(), T, order={"t": 1, 3: 2}), ag.DimensionError, "it has one for 3",
    ),
    "a unit delay": (
        run(ag.Delay("t", 2.0), T), ag.CircuitError,
        "delay(t, 2.0): a unit delay has no meaning under Real",
    ),
    "noise": (
        run(ag.StochasticRegister("t", "W"), T), ag.CircuitError,
        "stochastic_register(t, W): an integral against noise has no meaning under Real",
    ),
    "an initial stream along its own dimension": (
        run(ag.Register("t", T), T), ag.DimensionError, "cannot be a stream along t",
    ),
    "shapes that do not add": (
        run(ag.Add(), VECTOR, LONGER), ag.CircuitError,
        "add cannot be evaluated on values of type (float64[2], float64[3])",
    ),
    "an initial content of another shape": (
        run(closed(ag.Scalar(2.0) >> ag.Register("t", jnp.ones(2))) @ ag.Id() >> ag.Add(), LONGER),
        ag.CircuitError, "add cannot be evaluated",
    ),
    "a register fed another shape": (
        run(ag.Register("t", jnp.ones(2)), LONGER), ag.CircuitError,
        "initial content has shape (2,), but its input has (3,)",
    ),
    "a shape that grows in a loop": (
        run(closed(ag.Function(lambda x: x[None], 1) >> ag.Register("t"))), ag.CircuitError,
        "shape of a value in a loop grows",
    ),
    "a length that grows in a loop": (
        run(closed(ag.Function(grow, 1) >> ag.Register("t", jnp.ones(2)))), ag.CircuitError,
        "initial content has shape (2,), but its input has (4,)",
    ),
    "one value too many": (
        run(ag.Function(lambda x: (x, x), 1), T), ag.CircuitError, "n_out = 1, but returned 2",
    ),
    "one value too few": (
        run(ag.Function(jnp.sin, 1, 2), T), ag.CircuitError, "sin has n_out = 2, but returned 1",
    ),
    "a text for a value": (
        run(ag.Function(lambda x: "text", 1), T), ag.CircuitError, "returned 'text', which",
    ),
    "no value": (run(ag.Function(lambda x: None, 1), T), ag.CircuitError, "returned None"),
    "a function of two arguments": (
        run(ag.Function(lambda x, y: x, 1), T), ag.CircuitError, "missing 1 required positional",
    ),
    "a branch on a value": (
        run(ag.Function(lambda x: x if x > 0 else -x, 1), T), ag.CircuitError,
        "Attempted boolean conversion",
    ),
    "numpy on a value": (
        run(ag.Function(lambda x: np.sin(x), 1), T), ag.CircuitError, "cannot be evaluated",
    ),
    "an array that unrolls": (
        lambda: ag.series(ag.Exp(), T, order=1, unroll=jnp.ones((), bool)), ag.CircuitError,
        "unroll must be True or False",
    ),
    "a run inside of an atom": (
        run(ag.Function(simulated, 1), T),
        ag.CircuitError, "simulate is called inside of an atom",
    ),
    "a coordinate that nothing names": (
        run(ag.Coordinate("T") >> ag.Register("t")), ag.DimensionError,
        "coordinate(T): no register, stream or dim is along T; the run's dimensions are t",
    ),
    "an atom that fails": (run(Failing(), T), ag.CircuitError, "Failing cannot be evaluated"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*CONSTRUCTIONS, *RUNS])
def test_what_is_malformed_is_refused_with_a_reason(name):
    attempt, kind, message = CONSTRUCTIONS.get(name) or RUNS[name]
    with pytest.raises(kind, match=re.escape(message)) as raised:
        attempt()
    assert type(raised.value) is kind
    assert "raced" not in str(raised.value) or name in ("a branch on a value", "numpy on a value")


def test_errors_are_the_same_under_a_trace():
    loop = closed(ag.Exp() >> ag.Deregister("t"))
    with pytest.raises(ag.LoopError, match=r"loop through exp, deregister.* cannot run"):
        jax.jit(lambda c: ag.series(c, order=3).coefficients)(loop)
    with pytest.raises(ag.CircuitError, match="at least 0, not"):
        jax.jit(lambda n: ag.series(ag.Exp(), T, order=n).coefficients)(3)


def test_every_error_of_a_circuit_is_a_circuit_error():
    for kind in (ag.DegreeError, ag.DimensionError, ag.LoopError, ag.ParseError):
        assert issubclass(kind, ag.CircuitError)
    assert issubclass(ag.CircuitError, ValueError)
