"""`equations`: a circuit from the text of its equations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx

from ...circuits.circuit import Circuit
from ...circuits.constraints import Constraint
from ...circuits.fields import as_array, as_number, check_name
from ...circuits.stream import Stream
from ...errors import CircuitError, EquationError
from ..places import Source
from . import tree
from .block import Equations
from .expanding import Expander
from .expressions import Coordinate, Delay, Integral, Parameter, Pool, Start, Variable
from .forms import polynomial
from .isolating import isolated, on_a_loop
from .names import names_of
from .plan import check_streams
from .planning import Circular, Planner
from .reading import read, read_expression
from .resets import states_reset
from .structure import solve
from .system import System


def equations(
    text: str,
    *,
    parameters: Mapping[str, Any] = {},
    initial: Mapping[str, Any] = {},
    inputs: Sequence[str] = (),
    noise: Sequence[str] = (),
    outputs: Sequence[str] | None = None,
) -> Circuit:
    """A circuit from the equations of a system, written as on paper.

    A line is an equation: differential, `diff(x, t) = a*x`, of any order; integral,
    `x = 1 + int(a*x, t)`; algebraic, `z = cos(z*y)`; stochastic, `dx = a*x*dt + b*x*dW`; or of
    sequences, `f = f0 + delay(f)`. A line `reset(x, trigger, value)` makes x jump. The page on
    equations says what else may stand in it. Names that are neither said here nor explained by
    their use are unknowns.

    **Arguments:**

    - `text`: the equations.
    - `parameters`: numbers, arrays or constraints such as `ag.Positive(0.5)` by name.
    - `initial`: initial values by what they are of, such as `"q"` and `"diff(q, t)"`: numbers,
      arrays, streams over other dimensions, or texts: `"x0"` of parameters, `"1 - x^2"` of
      coordinates. 0 where not given. Of an unknown on a loop without states it is where the
      first solve starts. Of a delay by a time, such as `"x(t - tau)"`, it is the history: the
      value at the start where not given.
    - `inputs`: the names of the input wires, in their order.
    - `noise`: the names of Wiener processes.
    - `outputs`: what the output wires are: names or expressions. All unknowns by default, in the
      order in which the text names them.

    **Returns:** a block. Its numbers have the names of the parameters, and `initial.x`; unknowns
    are wires by name: `trajectory["x"]`. Blocks of one text share a compilation.

    **Raises:** `ParseError` for a text that cannot be read and `EquationError` for equations that
    say no system, both with line and column. `CircuitError` for wrong arguments.

    ```python
    swing = ag.equations(
        "diff(q, t, 2) = -w^2*sin(q) - g*diff(q, t)",
        parameters={"w": 1.3, "g": 0.1},
        initial={"q": 1.0},
    )
    ```
    """
    said = _Said.of(text, parameters, initial, inputs, noise, outputs)
    system = read(text)
    source = Source(text)
    streams = {dim for value in initial.values() if isinstance(value, Stream) for dim in value.dims}
    names = names_of(system, source, said.parameters, said.inputs, said.noise, streams)
    expander = Expander(source, names, Pool())
    expander.expand(system)
    states = _states(expander, said)
    outside = [expander.expression(shown.tree, shown.source) for shown in said.outputs or ()]
    others = [*outside, *(state.index for state in states)]
    found = System.of(
        source,
        names,
        expander.pool,
        expander.relations,
        expander.resets,
        expander.places,
        others,
    )
    count = len(outside)
    outside = found.others[:count]
    states = [
        dataclasses.replace(state, index=index)
        for state, index in zip(states, found.others[count:], strict=True)
    ]
    planner = _planner(found, states, said)
    # Arguments of sub-systems are read before what these are called.
    ordered = sorted(expander.places, key=lambda name: ("." in name, expander.places[name]))
    top = {name: found.pool.add(Variable(name)) for name in ordered}
    shown = [name for name in top if "." not in name] or [n for n in top if "[" not in n]
    if not shown and said.outputs is None:
        raise source.error(
            0,
            "the text defines functions, and no unknown: g(x) = ... is a function, and diff(x, t) "
            "a derivative",
        )
    wires = [top[name] for name in shown] if said.outputs is None else outside
    named = _wire_names(top, expander)
    try:
        plan = planner.plan(said.inputs, wires, named)
    except Circular as error:
        raise _circular(found, error) from None
    check_streams(plan, said.parameters)
    return Equations(
        numbers=said.parameters,
        initial=said.initial,
        plan=plan,
        system=system,
        input_names=said.inputs,
    )


@dataclasses.dataclass(frozen=True)
class _Shown:
    """An expression that stands in an argument."""

    text: str
    tree: tree.Expression
    source: Source


@dataclasses.dataclass(frozen=True)
class _Said:
    """The arguments of `equations`, checked.

    `initial` holds numbers and streams; `texts` those initial values that are texts, and `keys`
    what all of them are of.
    """

    parameters: dict[str, Any]
    initial: dict[str, Any]
    texts: dict[str, _Shown]
    keys: dict[str, _Shown]
    inputs: tuple[str, ...]
    noise: tuple[str, ...]
    outputs: tuple[_Shown, ...] | None

    @classmethod
    def of(
        cls, text: Any, parameters: Any, initial: Any, inputs: Any, noise: Any, outputs: Any
    ) -> "_Said":
        if not isinstance(text, str):
            raise CircuitError(f"equations are a string, not {type(text).__name__}")
        for name, given in (("parameters", parameters), ("initial", initial)):
            if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
                raise CircuitError(f"{name} maps names to numbers; it is {given!r:.60}")
        for name in parameters:
            check_name("parameters", "parameter", name)
        numbers = {key: value for key, value in initial.items() if not isinstance(value, str)}
        texts = {
            key: _shown("initial", value)
            for key, value in initial.items()
            if isinstance(value, str)
        }
        return cls(
            {name: _number(f"parameters: {name}", value) for name, value in parameters.items()},
            {key: _number(f"initial: {key}", value) for key, value in numbers.items()},
            texts,
            {key: _shown("initial", key) for key in initial},
            _names("inputs", inputs),
            _names("noise", noise),
            None
            if outputs is None
            else tuple(_shown("outputs", one) for one in _texts("outputs", outputs)),
        )


def _number(owner: str, value: Any) -> Any:
    if isinstance(value, Constraint | Stream):
        return value
    if isinstance(value, str):
        raise CircuitError(
            f"{owner} is the text {value!r:.60}, which is no number: an equation b = 8/3 in the "
            "text computes one"
        )
    if value is None:
        raise CircuitError(f"{owner} is None, which is no number")
    if callable(value) and not isinstance(value, eqx.Module):
        raise CircuitError(
            f"{owner} is a function, {value!r:.60}, and no number: equations take polynomials, as "
            'text, "1 + 2*t", or as ag.Stream([1.0, 2.0], "t"); in a function under @ag.circuit, '
            "the history of ag.delay may be any function"
        )
    return as_array(owner, as_number(value))


def _texts(owner: str, given: Any) -> tuple[str, ...]:
    listed = not isinstance(given, str) and isinstance(given, Sequence)
    if not listed or not all(isinstance(name, str) for name in given):
        raise CircuitError(f'{owner} are names, such as ("x", "y"), not {given!r:.60}')
    return tuple(given)


def _names(owner: str, given: Any) -> tuple[str, ...]:
    names = _texts(owner, given)
    for name in names:
        check_name(owner, "wire" if owner == "inputs" else "noise", name)
        if names.count(name) > 1:
            raise CircuitError(f"{owner}: {name} stands there twice")
    return names


def _shown(argument: str, text: str) -> _Shown:
    return _Shown(text, read_expression(text, argument), Source(text, argument))


@dataclasses.dataclass(frozen=True)
class _State:
    """The expression that an initial value is of, the value, and the name it was given under."""

    index: int
    value: int
    key: _Shown


def _states(expander: Expander, said: _Said) -> list[_State]:
    """What initial values are of. One of a sub-system's name is for all its uses without their
    own."""
    pool = expander.pool
    found: dict[int, _State] = {}
    general: list[tuple[int, _State]] = []
    for key, shown in said.keys.items():
        value = pool.add(Start(key))
        if key in said.texts:
            value = _initial_text(expander, said.texts[key])
        system = _system_of(shown.tree)
        if system in expander.names.systems:
            for prefix, name in expander.instances.items():
                if name == system:
                    index = expander.expression(shown.tree, shown.source, prefix)
                    general.append((index, _State(index, value, shown)))
            continue
        index = expander.expression(shown.tree, shown.source)
        if index in found:
            raise CircuitError(f"initial: {found[index].key.text!r} and {key!r} are the same")
        found[index] = _State(index, value, shown)
    for index, state in general:
        found.setdefault(index, state)
    return list(found.values())


def _system_of(expression: Any) -> str | None:
    """The sub-system in tank.level, or in a derivative of it."""
    while isinstance(expression, tree.Call) and expression.arguments:
        expression = expression.arguments[0]
    return expression.system if isinstance(expression, tree.Output) else None


def _initial_text(expander: Expander, shown: _Shown) -> int:
    """An initial value that is a text: of parameters, or a polynomial in coordinates."""
    pool = expander.pool
    index = expander.expression(shown.tree, shown.source)
    if pool.constant[index]:
        return index
    found = polynomial(pool, index)
    if found is None:
        others = any(isinstance(pool[part], Coordinate) for part in pool.reach([index]))
        raise shown.source.error(
            shown.tree.place,
            "an initial value is made of parameters and numbers, or is a polynomial in the "
            "coordinates of other dimensions, a delay's history one in time"
            + ("; give other functions of them as an ag.Stream" if others else ""),
        )
    return found


def _planner(system: System, states: Sequence[_State], said: _Said) -> Planner:
    """Solves the system and finds the registers that hold initial values."""
    pool = system.pool
    solved = solve(system)
    order = {one.name: one.order for one in solved}
    solutions = {pool.add(one.variable): isolated(pool, one, system.source) for one in solved}
    owners = {
        node.owner: index
        for index, node in enumerate(pool.nodes)
        if isinstance(node, Integral) and node.owner is not None
    }
    starts: dict[int, int] = {}
    guesses: dict[int, int] = {}
    for state in states:
        index = state.index
        if index in solutions and on_a_loop(pool, solutions, index):
            guesses[index] = state.value
        else:
            number = _register(system, order, owners, state)
            if number is None:
                raise _no_initial_value(pool, solutions, state)
            starts[number] = state.value
    resets = {
        state: (reset.trigger, reset.value)
        for state, reset in states_reset(system, order, solutions).items()
    }
    streams = frozenset(
        pool.add(kind(name))
        for kind, numbers in ((Parameter, said.parameters), (Start, said.initial))
        for name, value in numbers.items()
        if isinstance(value, Stream)
    )
    return Planner(pool, system.along, order, solutions, starts, guesses, resets, streams)


def _register(
    system: System, order: Mapping[str, int], owners: Mapping[str, int], state: _State
) -> int | None:
    """The number of the wire whose register holds an initial value; None where none does."""
    node = system.pool[state.index]
    if isinstance(node, Integral | Delay):
        return state.index
    if isinstance(node, Variable):
        dim = system.along[node.name]
        own = set(dict(node.orders)) <= {dim}
        if own and not node.orders and node.name in owners:
            return owners[node.name]
        if own and node.order(dim) < order[node.name]:
            _check_dims(system, dim, state)
            return state.index
    return None


def _no_initial_value(pool: Pool, solutions: Mapping[int, int], state: _State) -> EquationError:
    """The error of an initial value that is of no state, and of no unknown that is solved for."""
    guessed = [
        node.name
        for index, node in enumerate(pool.nodes)
        if isinstance(node, Variable) and index in solutions and on_a_loop(pool, solutions, index)
    ]
    more = (
        f"; what is solved for, and may have a guess, is {' or '.join(guessed)}" if guessed else ""
    )
    return state.key.source.error(
        state.key.tree.place,
        f"{state.key.text} has no initial value: its equation says what it is at every time{more}",
    )


def _check_dims(system: System, dim: str | None, state: _State) -> None:
    """Raises where an initial value depends on the dimension that its unknown evolves along."""
    for index in system.pool.reach([state.value]):
        node = system.pool[index]
        if dim in getattr(node, "dims", ()):
            raise state.key.source.error(
                state.key.tree.place,
                f"the initial value of {state.key.text} depends on {dim}, which it evolves along",
            )


def _wire_names(top: Mapping[str, int], expander: Expander) -> dict[str, int]:
    """Wires by name: tank.level is tank_level; those of sub-systems in expressions have none."""
    found: dict[str, int] = {}
    for name, index in top.items():
        if "[" not in name:
            wire = name.replace(".", "_")
            if wire in found:
                raise expander.error(
                    expander.places[name], f"two wires would be named {wire}: rename one of them"
                )
            found[wire] = index
    return found


def _circular(system: System, error: Circular) -> CircuitError:
    names = [system.pool[index].name for index in error.variables]  # pyright: ignore
    return system.source.error(
        min(system.places[name] for name in names),
        f"{' and '.join(sorted(names))} are equal to one another, and nothing says to what",
    )
