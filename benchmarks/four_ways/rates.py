"""Populations, reactions, nerves and chaos."""

import asgard as ag

from .system import System, closed, flow, from_text, looped, side_by_side


@ag.circuit
def lotka_volterra(*, a, b, c, d):
    x, y = ag.register("t", 34.0), ag.register("t", 5.9)
    x.input, y.input = a * x - b * x * y, d * x * y - c * y
    return x, y


def wired_lotka_volterra(a, b, c, d):
    prey = ag.Scalar(a) @ ag.Scalar(-b) >> ag.Add()
    predator = ag.Scalar(-c) @ ag.Scalar(d) >> ag.Add()
    meet = ag.Id() @ (ag.Multiplication() >> ag.Split()) @ ag.Id() >> ag.Permute((0, 1, 3, 2))
    rates = ag.Split() @ ag.Split() >> meet >> prey @ predator
    return closed(rates >> ag.Register("t", 34.0) @ ag.Register("t", 5.9), 2)


@ag.circuit
def lorenz(*, s, r, b):
    x, y, z = (ag.register("t", 1.0) for _ in range(3))
    x.input, y.input, z.input = s * (y - x), x * (r - z) - y, x * y - b * z
    return x, y, z


def wired_lorenz(s, r, b):
    x = ag.Scalar(-s) @ ag.Scalar(s) >> ag.Add()
    y = ag.Scalar(r) @ (ag.Multiplication() >> ag.Scalar(-1.0)) @ ag.Scalar(-1.0) >> ag.Add(3)
    z = ag.Multiplication() @ ag.Scalar(-b) >> ag.Add()
    # Of (x, y, z): x, y | x, x, z, y | x, y, z.
    copies = ag.Split(4) @ ag.Split(3) @ ag.Split(2)
    rates = copies >> ag.Permute((0, 4, 1, 2, 7, 5, 3, 6, 8)) >> x @ y @ z
    return closed(rates >> side_by_side(*(ag.Register("t", 1.0) for _ in range(3))), 3)


@ag.circuit
def roessler(*, a, b, c):
    x, y, z = (ag.register("t", 1.0) for _ in range(3))
    x.input, y.input, z.input = -y - z, x + a * y, b + z * (x - c)
    return x, y, z


def wired_roessler(a, b, c):
    return looped(
        (1.0, 1.0, 1.0),
        (lambda y, z: -y - z, (1, 2)),
        (lambda x, y: x + a * y, (0, 1)),
        (lambda x, z: b + z * (x - c), (0, 2)),
    )


@ag.circuit
def brusselator(*, a, b):
    x, y = ag.register("t", 1.5), ag.register("t", 3.0)
    x.input, y.input = a + x**2 * y - (b + 1) * x, b * x - x**2 * y
    return x, y


def wired_brusselator(a, b):
    return looped(
        (1.5, 3.0),
        (lambda x, y: a + x**2 * y - (b + 1) * x, (0, 1)),
        (lambda x, y: b * x - x**2 * y, (0, 1)),
    )


@ag.circuit
def nerve(*, a, b, e, i):
    v, w = ag.register("t", -1.0), ag.register("t", 1.0)
    v.input, w.input = v - v**3 / 3 - w + i, e * (v + a - b * w)
    return v, w


def wired_nerve(a, b, e, i):
    return looped(
        (-1.0, 1.0),
        (lambda v, w: v - v**3 / 3 - w + i, (0, 1)),
        (lambda v, w: e * (v + a - b * w), (0, 1)),
    )


@ag.circuit
def epidemic(*, b, g):
    s, i, r = (ag.register("t", start) for start in (0.99, 0.01, 0.0))
    s.input, i.input, r.input = -b * s * i, b * s * i - g * i, g * i
    return s, i, r


def wired_epidemic(b, g):
    return looped(
        (0.99, 0.01, 0.0),
        (lambda s, i: -b * s * i, (0, 1)),
        (lambda s, i: b * s * i - g * i, (0, 1)),
        (lambda i: g * i, (1,)),
    )


@ag.circuit
def robertson(*, p, q, r):
    x, y, z = (ag.register("t", start) for start in (1.0, 0.0, 0.0))
    slow, fast, quick = p * x, q * y * z, r * y**2
    x.input, y.input, z.input = fast - slow, slow - fast - quick, quick
    return x, y, z


def wired_robertson(p, q, r):
    return looped(
        (1.0, 0.0, 0.0),
        (lambda x, y, z: q * y * z - p * x, (0, 1, 2)),
        (lambda x, y, z: p * x - q * y * z - r * y**2, (0, 1, 2)),
        (lambda y: r * y**2, (1,)),
    )


def robertson_rates(t, y, *, p, q, r):
    slow, fast, quick = p * y[0], q * y[1] * y[2], r * y[1] ** 2
    return fast - slow, slow - fast - quick, quick


def lorenz_rates(t, y, *, s, r, b):
    return s * (y[1] - y[0]), y[0] * (r - y[2]) - y[1], y[0] * y[1] - b * y[2]


def brusselator_rates(t, y, *, a, b):
    x, y = y
    return a + x**2 * y - (b + 1) * x, b * x - x**2 * y


def nerve_rates(t, y, *, a, b, e, i):
    return y[0] - y[0] ** 3 / 3 - y[1] + i, e * (y[0] + a - b * y[1])


def epidemic_rates(t, y, *, b, g):
    return -b * y[0] * y[1], b * y[0] * y[1] - g * y[1], g * y[1]


def prey_rates(t, y, *, a, b, c, d):
    return a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - c * y[1]


def roessler_rates(t, y, *, a, b, c):
    return -y[1] - y[2], y[0] + a * y[1], b + y[2] * (y[0] - c)


SYSTEMS = [
    System(
        "Lotka–Volterra",
        {"a": 0.55, "b": 0.028, "c": 0.8, "d": 0.024},
        lotka_volterra,
        flow(prey_rates, (34.0, 5.9)),
        from_text(
            "diff(x, t) = a*x - b*x*y; diff(y, t) = d*x*y - c*y",
            ("x", "y"),
            {"x": 34.0, "y": 5.9},
        ),
        wired_lotka_volterra,
    ),
    System(
        "Lorenz",
        {"s": 10.0, "r": 28.0, "b": 8 / 3},
        lorenz,
        flow(lorenz_rates, (1.0, 1.0, 1.0)),
        from_text(
            "diff(x, t) = s*(y - x); diff(y, t) = x*(r - z) - y; diff(z, t) = x*y - b*z",
            ("x", "y", "z"),
            {"x": 1.0, "y": 1.0, "z": 1.0},
        ),
        wired_lorenz,
    ),
    System(
        "Rössler",
        {"a": 0.2, "b": 0.2, "c": 5.7},
        roessler,
        flow(roessler_rates, (1.0, 1.0, 1.0)),
        from_text(
            "diff(x, t) = -y - z; diff(y, t) = x + a*y; diff(z, t) = b + z*(x - c)",
            ("x", "y", "z"),
            {"x": 1.0, "y": 1.0, "z": 1.0},
        ),
        wired_roessler,
    ),
    System(
        "Brusselator, Tsit5",
        {"a": 1.0, "b": 3.0},
        brusselator,
        flow(brusselator_rates, (1.5, 3.0)),
        from_text(
            "diff(x, t) = a + x^2*y - (b + 1)*x; diff(y, t) = b*x - x^2*y",
            ("x", "y"),
            {"x": 1.5, "y": 3.0},
        ),
        wired_brusselator,
        method=ag.Tsit5(),
    ),
    System(
        "FitzHugh–Nagumo",
        {"a": 0.7, "b": 0.8, "e": 0.08, "i": 0.5},
        nerve,
        flow(nerve_rates, (-1.0, 1.0)),
        from_text(
            "diff(v, t) = v - v^3/3 - w + i; diff(w, t) = e*(v + a - b*w)",
            ("v", "w"),
            {"v": -1.0, "w": 1.0},
        ),
        wired_nerve,
    ),
    System(
        "an epidemic",
        {"b": 2.0, "g": 0.5},
        epidemic,
        flow(epidemic_rates, (0.99, 0.01, 0.0)),
        from_text(
            "diff(s, t) = -b*s*i; diff(i, t) = b*s*i - g*i; diff(r, t) = g*i",
            ("s", "i", "r"),
            {"s": 0.99, "i": 0.01},
        ),
        wired_epidemic,
    ),
    System(
        "Robertson, Radau",
        {"p": 0.04, "q": 1e4, "r": 3e7},
        robertson,
        flow(robertson_rates, (1.0, 0.0, 0.0)),
        from_text(
            """
            diff(x, t) = q*y*z - p*x
            diff(y, t) = p*x - q*y*z - r*y^2
            diff(z, t) = r*y^2
            """,
            ("x", "y", "z"),
            {"x": 1.0},
        ),
        wired_robertson,
        end=100.0,
        method=ag.Radau(),
    ),
]
