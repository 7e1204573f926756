"""Systems with inputs, arrays on wires, and a loop without registers."""

import jax.numpy as jnp
import numpy as np

import asgard as ag

from .system import System, closed, flow, from_text, looped

RAMP = ag.Stream([1.0, 0.5], "t")
FOUR, RING = np.linspace(-1.0, 1.0, 4), 8.0 + np.sin(np.arange(20.0))
# The weights of two layers.
FIRST, SECOND = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16, 4))


@ag.circuit
def capacitor(u, *, tau):
    v = ag.register("t", 0.3)
    v.input = (u - v) / tau
    return v


def wired_capacitor(tau):
    # Of the input and the state.
    rate = ag.Scalar(1 / tau) @ ag.Scalar(-1 / tau) >> ag.Add()
    return closed(rate >> ag.Register("t", 0.3), 1)


@ag.circuit
def motor(u, *, j, b, k, r, l):
    w, i = ag.register("t", 0.0), ag.register("t", 0.0)
    w.input, i.input = (k * i - b * w) / j, (u - r * i - k * w) / l
    return w, i


def wired_motor(j, b, k, r, l):
    return looped(
        (0.0, 0.0),
        (lambda w, i: (k * i - b * w) / j, (0, 1)),
        (lambda w, i, u: (u - r * i - k * w) / l, (0, 1, 2)),
        inputs=1,
    )


def motor_rates(t, y, u, *, j, b, k, r, l):
    return (k * y[1] - b * y[0]) / j, (u - r * y[1] - k * y[0]) / l


@ag.circuit
def controlled(u, *, p, i, d):
    y, v = ag.register("t", 0.0), ag.register("t", 0.0)
    total, slow = ag.register("t", 0.0), ag.register("t", 0.0)
    error = u - y
    fast = 20.0 * (error - slow)
    y.input, v.input = v, p * error + i * total + d * fast - y - 2 * v
    total.input, slow.input = error, fast
    return y, total, v, slow


def wired_controlled(p, i, d):
    def push(y, total, v, slow, u):
        error = u - y
        return p * error + i * total + d * 20.0 * (error - slow) - y - 2 * v

    return looped(
        (0.0, 0.0, 0.0, 0.0),
        (lambda v: v, (2,)),
        (lambda y, u: u - y, (0, 4)),
        (push, (0, 1, 2, 3, 4)),
        (lambda y, slow, u: 20.0 * (u - y - slow), (0, 3, 4)),
        inputs=1,
    )


def controlled_rates(t, y, u, *, p, i, d):
    error = u - y[0]
    fast = 20.0 * (error - y[3])
    push = p * error + i * y[1] + d * fast
    return y[2], error, push - y[0] - 2 * y[2], fast


@ag.circuit
def drooping(*, a, b):
    x, z = ag.register("t", 1.0), ag.unknown(0.5)
    z.input = a * jnp.cos(x + z)
    x.input = -b * z
    return x, z


def wired_drooping(a, b):
    bend = (ag.Add() >> ag.Cos() >> ag.Scalar(a) >> ag.Split()).trace()
    whole = ag.Split() >> ag.Id() @ bend >> ag.Id() @ ag.Split() >> ag.Id(2) @ ag.Scalar(-b)
    return (ag.Register("t", 1.0) >> whole).trace()


@ag.circuit
def ring(*, f):
    x = ag.register("t", RING)
    x.input = (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + f
    return x


def ring_rates(t, x, *, f):
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + f


def network(x):
    return SECOND.T @ jnp.tanh(FIRST @ x)


@ag.circuit
def neural(*, scale):
    x = ag.register("t", FOUR)
    x.input = scale * network(x)
    return x


SYSTEMS = [
    System(
        "a capacitor",
        {"tau": 0.8},
        capacitor,
        flow(lambda t, v, u, *, tau: (u - v) / tau, 0.3),
        from_text("tau*diff(v, t) = u - v", ("v",), {"v": 0.3}, inputs=("u",)),
        wired_capacitor,
        inputs=(RAMP,),
    ),
    System(
        "a motor",
        {"j": 0.01, "b": 0.1, "k": 0.02, "r": 1.0, "l": 0.5},
        motor,
        flow(motor_rates, (0.0, 0.0)),
        from_text(
            "j*diff(w, t) = k*i - b*w; l*diff(i, t) = u - r*i - k*w", ("w", "i"), inputs=("u",)
        ),
        wired_motor,
        inputs=(RAMP,),
    ),
    System(
        "a PID loop",
        {"p": 3.0, "i": 2.0, "d": 0.4},
        controlled,
        flow(controlled_rates, (0.0, 0.0, 0.0, 0.0)),
        from_text(
            """
            e = u - y
            s = int(e, t)
            q = 20*(e - int(q, t))
            diff(y, t, 2) = p*e + i*s + d*q - y - 2*diff(y, t)
            """,
            ("y", "s", "diff(y, t)", "int(q, t)"),
            inputs=("u",),
        ),
        wired_controlled,
        inputs=(RAMP,),
    ),
    System(
        "a loop without registers",
        {"a": 0.5, "b": 1.5},
        drooping,
        None,
        from_text("z = a*cos(x + z); diff(x, t) = -b*z", ("x", "z"), {"x": 1.0, "z": 0.5}),
        wired_drooping,
    ),
    System(
        "Lorenz-96 of 20",
        {"f": 8.0},
        ring,
        flow(ring_rates, RING),
        None,
        lambda f: looped((RING,), (lambda x: ring_rates(0.0, x, f=f), (0,))),
    ),
    System(
        "neural ODE, Tsit5",
        {"scale": 0.7},
        neural,
        flow(lambda t, x, *, scale: scale * network(x), FOUR),
        None,
        lambda scale: looped((FOUR,), (lambda x: scale * network(x), (0,))),
        method=ag.Tsit5(),
    ),
]
