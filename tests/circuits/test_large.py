"""Circuits of 2,000 atoms build, print, parse and have series; of 1,000 they run over time."""

import functools

import numpy as np

import asgard as ag

COUNT = 2000


def test_a_chain_runs():
    chain = ag.parse(str(ag.Composition(*[ag.Scalar(1.001)] * COUNT)))
    stream = ag.series(chain, ag.Stream([1.0, 2.0], "t"), order=2)
    np.testing.assert_allclose(stream.coefficients[:2], 1.001**COUNT * np.array([1, 2]), rtol=1e-12)


def test_a_loop_runs_under_simulate():
    gains = ag.Composition(*[ag.Scalar(1.0)] * (COUNT // 2))
    loop = (ag.Add() >> gains >> ag.Register("t") >> ag.Split()).trace()
    trajectory = ag.simulate(loop, [0.0, 1.0], inputs=(1.0,))  # x' = 1 + x
    np.testing.assert_allclose(trajectory.output, [0.0, np.e - 1], rtol=1e-14)


def test_a_sum_nested_from_the_left_runs():
    terms = [ag.Coordinate("t")] * COUNT
    total = ag.parse(str(functools.reduce(lambda left, term: left @ term >> ag.Add(), terms)))
    stream = ag.series(total, order=2)
    np.testing.assert_array_equal(stream.coefficients, [0.0, COUNT, 0.0])


def test_a_sum_of_one_atom_runs():
    total = ag.Split(COUNT) >> ag.Add(COUNT)
    stream = ag.series(total, ag.Stream([1.0], "t"), order=1)
    np.testing.assert_array_equal(stream.coefficients, [COUNT, 0.0])
