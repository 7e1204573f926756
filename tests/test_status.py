"""Statuses as text."""

import jax
import jax.numpy as jnp

import asgard as ag


def test_a_status_says_that_all_went_well_or_what_to_do():
    assert repr(ag.Status.ok) == "asgard.status.Status<ok>"
    assert "use Real(method=ag.Radau())" in repr(ag.Status.stiff)


def test_many_statuses_are_counted():
    failed = jnp.arange(300) % 150 == 0
    status = jax.vmap(lambda x: ag.Status.where(x, ag.Status.nonfinite, ag.Status.ok))(failed)
    assert repr(status) == "asgard.status.Status<298 ok, 2 nonfinite>"
