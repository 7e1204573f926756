"""Circuits of thousands of atoms build, print, parse and run, in time near linear in their size."""

import functools
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import asgard as ag

COUNT = 2000


@pytest.mark.slow
def test_a_chain_runs():
    chain = ag.parse(str(ag.Composition(*[ag.Scalar(1.001)] * COUNT)))
    stream = ag.series(chain, ag.Stream([1.0, 2.0], "t"), order=2)
    np.testing.assert_allclose(stream.coefficients[:2], 1.001**COUNT * np.array([1, 2]), rtol=1e-12)


@pytest.mark.slow
def test_a_loop_runs_under_simulate():
    gains = ag.Composition(*[ag.Scalar(1.0)] * (COUNT // 2))
    loop = (ag.Add() >> gains >> ag.Register("t") >> ag.Split()).trace()
    trajectory = ag.simulate(loop, [0.0, 1.0], inputs=(1.0,))  # x' = 1 + x
    np.testing.assert_allclose(trajectory.output, [0.0, np.e - 1], rtol=1e-14)


@pytest.mark.slow
def test_a_sum_nested_from_the_left_runs():
    terms = [ag.Coordinate("t")] * COUNT
    total = ag.parse(str(functools.reduce(lambda left, term: left @ term >> ag.Add(), terms)))
    stream = ag.series(total, order=2)
    np.testing.assert_array_equal(stream.coefficients, [0.0, COUNT, 0.0])


@pytest.mark.slow
def test_a_sum_of_one_atom_runs():
    total = ag.Split(COUNT) >> ag.Add(COUNT)
    stream = ag.series(total, ag.Stream([1.0], "t"), order=1)
    np.testing.assert_array_equal(stream.coefficients, [COUNT, 0.0])


# Run by itself, since checks of types at every call take most of the time here.
NESTED = """
import time
import asgard as ag

def seconds(depth):
    text = "monoidal(id, trace(" * depth + "swap" + "))" * depth
    start = time.process_time()
    circuit = ag.parse(text)
    assert (circuit.n_in, len(circuit.parts)) == (2, depth + 1)
    return time.process_time() - start

seconds(10)
print(seconds(16_000) / min(seconds(2_000), seconds(2_000)))
"""


@pytest.mark.slow
def test_a_text_that_nests_eight_times_deeper_takes_about_eight_times_as_long():
    ratio = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, check=True).stdout
    assert float(ratio) < 24


def test_a_term_gives_the_circuits_that_it_joins():
    f, g, h = ag.Sin(), ag.Split() >> ag.Add(), ag.Id(2).trace()
    chain = f >> g >> ag.Split() >> g @ h
    assert chain.circuits == (f, ag.Split(), ag.Add(), ag.Split(), g @ h)
    assert (g @ f @ h).circuits == (g, f, h)
    assert (g @ f).trace().circuits == (g @ f,)


def test_the_steps_of_a_long_chain_are_compiled_in_pieces():
    def fusions(circuit):
        run = jax.jit(lambda circuit, stream: ag.series(circuit, stream, order=2))
        compiled = run.lower(circuit, ag.Stream([1.0, 2.0], "t")).compile().as_text()
        blocks = re.findall(r"^%?fused_computation[^{]*{\n(.*?)^}", compiled, re.M | re.S)
        return max(block.count(" multiply(") for block in blocks)

    chain = ag.Composition(*[ag.Scalar(1.001)] * 400)
    assert 64 <= fusions(chain) <= 160


def test_many_outputs_of_one_array_are_taken_apart_in_one_kernel_with_derivatives():
    rates = np.linspace(1.0, 1.4, 40)
    loops = [(ag.Scalar(-r) >> ag.Register("t", 1.0) >> ag.Split()).trace() for r in rates]
    circuit = ag.Monoidal(*loops)
    outputs = ag.simulate(circuit, [0.0, 1.0]).outputs
    np.testing.assert_allclose(np.stack(outputs)[:, 1], np.exp(-rates), rtol=1e-13)

    def total(factor):
        changed = ag.update(circuit, {"scalar[3].factor": factor})
        return sum(output[1] for output in ag.simulate(changed, [0.0, 1.0]).outputs)

    slopes = jax.jit(jax.vmap(jax.grad(total)))(jax.numpy.array([-1.0, -2.0]))
    np.testing.assert_allclose(slopes, np.exp([-1.0, -2.0]), rtol=1e-13)
