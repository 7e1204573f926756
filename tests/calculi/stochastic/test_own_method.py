"""Methods of steps as classes: those of the package, and one that is defined outside of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusions import geometric

import asgard as ag

MU, SIGMA, STEP, INCREMENT = 0.7, 0.3, 0.5, 0.2


class Theta(ag.StochasticMethod):
    """Itô's equation, with the drift from both ends of Euler's step: (1 - θ) a(x) + θ a(x̂)."""

    theta: Any

    def step(self, start, h, noise):
        end = start.at(start.t + h, start.plus(start.change(h, noise.increment)))
        first, last = start.drift((1 - self.theta) * h), end.drift(self.theta * h)
        return start.after(start.plus(first, last, start.diffusion(noise.increment)), end)


class Bare(ag.StochasticMethod):
    """Gives contents, without saying how loops were solved."""

    def step(self, start, h, noise):
        return start.plus(start.change(h, noise.increment))


class Greedy(ag.StochasticMethod):
    """Reads the integral of the noise without saying that it needs it."""

    def step(self, start, h, noise):
        mean = {name: value / h for name, value in noise.integral.items()}
        return start.after(start.plus(start.diffusion(mean)))


class Signed(ag.StochasticMethod):
    """Reads the signs of the noise without saying that it needs them."""

    def step(self, start, h, noise):
        moved = {name: value * noise.signs[0] for name, value in noise.increment.items()}
        return start.after(start.plus(start.diffusion(moved)))


class Late(ag.StochasticMethod):
    """Ends at a change of the contents, not at contents."""

    def step(self, start, h, noise):
        return start.after(start.change(h, noise.increment))


class Stray(ag.StochasticMethod):
    """Gives the increment of a source that the circuit has not."""

    def step(self, start, h, noise):
        return start.after(start.plus(start.diffusion({"V": h})))


class OneForAll(ag.StochasticMethod):
    """Gives the first component of the noise, which would be spread over all."""

    def step(self, start, h, noise):
        return start.after(start.plus(start.diffusion({"W": noise.increment["W"][:1]})))


class Listed(ag.StochasticMethod):
    """Gives increments without their sources."""

    def step(self, start, h, noise):
        return start.after(start.plus(start.diffusion([h])))


class Numbered(ag.StochasticMethod):
    """Ends with a number for a stage."""

    def step(self, start, h, noise):
        return start.after(start.contents, 3)


class Branching(ag.StochasticMethod):
    """Branches on the time, which has no value."""

    def step(self, start, h, noise):
        return start.after(start.contents if start.t > 0 else start.plus())


class Short(ag.StochasticMethod):
    """Takes no noise."""

    def step(self, start, h):
        return start.after(start.contents)


class Platen(ag.StochasticMethod):
    """Platen's step of strong order 1 without derivatives (KP 11.1.3), by changes' arithmetic."""

    def step(self, start, h, noise):
        (w,) = noise.increment.values()
        root = jnp.sqrt(h)
        up = start.at(start.t, start.plus(start.drift(h), start.diffusion({"W": root})))
        own = {"W": (w * w - h) / (2 * root)}
        moved = start.change(h, noise.increment) + (up.diffusion(own) - start.diffusion(own))
        return start.after(start.plus(np.float64(2.0) * (moved * 0.5)), up)


def end(method, start=1.0):
    """dx = mu x dt + sigma x dW, after one step."""
    increment = jnp.full_like(jnp.asarray(start), INCREMENT)
    calculus = ag.Stochastic(steps=1, method=method, noise={"W": increment[None]})
    return ag.simulate(geometric(MU, SIGMA, start), [0.0, STEP], calculus=calculus).output[-1]


def test_a_method_from_outside_with_a_number_of_its_own_has_its_gradient():
    value, slope = jax.value_and_grad(lambda theta: end(Theta(theta)))(0.25)
    moved = MU * STEP + SIGMA * INCREMENT
    np.testing.assert_allclose(value, 1 + moved + 0.25 * MU * STEP * moved, rtol=1e-14)
    np.testing.assert_allclose(slope, MU * STEP * moved, rtol=1e-14)


def test_changes_add_up_and_take_factors():
    square = (INCREMENT**2 - STEP) / (2 * STEP**0.5)
    more = SIGMA * (MU * STEP + SIGMA * STEP**0.5) * square
    np.testing.assert_allclose(end(Platen()), 1 + MU * STEP + SIGMA * INCREMENT + more, rtol=1e-14)


def test_strings_are_short_forms_of_classes():
    names = {
        "euler": ag.Euler(),
        "milstein": ag.Milstein(),
        "heun": ag.Heun(),
        "additive": ag.Additive(),
        "weak2": ag.Weak2(),
    }
    for name, method in names.items():
        meant = "stratonovich" if name == "heun" else "ito"
        one, other = (
            ag.Stochastic(steps=1, method=m, interpretation=meant) for m in (name, method)
        )
        assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: end(Bare()), r"Bare: step must return start\.after"),
        (lambda: end(Late()), r"after of a stochastic step takes contents, as start\.plus"),
        (lambda: end(Stray()), "one increment for each source, which are W, not for V"),
        (lambda: end(Greedy()), r"noise.integral is there .* needs_integral = True"),
        (lambda: end(Signed()), r"noise.signs is there .* needs_signs = True"),
        (lambda: end(OneForAll(), [1.0, 2.0]), r"that of W must be of shape \(2,\), not \(1,\)"),
        (lambda: end(Listed()), "increments by source, such as noise.increment, not"),
        (lambda: end(Numbered()), r"after of .* takes the contents, and then the stages .*\(3,\)"),
        (lambda: end(Branching()), r"Branching: step cannot be traced: .* jnp\.where"),
        (lambda: end(Short()), "Short: step is called with start, h, noise: too many"),
        (lambda: Theta("a"), r"Theta\.theta holds 'a', which is no number or array"),
        (lambda: ag.Stochastic(steps=1, method=ag.Euler), "an object such as Milstein"),
        (
            lambda: ag.Stochastic(steps=1, method=Theta(0.5), interpretation="stratonovich"),
            "the method Theta solves the equation of ito",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_method_is_refused_by_name(wrong, message):
    with pytest.raises(ag.CircuitError, match=message):
        wrong()
