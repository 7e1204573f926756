"""The search for z = g(z) by a method, from a guess to its end."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .isolated import is_isolated
from .methods.method import CONVERGED, FAILED, LEFT, RUNNING, Equations, Method, Outcome, take_turns

# A step or two may end at a solution from one side, or without a Jacobian.
FIRST = 2


def search(
    method: Method,
    equations: Equations,
    guess: Array,
    compiled: Callable[[Callable[[Array], Outcome], Array], Outcome],
) -> Outcome:
    """The search from a guess, `[unknowns, *lanes]`.

    `compiled(run, guess)` is run(guess), of the method's own turns: they may be a kernel where what
    follows them is none.
    """

    def first(guess: Array) -> Outcome:
        none = jnp.zeros(guess.shape[1:], jnp.int32)
        return take_turns(method, equations, Outcome(guess, guess, none, none))

    def second(found: Outcome) -> Outcome:
        assert method.then is not None
        state = jnp.where(found.state == LEFT, RUNNING, found.state)
        return take_turns(method.then, equations, dataclasses.replace(found, state=state))

    found = compiled(first, guess)
    proves = jnp.where(found.state == LEFT, True, method.proves)
    if method.then is not None:
        found = lax.cond(jnp.any(found.state == LEFT), second, lambda found: found, found)
    seen = proves & (found.steps > FIRST) & (guess.shape[0] == 1)
    several = (found.state == CONVERGED) & ~is_isolated(equations, guess, found, seen)
    return dataclasses.replace(found, state=jnp.where(several, FAILED, found.state))
