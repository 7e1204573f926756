"""Sequences, and processes with noise."""

import jax
import jax.numpy as jnp

import asgard as ag

from .system import System, closed, from_text

SAMPLES = ag.Samples(jnp.cos(jnp.arange(11.0)))


@ag.circuit
def fibonacci(*, a):
    x, y = ag.delay("n", 0.0), ag.delay("n", 1.0)
    x.input, y.input = y, a * x + y
    return x, y


def wired_fibonacci(a):
    # Of (x, y): y | x, y.
    following = ag.Id() @ ag.Split() >> ag.Permute((1, 0, 2)) >> ag.Id() @ (ag.Scalar(a) @ ag.Id())
    sums = following >> ag.Id() @ ag.Add()
    return closed(sums >> ag.Delay("n", 0.0) @ ag.Delay("n", 1.0), 2)


@ag.circuit
def logistic(*, r):
    x = ag.delay("n", 0.3)
    x.input = r * x * (1 - x)
    return x


def wired_logistic(r):
    rest = ag.Scalar(-1.0) @ ag.Const(1.0) >> ag.Add()
    product = ag.Split() >> ag.Id() @ rest >> ag.Multiplication() >> ag.Scalar(r)
    return closed(product >> ag.Delay("n", 0.3), 1)


@ag.circuit
def smoothed(u, *, a):
    x = ag.delay("n", 0.2)
    x.input = a * u + (1 - a) * x
    return x


def wired_smoothed(a):
    return closed(ag.Scalar(a) @ ag.Scalar(1 - a) >> ag.Add() >> ag.Delay("n", 0.2), 1)


@ag.circuit
def growth(*, a, b):
    mean, noise = ag.register("t", 1.0), ag.stochastic_register("t", "W")
    x = mean + noise
    mean.input, noise.input = a * x, b * x
    return x


def wired_growth(a, b):
    mean = ag.Scalar(a) >> ag.Register("t", 1.0)
    noise = ag.Scalar(b) >> ag.StochasticRegister("t", "W")
    return (ag.Split() >> mean @ noise >> ag.Add() >> ag.Split()).trace()


@ag.circuit
def reverting(*, k, m, s):
    mean, noise = ag.register("t", 0.5), ag.stochastic_register("t", "W")
    x = mean + noise
    mean.input, noise.input = k * (m - x), s
    return x


def wired_reverting(k, m, s):
    pull = ag.Scalar(-k) @ ag.Const(k * m) >> ag.Add() >> ag.Register("t", 0.5)
    noise = ag.Const(s) >> ag.StochasticRegister("t", "W")
    return (pull @ noise >> ag.Add() >> ag.Split()).trace()


def steps(right_side, start):
    return lambda **numbers: ag.recurrence(right_side, start, **numbers)


def diffusion(drift, noise, start):
    return lambda **numbers: ag.sde(drift, noise, start, **numbers)


PATHS = {"calculus": ag.Stochastic(steps=4), "key": jax.random.key(0), "end": 1.0}

SYSTEMS = [
    System(
        "Fibonacci",
        {"a": 1.0},
        fibonacci,
        steps(lambda n, y, *, a: (y[1], a * y[0] + y[1]), (0.0, 1.0)),
        from_text(
            "x = delay(y); y = delay(a*x + y)",
            ("x", "y"),
            {"delay(y)": 0.0, "delay(a*x + y)": 1.0},
        ),
        wired_fibonacci,
        calculus=ag.Discrete(),
    ),
    System(
        "the logistic map",
        {"r": 3.7},
        logistic,
        steps(lambda n, x, *, r: r * x * (1 - x), 0.3),
        from_text("x = delay(r*x*(1 - x))", ("x",), {"delay(r*x*(1 - x))": 0.3}),
        wired_logistic,
        calculus=ag.Discrete(),
    ),
    System(
        "smoothing",
        {"a": 0.3},
        smoothed,
        steps(lambda n, x, u, *, a: a * u + (1 - a) * x, 0.2),
        from_text(
            "x = delay(a*u + (1 - a)*x)", ("x",), {"delay(a*u + (1 - a)*x)": 0.2}, inputs=("u",)
        ),
        wired_smoothed,
        inputs=(SAMPLES,),
        calculus=ag.Discrete(),
    ),
    System(
        "geometric Brownian motion",
        {"a": 0.1, "b": 0.3},
        growth,
        diffusion(lambda t, x, *, a: a * x, lambda t, x, *, b: b * x, 1.0),
        from_text("dx = a*x*dt + b*x*dW", ("x",), {"x": 1.0}),
        wired_growth,
        **PATHS,
    ),
    System(
        "Ornstein and Uhlenbeck's process",
        {"k": 1.5, "m": 0.2, "s": 0.4},
        reverting,
        diffusion(lambda t, x, *, k, m: k * (m - x), lambda t, x, *, s: s, 0.5),
        from_text("dx = k*(m - x)*dt + s*dW", ("x",), {"x": 0.5}),
        wired_reverting,
        **PATHS,
    ),
]
