"""Mechanical and electrical oscillators, and a planet."""

import jax.numpy as jnp

import asgard as ag

from .system import System, closed, flow, from_text, looped


@ag.circuit
def decay(*, k):
    x = ag.register("t", 1.0)
    x.input = -k * x
    return x


def wired_decay(k):
    return closed(ag.Scalar(-k) >> ag.Register("t", 1.0), 1)


@ag.circuit
def oscillator(*, w):
    x, v = ag.register("t", 1.0), ag.register("t", 0.0)
    x.input, v.input = v, -(w**2) * x
    return x, v


def wired_oscillator(w):
    registers = ag.Register("t", 1.0) @ ag.Register("t", 0.0)
    return closed(ag.Swap() >> ag.Id() @ ag.Scalar(-(w**2)) >> registers, 2)


@ag.circuit
def pendulum(*, g, c):
    q, v = ag.register("t", 1.0), ag.register("t", 0.0)
    q.input, v.input = v, -g * jnp.sin(q) - c * v
    return q, v


def wired_pendulum(g, c):
    swing = (ag.Sin() >> ag.Scalar(-g)) @ ag.Scalar(-c) >> ag.Add()
    rates = ag.Id() @ ag.Split() >> ag.Permute((1, 0, 2)) >> ag.Id() @ swing
    return closed(rates >> ag.Register("t", 1.0) @ ag.Register("t", 0.0), 2)


@ag.circuit
def van_der_pol(*, m):
    x, v = ag.register("t", 2.0), ag.register("t", 0.0)
    x.input, v.input = v, m * (1 - x**2) * v - x
    return x, v


def wired_van_der_pol(m):
    bend = ag.Power(2) >> ag.Scalar(-1.0) >> ag.Id() @ ag.Const(1.0) >> ag.Add()
    pull = bend @ ag.Id() >> ag.Multiplication() >> ag.Scalar(m)
    copies = ag.Split() @ ag.Split() >> ag.Permute((2, 0, 3, 1))
    rates = copies >> ag.Id() @ (pull @ ag.Scalar(-1.0) >> ag.Add())
    return closed(rates >> ag.Register("t", 2.0) @ ag.Register("t", 0.0), 2)


@ag.circuit
def duffing(*, a, b, d, f, w):
    x, v, t = ag.register("t", 1.0), ag.register("t", 0.0), ag.Coordinate("t")()
    x.input, v.input = v, f * jnp.cos(w * t) - d * v - a * x - b * x**3
    return x, v


def wired_duffing(a, b, d, f, w):
    drive = ag.Coordinate("t") >> ag.Scalar(w) >> ag.Cos() >> ag.Scalar(f)
    spring = ag.Split() >> ag.Scalar(-a) @ (ag.Power(3) >> ag.Scalar(-b)) >> ag.Add()
    rate = drive @ ag.Scalar(-d) @ spring >> ag.Add(3)
    rates = ag.Id() @ ag.Split() >> ag.Permute((1, 2, 0)) >> ag.Id() @ rate
    return closed(rates >> ag.Register("t", 1.0) @ ag.Register("t", 0.0), 2)


@ag.circuit
def masses(*, k, c):
    x, y = ag.register("t", 1.0), ag.register("t", 0.0)
    u, v = ag.register("t", 0.0), ag.register("t", 0.0)
    x.input, y.input = u, v
    u.input = k * (y - 2 * x) - c * u
    v.input = k * (x - 2 * y) - c * v
    return x, y, u, v


def wired_masses(k, c):
    def pull(here, there, speed):
        return k * (there - 2 * here) - c * speed

    rates = (_same, (2,)), (_same, (3,)), (pull, (0, 1, 2)), (pull, (1, 0, 3))
    return looped((1.0, 0.0, 0.0, 0.0), *rates)


@ag.circuit
def planet(*, mu):
    x, y = ag.register("t", 1.0), ag.register("t", 0.0)
    u, v = ag.register("t", 0.0), ag.register("t", 1.1)
    pull = -mu * (x**2 + y**2) ** -1.5
    x.input, y.input, u.input, v.input = u, v, pull * x, pull * y
    return x, y, u, v


def wired_planet(mu):
    def pull(x, y):
        return -mu * x * (x**2 + y**2) ** -1.5

    rates = (_same, (2,)), (_same, (3,)), (pull, (0, 1)), (pull, (1, 0))
    return looped((1.0, 0.0, 0.0, 1.1), *rates)


def _same(x):
    return x


def planet_rates(t, y, *, mu):
    pull = -mu * (y[0] ** 2 + y[1] ** 2) ** -1.5
    return y[2], y[3], pull * y[0], pull * y[1]


def masses_rates(t, y, *, k, c):
    pulls = k * (y[1] - 2 * y[0]) - c * y[2], k * (y[0] - 2 * y[1]) - c * y[3]
    return y[2], y[3], *pulls


def duffing_rates(t, y, *, a, b, d, f, w):
    return y[1], f * jnp.cos(w * t) - d * y[1] - a * y[0] - b * y[0] ** 3


SYSTEMS = [
    System(
        "decay",
        {"k": 1.2},
        decay,
        flow(lambda t, y, *, k: -k * y, 1.0),
        from_text("diff(x, t) = -k*x", ("x",), {"x": 1.0}),
        wired_decay,
    ),
    System(
        "oscillator",
        {"w": 1.3},
        oscillator,
        flow(lambda t, y, *, w: (y[1], -(w**2) * y[0]), (1.0, 0.0)),
        from_text("diff(x, t, 2) = -w^2*x", ("x", "diff(x, t)"), {"x": 1.0}),
        wired_oscillator,
    ),
    System(
        "pendulum",
        {"g": 9.81, "c": 0.1},
        pendulum,
        flow(lambda t, y, *, g, c: (y[1], -g * jnp.sin(y[0]) - c * y[1]), (1.0, 0.0)),
        from_text("diff(q, t, 2) = -g*sin(q) - c*diff(q, t)", ("q", "diff(q, t)"), {"q": 1.0}),
        wired_pendulum,
    ),
    System(
        "Van der Pol",
        {"m": 5.0},
        van_der_pol,
        flow(lambda t, y, *, m: (y[1], m * (1 - y[0] ** 2) * y[1] - y[0]), (2.0, 0.0)),
        from_text("diff(x, t, 2) = m*(1 - x^2)*diff(x, t) - x", ("x", "diff(x, t)"), {"x": 2.0}),
        wired_van_der_pol,
    ),
    System(
        "Duffing, driven",
        {"a": -1.0, "b": 1.0, "d": 0.3, "f": 0.5, "w": 1.2},
        duffing,
        flow(duffing_rates, (1.0, 0.0)),
        from_text(
            "diff(x, t, 2) + d*diff(x, t) + a*x + b*x^3 = f*cos(w*t)",
            ("x", "diff(x, t)"),
            {"x": 1.0},
        ),
        wired_duffing,
    ),
    System(
        "two masses",
        {"k": 2.0, "c": 0.2},
        masses,
        flow(masses_rates, (1.0, 0.0, 0.0, 0.0)),
        from_text(
            """
            diff(x, t, 2) = k*(y - 2*x) - c*diff(x, t)
            diff(y, t, 2) = k*(x - 2*y) - c*diff(y, t)
            """,
            ("x", "y", "diff(x, t)", "diff(y, t)"),
            {"x": 1.0},
        ),
        wired_masses,
    ),
    System(
        "a planet",
        {"mu": 1.0},
        planet,
        flow(planet_rates, (1.0, 0.0, 0.0, 1.1)),
        from_text(
            """
            p = -mu*(x^2 + y^2)^(-1.5)
            diff(x, t, 2) = p*x
            diff(y, t, 2) = p*y
            """,
            ("x", "y", "diff(x, t)", "diff(y, t)"),
            {"x": 1.0, "diff(y, t)": 1.1},
        ),
        wired_planet,
    ),
]
