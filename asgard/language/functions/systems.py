"""Systems by their right-hand sides, over pytrees: `ag.ode`, `ag.sde`, `ag.recurrence`.

Each is a function under `@ag.circuit` that opens a state for each leaf of y0, calls the right-hand
side, and feeds the states.
"""

import dataclasses
import functools
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...circuits.atoms.registers import Coordinate
from ...circuits.circuit import Circuit
from ...circuits.fields import check_choice, check_name
from ...errors import CircuitError
from .block import (
    Definition,
    FunctionBlock,
    example_of,
    given_numbers,
    name_of_function,
    signature_of,
)
from .numbers import as_value, is_number, is_whole
from .places import blaming, of_function
from .recorder import as_wire
from .states import delay, register, stochastic_register

Function = Callable[..., Any]


def ode(fn: Function, y0: Any, *, dim: str = "t", **numbers: Any) -> Circuit:
    """The circuit of dy/dt = fn(t, y), from y0.

    **Arguments:**

    - `fn`: from the time, y, and a value for each further positional parameter, which is an input
      wire of the circuit, to dy/dt, a pytree like y. Its keyword-only parameters are numbers of the
      circuit. It may be an equinox module, whose arrays are numbers too.
    - `y0`: the initial state: a number, an array, or a pytree of these.
    - `dim`: the name of the time.
    - `numbers`: values for keyword-only parameters of `fn`, the defaults for others.

    **Returns:** a block with an output for each leaf of y, in the order of `y0`, named by its path:
    `x` for `{"x": …}`, `a_b` for `{"a": {"b": …}}`, `y_0` for the first of a tuple, and `y` for a y
    that is one array.
    Its numbers are `y0` and those of `fn`. Blocks of one `fn` share a compilation: define it once.

    **Raises:** `CircuitError`, with the line in `fn`, where its value is not like y, or where it
    cannot be traced.

    ```python
    def swing(t, y, torque, *, gravity=9.81):
        return {"angle": y["speed"], "speed": torque - gravity * jnp.sin(y["angle"])}

    pendulum = ag.ode(swing, {"angle": 1.0, "speed": 0.0}, gravity=9.7)
    ag.simulate(pendulum, ts, inputs=(0.0,))["angle"]
    ```
    """
    make = functools.partial(_Flow, dim, register, _outputs("ode", y0))
    return _system("ode", make, y0, numbers, fn=fn)


def recurrence(fn: Function, y0: Any, *, dim: str = "n", **numbers: Any) -> Circuit:
    """The circuit of y[n + 1] = fn(n, y[n]), from y[0] = y0, for `ag.Discrete`.

    **Arguments:** as for `ode`, with the number of the sample in place of the time.

    **Returns:** a block with an output for each leaf of y, named as by `ode`.

    **Raises:** `CircuitError`, with the line in `fn`, where its value is not like y, or where it
    cannot be traced.

    ```python
    fibonacci = ag.recurrence(lambda n, y: (y[1], y[0] + y[1]), (0.0, 1.0))
    ag.simulate(fibonacci, range(10), calculus=ag.Discrete())["y_0"]
    ```
    """
    make = functools.partial(_Flow, dim, delay, _outputs("recurrence", y0))
    return _system("recurrence", make, y0, numbers, fn=fn)


def sde(
    drift: Function,
    diffusion: Function,
    y0: Any,
    *,
    noise: str = "diagonal",
    source: str | tuple[str, ...] = "W",
    dim: str = "t",
    **numbers: Any,
) -> Circuit:
    """The circuit of dy = drift(t, y) dt + diffusion(t, y) dW, from y0, for `ag.Stochastic`.

    **Arguments:**

    - `drift`: as `fn` of `ode`.
    - `diffusion`: takes the time, y, and the inputs that `drift` takes, or none of them. What it
      returns is a pytree like y, whose leaves `noise` says.
    - `y0`, `dim`, `numbers`: as for `ode`; keyword-only parameters of both functions are numbers.
    - `noise`: "diagonal", for a Wiener process of its own for each entry of y; "scalar", for one
      process that drives all; or "matrix", for leaves of `diffusion` with one axis more than those
      of y, the last, along which it has an entry for each process.
    - `source`: the name of the noise. For a y of several leaves under "diagonal" noise each has a
      source of its own, `W_x` for the leaf x. A tuple names them one by one: the leaves' sources,
      or those of the last axis under "matrix".

    **Returns:** a block with an output for each leaf of y, named as by `ode`.

    **Raises:** `CircuitError`, with the line in the function, where its value is not like y, or
    where it cannot be traced.

    ```python
    growth = ag.sde(lambda t, y: 0.1 * y, lambda t, y: 0.3 * y, 1.0)
    ag.simulate(growth, ts, calculus=ag.Stochastic(steps=100), key=jax.random.key(0))["y"]
    ```
    """
    check_choice("sde", "noise", noise, ("diagonal", "scalar", "matrix"))
    sources = (source,) if isinstance(source, str) else tuple(source) or ("",)
    for name in sources:
        check_name("sde", "noise", name)
    make = functools.partial(_Diffusion, dim, noise, sources, _outputs("sde", y0))
    return _system("sde", make, y0, numbers, drift=drift, diffusion=diffusion)


@dataclasses.dataclass(frozen=True)
class _Right:
    """The signature of a right-hand side: its name, its input wires with their types where it says
    them, and the names of its numbers."""

    name: str
    inputs: tuple[str, ...]
    examples: tuple[jax.ShapeDtypeStruct | None, ...]
    numbers: tuple[str, ...]

    def call(self, fn: Function, dim: str, y: Any, wires: Sequence[Any], given: Any) -> list[Any]:
        """The leaves of the function's value, a pytree like y."""
        chosen = {name: given[name] for name in self.numbers}
        value = fn(Coordinate(dim)(), y, *wires[: len(self.inputs)], **chosen)
        if type(y) in (list, tuple) and _entries(value) == len(y):
            value = type(y)(value)
        expected, found = jax.tree.structure(y), jax.tree.structure(value)
        if expected.num_nodes == 1 and isinstance(value, list | tuple) and jnp.ndim(y):
            value = jnp.stack(value)
        elif expected != found:
            shown = [str(tree).removeprefix("PyTreeDef(")[:-1] for tree in (found, expected)]
            raise CircuitError(f"{self.name} returns {shown[0]}, but y is {shown[1]}")
        return [as_wire(leaf, f"{self.name} returns") for leaf in jax.tree.leaves(value)]


def _entries(value: Any) -> int | None:
    """How many entries a list, a tuple or an array has; None of anything else."""
    if isinstance(value, list | tuple):
        return len(value)
    return value.shape[0] if isinstance(value, jax.Array) and value.ndim else None


@dataclasses.dataclass(frozen=True)
class _Flow:
    """The body of a system of one function. `state` opens what holds a leaf.

    `outputs` are the names of the leaves in the order in which y0 has them.
    """

    dim: str
    state: Function
    outputs: tuple[str, ...]
    right: _Right

    def __call__(self, *wires: Any, fn: Function, y0: Any, **given: Any) -> dict[str, Any]:
        leaves, tree = jax.tree.flatten(y0, is_leaf=is_whole)
        names = leaf_names(y0)
        starts = dict(zip(names, leaves, strict=True))
        states = {name: self.state(self.dim, starts[name]) for name in self.outputs}
        y = tree.unflatten([states[name] for name in names])
        slopes = self.right.call(fn, self.dim, y, wires, given)
        for name, slope in zip(names, slopes, strict=True):
            states[name].input = slope
        return states


@dataclasses.dataclass(frozen=True)
class _Diffusion:
    """The body of a stochastic system: each leaf is the sum of integrals against time and noise.

    `outputs` are the names of the leaves in the order in which y0 has them.
    """

    dim: str
    noise: str
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    right: _Right
    diffusing: _Right

    def __call__(
        self, *wires: Any, drift: Function, diffusion: Function, y0: Any, **given: Any
    ) -> dict[str, Any]:
        leaves, tree = jax.tree.flatten(y0, is_leaf=is_whole)
        names = leaf_names(y0)
        starts = dict(zip(names, leaves, strict=True))
        means = {name: register(self.dim, starts[name]) for name in self.outputs}
        noises = {
            name: self._noise(means[name], sources)
            for name, sources in zip(self.outputs, self._sources(self.outputs), strict=True)
        }
        values = {name: mean + noises[name].value for name, mean in means.items()}
        y = tree.unflatten([values[name] for name in names])
        slopes = self.right.call(drift, self.dim, y, wires, given)
        factors = self.diffusing.call(diffusion, self.dim, y, wires, given)
        for name, slope, factor in zip(names, slopes, factors, strict=True):
            means[name].input = slope
            noises[name].feed(factor)
        return values

    def _sources(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The names of the noises of each leaf."""
        if self.noise != "diagonal":
            return [self.sources] * len(names)
        if len(self.sources) == len(names):
            return [(source,) for source in self.sources]
        source, *others = self.sources
        if others:
            raise CircuitError(
                f"sde: source names {len(self.sources)} noises, but y has {len(names)} leaves"
            )
        return [(f"{source}_{name}",) for name in names]

    def _noise(self, mean: Any, sources: tuple[str, ...]) -> "_Whole | _Entries":
        if self.noise == "diagonal":
            start = jnp.zeros(mean.shape, mean.real.dtype)
            return _Whole(stochastic_register(self.dim, sources[0], start))
        zero = jnp.zeros((), mean.real.dtype)
        entries = tuple(
            tuple(stochastic_register(self.dim, source, zero) for source in sources)
            for _ in range(math.prod(mean.shape))
        )
        return _Entries(mean.shape, entries, self.noise == "matrix")


@dataclasses.dataclass(frozen=True)
class _Whole:
    """The integral of a leaf against a noise of its shape."""

    value: Any

    def feed(self, factor: Any) -> None:
        try:
            self.value.input = jnp.broadcast_to(factor, self.value.shape)
        except ValueError:
            raise CircuitError(
                f"sde: diffusion is of shape {jnp.shape(factor)}, and y of shape "
                f'{self.value.shape}: only noise="matrix" has one axis more'
            ) from None


@dataclasses.dataclass(frozen=True)
class _Entries:
    """The integrals of a leaf entry by entry, each against the same noises.

    Registers that share a noise hold values of one shape. `entries` has for each entry of the leaf
    one integral, which holds a vector where the noise is one, or one for each noise that has a name
    of its own.
    """

    shape: tuple[int, ...]
    entries: tuple[tuple[Any, ...], ...]
    has_axis: bool

    @property
    def value(self) -> Any:
        """The sum over the noises."""
        totals = [sum(jnp.sum(integral) for integral in entry) for entry in self.entries]
        return jnp.reshape(jnp.stack(totals), self.shape)

    def feed(self, factor: Any) -> None:
        count = len(self.entries[0])
        axes = jnp.shape(factor)[-1:] if self.has_axis else ()
        if self.has_axis and count != 1 and axes != (count,):
            raise CircuitError(
                f"sde: source names {count} noises, but diffusion is of shape {jnp.shape(factor)}"
            )
        rows = jnp.broadcast_to(factor, (*self.shape, *axes)).reshape(len(self.entries), *axes)
        for row, integrals in zip(rows, self.entries, strict=True):
            parts = [row] if count == 1 else list(row)
            for part, integral in zip(parts, integrals, strict=True):
                integral.input = part


def leaf_names(tree: Any) -> list[str]:
    """The leaves of a pytree by their paths, as names that are identifiers.

    Raises `CircuitError` where two are the same.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_whole)[0]]
    names = []
    for path in paths:
        words = [re.sub(r"\W", "_", jax.tree_util.keystr((key,), simple=True)) for key in path]
        name = "_".join(words)
        names.append(name if name[:1].isalpha() else "_".join(["y", *words]))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise CircuitError(f"y0 has two leaves that would be named {twice[0]}")
    return names


def _system(
    kind: str, make: Callable[..., Function], y0: Any, numbers: Any, **functions: Function
) -> Circuit:
    """The block of a system; `make` makes the body of its definition from signatures."""
    rights: list[_Right] = []
    defaults: dict[str, Any] = {}
    for role, fn in functions.items():
        if not callable(fn):
            raise CircuitError(f"{kind}: {role} must be a function, not {fn!r:.60}")
        right, given = _signature(kind, fn)
        rights.append(right)
        defaults |= given
    taken = {"y0", *functions}.intersection(defaults)
    if taken:
        raise CircuitError(f"{kind}: a number cannot be named {taken.pop()}, as an argument is")
    if any(len(other.inputs) not in (0, len(rights[0].inputs)) for other in rights[1:]):
        raise CircuitError(f"{kind}: {' and '.join(r.name for r in rights)} take other inputs")
    first = rights[0]
    place = of_function(next(iter(functions.values())))
    with blaming(place):
        given = given_numbers(kind, defaults, numbers, first.inputs)
    values = {name: as_value(v) for name, v in given.items()}
    definition = Definition(first.name, make(*rights), first.inputs, first.examples, place)
    return FunctionBlock(definition, {**functions, "y0": y0, **values})


def _outputs(kind: str, y0: Any) -> tuple[str, ...]:
    """The names of the leaves of an initial state, in the order in which it has them.

    Raises `CircuitError` where it holds what is no number, or nothing.
    """
    leaves = jax.tree.leaves(y0, is_leaf=is_whole)
    if not leaves:
        raise CircuitError(f"{kind}: y0 holds nothing")
    for leaf in leaves:
        if not is_number(leaf):
            raise CircuitError(f"{kind}: y0 holds {leaf!r:.60}, which is no number")
    return tuple(leaf_names(_unsorted(y0)))


def _unsorted(tree: Any) -> Any:
    """A pytree whose dictionaries keep their order, where pytrees sort their names."""
    if type(tree) is dict:
        return OrderedDict((key, _unsorted(value)) for key, value in tree.items())
    return type(tree)(map(_unsorted, tree)) if type(tree) in (list, tuple) else tree


def _signature(kind: str, fn: Function) -> tuple[_Right, dict[str, Any]]:
    """The signature of a right-hand side, and its numbers with their defaults."""
    name = name_of_function(fn, kind)
    wires, numbers = signature_of(name, fn)
    if len(wires) < 2:
        raise CircuitError(
            f"{kind}: {name} takes the time and y, and not only {len(wires)} argument"
        )
    first, second = (parameter.name for parameter in wires[:2])
    times = ("n",) if kind == "recurrence" else ("t", "time")
    if second in times and first not in times and not first.startswith("_"):
        raise CircuitError(
            f"{kind}: {name} takes ({first}, {second}), but the time comes first: "
            f"({second}, {first})"
        )
    inputs = wires[2:]
    examples = tuple(example_of(name, parameter) for parameter in inputs)
    return _Right(name, tuple(p.name for p in inputs), examples, tuple(numbers)), numbers
