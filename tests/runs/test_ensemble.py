"""Ensembles: paths by their bits, statistics in the memory of a tile, failures as data."""

import contextlib
import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusions import geometric, wiener
from helpers import in_both_modes, slow

import asgard as ag
from asgard.runs import statistics

KEY = jax.random.key(7)
TS = [0.0, 0.5, 1.0]
CALCULUS = ag.Stochastic(steps=5)
TILE = 64


def run(paths, circuit=None, **options):
    circuit = geometric() if circuit is None else circuit
    options = {"calculus": CALCULUS, "key": KEY, "tile": TILE} | options
    return ag.ensemble(circuit, options.pop("ts", TS), paths=paths, **options)


def test_a_path_is_that_of_simulate():
    many = run(9)
    for path in (0, 8):
        one = ag.simulate(geometric(), TS, calculus=CALCULUS, key=KEY, path=path)
        np.testing.assert_allclose(many.output[path], one.output, rtol=1e-14)


@pytest.mark.parametrize("dtype", [slow("float32"), "float64"])
def test_a_path_has_the_same_bits_among_any_number(dtype):
    circuit = jax.tree.map(lambda leaf: leaf.astype(dtype), geometric())
    many, few = (run(paths, circuit).output for paths in (10_003, 1000))
    assert many.dtype == dtype
    np.testing.assert_array_equal(few, many[:1000])
    np.testing.assert_array_equal(run(1, circuit).output, many[:1])


@pytest.mark.slow
def test_everything_runs_in_single_precision_alone():
    with jax.enable_x64(False):
        reduce = statistics.Mean(), statistics.Quantiles(0.0, 4.0)
        mean, quantiles = run(100, reduce=reduce, tile=32).statistics
        stored = run(100, tile=32).output
        assert mean.dtype == quantiles.dtype == stored.dtype == "float32"
        np.testing.assert_allclose(mean, stored.mean(0), rtol=1e-6)


def test_paths_go_on_in_time_to_the_same_bits(stored, tmp_path):
    half = run(MANY, ts=TS[:2])
    eqx.tree_serialise_leaves(tmp_path / "state", half.state)
    blank = jax.tree.map(jnp.zeros_like, half.state)
    state = eqx.tree_deserialise_leaves(tmp_path / "state", blank)
    rest = run(MANY, ts=TS[1:], state=state)
    np.testing.assert_array_equal(rest.output, stored[:, 1:])


STATISTICS = {
    "mean": statistics.Mean(),
    "variance": statistics.Variance(),
    "covariance": statistics.Covariance(),
    "min": statistics.Min(),
    "max": statistics.Max(),
    "histogram": statistics.Histogram(0.5, 2.0, 30),
    "quantiles": statistics.Quantiles(0.0, 4.0, 4000, probabilities=[0.1, 0.5]),
}


MANY = 20 * TILE + 9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "method"), [(1, "euler"), slow(33, "additive"), slow(65, "euler")]
)
def test_paths_go_on_to_the_same_bits_where_one_step_is_left_over(steps, method):
    calculus = ag.Stochastic(steps=steps, method=method)
    options = {"circuit": wiener(), "calculus": calculus, "tile": 512}
    whole = run(512, ts=[0.0, 0.5, 1.0], **options)
    first = run(512, ts=[0.0, 0.5], **options)
    rest = run(512, ts=[0.5, 1.0], state=first.state, **options)
    np.testing.assert_array_equal(first.output[:, -1], whole.output[:, 1])
    np.testing.assert_array_equal(rest.output[:, -1], whole.output[:, 2])


@pytest.fixture(scope="module")
def stored():
    return np.asarray(run(MANY).output)


@pytest.fixture(scope="module")
def reduced():
    return run(MANY, reduce=STATISTICS)


def test_statistics_are_those_of_the_stored_paths(stored, reduced):
    x, found = stored, reduced.statistics
    np.testing.assert_allclose(found["mean"], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["variance"], x.var(0, ddof=1), rtol=1e-11, atol=1e-25)
    np.testing.assert_allclose(found["covariance"], np.cov(x.T), rtol=1e-11, atol=1e-18)
    np.testing.assert_array_equal(found["min"], x.min(0))
    np.testing.assert_array_equal(found["max"], x.max(0))
    counts = np.histogram(x[:, 2], bins=30, range=(0.5, 2.0))[0]
    np.testing.assert_array_equal(found["histogram"][2, 1:-1], counts)
    assert found["histogram"][2].sum() == MANY
    exact = np.quantile(x, [0.1, 0.5], axis=0).T
    np.testing.assert_allclose(found["quantiles"], exact, atol=3e-3)


@pytest.mark.slow
def test_an_interrupted_reduction_resumes_to_the_same_bits(reduced, tmp_path):
    state = None
    for paths in (5 * TILE + 13, MANY):
        part = run(paths, reduce=STATISTICS, state=state)
        eqx.tree_serialise_leaves(tmp_path / "state", part.state)
        blank = jax.tree.map(jnp.zeros_like, part.state)
        state = eqx.tree_deserialise_leaves(tmp_path / "state", blank)
    for found, expected in zip(
        jax.tree.leaves(part.statistics), jax.tree.leaves(reduced.statistics), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_reduction_of_ones_own_and_a_function_of_the_outputs(stored):
    class Product(statistics.Reduction):
        of = staticmethod(lambda x: 1 + x[-1] / 1000)

        def tile(self, values, alive):
            return jnp.prod(jnp.where(alive, values, 1))

        def merge(self, first, second):
            return first * second

    found = run(MANY, reduce=(Product(), statistics.Mean(of=lambda x: jnp.max(x)))).statistics
    x = stored
    np.testing.assert_allclose(found[0], np.prod(1 + x[:, -1] / 1000), rtol=1e-12)
    np.testing.assert_allclose(found[1], x.max(1).mean(), rtol=1e-13)


def pair(t, y):
    return {"x": -y["x"], "n": y["x"]}


def spread(t, y):
    return {"x": 0.3, "n": jnp.zeros_like(y["n"])}


MEAN_OF_X = statistics.Mean("x")
OF_WIRES = {"n": MEAN_OF_X, "a": (statistics.StandardError(MEAN_OF_X), statistics.Max(of="n"))}


def test_statistics_are_of_wires_by_name_and_read_by_it():
    circuit = ag.sde(pair, spread, {"x": 1.0, "n": 0.0})
    stored = run(100, circuit)
    x, n = (np.asarray(stored[name]) for name in ("x", "n"))
    found = run(100, circuit, reduce=OF_WIRES)
    # Of two statistics of a wire the order is that of the tree; a key of the dictionary goes first.
    error, mean = found["x"]
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-13)
    np.testing.assert_allclose(error, x.std(0, ddof=1) / 10, rtol=1e-10, atol=1e-15)
    np.testing.assert_array_equal(found["n"], mean)
    np.testing.assert_array_equal(found["a"][1], n.max(0))
    with pytest.raises(KeyError, match=r"no statistic of a wire 'y' .*; there are n, x, a"):
        found["y"]
    with pytest.raises(ag.CircuitError, match=r"Mean: no wire.* is named 'y'; wires named once: "):
        run(100, circuit, reduce=statistics.Mean("y"))


@pytest.mark.slow
def test_statistics_of_wires_in_stretches_and_of_the_only_output_by_its_name():
    circuit = ag.sde(pair, spread, {"x": 1.0, "n": 0.0})
    shown = run(100, circuit, reduce=OF_WIRES, progress=lambda *now: None)
    for one, other in zip(shown["x"], run(100, circuit, reduce=OF_WIRES)["x"], strict=True):
        np.testing.assert_array_equal(one, other)
    only = ag.Const(1.0) >> ag.StochasticRegister("t", "W") >> ag.Var("w")
    of_only = run(100, only, reduce=statistics.Mean())
    np.testing.assert_allclose(of_only["w"], run(100, only)["w"].mean(0), rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_the_memory_of_a_reduction_is_that_of_a_tile():
    def memory(paths, steps):
        def reduced(circuit):
            calculus = ag.Stochastic(steps=steps)
            return run(paths, circuit, calculus=calculus, reduce=statistics.Mean()).statistics

        compiled = jax.jit(reduced).lower(geometric()).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # Past the steps for which noise is drawn at once.
    least = memory(TILE, 128)
    assert memory(TILE, 16_000) < 1.1 * least
    # A number for each tile.
    assert memory(10**6, 128) < 1.1 * least + 8 * 10**6 / TILE


def explosive():
    """x = W, up to 3.9, which few paths reach and none survives."""
    burst = ag.Function(lambda x: jnp.where(x > 3.9, jnp.inf, 0.0), 1) >> ag.Register("t")
    loop = burst >> (ag.Id() @ wiener()) >> ag.Add() >> ag.Var("x") >> ag.Split()
    return loop.trace()


@pytest.mark.slow
def test_one_bad_path_is_named_and_leaves_the_others_untouched():
    calculus = ag.Stochastic(steps=40)
    options = {"ts": [0.0, 1.0], "calculus": calculus, "tile": 8192}
    paths = 10**5
    found = run(paths, explosive(), throw=False, **options)
    plain = run(paths, wiener(), **options)
    bad = np.flatnonzero(found.first_bad >= 0)
    assert 0 < len(bad) < 20
    assert int(found.failed) == len(bad)
    assert int(found.survivors) == paths - len(bad)
    assert np.isnan(found.output[bad, -1]).all()
    good = np.asarray(found.first_bad < 0)
    np.testing.assert_array_equal(found.output[good], plain.output[good])
    with pytest.raises(ag.SimulationError, match=f"{len(bad)} of {paths} paths.*path {bad[0]} at"):
        found.check()
    mean = run(paths, explosive(), throw=False, reduce=statistics.Mean(), **options)
    assert int(mean.failed) == len(bad)
    expected = np.delete(np.asarray(found.output), bad, axis=0).mean(0)
    np.testing.assert_allclose(mean.statistics, expected, rtol=1e-9, atol=1e-12)


def test_an_error_holds_what_the_other_paths_gave():
    # A path ends where W is below -1.5 at a saved time, which some are and some are not.
    circuit = wiener() >> ag.Function(lambda w: jnp.log(w + 1.5), 1)
    with pytest.raises(ag.SimulationError) as raised:
        run(100, circuit, reduce=statistics.Mean())
    found = raised.value.ensemble
    assert 0 < int(found.survivors) < 100
    assert np.all(np.isfinite(found.statistics))


def test_values_that_are_no_numbers_of_the_histogram():
    values = np.array([[0.5], [np.nan], [1.5], [0.7]])
    alive = np.array([True, True, True, False])
    histogram, quantiles = statistics.Histogram(0.0, 2.0, 2), statistics.Quantiles(0.0, 1.0, 4)

    @jax.jit
    def both(values, alive, ended):
        return histogram.tile(values, alive), quantiles.result(quantiles.tile(values, ended))

    counts, none = both(values, alive, np.zeros(4, bool))
    np.testing.assert_array_equal(counts, [[0, 1, 1, 0]])
    assert np.isnan(none).all()


def test_a_statistic_of_truths_and_of_whole_numbers(stored):
    reduce = (
        statistics.Mean(of=lambda x: x[-1] > 1),
        statistics.Max(of=lambda x: jnp.asarray(x[-1] * 9, int)),
    )
    share, most = run(MANY, reduce=reduce).statistics
    np.testing.assert_allclose(share, np.mean(stored[:, -1] > 1), rtol=1e-12)
    assert most == np.floor(stored[:, -1].max() * 9)


def test_the_least_and_the_greatest_of_many_values_are_nan_where_one_path_has_no_number():
    values = np.ones((2500, 2))
    values[[3, 7], 0] = np.nan
    alive = np.arange(2500) != 7
    tiles = [jax.jit(statistic.tile) for statistic in (statistics.Min(), statistics.Max())]
    for tile in tiles:
        np.testing.assert_array_equal(tile(values, alive), [np.nan, 1.0])
    ended = np.arange(2500) != 3
    np.testing.assert_array_equal(tiles[1](values, alive & ended), [1.0, 1.0])


def test_circuits_without_state_run():
    held = ag.StochasticRegister("t", "W", 2.0)
    circuit = ag.Const(1.0) >> held >> (ag.Id() @ ag.Coordinate("t"))
    found = run(3, circuit, calculus=ag.Stochastic(steps=2, noise="off")).outputs
    np.testing.assert_array_equal(found[0], np.full((3, 3), 2.0))
    np.testing.assert_array_equal(found[1], np.tile(TS, (3, 1)))


def test_a_statistic_and_a_continued_run_are_checked_in_a_trace():
    state = run(5, ts=TS[:2]).state

    @jax.jit
    def rest(factor):
        statistics.Quantiles(0.0, 2.0, probabilities=[0.5])
        return factor * run(5, ts=TS[1:], state=state).output

    np.testing.assert_allclose(rest(1.0), run(5).output[:, 1:], rtol=1e-14)


@pytest.mark.slow
def test_a_path_that_ends_at_an_output_says_the_step_before():
    circuit = wiener() >> ag.Split() >> (ag.Id() @ ag.Function(lambda w: jnp.log(0.5 - w), 1))
    found = run(200, circuit, throw=False)
    plain = run(200, wiener()).output
    early, late = (np.asarray(plain[:, place] >= 0.5) for place in (1, 2))
    np.testing.assert_array_equal(found.first_bad, np.where(early, 4, np.where(late, 9, -1)))
    with pytest.raises(ag.SimulationError, match=r"step [49], in output 1;"):
        found.check()


def test_gradients_of_a_mean_are_those_of_its_paths():
    steps = np.random.default_rng(1).normal(size=(150, 10)) / 4

    def mean(circuit):
        of = statistics.Mean(of=lambda x: x[-1])
        calculus = ag.Stochastic(steps=5, noise={"W": steps})
        return run(150, circuit, calculus=calculus, reduce=of).statistics

    def by_hand(numbers):
        mu, sigma, initial = numbers
        return initial * jnp.prod(1 + mu / 10 + sigma * steps, axis=1).mean()

    found = ag.parameters(jax.jit(jax.grad(mean))(geometric()))
    expected = jax.jit(jax.grad(by_hand))(jnp.array([0.1, 0.3, 1.0]))
    names = ("scalar[0].factor", "scalar[1].factor", "register.initial")
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-12)


@pytest.mark.slow
def test_gradients_are_those_of_the_paths_that_have_not_ended():
    # x' = x^3 + s x dW ends by overflow, and the second output where 1.3 - x is negative.
    strike = jnp.array(2.0)

    def circuit(sigma):
        drift = ag.Power(3) >> ag.Register("t", 0.4)
        noise = ag.Scalar(sigma) >> ag.StochasticRegister("t", "W")
        loop = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
        return loop >> ag.Split() >> (ag.Id() @ ag.Function(lambda x: jnp.sqrt(1.3 - x), 1))

    def options(paths):
        calculus = ag.Stochastic(steps=20, method="milstein")
        return {"ts": [0.0, 1.0, 3.0], "calculus": calculus, "throw": False, "tile": paths}

    def stored(sigma):
        found = run(40, circuit(sigma), **options(40))
        return jnp.nansum(jnp.stack(found.outputs)), found.failed

    def reduced(sigma, strike):
        payoff = statistics.Mean(of=lambda x, y: jnp.log(strike * x[-1] ** 2) + y[-1])
        return run(40, circuit(sigma), reduce=payoff, **options(16)).statistics

    both = jax.jit(functools.partial(in_both_modes, stored, has_aux=True))
    _, forward, reverse, failed = both(0.5)
    assert 5 < int(failed) < 35
    np.testing.assert_allclose(reverse, forward, rtol=1e-11)
    run_reduced = jax.jit(jax.value_and_grad(reduced, (0, 1)))
    (up, _), (down, _), (_, slopes) = (run_reduced(0.5 + s, strike) for s in (1e-6, -1e-6, 0.0))
    np.testing.assert_allclose(slopes[0], (up - down) / 2e-6, rtol=1e-6)
    np.testing.assert_allclose(slopes[1], 1 / strike, rtol=1e-12)


def exploding():
    """x' = exp(30 x) from 0.1, which soon is infinite."""
    burst = ag.Function(lambda x: jnp.exp(30 * x), 1) >> ag.Register("t", 0.1)
    return (burst >> ag.Split()).trace()


def of_pole(k):
    """The integral of k / (t - 0.001), which ends at the first saved time."""
    pole = ag.Const(k) @ (ag.Coordinate("t") >> ag.Function(lambda t: 1 / (t - 0.001), 1))
    return pole >> ag.Multiplication() >> ag.Register("t", 0.1)


ENDING = {
    "its start": lambda x: ag.update(exploding(), {"register.initial": x}),
    # The content is infinite, and what is read off it finite.
    "what reads it": lambda k: exploding() >> ag.Scalar(k) >> ag.Tanh(),
    "a pole in time": of_pole,
}


@pytest.mark.parametrize("name", ["its start", slow("what reads it"), slow("a pole in time")])
def test_a_path_that_ends_alone_has_the_gradient_of_what_it_gave_before(name):
    def before(number):
        found = ag.simulate(
            *(ENDING[name](number), [0.0, 0.001, 1.0]),
            calculus=ag.Stochastic(steps=8),
            throw=False,
        )
        return jnp.nansum(found.output), found.status

    both = jax.jit(functools.partial(in_both_modes, before, has_aux=True))
    _, forward, reverse, status = both(0.1)
    assert status == ag.Status.nonfinite
    np.testing.assert_allclose(reverse, forward, rtol=1e-12)
    up, down = (both(0.1 + s)[0] for s in (1e-6, -1e-6))
    np.testing.assert_allclose(reverse[0], (up - down) / 2e-6, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_a_tile_of_which_no_path_is_left_leaves_the_gradient_to_the_others():
    # Tiles of two paths, of which some have only such as end above 0.2.
    barrier = wiener() >> ag.Function(lambda w: jnp.where(w > 0.2, jnp.nan, w), 1)

    def mean(strike):
        reduce = statistics.Mean(of=lambda x: strike * jnp.log(jnp.abs(x[-1])))
        return run(24, barrier, reduce=reduce, tile=2, throw=False).statistics

    found = run(24, barrier, throw=False)
    pairs = np.asarray(found.first_bad >= 0).reshape(12, 2)
    assert np.any(pairs.all(axis=1))
    left = np.asarray(found.output[:, -1])[np.asarray(found.first_bad) < 0]
    expected = np.mean(np.log(np.abs(left)))
    np.testing.assert_allclose(jax.grad(mean)(2.0), expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"halvings": 1, "method": "weak2"},
        {"steps": (5, 20), "noise": {"W": np.random.default_rng(0).normal(size=(20, 25)) / 4}},
    ],
    ids=["weak2, halved", "uneven, handed"],
)
def test_ended_paths_are_left_out_whatever_the_steps(options):
    def total(sigma):
        drift = ag.Power(3) >> ag.Register("t", 0.4)
        noise = ag.Scalar(sigma) >> ag.StochasticRegister("t", "W")
        circuit = (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()
        calculus = ag.Stochastic(**({"steps": 20} | options))
        found = run(20, circuit, ts=[0.0, 1.0, 4.0], calculus=calculus, tile=20, throw=False)
        return jnp.nansum(found.output), found.failed

    both = jax.jit(functools.partial(in_both_modes, total, has_aux=True))
    _, forward, reverse, failed = both(0.5)
    assert 0 < int(failed) < 20
    np.testing.assert_allclose(reverse, forward, rtol=1e-10)


def test_increments_are_handed_in_for_each_path():
    steps = np.random.default_rng(0).normal(size=(70, 10))
    calculus = ag.Stochastic(steps=5, noise={"W": steps})
    found = run(70, wiener(), calculus=calculus, tile=32, key=None).output[:, -1]
    np.testing.assert_allclose(found, steps.sum(1), rtol=1e-12)


DEVICES = """
import re
import sys
import jax, numpy as np, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
import asgard as ag
from diffusions import geometric

def run(devices, **options):
    few = jax.devices()[:devices]
    mesh = jax.make_mesh((devices,), ("paths",), devices=few) if devices else None
    calculus = ag.Stochastic(steps=5)
    return ag.ensemble(geometric(), [0.0, 0.5, 1.0], calculus=calculus, key=jax.random.key(7),
                       paths=1001, tile=64, mesh=mesh, **options)

alone = run(0)
for devices in map(int, sys.argv[2:]):
    np.testing.assert_array_equal(run(devices).output, alone.output)
if sys.argv[1] == "bits":
    sys.exit()
few, many = (run(n, reduce=ag.statistics.Variance()).statistics for n in (0, 8))
np.testing.assert_allclose(few, many, rtol=1e-12, atol=1e-25)

mesh = jax.make_mesh((8,), ("paths",))
def reduced(circuit):
    return ag.ensemble(circuit, [0.0, 1.0], calculus=ag.Stochastic(steps=40), key=jax.random.key(7),
                       paths=10**5, tile=64, mesh=mesh, reduce=ag.statistics.Mean()).statistics
text = jax.jit(reduced).lower(geometric()).compile().as_text()
computations = re.split(r"\\n(?=%|ENTRY)", text)
bodies = set(re.findall(r"(?:body|condition)=%?([\\w.\\-]+)", text))
collectives = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
named = {re.match(r"(?:ENTRY )?%?([\\w.\\-]+)", c).group(1): c for c in computations}
assert bodies and bodies <= set(named), bodies - set(named)
reached = set()
pending = list(bodies)
while pending:
    name = pending.pop()
    if name not in reached and name in named:
        reached.add(name)
        pending += re.findall(r"(?:calls|to_apply|body|condition)=%?([\\w.\\-]+)", named[name])
assert not any(word in named[name] for name in reached for word in collectives)
assert any(word in text for word in collectives)
print("done")
"""


def python(script, calls):
    """What Python prints for each of some calls, all at once: arguments and counts of devices."""
    root = Path(__file__).parents[1]
    search = f"{root.parent}{os.pathsep}{root}"
    started = []
    for arguments, devices in calls:
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = {"PYTHONPATH": search, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    with contextlib.ExitStack() as stack:
        for process in started:
            stack.enter_context(process)
            stack.callback(process.kill)
        printed = [process.communicate(timeout=300) for process in started]
    for process, (_, errors) in zip(started, printed, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in printed]


def test_two_devices_share_paths_bit_by_bit():
    python(DEVICES, [(("bits", "2"), 2)])


@pytest.mark.slow
def test_devices_share_paths_bit_by_bit_and_do_not_talk_in_the_loop():
    assert python(DEVICES, [(("loop", "1", "2", "8"), 8)]) == ["done\n"]


PROCESSES = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
address, number = sys.argv[1:]
jax.distributed.initialize(address, 2, int(number))
import asgard as ag
from diffusions import geometric
mesh = jax.make_mesh((jax.device_count(),), ("paths",))
found = ag.ensemble(geometric(), [0.0, 1.0], calculus=ag.Stochastic(steps=5), paths=1000, tile=64,
                    key=jax.random.key(7), mesh=mesh, reduce=ag.statistics.Variance())
print(float(found.statistics[-1]), int(found.survivors))
"""


@pytest.mark.slow
def test_two_processes_give_the_statistics_of_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    calls = [((address, name), 1) for name in ("0", "1")]
    printed = [text.splitlines()[-1] for text in python(PROCESSES, calls)]
    first, second = ([*map(float, line.split())] for line in printed)
    alone = run(1000, ts=[0.0, 1.0], reduce=statistics.Variance())
    assert first == second
    np.testing.assert_allclose(first, [alone.statistics[-1], 1000], rtol=1e-12)


REFUSED = {
    "increments of too few paths": (
        lambda: run(5, wiener(), calculus=ag.Stochastic(steps=1, noise={"W": np.ones((4, 2))})),
        "a row for each of the 5 paths",
    ),
    "no statistic": (lambda: run(5, reduce="mean"), "statistics.Mean"),
    "no path": (lambda: run(0), "paths"),
    "another calculus": (lambda: run(5, calculus=ag.Discrete()), "under Stochastic"),
    "a state of other paths": (lambda: run(5, ts=[1.0, 2.0], state=run(6).state), "earlier run"),
    "a state of a later time": (lambda: run(6, state=run(6).state), "ts begins behind it"),
    "a state of an earlier time": (
        lambda: run(6, ts=[2.0, 3.0], state=run(6).state),
        "stands at 1, and ts begins at 2: a sequence or a path goes on at the time",
    ),
    "a histogram of nothing": (lambda: statistics.Histogram(2.0, 2.0, 4), "low must be less"),
    "a histogram backward": (lambda: statistics.Histogram(2.0, 0.0, 4), "low must be less"),
    "a quantile past all": (
        lambda: statistics.Quantiles(0.0, 1.0, probabilities=[0.5, 1.1]),
        "0 to 1",
    ),
    "a reduced state of other tiles": (
        lambda: run(5, reduce=statistics.Mean(), state=half().state, tile=9),
        "tiles of 64",
    ),
    "a reduced state of more paths": (
        lambda: run(5, reduce=MEAN, state=whole().state),
        "holds 64 paths.*not 5",
    ),
    "a state of other statistics": (
        lambda: run(65, reduce=statistics.Variance(), state=whole().state),
        "another run.* statistics",
    ),
    "a state of another key": (
        lambda: run(65, reduce=MEAN, state=whole().state, key=jax.random.key(8)),
        "another key",
    ),
    "a state of other numbers": (
        lambda: run(65, geometric(0.2), reduce=MEAN, state=whole().state),
        "another run",
    ),
    "a state of other steps": (
        lambda: run(65, calculus=ag.Stochastic(steps=6), reduce=MEAN, state=whole().state),
        "another run",
    ),
    "a state of other times": (
        lambda: run(65, ts=[0.0, 0.5, 1.1], reduce=MEAN, state=whole().state),
        "another run",
    ),
    "a state of a function made anew": (
        lambda: run(65, reduce=payoff(1.0), state=paid().state),
        "compared by identity",
    ),
    "a state of another function": (
        lambda: run(65, reduce=payoff(2.0), state=paid().state),
        "another run",
    ),
    "too many paths": (lambda: run(2**32, reduce=MEAN), "paths must be at most 4294967295"),
    "two outputs": (
        lambda: run(5, geometric() @ wiener(), reduce=statistics.Mean()),
        "say of what",
    ),
}


def payoff(strike):
    return statistics.Mean(of=lambda x: jnp.maximum(x[-1] - strike, 0))


def half():
    return run(5, reduce=statistics.Mean())


MEAN = statistics.Mean()


@functools.cache
def paid():
    return run(TILE, reduce=payoff(1.0))


@functools.cache
def whole():
    """A reduced run of one full tile."""
    return run(TILE, reduce=MEAN)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    call, words = REFUSED[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()


WRONG_TYPES = {
    "an integer of NumPy": (lambda: run(np.int64(5)), r"not np.int64\(5\): give int\(5\)"),
    "a statistic of a number": (lambda: statistics.Mean(of=3), "function of the outputs"),
    "a mesh by name": (lambda: run(5, mesh="x"), "mesh must be"),
    "a key by name": (lambda: run(5, key="x"), "must be a JAX key"),
}


@pytest.mark.parametrize("name", WRONG_TYPES)
@pytest.mark.usefixtures("unchecked")
def test_what_is_of_a_wrong_type_is_refused_by_name(name):
    call, words = WRONG_TYPES[name]
    with pytest.raises(ag.CircuitError, match=words):
        call()
