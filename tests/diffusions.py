"""Stochastic systems that tests share, with what is known of them."""

import jax.numpy as jnp
import numpy as np

import asgard as ag

# Geometric Brownian motion in the text notation: dx = 0.1 x dt + 0.3 x dW from 1.
GROWTH = (
    "trace(composition(split, monoidal(composition(scalar(0.1), register(t, 1.0)), "
    "composition(scalar(0.3), stochastic_register(t, W))), add, split))"
)


def geometric(mu=0.1, sigma=0.3, initial=1.0):
    """dx = mu x dt + sigma x dW."""
    drift = ag.Scalar(mu) >> ag.Register("t", initial)
    noise = ag.Scalar(sigma) >> ag.StochasticRegister("t", "W")
    return (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()


def wiener(noise="W"):
    """The Wiener process itself."""
    return ag.Const(1.0) >> ag.StochasticRegister("t", noise)


def ornstein_uhlenbeck(theta=1.5, mean=0.4, sigma=0.5, initial=1.0):
    """dx = theta (mean - x) dt + sigma dW."""
    drift = ag.Function(lambda x: theta * (mean - x), 1) >> ag.Register("t", initial)
    noise = ag.Discard() >> ag.Const(sigma) >> ag.StochasticRegister("t", "W")
    return (ag.Split() >> (drift @ noise) >> ag.Add() >> ag.Split()).trace()


def truncated_root(v):
    """sqrt(v+), with derivative 0 where v is not positive."""
    return jnp.sqrt(jnp.where(v > 0, v, 1)) * (v > 0)


def square_root(kappa=2.0, theta=0.5, sigma=0.6, initial=0.3, noise="W"):
    """Cox, Ingersoll and Ross: dv = kappa (theta - v+) dt + sigma sqrt(v+) dW, fully truncated."""
    drift = ag.Function(lambda v: kappa * (theta - jnp.maximum(v, 0)), 1)
    root = ag.Function(lambda v: sigma * truncated_root(v), 1)
    both = (drift >> ag.Register("t", initial)) @ (root >> ag.StochasticRegister("t", noise))
    return (ag.Split() >> both >> ag.Add() >> ag.Split()).trace()


def heston(rate=0.05, **variance):
    """The logarithm of the price, from 0, whose variance is `square_root(**variance)`."""
    drift = ag.Function(lambda v: rate - jnp.maximum(v, 0) / 2, 1) >> ag.Register("t")
    root = ag.Function(truncated_root, 1)
    noise = root >> ag.StochasticRegister("t", "S")
    return square_root(noise="V", **variance) >> ag.Split() >> (drift @ noise) >> ag.Add()


def merton(mu=0.05, sigma=0.2, rate=0.8, mean=-0.1, deviation=0.15):
    """dS = mu S dt + sigma S dW + S dJ with log-normal jumps, from 1."""
    drift = ag.Scalar(mu) >> ag.Register("t", 1.0)
    noise = ag.Scalar(sigma) >> ag.StochasticRegister("t", "W")
    jumps = ag.JumpRegister("t", rate, lambda z: jnp.expm1(mean + deviation * z), "J")
    parts = drift @ noise @ jumps
    return (ag.Split(3) >> parts >> ag.Add(3) >> ag.Split()).trace()


def heston_characteristic(u, end, rate, kappa, theta, sigma, initial, correlation):
    """E exp(i u log S) by Heston (1993), in the form of Albrecher et al. (2007)."""
    b = kappa - correlation * sigma * u * 1j
    d = np.sqrt(b**2 + sigma**2 * (u * 1j + u**2))
    g = (b - d) / (b + d)
    decay = np.exp(-d * end)
    c = u * 1j * rate * end + kappa * theta / sigma**2 * (
        (b - d) * end - 2 * np.log((1 - g * decay) / (1 - g))
    )
    return np.exp(c + (b - d) / sigma**2 * (1 - decay) / (1 - g * decay) * initial)
