"""Long runs and ensembles: progress, checkpoints, and what an interruption leaves."""

import errno
import functools
import gc
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm
from helpers import slow

import asgard as ag
from asgard.runs.stretches.compiled import Programs
from asgard.runs.stretches.report import Words
from asgard.runs.stretches.work import Work, in_stretches

KEY = jax.random.key(3)
STATISTICS = (ag.statistics.Mean(), ag.statistics.Quantiles(low=-2.0, high=2.0))


def swing(t, y):
    return jnp.stack([y[1], -jnp.sin(y[0])])


PENDULUM = ag.ode(swing, jnp.array([1.0, 0.0]))
NOISE = ag.sde(lambda t, x: -x, lambda t, x: 0.3 * x, 1.0)
BLOW_UP = ag.sde(lambda t, x: x * x, lambda t, x: 0.8 * x, 1.0)
LATE = ag.equations("diff(x, t) = -2*x(t - 1) + maximum(sin(t), 0.3)", initial={"x": 1.0})
BALL = ag.equations(
    "diff(x, t) = v; diff(v, t) = -9.81; reset(v, -x, -0.8*v)", initial={"x": 1.0, "v": 0.0}
)
CUBE = ag.equations("diff(x, t) = 1 + t - x^3", initial={"x": 1.0})
LOGISTIC = ag.recurrence(lambda n, x: 3.7 * x * (1 - x), 0.3)
UNSTABLE = ag.ode(lambda t, x: x * x, 1.0)


def real(circuit, ts, **options):
    return functools.partial(ag.simulate, circuit, ts, calculus=ag.Real(**options))


def crowd(circuit, reduce, **options):
    options = {"key": KEY, "paths": 300, "tile": 128, "throw": False, **options}
    ts, calculus = jnp.linspace(0.0, 2.0, 4), ag.Stochastic(steps=300)
    return functools.partial(ag.ensemble, circuit, ts, calculus=calculus, reduce=reduce, **options)


RUNS = {
    "real": real(PENDULUM, [0.0, 30.0]),
    "dense": real(PENDULUM, jnp.linspace(0.0, 20.0, 301), dense=True, max_steps=1000),
    "loose": real(PENDULUM, [0.0, 30.0], rtol=1e-5, method=ag.Tsit5()),
    "stiff": real(PENDULUM, [0.0, 3.0], rtol=1e-6, method=ag.Radau()),
    "backward": real(PENDULUM, [3.0, 0.0]),
    "events": functools.partial(
        real(BALL, jnp.linspace(0.0, 2.0, 21)), events=ag.Event("x", direction=-1)
    ),
    "delays": real(LATE, jnp.linspace(0.0, 10.0, 11)),
    "fails": functools.partial(real(UNSTABLE, [0.0, 0.5, 2.0]), throw=False),
    "discrete": functools.partial(
        ag.simulate, LOGISTIC, [0.0, 10.0, 20_000.0], calculus=ag.Discrete()
    ),
    "path": functools.partial(
        ag.simulate, NOISE, [0.0, 1.0, 4.0], calculus=ag.Stochastic(dt=1e-3), key=KEY
    ),
    "stored": crowd(NOISE, None),
    "reduced": crowd(BLOW_UP, STATISTICS),
}
CASES = ["dense", "discrete", "reduced"]
CASES += [slow(name) for name in RUNS if name not in CASES]


def stop_at(call):
    """A report that is interrupted at one of its calls."""
    calls = []

    def report(*told):
        calls.append(told)
        if len(calls) == call:
            raise KeyboardInterrupt

    return report


def same(one, other):
    """Whether two results have the same bits: but for the functions that a dense run holds."""
    first, second = jax.tree.leaves(one), jax.tree.leaves(other)
    assert len(first) == len(second)
    return all(
        np.array_equal(jax.random.key_data(a), jax.random.key_data(b))
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
        else np.array_equal(a, b, equal_nan=jnp.issubdtype(a.dtype, jnp.inexact))
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("name", CASES)
def test_stretches_change_no_bit(name, tmp_path):
    run, told, path = RUNS[name], [], tmp_path / "run"
    whole = run()
    assert same(run(progress=lambda *now: told.append(now)), whole)
    done = [now for now, _, _ in told]
    assert done == sorted(done, reverse=name == "backward")
    assert len({of for _, of, _ in told}) == 1
    # Interrupted early and late, it goes on from memory and from a file.
    for call in (1, len(told) - 1):
        with pytest.raises(ag.Interrupted) as stopped:
            run(progress=stop_at(call))
        assert same(run(state=stopped.value.result.state), whole)
        with pytest.raises(ag.Interrupted, match=str(path)):
            run(progress=stop_at(call), checkpoint=path)
        again = []
        assert same(run(checkpoint=path, progress=lambda *now, a=again: a.append(now)), whole)
        assert again[0][0] >= done[call - 1] if name != "backward" else True
        path.unlink()


def large_arrays():
    """Where the arrays of many numbers stand that there are now."""
    return {x.unsafe_buffer_pointer() for x in jax.live_arrays() if x.size > 250}


@pytest.mark.parametrize("name", ["dense", "discrete", slow("stored")])
def test_a_stretch_writes_its_rows_where_those_of_the_last_one_stand(name):
    seen = []
    gc.collect()
    before = large_arrays()
    RUNS[name](progress=lambda *now: seen.append(large_arrays() - before))
    assert len(seen) > 2
    assert all(places == seen[0] for places in seen)
    assert seen[0]


def test_a_stretch_of_a_long_sequence_copies_no_row(monkeypatch):
    memory, advanced = [], Programs.advanced

    def watched(programs, given, now, turns):
        lowered = programs.advance.lower(given, now, jnp.asarray(turns, jnp.int32))
        memory.append(lowered.compile().memory_analysis())
        return advanced(programs, given, now, turns)

    monkeypatch.setattr(Programs, "advanced", watched)
    rows = 8 * (1_000_000 + 1)
    with pytest.raises(ag.Interrupted):
        ag.simulate(LOGISTIC, [0.0, 1e6], calculus=ag.Discrete(), progress=stop_at(1))
    assert memory[0].alias_size_in_bytes >= rows
    assert memory[0].temp_size_in_bytes < rows / 10
    # The output has a name, and its samples are kept once.
    assert memory[0].output_size_in_bytes < 1.1 * rows


def test_what_an_interrupted_run_left_can_be_gone_on_with_twice():
    with pytest.raises(ag.Interrupted) as stopped:
        RUNS["discrete"](progress=stop_at(2))
    state = stopped.value.result.state
    assert same(RUNS["discrete"](state=state), RUNS["discrete"](state=state))


@functools.partial(jax.jit, donate_argnums=0)
def next_after(now):
    return now + 1


class Counting(Work):
    """Counts, and is told when a stretch is under way. It writes over its arrays, as runs do and
    fits do not."""

    words, given, start = Words("turn", "turns"), (), jnp.zeros((), jnp.int32)

    def __init__(self, during, in_place=True):
        self.during, self.in_place = during, in_place

    def advance(self, now, turns):
        end = next_after(jnp.array(now))
        if self.in_place and now is not self.start:
            now.delete()  # as what is donated
        self.during(int(end))
        return end

    def is_done(self, now):
        return int(now) == 4

    def told(self, now):
        return int(now), 4, int(now)

    def finished(self, now):
        return int(now)

    unfinished = finished


@pytest.fixture
def _heeds_ctrl_c():
    """A job in the background of a shell ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
@pytest.mark.parametrize(("call", "left"), [(2, 2), (3, 3)])
def test_ctrl_c_waits_for_the_end_of_a_stretch(call, left):
    def interrupt(turn):
        if turn == call:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ag.Interrupted, match=f"at turn {left} of 4") as stopped:
        in_stretches(Counting(interrupt), False, None)
    assert stopped.value.result == left
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("_heeds_ctrl_c")
@pytest.mark.parametrize(("call", "in_place"), [(1, True), (3, True), (3, False)])
def test_the_first_stretch_and_an_impatient_ctrl_c_end_at_once(call, in_place):
    def interrupt(turn):
        if turn == call:
            for _ in range(1 if call == 1 else 2):
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        in_stretches(Counting(interrupt, in_place), False, None)
    assert not isinstance(stopped.value, ag.Interrupted)


def test_a_run_of_two_saved_times_tells_where_it_is():
    told = []
    found = RUNS["real"](progress=lambda *now: told.append(now))
    assert len(told) > 2
    assert told[-1] == (30.0, 30.0, int(found.stats["steps"]))
    assert all(0 < reached < 30 for reached, _, _ in told[:-1])
    assert [steps for _, _, steps in told[:2]] == [1, 2]


def test_an_interrupted_run_has_what_it_came_to():
    with pytest.raises(ag.Interrupted, match=r"at time .* of 20: steps 2") as stopped:
        RUNS["dense"](progress=stop_at(2))
    assert isinstance(stopped.value, KeyboardInterrupt)
    found = stopped.value.result
    assert found.status == ag.Status.interrupted
    whole, rows = RUNS["dense"](), np.isfinite(found.outputs[0]).all(axis=-1)
    assert 0 < rows.sum() < 301
    assert not np.any(np.diff(rows.astype(int)) > 0)
    np.testing.assert_array_equal(found.outputs[0][rows], whole.outputs[0][rows])
    reached = found.stats["reached"]
    assert reached < 20
    np.testing.assert_array_equal(found.evaluate(0.9 * reached), whole.evaluate(0.9 * reached))
    with pytest.raises(ag.SimulationError, match="interrupted"):
        found.check()


def test_what_was_not_reached_is_no_error_where_nan_are():
    with jax.debug_nans(True), pytest.raises(ag.Interrupted) as stopped:
        RUNS["dense"](progress=stop_at(2))
    assert stopped.value.result.status == ag.Status.interrupted


@pytest.mark.slow
def test_a_path_without_jit_shows_its_progress():
    told, options = [], {"calculus": ag.Stochastic(steps=3), "key": KEY}
    with jax.disable_jit():
        found = ag.simulate(NOISE, [0.0, 1.0], progress=lambda *now: told.append(now), **options)
    np.testing.assert_allclose(found.output, ag.simulate(NOISE, [0.0, 1.0], **options).output)
    assert told == [(1.0, 1.0, 3)]


def test_without_jit_a_checkpoint_is_read_again_and_refused_where_none_can_be(tmp_path):
    options = {"calculus": ag.Discrete(), "checkpoint": tmp_path / "run"}
    with jax.disable_jit():
        found = ag.simulate(LOGISTIC, [0.0, 2.0], **options)
        assert same(ag.simulate(LOGISTIC, [0.0, 2.0], **options), found)
        with pytest.raises(ag.CircuitError, match="none of it can be gone on with"):
            ag.simulate(PENDULUM, [0.0, 1.0], checkpoint=tmp_path / "other")
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_an_interrupted_ensemble_has_the_tiles_that_are_done():
    told = []
    RUNS["reduced"](progress=lambda *now: told.append(now))
    assert told[-1][:2] == (300, 300)
    with pytest.raises(ag.Interrupted) as stopped:
        RUNS["reduced"](progress=stop_at(1))
    found = stopped.value.result
    assert found.paths == 0
    assert np.isnan(found.statistics[0]).all()
    assert np.isnan(found.statistics[1]).all()


def test_a_state_of_another_run_is_refused():
    with pytest.raises(ag.Interrupted) as stopped:
        RUNS["path"](progress=stop_at(1))
    state = stopped.value.result.state
    for options in ({"key": jax.random.key(4)}, {"path": 1}):
        with pytest.raises(ag.CircuitError, match="another run"):
            RUNS["path"](state=state, **options)
    with pytest.raises(ag.CircuitError, match="another run"):
        ag.simulate(NOISE, [0.0, 1.0, 5.0], calculus=ag.Stochastic(dt=1e-3), key=KEY, state=state)
    with pytest.raises(ag.CircuitError, match="outside of JAX transformations"):
        jax.jit(lambda state: RUNS["path"](state=state).output)(state)


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run"
    RUNS["path"](checkpoint=path)
    for options in ({"key": jax.random.key(4)}, {"path": 1}):
        with pytest.raises(ag.CircuitError, match="checkpoint of another run"):
            RUNS["path"](checkpoint=path, **options)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ag.CircuitError, match="damaged"):
        RUNS["path"](checkpoint=path)


def test_a_function_of_the_same_name_is_another_one(tmp_path):
    def run(factor):
        circuit = ag.sde(lambda t, x: factor * x, lambda t, x: 0.3 * x, 1.0)
        options = {"calculus": ag.Stochastic(steps=4), "key": KEY}
        return ag.simulate(circuit, [0.0, 1.0], checkpoint=tmp_path / "run", **options)

    assert same(run(-1.0).outputs, run(-1.0).outputs)
    with pytest.raises(ag.CircuitError, match="checkpoint of another run"):
        run(-2.0)


def test_a_file_that_cannot_be_written_is_an_error_before_the_first_stretch(monkeypatch, tmp_path):
    told = []

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ag.CircuitError, match="cannot be written: No space left"):
        RUNS["path"](checkpoint=tmp_path / "run", progress=lambda *now: told.append(now))
    assert told == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ag.CircuitError, match="no folder"):
        RUNS["path"](checkpoint=tmp_path / "none" / "run")


def test_progress_is_a_bar_or_lines(monkeypatch, capsys):
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    RUNS["path"](progress=True)
    (bar,) = bars
    assert (bar.n, bar.total, bar.postfix, bar.disable) == (4.0, 4.0, "steps=4000", True)
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    RUNS["path"](progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == "time 4 of 4: steps 4000"


def test_under_a_transformation_nothing_is_saved_or_shown(tmp_path):
    told = []

    def run(start, **options):
        circuit = ag.ode(swing, start)
        return ag.simulate(circuit, [0.0, 1.0], **options).outputs[0]

    jax.jit(lambda start: run(start, progress=lambda *now: told.append(now)))(jnp.ones(2))
    assert told == []
    with pytest.raises(ag.CircuitError, match="no checkpoint"):
        jax.jit(lambda start: run(start, checkpoint=tmp_path / "run"))(jnp.ones(2))


def test_what_is_known_inside_of_a_trace_is_traced(tmp_path):
    told = []

    def run(**options):
        return jax.jit(lambda: ag.simulate(PENDULUM, [0.0, 1.0], **options).outputs[0])()

    np.testing.assert_array_equal(run(progress=lambda *now: told.append(now)), run())
    assert told == []
    with pytest.raises(ag.CircuitError, match="no checkpoint"):
        run(checkpoint=tmp_path / "run")


@pytest.mark.parametrize("name", ["path", "reduced"])
def test_the_checkpoint_of_another_version_of_jax_is_refused(name, monkeypatch, tmp_path):
    RUNS[name](checkpoint=tmp_path / "run")
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    with pytest.raises(ag.CircuitError, match="checkpoint of another"):
        RUNS[name](checkpoint=tmp_path / "run")


def test_a_process_leaves_the_partial_file_of_another_alone(tmp_path):
    other = tmp_path / "run.partial"
    other.write_bytes(b"other")
    RUNS["path"](checkpoint=tmp_path / "run")
    assert other.read_bytes() == b"other"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run", "run.partial"]


@pytest.mark.slow
def test_steady_states_agree_to_rounding():
    ts, told = jnp.linspace(0.0, 3.0, 101), []
    run = functools.partial(ag.simulate, CUBE, ts, calculus=ag.Steady())
    found = run(progress=lambda *now: told.append(now))
    np.testing.assert_allclose(found.output, run().output, rtol=1e-14)
    np.testing.assert_allclose(found.output, np.cbrt(1 + ts), rtol=1e-14)
    assert told[0][2] == 1
    assert told[-1] == (3.0, 3.0, 101)


@pytest.mark.slow
def test_a_calculus_that_cannot_stop_is_one_stretch(tmp_path):
    calculus = ag.Discrete(parallel=True)
    circuit, told = ag.ode(lambda n, x: x, 1.0, dim="n"), []
    run = functools.partial(ag.simulate, circuit, jnp.arange(9.0), calculus=calculus)
    assert same(run(progress=lambda *now: told.append(now), checkpoint=tmp_path / "run"), run())
    assert told == [(8.0, 8.0, 8)]
    assert same(run(checkpoint=tmp_path / "run"), run())


# A job in the background of a shell ignores SIGINT, and so would its children.
CODE = """
import signal, sys, jax, jax.numpy as jnp, numpy as np, optax, asgard as ag
signal.signal(signal.SIGINT, signal.default_int_handler)
jax.config.update("jax_enable_x64", True)
path, times = sys.argv[1], int(sys.argv[2])

def told(*now):
    print(*now, flush=True)

def simulate(**options):
    real = ag.Real(max_steps=10**8)
    return ag.simulate(pendulum, [0.0, 1e5], calculus=real, **options).outputs

def ensemble(**options):
    options |= {"key": jax.random.key(0), "paths": 4000, "tile": 512}
    options |= {"reduce": ag.statistics.Mean(), "calculus": ag.Stochastic(steps=50_000)}
    return ag.ensemble(process, [0.0, 1.0], **options).statistics

def fit(**options):
    options |= {"args": (jnp.arange(10**5 + 0.5),), "optimizer": adam, "steps": 1000}
    return ag.fit(ag.Scalar(3.0), loss, **options).losses

def loss(circuit, data):
    return jnp.mean(jnp.sin(circuit.factor * data) ** 2)

pendulum = ag.ode(lambda t, y: jnp.stack([y[1], -jnp.sin(y[0])]), jnp.array([1.0, 0.0]))
process = ag.sde(lambda t, x: -x, lambda t, x: 0.3 * jnp.ones_like(x), 1.0)
adam = optax.adam(1e-3)
for run in (simulate, ensemble, fit):
    # The second time it starts anew.
    for checkpoint in (path + run.__name__, None)[:times]:
        try:
            found = jax.tree.leaves(run(progress=told, checkpoint=checkpoint))
            print("end", *(np.asarray(leaf).tobytes().hex() for leaf in found), flush=True)
        except ag.Interrupted as stopped:
            status = stopped.result.status if run is not ensemble else ""
            print("interrupted", status, flush=True)
"""


def until(lines, *words):
    """The lines up to one that starts with one of some words, and that one."""
    found = []
    for line in lines:
        if line.startswith(words):
            return found, line
        found.append(line)
    raise AssertionError(found)


@pytest.mark.slow
def test_ctrl_c_loses_a_stretch_at_most_and_another_process_goes_on(tmp_path):
    """A run, an ensemble and a fit, one after the other in each of two processes."""
    command = [sys.executable, "-c", CODE, str(tmp_path / "saved")]
    before = []
    with subprocess.Popen([*command, "1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            came = [process.stdout.readline() for _ in range(5)]
            process.send_signal(signal.SIGINT)
            more, last = until(process.stdout, "interrupted", "end")
            assert last.startswith("interrupted")
            before.append(float((more or came)[-1].split()[0]))
        rest, _ = process.communicate()
    assert (process.returncode, rest) == (0, "")
    done = subprocess.run([*command, "2"], capture_output=True, check=True, text=True)
    lines = iter(done.stdout.splitlines())
    for reached in before:
        (first, *_), end = until(lines, "end")
        assert float(first.split()[0]) >= reached
        assert until(lines, "end")[1] == end
