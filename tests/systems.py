"""Systems that tests share, with what is known of them."""

import jax
import jax.numpy as jnp

import asgard as ag

# The float64 nearest 8/3.
BETA = 8 / 3
# The Lorenz system from (1, 1, 1) at t = 20.
LORENZ_AT_20 = (13.79319959513038, 12.95180393619250, 34.90160868113681)
# Where precision is not the point: steps that compile and run fast.
FAST = ag.Real(order=8, rtol=1e-8, max_steps=255)


class Decay(ag.Block):
    """An input integrated with a rate: a block that is no loop."""

    rate: jax.Array

    def circuit(self):
        return ag.Scalar(-self.rate) >> ag.Register("t", 1.0)


class Saturation(ag.Atom):
    """An own atom."""

    limit: jax.Array
    n_in = n_out = 1

    def __call__(self, x):
        return self.limit * jnp.tanh(x / self.limit)


def lorenz_field(u):
    """The right-hand side of the Lorenz system."""
    x, y, z = u
    return jnp.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - BETA * z])


def lorenz():
    """The Lorenz system on one wire that carries a vector."""
    return ode(lorenz_field, jnp.ones(3))


def lorenz_of_wires():
    """The Lorenz system on three wires that carry numbers: 0 -> 3."""
    x = (ag.Scalar(-10.0) @ ag.Scalar(10.0)) >> ag.Add() >> ag.Register("t", 1.0)
    product = ag.Multiplication() >> ag.Scalar(-1.0)
    y = (ag.Scalar(28.0) @ product @ ag.Scalar(-1.0)) >> ag.Add(3) >> ag.Register("t", 1.0)
    z = (ag.Multiplication() @ ag.Scalar(-BETA)) >> ag.Add() >> ag.Register("t", 1.0)
    # Of (x, y, z): x, y | x, x, z, y | x, y, z.
    copies = ag.Split(5) @ ag.Split(4) @ ag.Split(3)
    order = ag.Permute((0, 5, 1, 2, 9, 6, 3, 7, 10, 4, 8, 11))
    rates = copies >> order >> (x @ y @ z @ ag.Id(3))
    # The last three are the wires as they were: only the registers' outputs go on.
    kept = ag.Id(3) @ ag.Discard() @ ag.Discard() @ ag.Discard()
    return (rates >> kept >> _copies(3)).trace(3)


def lorenz_96_field(x):
    """The right-hand side of the Lorenz-96 system."""
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8.0


def lorenz_96_of_wires(start):
    """The Lorenz-96 system on a wire for each number: 0 -> n."""
    count = len(start)
    # Of x_(i+1), x_(i-2), x_(i-1), x_i.
    product = (ag.Id() @ ag.Scalar(-1.0) >> ag.Add()) @ ag.Id() >> ag.Multiplication()
    rate = product @ ag.Scalar(-1.0) @ ag.Const(8.0) >> ag.Add(3)
    reads = [4 * ((i + d) % count) + k for i in range(count) for k, d in enumerate((1, -2, -1, 0))]
    registers = ag.Monoidal(*(ag.Register("t", x) for x in start))
    rates = ag.Monoidal(*[ag.Split(4)] * count) >> ag.Permute(tuple(reads))
    loop = rates >> ag.Monoidal(*[rate] * count) >> registers >> _copies(count)
    return loop.trace(count)


def oscillator():
    """x'' = -x from x = 1 at rest, in two registers: 0 -> 2, x and x'."""
    registers = ag.Register("t", 1.0) @ (ag.Scalar(-1.0) >> ag.Register("t", 0.0))
    return (ag.Swap() >> registers >> _copies(2)).trace(2)


def decay(rate=1.0, initial=1.0):
    """x' = -rate x."""
    return (ag.Scalar(-rate) >> ag.Register("t", initial) >> ag.Split()).trace()


def relaxation(rate=1.0, initial=1.0):
    """x' = u - rate x, 1 -> 1."""
    balance = (ag.Id() @ ag.Scalar(-rate)) >> ag.Add()
    return (balance >> ag.Register("t", initial) >> ag.Split()).trace()


def ode(field, initial):
    """x' = field(x)."""
    return (ag.Function(field, 1) >> ag.Register("t", initial) >> ag.Split()).trace()


def lotka_volterra(a=0.55, b=0.028, c=0.8, d=0.024, x=34.0, y=5.9):
    """x' = a x - b x y, y' = -c y + d x y, by names: 0 -> 2."""
    prey = (ag.Scalar(a) @ ag.Scalar(-b)) >> ag.Add() >> ag.Register("t", x) >> ag.Var("prey")
    predator = (ag.Scalar(-c) @ ag.Scalar(d)) >> ag.Add() >> ag.Register("t", y)
    spread = (ag.Split(3) @ ag.Split(3)) >> ag.Permute((0, 1, 3, 4, 2, 5))
    # x, x, y, y, x, y: what grows, what is eaten, what dies, what eats.
    meet = ag.Id() @ (ag.Multiplication() >> ag.Split()) @ ag.Id() @ ag.Discard() @ ag.Discard()
    routed = spread >> meet >> ag.Permute((0, 1, 3, 2))
    rates = routed >> (prey @ (predator >> ag.Var("predator")))
    return (rates >> _copies(2)).trace(2)


def heat(initial):
    """u_t = u_xx from a polynomial in x."""
    second = ag.Deregister("x") >> ag.Deregister("x")
    return (second >> ag.Register("t", ag.Stream(initial, "x")) >> ag.Split()).trace()


def cast(tree, dtype):
    """A pytree with its arrays in a dtype."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)


def _copies(n):
    """n wires into the same n wires twice."""
    order = [2 * i for i in range(n)] + [2 * i + 1 for i in range(n)]
    splits = ag.Split()
    for _ in range(n - 1):
        splits = splits @ ag.Split()
    return splits >> ag.Permute(order)
