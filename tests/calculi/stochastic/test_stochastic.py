"""Methods by their orders, the meaning of a circuit with noise, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusions import GROWTH, geometric, heston, square_root, wiener
from helpers import slow

import asgard as ag

KEY = jax.random.key(11)
MU, SIGMA, END = 1.2, 0.8, 1.0
COUNTS = (4, 8, 16, 32, 64)
FINE = 64


def ends(circuit, method, increments, **options):
    """The outputs at the end of paths in 4, 8, …, 64 steps, with increments of their fine path.

    All are one compilation: each runs 64 steps of its own length, of which the first lead to the
    end.
    """
    found = []
    for count in COUNTS:
        noise = {
            name: np.pad(steps.reshape(len(steps), count, -1).sum(2), ((0, 0), (0, FINE - count)))
            for name, steps in increments.items()
        }
        calculus = ag.Stochastic(steps=1, method=method, noise=noise, **options)
        paths = len(next(iter(increments.values())))
        run = ag.ensemble(
            circuit, times(count), calculus=calculus, key=KEY, paths=paths, tile=paths
        )
        found.append(np.asarray(run.output[:, count]))
    return found


def times(count):
    """The times of `FINE` steps, of which so many lead to the end."""
    return END * np.arange(FINE + 1) / count


def drawn(paths, names=("W",)):
    random = np.random.default_rng(4)
    return {name: random.normal(size=(paths, FINE)) * np.sqrt(END / FINE) for name in names}


def slope(errors):
    """The order that errors at `COUNTS` steps have, by least squares."""
    return -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]


@pytest.mark.parametrize(
    ("method", "interpretation", "order", "slack"),
    [
        ("euler", "ito", 0.5, 0.1),
        ("milstein", "ito", 1.0, 0.1),
        ("heun", "stratonovich", 1.0, 0.1),
    ],
)
def test_strong_order_with_multiplicative_noise(method, interpretation, order, slack):
    noise, circuit = drawn(1000), geometric(MU, SIGMA)
    drift = MU if interpretation == "stratonovich" else MU - SIGMA**2 / 2
    exact = np.exp(drift * END + SIGMA * noise["W"].sum(1))
    found = ends(circuit, method, noise, interpretation=interpretation)
    assert abs(slope([np.mean(np.abs(x - exact)) for x in found]) - order) < slack


@pytest.mark.parametrize(("method", "order"), [slow("euler", 1), ("weak2", 2)])
def test_weak_order(method, order):
    # The difference to the exact solution on the same path leaves little to chance.
    mu, sigma, paths = 2.0, 0.4, 40_000
    noise, circuit = drawn(paths), geometric(mu, sigma)
    exact = np.exp((mu - sigma**2 / 2) * END + sigma * noise["W"].sum(1))
    away = np.array([x**2 - exact**2 for x in ends(circuit, method, noise)])
    errors = np.abs(away.mean(axis=1))
    assert np.all(away.std(axis=1) / np.sqrt(paths) < 0.1 * errors)
    assert abs(slope(errors) - order) < 0.25


@pytest.mark.slow
def test_the_additive_method_has_strong_order_three_halves():
    # dx = sin(2x) dt + 2 cos(t) dW against the same path in steps of a quarter.
    drift = ag.Function(lambda x: jnp.sin(2 * x), 1) >> ag.Register("t", 1.0)
    noise = ag.Coordinate("t") >> ag.Cos() >> ag.Scalar(2.0) >> ag.StochasticRegister("t", "W")
    circuit = (drift >> (ag.Id() @ noise) >> ag.Add() >> ag.Split()).trace()
    errors = []
    for count in COUNTS:
        whole, quarters = (
            ag.ensemble(
                *(circuit, times(count)),
                calculus=ag.Stochastic(steps=1, halvings=halvings, method="additive"),
                key=KEY,
                paths=500,
                tile=500,
            ).output[:, count]
            for halvings in (0, 2)
        )
        errors.append(float(jnp.mean(jnp.abs(whole - quarters))))
    assert abs(slope(errors) - 1.5) < 0.15


def two_noises(rate=1.2):
    """dx = rate y dW, dy = rate x dV from (1, 0): noise that does not commute, 0 -> 2.

    By Itô's formula E y^2 = sinh(rate^2 t).
    """
    noises = [ag.StochasticRegister("t", "W", 1.0), ag.StochasticRegister("t", "V", 0.0)]
    parts = (ag.Scalar(rate) >> noises[0]) @ (ag.Scalar(rate) >> noises[1])
    copies = (ag.Split() @ ag.Split()) >> ag.Permute((0, 2, 1, 3))
    return (ag.Swap() >> parts >> copies).trace(2)


@pytest.mark.slow
def test_weak2_has_its_order_with_noise_that_does_not_commute():
    # The same increments in steps of five sizes: of antithetic paths, with known E y^2.
    paths, counts = 200_000, (1, 2, 3, 4, 6)
    square = ag.statistics.Mean(of=lambda x, y: y**2)
    errors = []
    for count in counts:
        run = ag.ensemble(
            *(two_noises(), np.arange(7) / count),
            calculus=ag.Stochastic(steps=1, method="weak2"),
            key=KEY,
            paths=paths,
            reduce=(square, ag.statistics.Variance(of=lambda x, y: y**2)),
        )
        mean, variance = (float(found[count]) for found in run.statistics)
        errors.append(abs(mean - np.sinh(1.2**2)))
        # The bias of order 2 stands out of the sampling error, all but at the smallest steps.
        assert np.sqrt(variance / paths) < 0.25 * errors[-1] or count > 3
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert 1.5 < order < 2.6


@pytest.mark.slow
def test_two_correlated_sources_take_milsteins_correction():
    # dx = 0.4 x dW + 0.7 x dV with correlated sources, which commute.
    parts = (ag.Scalar(0.4) >> ag.StochasticRegister("t", "W", 1.0)) @ (
        ag.Scalar(0.7) >> ag.StochasticRegister("t", "V")
    )
    circuit = (ag.Split() >> parts >> ag.Add() >> ag.Split()).trace()
    circuit = circuit @ wiener("W") @ wiener("V")
    calculus = ag.Stochastic(
        steps=1, method="milstein", correlation={("W", "V"): 0.6}, commutative=True
    )
    errors = []
    for count in COUNTS:
        run = ag.ensemble(circuit, times(count), calculus=calculus, key=KEY, paths=2000, tile=2000)
        x, w, v = (np.asarray(out[:, count]) for out in run.outputs)
        variance = 0.4**2 + 0.7**2 + 2 * 0.6 * 0.4 * 0.7
        errors.append(np.mean(np.abs(x - np.exp(-variance / 2 + 0.4 * w + 0.7 * v))))
    assert abs(slope(errors) - 1) < 0.1


@pytest.mark.slow
def test_one_circuit_runs_under_three_calculi():
    circuit, ts = ag.parse(GROWTH), [0.0, 1.0, 2.0, 3.0]
    real = ag.simulate(circuit, ts, calculus=ag.Real(noise="off")).output
    np.testing.assert_allclose(real, np.exp(0.1 * np.array(ts)), rtol=1e-12)
    discrete = ag.simulate(circuit, ts, calculus=ag.Discrete(noise="off")).output
    np.testing.assert_allclose(discrete, 1.1 ** np.array(ts), rtol=1e-14)
    both = circuit @ wiener()
    calculus = ag.Stochastic(steps=256, method="milstein")
    x, w = ag.simulate(both, ts, calculus=calculus, key=KEY).outputs
    exact = np.exp((0.1 - 0.045) * np.array(ts) + 0.3 * w)
    np.testing.assert_allclose(x, exact, rtol=2e-3)


def test_without_noise_a_step_of_euler_is_one_of_the_difference_equation():
    circuit = ag.parse(GROWTH)
    calculus = ag.Stochastic(steps=1, noise="off")
    found = ag.simulate(circuit, [0.0, 1.0, 2.0], calculus=calculus).output
    np.testing.assert_allclose(found, 1.1 ** np.arange(3), rtol=1e-14)


def test_two_half_runs_equal_one_whole_run():
    calculus = ag.Stochastic(steps=7)
    whole = ag.simulate(geometric(), [0.0, 0.5, 1.0], calculus=calculus, key=KEY, path=3)
    half = ag.simulate(geometric(), [0.0, 0.5], calculus=calculus, key=KEY, path=3)
    rest = ag.simulate(
        geometric(), [0.5, 1.0], calculus=calculus, key=KEY, path=3, state=half.state
    )
    np.testing.assert_array_equal(rest.output, whole.output[1:])


@pytest.mark.slow
def test_a_run_goes_on_at_other_halvings_with_the_noise_of_its_own_steps():
    def run(halvings, ts, state=None):
        calculus = ag.Stochastic(steps=3, halvings=halvings)
        return ag.simulate(wiener(), ts, calculus=calculus, key=KEY, state=state)

    whole = run(0, [0.0, 0.5, 1.0]).output
    rest = run(0, [0.5, 1.0], run(1, [0.0, 0.5]).state).output
    np.testing.assert_allclose(rest, whole[1:], rtol=1e-13)


def test_dt_divides_each_interval_evenly():
    circuit = ag.Const(1.0) >> ag.Register("t") >> ag.Id()
    for ts, steps in (([0.0, 1.0, 2.0], 20), ([0.0, 0.25, 1.0, 1.01], 3 + 8 + 1)):
        run = ag.simulate(circuit, ts, calculus=ag.Stochastic(dt=0.1))
        assert int(run.stats["steps"]) == steps
        np.testing.assert_allclose(run.output, ts, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dt_takes_no_step_more_for_the_rounding_of_times(dtype):
    for dt, end in ((0.01, 1.0), (0.001, 1.0), (0.1, 100.0), (0.3, 30.0)):
        ts = np.linspace(0, end, 11, dtype=dtype)
        steps = ag.Stochastic(dt=dt).settled(jnp.asarray(ts)).steps
        assert steps == (round(end / 10 / dt),) * 10
    # What is longer than a whole number of steps by more than that takes one more.
    assert ag.Stochastic(dt=0.1).settled(jnp.asarray([0, 1.001], dtype)).steps == (11,)


@pytest.mark.slow
def test_uneven_steps_are_those_of_their_intervals():
    circuit = geometric() @ wiener()
    both = ag.simulate(circuit, [0.0, 0.5, 2.0], calculus=ag.Stochastic(steps=(2, 19)), key=KEY)
    first = ag.simulate(circuit, [0.0, 0.5], calculus=ag.Stochastic(steps=2), key=KEY)
    rest = ag.simulate(
        circuit, [0.5, 2.0], calculus=ag.Stochastic(steps=19), key=KEY, state=first.state
    )
    for found, expected in zip(both.outputs, rest.outputs, strict=True):
        np.testing.assert_allclose(found[1:], expected, rtol=1e-13)


@pytest.mark.slow
def test_gradients_are_those_of_the_same_path_by_differences():
    ts = [0.0, 0.5, 1.0]

    def end(circuit):
        calculus = ag.Stochastic(steps=36)
        return ag.simulate(circuit, ts, calculus=calculus, key=KEY).output[-1]

    circuit = geometric()
    slopes, forward = map(
        ag.parameters, jax.jit(lambda c: (jax.grad(end)(c), jax.jacfwd(end)(c)))(circuit)
    )
    for name, value in ag.parameters(circuit).items():
        up, down = (end(ag.update(circuit, {name: value + s})) for s in (1e-5, -1e-5))
        np.testing.assert_allclose(slopes[name], (up - down) / 2e-5, rtol=1e-8)
        np.testing.assert_allclose(forward[name], slopes[name], rtol=1e-12)


def test_the_gradient_of_a_batch_is_the_sum_of_those_of_its_runs():
    keys = jax.random.split(KEY, 3)

    def ends(circuit):
        calculus = ag.Stochastic(steps=4)
        run = jax.vmap(lambda key: ag.simulate(circuit, [0.0, 1.0], calculus=calculus, key=key))
        return run(keys).output[:, -1]

    reverse, forward = map(
        ag.parameters,
        jax.jit(lambda c: (jax.grad(lambda c: ends(c).sum())(c), jax.jacfwd(ends)(c)))(geometric()),
    )
    for name, slope in reverse.items():
        np.testing.assert_allclose(slope, forward[name].sum(0), rtol=1e-12)


def test_a_truncated_variance_ends_no_path_of_milsteins():
    # The variance falls below 0 and comes back, since 2 kappa theta < sigma^2.
    low = square_root(kappa=1.0, theta=0.1, sigma=1.0, initial=0.1)
    calculus = ag.Stochastic(steps=20, method="milstein")
    run = ag.ensemble(low, [0.0, 1.0], calculus=calculus, key=KEY, paths=64, tile=64)
    assert int(run.failed) == 0


@pytest.mark.slow
def test_a_truncated_variance_has_gradients():
    circuit = heston(kappa=1.0, theta=0.1, sigma=1.0, initial=0.1)
    (name,) = (n for n, value in ag.parameters(circuit).items() if value == 0.1)

    def end(initial):
        own = ag.update(circuit, {name: initial})
        return ag.simulate(own, [0.0, 1.0], calculus=ag.Stochastic(steps=20), key=KEY).output[-1]

    run = jax.jit(jax.value_and_grad(end))
    (up, _), (_, slope), (down, _) = (run(0.1 + s) for s in (1e-7, 0.0, -1e-7))
    np.testing.assert_allclose(slope, (up - down) / 2e-7, rtol=1e-5)


@pytest.mark.slow
def test_reverse_mode_keeps_few_of_many_steps():
    def end(circuit, steps):
        calculus = ag.Stochastic(steps=steps)
        return ag.simulate(circuit, [0.0, 1.0], calculus=calculus, key=KEY).output[-1]

    def memory(steps):
        run = jax.jit(jax.grad(lambda circuit: end(circuit, steps)))
        return run.lower(geometric()).compile().memory_analysis().temp_size_in_bytes

    # 100 times the steps, some 10 times the memory and not 100.
    assert memory(160_000) < 25 * memory(1_600)


@pytest.mark.slow
def test_vmap_over_circuits_and_paths():
    calculus, ts = ag.Stochastic(steps=5), [0.0, 1.0]
    sigmas = jnp.array([0.1, 0.4])

    def run(sigma, path):
        circuit = ag.update(geometric(), {"scalar[1].factor": sigma})
        return ag.simulate(circuit, ts, calculus=calculus, key=KEY, path=path).output

    found = jax.vmap(run)(sigmas, jnp.arange(2))
    for place in range(2):
        np.testing.assert_allclose(found[place], run(sigmas[place], place), rtol=1e-13)


@pytest.mark.slow
def test_vector_wires_have_independent_components():
    vector = ag.Const(jnp.ones(3)) >> ag.StochasticRegister("t", "W", jnp.zeros(3))
    run = ag.ensemble(vector, [0.0, 1.0], calculus=ag.Stochastic(steps=2), key=KEY, paths=20_000)
    correlation = np.corrcoef(run.output[:, -1].T)
    assert np.abs(correlation - np.eye(3)).max() < 4.5 / np.sqrt(20_000)


def test_coefficients_along_another_dimension_are_carried():
    # u_t = u_x + dW on polynomials in x, from x: u = x + t + W.
    drift = ag.Deregister("x") >> ag.Register("t", ag.Stream([0.0, 1.0], "x"))
    noise = ag.Const(1.0) >> ag.StochasticRegister("t", "W")
    circuit = (drift >> (ag.Id() @ noise) >> ag.Add() >> ag.Split()).trace() @ wiener()
    run = ag.simulate(circuit, [0.0, 2.0], calculus=ag.Stochastic(steps=4), key=KEY, dim="t")
    np.testing.assert_allclose(run.outputs[0][-1], [2 + run.outputs[1][-1], 1], rtol=1e-12)


def test_a_bad_step_is_named_by_its_time_and_its_wire():
    burst = ag.Function(lambda x: x**2, 1) >> ag.Register("t", 1.0) >> ag.Var("burst") >> ag.Split()
    run = ag.simulate(
        burst.trace(), [0.0, 1.0, 50.0], calculus=ag.Stochastic(steps=100), throw=False
    )
    assert run.status == ag.Status.nonfinite
    np.testing.assert_array_equal(np.isnan(run.output), [False, False, True])
    x, step = 1.0, 0
    while x < np.inf:
        with np.errstate(over="ignore"):
            x, step = x + (0.01 if step < 100 else 0.49) * np.square(x), step + 1
    assert run.stats["steps"] == step - 1
    time = f"{1 + 0.49 * (step - 101):.6g}"
    words = f"nonfinite at t = {time}, after {step - 1} steps, in burst: .*drift-implicit form"
    with pytest.raises(ag.SimulationError, match=words):
        run.check()


def test_a_path_that_must_jump_more_often_than_a_step_holds_ends():
    # The rate, 40 or none at all, comes by a wire, and a step holds 4.
    circuit = ag.JumpRegister("t", None, 1.0, "N")
    for rate in (40.0, -1.0, jnp.nan):
        run = ag.simulate(
            circuit,
            [0.0, 1.0],
            inputs=(1.0, rate),
            calculus=ag.Stochastic(steps=1),
            key=KEY,
            throw=False,
        )
        assert run.status == ag.Status.nonfinite


class Midpoint(ag.StochasticMethod):
    """Euler's step by the slope at its middle; and what adds up to nothing, if a stage that goes
    back to the start reads what the start does."""

    def step(self, start, h, noise):
        middle = start.at(start.t + h / 2, start.plus(start.drift(h / 2)))
        back = middle.at(start.t, start.contents)
        change = middle.drift(h) + back.drift(10 * h) + (-10.0) * start.drift(h)
        return start.after(start.plus(change), middle, back)


@pytest.mark.parametrize("times", [(0.0, 0.7), (0.7, 0.0), (17.0, 17.7)])
def test_a_step_that_ends_at_a_held_sample_reads_the_one_before(times):
    """Methods of order 2 without noise have it with held samples, too, in both directions; the
    times of steps and samples are rounded, and another input is one of time."""
    values = [1.0, -2.0, 3.0, 0.5, 2.0, -1.0, 4.0]
    first = min(times)
    samples = ag.Samples(values, first + 0.1 * np.arange(7), kind="hold")
    register = ag.Register("t", 1.0)
    circuit = (ag.Function(lambda u, s, x: u + s - x, 3) >> register >> ag.Split()).trace()
    span = (times[1] - times[0]) / 7
    exact, now = 1.0, times[0]
    for value in values if span > 0 else values[::-1]:
        # The solution of x' = v + t - x, which is v + t - 1 beside what decays.
        exact = (value + now + span - 1) + (exact - (value + now - 1)) * np.exp(-span)
        now += span

    def end(method, steps):
        kind = "stratonovich" if method == "heun" else "ito"
        calculus = ag.Stochastic(steps=steps, method=method, interpretation=kind, noise="off")
        inputs = (samples, lambda t: t)
        return ag.simulate(circuit, times, inputs=inputs, calculus=calculus).output[-1]

    for method in ("heun", "weak2", "additive", Midpoint()):
        errors = [abs(float(end(method, steps) - exact)) for steps in (14, 28)]
        assert errors[0] < 4e-3
        assert 3.6 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize("dtype", [slow("float32"), "float64"])
def test_a_step_reads_the_held_sample_at_whose_time_it_begins(dtype):
    values = np.arange(7.0)
    for end in (0.9, 0.7, 1.1, 3.3, 100.0):
        for start in (0.0, -0.3, 17.0):
            at = np.linspace(start, start + end, 8).astype(dtype)
            inputs = (ag.Samples(values.astype(dtype), at[:-1]),)
            circuit = jax.tree.map(lambda leaf: leaf.astype(dtype), ag.Register("t"))
            run = ag.simulate(circuit, at[[0, -1]], inputs=inputs, calculus=ag.Stochastic(steps=7))
            span = float(at[-1]) - float(at[0])
            expected = values.sum() * span / 7
            digits = 16 * np.finfo(dtype).eps * values.sum() * (abs(start) + span)
            np.testing.assert_allclose(run.output[-1], expected, rtol=0, atol=digits)


CIRCUIT = geometric()
REFUSED = {
    "a rate below 0": (lambda: ag.JumpRegister("t", -1.0, 1.0, "N"), "rate must be at least 0"),
    "a rate of NaN": (lambda: ag.JumpRegister("t", np.nan, 1.0, "N"), "rate must be at least 0"),
    "no key": (lambda: run(ag.Stochastic(steps=1), key=None), "give key="),
    "no steps": (lambda: ag.Stochastic(), "one of steps and dt"),
    "no step": (lambda: ag.Stochastic(steps=0), "steps must be an integer of at least 1"),
    "both": (lambda: ag.Stochastic(steps=1, dt=0.1), "one of steps and dt"),
    "an unknown method": (lambda: ag.Stochastic(steps=1, method="rk4"), "euler, milstein"),
    "Itô by Heun": (
        lambda: ag.Stochastic(steps=1, method="heun"),
        "interpretation=, or for ito take 'euler'",
    ),
    "Stratonovich by Euler": (
        lambda: ag.Stochastic(steps=1, interpretation="stratonovich"),
        "or for stratonovich take 'heun'",
    ),
    "multiplicative noise": (
        lambda: run(ag.Stochastic(steps=1, method="additive")),
        'stochastic_register.*take "milstein"',
    ),
    "noise that may not commute": (
        lambda: run(ag.Stochastic(steps=1, method="milstein"), two_noises()),
        "commutative=True",
    ),
    "a correlation of 1": (
        lambda: ag.Stochastic(steps=1, correlation={("W", "V"): 1.0}),
        "not positive definite",
    ),
    "a correlation of nothing": (
        lambda: run(ag.Stochastic(steps=1, correlation={("W", "V"): 0.1})),
        "names V; the circuit's noises are W",
    ),
    "increments of nothing": (
        lambda: run(ag.Stochastic(steps=1, noise={"V": np.ones(1)})),
        "names V; the circuit's noises are W",
    ),
    "too few increments": (
        lambda: run(ag.Stochastic(steps=2, noise={"W": np.ones(1)})),
        r"shape \(2,\)",
    ),
    "too many halvings": (lambda: ag.Stochastic(steps=1, halvings=17), "at most 16, not 17"),
    "a jump noise of two shapes": (
        lambda: run(
            ag.Stochastic(steps=1),
            (ag.Const(1.0) >> ag.JumpRegister("t", 1.0, 1.0, "N"))
            @ (ag.Const(jnp.ones(2)) >> ag.JumpRegister("t", 1.0, 1.0, "N", jnp.zeros(2))),
        ),
        "the noise N has components of shape",
    ),
    "a derivative": (
        lambda: run(ag.Stochastic(steps=1), CIRCUIT >> ag.Deregister("t")),
        "no meaning under Stochastic",
    ),
    "a unit delay": (
        lambda: run(ag.Stochastic(steps=1), CIRCUIT >> ag.Delay("t")),
        "belongs to Discrete",
    ),
    "a compilation": (lambda: ag.compile(CIRCUIT, ag.Stochastic(steps=1)), "simulate runs it"),
    "dt under a trace": (
        lambda: jax.jit(lambda ts: run(ag.Stochastic(dt=0.1), ts=ts).output)(jnp.arange(2.0)),
        "give steps",
    ),
}


WRONG_TYPES = {
    "a path below 0": (lambda: numbered(-1), "number of a path"),
    "a path past all": (lambda: numbered(2**32), "number of a path"),
    "several paths": (lambda: numbered(np.arange(2)), "number of a path"),
    "half a path": (lambda: numbered(1.5), "number of a path"),
    "a true path": (lambda: numbered(True), "number of a path"),
    "a text as key": (lambda: run(ag.Stochastic(steps=1), key="x"), "must be a JAX key"),
    "a number as key": (lambda: run(ag.Stochastic(steps=1), key=np.zeros(3)), "must be a JAX key"),
    "one correlation": (lambda: ag.Stochastic(steps=1, correlation=0.5), "is a dictionary"),
    "noise without a name": (lambda: ag.Stochastic(steps=1, noise=np.zeros(3)), "by name"),
    "decreasing times": (lambda: run(ag.Stochastic(steps=1), ts=(1.0, 0.0)), "ts must increase"),
}


def numbered(path):
    return ag.simulate(
        wiener(), [0.0, 1.0], calculus=ag.Stochastic(steps=1), key=KEY, path=path, throw=False
    )


@pytest.mark.parametrize("name", WRONG_TYPES)
@pytest.mark.usefixtures("unchecked")
def test_what_is_of_a_wrong_type_is_refused_by_name(name):
    call, words = WRONG_TYPES[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()


def run(calculus, circuit=CIRCUIT, ts=(0.0, 1.0), key=KEY):
    return ag.simulate(circuit, ts, calculus=calculus, key=key)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    call, words = REFUSED[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()
