"""Calls as users write them, which type checkers take: pyright checks this file in CI."""

import jax.numpy as jnp

import asgard as ag


@ag.circuit
def hybrid(heat):
    temperature = ag.register("t", 20.0)
    on = ag.Relay(0.0, 1.0)(temperature)
    held = ag.SampleHold(0.0)(temperature, on)
    generators = ag.Pulse(1.0)() + ag.Clock(1.0)() + ag.Coordinate("t")()
    counted = ag.Counter()(ag.Sin()(temperature))
    temperature.input = heat * on - held + generators + counted
    return {"temperature": temperature}


class Product(ag.statistics.Reduction):
    of = staticmethod(lambda x: x[-1])

    def tile(self, values, alive):
        return jnp.prod(jnp.where(alive, values, 1))

    def merge(self, first, second):
        return first * second


def test_atoms_are_called_on_wires():
    assert (hybrid().n_in, hybrid().n_out) == (1, 1)


def test_statistics_take_their_numbers_by_position():
    assert ag.statistics.Histogram(0.0, 1.0, 30).bins == 30
    assert ag.statistics.Histogram(0.0, 1.0, of="x").of == "x"
    quantiles = ag.statistics.Quantiles(0.0, 4.0, 4000, probabilities=[0.1, 0.5])
    assert quantiles.probabilities.shape == (2,)
    mean = ag.statistics.Mean("x")
    assert ag.statistics.StandardError(mean).of == "x"
    assert callable(Product().of)
