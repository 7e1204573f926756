"""What is wrong is said: before a run by a typed error, during it by a status."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import FAST, decay, lorenz, ode, relaxation

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

UNGUARDED = (ag.Deregister("t") >> ag.Scalar(0.5) >> ag.Split()).trace()
TWO_TIMES = ag.Register("a") >> ag.Register("b")
EXPLOSION = ode(lambda x: x**2, 1.0)


def run(circuit, ts=(0.0, 1.0), **options):
    return lambda: ag.simulate(circuit, ts, **options)


def other_state():
    return ag.simulate(decay(), [0.0, 1.0], calculus=FAST).state


def substitution():
    return ag.Substitution(ag.Const(1.0), ag.Id(), "t")


MALFORMED = {
    "no circuit": (run(3), ag.CircuitError, "runs a circuit"),
    "a class": (run(ag.Exp), ag.CircuitError, "runs a circuit"),
    "no calculus": (run(decay(), calculus="real"), ag.CircuitError, "calculus must be"),
    "calculus class": (run(decay(), calculus=ag.Real), ag.CircuitError, "calculus must be"),
    "a number as checkpoint": (run(decay(), checkpoint=1), ag.CircuitError, "the path of a file"),
    "bytes as checkpoint": (run(decay(), checkpoint=b"a"), ag.CircuitError, "the path of a file"),
    "times that turn": (run(decay(), [0.0, 1.0, 0.5]), ag.CircuitError, "strictly"),
    "times that stay": (run(decay(), [0.0, 0.0]), ag.CircuitError, "strictly"),
    "no times": (run(decay(), []), ag.CircuitError, "ts must be an array"),
    "a number as times": (run(decay(), 1.0), ag.CircuitError, "ts must be an array"),
    "times in a table": (run(decay(), [[0.0, 1.0]]), ag.CircuitError, "ts must be an array"),
    "words as times": (run(decay(), "soon"), ag.CircuitError, "ts must be an array"),
    "a time that is nan": (run(decay(), [0.0, np.nan]), ag.CircuitError, "finite"),
    "an infinite time": (run(decay(), [0.0, np.inf]), ag.CircuitError, "finite"),
    "complex times": (run(decay(), [0.0, 1.0j]), ag.CircuitError, "ts must be"),
    "an input missing": (run(relaxation()), ag.DegreeError, "takes 1 input, but 0 were given"),
    "args of a rate": (
        run(ag.ode(lambda t, y, args: -args * y, 1.0)),
        ag.DegreeError,
        r"1 input \(args\), but 0 were given: give inputs=\(args,\); .*keyword-only.*behind its",
    ),
    "an input too many": (
        run(decay(), inputs=(1.0,)),
        ag.DegreeError,
        "takes 0 inputs, but 1 was given",
    ),
    "inputs that are no tuple": (run(relaxation(), inputs=1.0), ag.CircuitError, "tuple"),
    "an input of words": (run(relaxation(), inputs=("u",)), ag.CircuitError, "input 0 must be"),
    "an input of nothing": (run(relaxation(), inputs=(None,)), ag.CircuitError, "input 0 must be"),
    "args of words": (run(relaxation(), inputs=((jnp.add, "u"),)), ag.CircuitError, "input 0"),
    "an array along time": (
        run(relaxation(), [0.0, 1.0, 2.0], inputs=(np.ones(3),)),
        ag.CircuitError,
        r"ag\.Samples\(values, ts\), and for a constant",
    ),
    "a number past 64 bits": (run(relaxation(), inputs=(2**70,)), ag.CircuitError, "input 0 must"),
    "args past 64 bits": (
        run(relaxation(), inputs=((jnp.multiply, 2**70),)),
        ag.CircuitError,
        "input 0",
    ),
    "times past 64 bits": (run(decay(), [0, 2**70]), ag.CircuitError, "ts must be an array"),
    "a list for a dimension": (run(decay(), dim=["t"]), ag.CircuitError, "named by an identifier"),
    "times that float32 rounds": (
        run(ag.Register("t", jnp.float32(0)), [2024.0, 2024.0001], inputs=(jnp.float32(1),)),
        ag.CircuitError,
        "float32 hardly tells apart",
    ),
    "a tolerance past float32": (
        run(
            ag.Register("t", jnp.float32(0)),
            inputs=(jnp.float32(1),),
            calculus=ag.Real(rtol=1e-9),
        ),
        ag.CircuitError,
        "a step in float32 is no better than",
    ),
    "no tolerance at all": (
        run(decay(), calculus=ag.Real(rtol=0.0)),
        ag.CircuitError,
        "rtol=0 with an atol",
    ),
    "a coordinate that nothing names": (
        run(ag.Coordinate("T") >> ag.Register("t")),
        ag.DimensionError,
        "no register, stream or dim is along T",
    ),
    "an input function that fails": (
        run(relaxation(), inputs=(lambda t: t @ t,)),
        ag.CircuitError,
        "cannot be evaluated",
    ),
    "an input function of two": (
        run(relaxation(), inputs=(lambda s, t: s,)),
        ag.CircuitError,
        "cannot be evaluated",
    ),
    "an input function of nothing": (
        run(relaxation(), inputs=(lambda t: None,)),
        ag.CircuitError,
        "no array",
    ),
    "shapes that do not join": (
        run(ag.Register("t", [1.0, 2.0]), inputs=([1.0, 2.0, 3.0],)),
        ag.CircuitError,
        "shape",
    ),
    "two dimensions and no word": (
        run(TWO_TIMES, inputs=(1.0,)),
        ag.DimensionError,
        "say which is time by dim=",
    ),
    "a dimension it lacks": (run(decay(), dim="x"), ag.DimensionError, "it has t"),
    "an order along what is not there": (
        run(decay(), calculus=ag.Real(order={"t": 8, "y": 3})),
        ag.DimensionError,
        "names y",
    ),
    "initial content along time": (
        run(ag.Register("t", ag.Stream([1.0], "t")), inputs=(1.0,)),
        ag.DimensionError,
        "start",
    ),
    "a unit delay": (run(ag.Delay("t"), inputs=(1.0,)), ag.CircuitError, "under Real"),
    "noise": (run(ag.StochasticRegister("t", "W"), inputs=(1.0,)), ag.CircuitError, "under Real"),
    "a substitution": (run(substitution()), ag.CircuitError, "for series only"),
    "a loop that nothing guards": (run(UNGUARDED), ag.LoopError, "scalar"),
    "no fixed point": (
        lambda: ag.Real(fixed_point="newton"),
        ag.CircuitError,
        "fixed_point must be a FixedPoint",
    ),
    "a loop of derivatives": (
        run((ag.Deregister("t") >> ag.Split()).trace()),
        ag.LoopError,
        "deregister",
    ),
    "another circuit's state": (
        lambda: ag.simulate(lorenz(), [1.0, 2.0], state=other_state()),
        ag.CircuitError,
        "3 numbers",
    ),
    "a state of words": (run(decay(), state="on"), ag.CircuitError, "state"),
    "a state past the start": (
        lambda: ag.simulate(decay(), [-1.0, 0.5], state=other_state()),
        ag.CircuitError,
        "begins behind it",
    ),
    "an order of one": (run(decay(), calculus=ag.Real(order=1)), ag.CircuitError, "2 or more"),
    "a negative order": (lambda: ag.Real(order=-3), ag.CircuitError, "order"),
    "a fraction as order": (lambda: ag.Real(order=2.5), ag.CircuitError, "order"),
    "no steps": (lambda: ag.Real(max_steps=0), ag.CircuitError, "max_steps"),
    "a negative tolerance": (lambda: ag.Real(rtol=-1e-6), ag.CircuitError, "rtol"),
    "a tolerance of words": (lambda: ag.Real(atol="tight"), ag.CircuitError, "number"),
    "two longest steps": (lambda: ag.Real(max_step=[1.0, 2.0]), ag.CircuitError, "max_step"),
    "a noise of its own": (lambda: ag.Real(noise="white"), ag.CircuitError, "noise"),
    "compile of no circuit": (
        lambda: ag.compile("x", ag.Real(order=2)),
        ag.CircuitError,
        "takes a circuit",
    ),
    "compile without an order": (
        lambda: ag.compile(decay(), ag.Real()),
        ag.CircuitError,
        "order=N",
    ),
    "compile under no calculus": (lambda: ag.compile(decay(), None), ag.CircuitError, "calculus"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_run_is_a_typed_error(name):
    call, error, words = MALFORMED[name]
    with pytest.raises(error, match=words):
        call()


def test_a_malformed_run_is_the_same_error_under_jit():
    with pytest.raises(ag.LoopError):
        jax.jit(lambda c: ag.simulate(c, jnp.array([0.0, 1.0])).output)(UNGUARDED)


def test_running_out_of_steps_is_a_status_and_nan_from_there_on():
    trajectory = ag.simulate(
        lorenz(), np.arange(0, 3, 0.125), calculus=ag.Real(max_steps=20), throw=False
    )
    assert trajectory.status == ag.Status.max_steps
    finite = np.isfinite(trajectory.output).all(axis=1)
    assert finite[0]
    assert not finite[-1]
    assert np.all(np.diff(finite.astype(int)) <= 0)
    assert finite.sum() == np.sum(trajectory.ts <= trajectory.stats["reached"])
    whole = ag.simulate(lorenz(), np.arange(0, 3, 0.125)).output
    np.testing.assert_allclose(trajectory.output[finite], whole[finite], rtol=1e-13)


def test_a_run_may_begin_where_its_rate_has_no_series():
    circuit = ag.ode(lambda t, x: jnp.sqrt(t), 0.0)
    found = ag.simulate(circuit, [0.0, 1.0], calculus=ag.Real(rtol=1e-8)).output
    np.testing.assert_allclose(found, [0.0, 2 / 3], rtol=1e-7)


def test_a_wire_without_a_number_is_nan_there_and_the_run_is_ok():
    @ag.circuit
    def falling():
        x = ag.register("t", 1.0)
        x.input = -jnp.ones_like(x)
        return {"x": x, "log": jnp.log(x)}

    run = ag.simulate(falling(), [0.0, 0.5, 2.0])
    assert run.status == ag.Status.ok
    np.testing.assert_allclose(run["x"], [1.0, 0.5, -1.0], rtol=1e-14)
    np.testing.assert_allclose(run["log"], [0.0, np.log(0.5), np.nan], rtol=1e-14)
    assert "log       -0.6931 to 0, not finite at 1 of 3 times" in str(run)
    assert "x         -1 to 1\n" in str(run)


def test_a_value_off_a_domain_is_nonfinite():
    circuit = (ag.Log() >> ag.Register("t", -1.0) >> ag.Split()).trace()
    trajectory = ag.simulate(circuit, [0.0, 1.0], throw=False)
    assert trajectory.status == ag.Status.nonfinite
    assert trajectory.stats["reached"] == 0.0
    assert np.isnan(trajectory.output[-1])


def test_an_input_that_turns_nan_is_nonfinite_from_there():
    f = lambda t: jnp.where(t < 0.5, 1.0, jnp.nan)  # noqa: E731
    trajectory = ag.simulate(ag.Register("t"), [0.0, 0.25, 1.0], inputs=(f,), throw=False)
    assert trajectory.status != ag.Status.ok
    np.testing.assert_allclose(trajectory.output, [0.0, 0.25, np.nan], rtol=1e-14)


@pytest.mark.parametrize(
    ("circuit", "calculus", "status", "advice"),
    [
        (lorenz(), ag.Real(max_steps=3), "max_steps", "raise max_steps"),
        (EXPLOSION, ag.Real(max_steps=60), "max_steps", "singularity ahead"),
        (ode(jnp.sqrt, -1.0), ag.Real(), "nonfinite", "check the initial values"),
        (ag.ode(lambda t, x: jnp.sqrt(t), 0.0), ag.Real(), "nonfinite", r"try Real\(rtol=1e-8\)"),
        (ode(lambda x: -jnp.sign(x), 0.3), ag.Real(), "zeno", "drives the state back"),
    ],
)
def test_a_failed_run_raises_its_status_and_what_to_try(circuit, calculus, status, advice):
    with pytest.raises(ag.SimulationError, match=advice) as caught:
        ag.simulate(circuit, [0.0, 2.0], calculus=calculus)
    assert caught.value.status == status
    assert str(caught.value).startswith(status)
    assert "at t = " in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"rtol": 1e-6}])
def test_the_register_that_ended_a_run_is_named(options):
    """One entry blows up at 1, one is the logarithm of what is below zero, one is not finite."""

    def rates(t, y):
        return {"slow": -y["slow"], "pair": jnp.stack([jnp.log(y["pair"][0]), y["pair"][1] ** 2])}

    def failed(slow, pair):
        circuit = ag.ode(rates, {"slow": slow, "pair": jnp.array(pair)})
        with pytest.raises(ag.SimulationError) as caught:
            ag.simulate(circuit, [0.0, 2.0], calculus=ag.Real(**options))
        return str(caught.value)

    assert failed(1.0, [1.0, 1.0]).startswith("step_size at t = 1, after ")
    assert ", in pair[1]: " in failed(1.0, [1.0, 1.0])
    assert failed(1.0, [-1.0, 1.0]).startswith("nonfinite at t = 0, after 0 steps, in pair[0]: ")
    assert failed(np.inf, [1.0, 1.0]).startswith("nonfinite at t = 0, after 0 steps, in slow: ")


def test_nothing_raises_under_jit_and_check_does_later():
    run = jax.jit(lambda c: ag.simulate(c, jnp.array([0.0, 0.5, 2.0]), calculus=FAST))
    trajectory = run(EXPLOSION)
    np.testing.assert_allclose(trajectory.output[:2], [1.0, 2.0], rtol=1e-7)
    assert np.isnan(trajectory.output[2])
    with pytest.raises(ag.SimulationError):
        trajectory.check()
    good = run(ag.update(EXPLOSION, {"register.initial": 0.1}))
    assert good.check() is good


def test_each_lane_of_a_vmap_has_its_status():
    def from_start(x):
        return ag.simulate(ode(jnp.square, x), jnp.array([0.0, 1.0]), calculus=FAST)

    trajectory = jax.jit(jax.vmap(from_start))(jnp.array([0.5, 2.0, -1.0]))
    failed = np.asarray(trajectory.status != ag.Status.ok)
    np.testing.assert_array_equal(failed, [False, True, False])
    np.testing.assert_allclose(trajectory.output[:, -1], [1.0, np.nan, -0.5], rtol=1e-7)
    with pytest.raises(ag.SimulationError, match="in 1 of 3 runs"):
        trajectory.check()


def test_no_step_passes_a_pole_in_time():
    """y' = y tan(t), where y = 1 / cos(t): behind pi / 2 the other branch would follow."""
    circuit = ag.ode(lambda t, y: jnp.tan(t) * y, 1.0)
    calculus = ag.Real(method=ag.Taylor(8), rtol=1e-6, atol=1e-6)
    run = ag.simulate(circuit, [0.0, 1.5, 3.0], calculus=calculus, throw=False)
    assert run.status == ag.Status.step_size
    assert abs(run.stats["reached"] - np.pi / 2) < 1e-12
    np.testing.assert_allclose(run.output[:2], [1, 1 / np.cos(1.5)], rtol=1e-5)
    assert np.isnan(run.output[2])


@pytest.mark.parametrize(("max_steps", "unroll"), [(50, False), (16**4, True)])
def test_steps_that_shrink_to_nothing_end_with_a_status(max_steps, unroll):
    """x' = x / t backward to t = 0: each step is nearly all of what is left of the time."""

    class Line(ag.Atom):
        n_in = n_out = 1
        coordinates = ("t",)

        def __call__(self, t, x):
            return x / t

    circuit = (Line() >> ag.Register("t", 1.0) >> ag.Split()).trace()
    calculus = ag.Real(max_steps=max_steps, method=ag.Taylor(unroll=unroll))
    run = ag.simulate(circuit, [1.0, 0.0], calculus=calculus, throw=False)
    assert run.status == ag.Status.step_size
    assert run.stats["reached"] < 1e-300
    assert run.output[0] == 1
    assert np.isnan(run.output[1])


def in_halves(dtype):
    rest = {"x": jnp.ones((), dtype), "y": jnp.float32(1.0)}
    return ag.ode(lambda t, state: jax.tree.map(jnp.negative, state), rest)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_states_of_few_digits_are_refused(dtype):
    message = f"what 'x' holds is in {jnp.dtype(dtype)}: give its initial value in float32"
    for calculus in (ag.Real(), ag.Real(rtol=1e-6), ag.Real(method=ag.Radau(), rtol=1e-3)):
        with pytest.raises(ag.CircuitError, match=f"Real: .* {message}"):
            ag.simulate(in_halves(dtype), [0.0, 1.0], calculus=calculus)
    with pytest.raises(ag.CircuitError, match=f"Steady: .* {message}"):
        ag.simulate(in_halves(dtype), [0.0], calculus=ag.Steady())
    with pytest.raises(ag.CircuitError, match=f"equilibrium: .* {message}"):
        ag.equilibrium(in_halves(dtype))
    with jax.disable_jit(), pytest.raises(ag.CircuitError, match=message):
        ag.simulate(in_halves(dtype), [0.0, 1.0])


def test_numbers_of_few_digits_are_taken():
    half = jnp.bfloat16(0.5)
    decay = ag.ode(lambda t, y, *, rate: -rate * y, jnp.float32(1.0), rate=half)
    run = jax.eval_shape(lambda: ag.simulate(decay, [0.0, 1.0]))
    assert run.output.dtype == jnp.float32
    whole = ag.ode(lambda t, y: -y, jnp.int32(1))
    run = jax.eval_shape(lambda: ag.simulate(whole, [0.0, 1.0]))
    assert run.output.dtype == jnp.result_type(float)
