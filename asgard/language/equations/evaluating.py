"""The values of expressions: functions and sub-systems become what they stand for."""

import abc
import dataclasses
from collections.abc import Generator, Mapping
from typing import Any

from ...errors import EquationError
from ..places import Source
from . import tree
from .elementary import FUNCTIONS
from .expressions import (
    RELATIONS,
    Apply,
    Coordinate,
    Delay,
    Input,
    Integral,
    Number,
    Parameter,
    Pool,
    Switching,
    Variable,
    Written,
)
from .hints import MODULES
from .names import OPERATORS, Names, sides, walk
from .switching import SWITCHING

# How deep functions may be expanded in one another, and how much work all of them may be.
_DEEPEST = 2000
_MOST = 2_000_000


@dataclasses.dataclass(frozen=True)
class Scope:
    """Where an expression stands.

    - `bindings`: what the names of abstractions, functions and inputs of a sub-system stand for.
    - `prefix`: what the unknowns of a sub-system have before their name: "tank."
    - `systems`: the sub-systems that this stands in.
    """

    bindings: Mapping[str, "Value"]
    prefix: str = ""
    systems: tuple[str, ...] = ()

    def bind(self, bindings: Mapping[str, "Value"]) -> "Scope":
        return dataclasses.replace(self, bindings={**self.bindings, **bindings})


@dataclasses.dataclass(frozen=True)
class Closure:
    """A function as a value: an abstraction where it stands, or the name of a function."""

    names: tuple[str, ...]
    body: tree.Expression
    scope: Scope
    name: str


@dataclasses.dataclass(frozen=True)
class Instance:
    """A sub-system in use: the prefix of its unknowns, and which of them are its outputs."""

    name: str
    prefix: str
    outputs: tuple[str, ...]


Value = int | Closure | Instance
# An evaluation asks for the values of parts by yielding them with their scopes.
Evaluation = Generator[tuple[Any, Scope], Any, Value]


class Evaluator(abc.ABC):
    """Evaluates expressions to numbers of expressions in a pool.

    - `places`: where each unknown stands first, in the order of the text.
    - `instances`: the names of sub-systems in use, by the prefix of their unknowns.
    - `named`: those that the text names, by the prefix they stand in and their name.
    - `standing`: which of them stands for all uses of a sub-system, by its name.
    """

    def __init__(self, source: Source, names: Names, pool: Pool):
        self.source = source
        self.names = names
        self.pool = pool
        self.places: dict[str, int] = {}
        self.instances: dict[str, str] = {}
        self.named: dict[tuple[str, str], Instance] = {}
        self._anonymous: dict[tuple[str, tuple[int, ...]], Instance] = {}
        self._applied: dict[tuple[str, tuple[Value, ...]], Value] = {}
        self.standing: dict[str, str] = {}
        self._work = 0

    @abc.abstractmethod
    def fill(
        self,
        definition: tree.Definition,
        instance: Instance,
        values: list[int],
        scope: Scope,
        place: int,
    ) -> None:
        """Adds the equations of a sub-system whose inputs are `values`."""

    def error(self, place: int, message: str) -> EquationError:
        return self.source.error(place, message)

    def number(self, expression: Any, scope: Scope) -> int:
        """The value of an expression that is no function."""
        found = self._value(expression, scope)
        return self.as_number(found, expression)

    def as_number(self, value: Value, expression: Any) -> int:
        if isinstance(value, Closure):
            raise self.error(expression.place, f"{value.name} is a function: give it its arguments")
        if isinstance(value, Instance):
            if len(value.outputs) == 1:
                return self.pool.add(Variable(value.prefix + value.outputs[0]))
            wires = " or ".join(f"p.{output}" for output in value.outputs)
            raise self.error(
                expression.place,
                f"{value.name} has several outputs: give it a name, p = {value.name}(...), and "
                f"take {wires}",
            )
        return value

    def _value(self, expression: Any, scope: Scope) -> Value:
        """Evaluates with a stack of its own: functions nest deeper than Python's stack."""
        running: list[Evaluation] = [self._evaluate(expression, scope)]
        value: Any = None
        while running:
            try:
                part, inner = running[-1].send(value)
            except StopIteration as finished:
                running.pop()
                value = finished.value
                continue
            self._work += 1
            if len(running) > _DEEPEST or self._work > _MOST:
                raise self.error(
                    expression.place,
                    "functions in here are expanded without end: a function may not call itself",
                )
            running.append(self._evaluate(part, inner))
            value = None
        return value

    def _evaluate(self, node: Any, scope: Scope) -> Evaluation:
        pool = self.pool
        match node:
            case tree.Number(value):
                return pool.number(value)
            case tree.Parameter(name):
                return self._parameter(name, node.place)
            case tree.Name():
                return self._name(node, scope)
            case tree.Output():
                return self._output(node, scope)
            case tree.Abstraction(names, body):
                return Closure(names, body, scope, "an abstraction")
            case tree.Call():
                return (yield from self._call(node, scope))
            case tree.Given():
                raise self.error(node.place, f"{node.name}=... is for inputs of sub-systems")
        values = []
        for part in tree.children(node):
            values.append(self.as_number((yield part, scope), part))
        match node:
            case tree.Negative():
                return pool.negative(values[0])
            case tree.Reciprocal():
                return pool.reciprocal(values[0])
            case tree.Sum():
                return pool.sum(values)
            case tree.Product():
                return pool.product(values)
            case tree.Power():
                return pool.power(*values)
            case tree.Comparison(relation):
                return pool.apply(relation, *values)
        raise AssertionError(node)

    def _parameter(self, name: str, place: int) -> int:
        if name not in self.names.parameters:
            raise self.error(place, f"${name} has no value: parameters={{{name!r}: ...}}")
        return self.pool.add(Parameter(name))

    def _name(self, node: tree.Name, scope: Scope) -> Value:
        name, names = node.name, self.names
        if name in scope.bindings:
            return scope.bindings[name]
        if name in names.parameters:
            return self._parameter(name, node.place)
        if name in names.inputs and not scope.prefix:
            return self.pool.add(Input(name))
        if name in names.dims:
            return self.pool.add(Coordinate(name))
        if name in names.functions:
            function = names.functions[name]
            return Closure(function.head.arguments, function.body, Scope({}), name)
        if name in names.noises:
            raise names.undefined(name, self.source, node.place)
        if name in names.systems or name in FUNCTIONS or name in OPERATORS:
            raise self.error(node.place, f"{name} needs its arguments: {name}(...)")
        instance = self.named.get((scope.prefix, name))
        if instance is not None and len(instance.outputs) > 1:
            return instance
        if name == "pi":
            return self.pool.add(Number(3.141592653589793))
        return self.variable(scope, name, node.place)

    def variable(self, scope: Scope, name: str, place: int) -> int:
        full = scope.prefix + name
        self.places.setdefault(full, place)
        return self.pool.add(Variable(full))

    def _output(self, node: tree.Output, scope: Scope) -> Value:
        instance = self.named.get((scope.prefix, node.system))
        if instance is None and node.system in self.standing:
            prefix = self.standing[node.system]
            instance = Instance(node.system, prefix, self.names.systems[node.system].outputs)
        if instance is None:
            hint = f"{node.system} is no sub-system: {node.system} = name(...) makes it one"
            if node.system in MODULES:
                hint = f"{node.name} has no module before it"
            raise self.error(node.place, hint)
        definition = self.names.systems[instance.name]
        inside = {*definition.outputs, *(_unknowns(definition) - self._known(definition))}
        if node.name not in inside:
            raise self.error(
                node.place,
                f"{node.system} has no wire {node.name}; it has {', '.join(definition.outputs)}",
            )
        full = instance.prefix + node.name
        self.places.setdefault(full, node.place)
        return self.pool.add(Variable(full))

    def _known(self, definition: tree.Definition) -> set[str]:
        """The names in a sub-system that are no unknowns of its own."""
        names = self.names
        kinds = (definition.inputs, names.parameters, names.dims, names.noises, names.functions)
        return set().union(*kinds)

    def _call(self, node: tree.Call, scope: Scope) -> Evaluation:
        name = node.function
        if name in scope.bindings:
            return (yield from self._apply(scope.bindings[name], node, node.arguments, scope))
        if name in FUNCTIONS and FUNCTIONS[name].listed:
            self.check_count(node)
            values = []
            for part in node.arguments:
                values.append(self.as_number((yield part, scope), part))
            return self.pool.apply(name, *values)
        if name in OPERATORS:
            return (yield from self._operator(node, scope))
        if name in self.names.functions:
            closure = self._name(tree.Name(name, place=node.place), scope)
            return (yield from self._apply(closure, node, node.arguments, scope))
        if name in self.names.systems:
            return (yield from self._system(node, scope))
        return (yield from self._at_time(node, scope))

    def check_count(self, node: tree.Call) -> None:
        name, count = node.function, len(node.arguments)
        known = name in FUNCTIONS
        least, most = (FUNCTIONS[name].arity,) * 2 if known else OPERATORS[name]
        if not least <= count <= most:
            between = "or" if most == least + 1 else "to"
            wanted = str(least) if least == most else f"{least} {between} {most}"
            raise self.error(
                node.place,
                f"{name} takes {wanted} argument{'s'[: wanted != '1']}; it is given {count}",
            )

    def _operator(self, node: tree.Call, scope: Scope) -> Evaluation:
        self.check_count(node)
        pool = self.pool
        arguments: tuple[Any, ...] = node.arguments
        if node.function == "sde" or node.function == "reset":
            raise self.error(node.place, f"{node.function} is a statement of its own, no term")
        if node.function == "apply":
            function = yield arguments[0], scope
            return (yield from self._apply(function, node, arguments[1:], scope))
        if node.function in SWITCHING:
            return (yield from self._switching(node, scope))
        body = self.as_number((yield arguments[0], scope), arguments[0])
        if node.function == "if":
            then = self.as_number((yield arguments[1], scope), arguments[1])
            otherwise = self.as_number((yield arguments[2], scope), arguments[2])
            return pool.choice(body, then, otherwise)
        if node.function == "diff":
            for _ in range(self._order(node)):
                body = pool.derivative(body, arguments[1].name)
            return body
        if node.function == "int":
            along = arguments[1].name
            if along not in self.names.noises:
                return pool.add(Integral((body,), along))
            return pool.add(Integral((body,), self.names.time(node.place), along))
        if len(arguments) == 2:
            by = self.as_number((yield arguments[1], scope), arguments[1])
            return self._delayed(body, by, arguments[1].place, node, scope)
        return pool.add(Delay((body,), self.names.time(node.place)))

    def _switching(self, node: tree.Call, scope: Scope) -> Evaluation:
        """relay(x, low, high) and the like."""
        entry = SWITCHING[node.function]
        values = []
        for part in node.arguments:
            values.append(self.as_number((yield part, scope), part))
        for place, part in enumerate(node.arguments):
            if entry.triggered and place == entry.wires - 1:
                values[place] = self.trigger(values[place], part.place)
            elif place >= entry.wires and not self.pool.constant[values[place]]:
                raise self.error(
                    part.place,
                    f"this argument of {node.function} is made of numbers and parameters alone",
                )
        return self.pool.add(Switching(node.function, tuple(values), self.names.time(node.place)))

    def trigger(self, trigger: int, place: int) -> int:
        """What rises through zero: v - 30 where v > 30 begins to hold."""
        node = self.pool[trigger]
        if isinstance(node, Apply) and node.function in RELATIONS:
            if node.function in ("==", "!="):
                raise self.error(
                    place,
                    f"a trigger rises through zero: write x > c or x < c, not x {node.function} c",
                )
            left, right = node.parts if node.function[0] == ">" else reversed(node.parts)
            trigger = self.pool.difference(left, right)
        if self.pool.constant[trigger]:
            raise self.error(
                place,
                "this trigger is constant: write what rises through zero at an event, such as "
                "v - 30",
            )
        return trigger

    def _order(self, node: tree.Call) -> int:
        """The third argument of diff."""
        if len(node.arguments) < 3:
            return 1
        order: Any = node.arguments[2]
        whole = isinstance(order, tree.Number) and order.value in range(1, 100)
        if not whole:
            raise self.error(order.place, "the order of a derivative is a number: 1, 2, ...")
        return int(order.value)

    def _delayed(self, body: int, by: int, at: int, node: tree.Call, scope: Scope) -> int:
        """What a body was earlier by a time, which stands at a place."""
        if not self.pool.constant[by]:
            raise self.error(at, "what a delay is by is made of numbers and parameters alone")
        plain = not scope.bindings and not scope.prefix
        written = Written(self.source, node.place, tree.expression_text(node), plain)
        return self.pool.add(Delay((body, by), self.names.time(node.place), written))

    def _apply(
        self, function: Value, node: tree.Call, arguments: tuple[Any, ...], scope: Scope
    ) -> Evaluation:
        if not isinstance(function, Closure):
            raise self.error(node.place, "what is applied here is no function")
        if len(arguments) != len(function.names):
            raise self.error(
                node.place,
                f"{function.name} takes {len(function.names)} "
                f"argument{'s'[: len(function.names) != 1]} ({', '.join(function.names)}); it is "
                f"given {len(arguments)}",
            )
        values: list[Value] = []
        for part in arguments:
            values.append((yield part, scope))
        named = function.name in self.names.functions
        key = (function.name, tuple(values)) if named and _plain(values) else None
        if key is not None and key in self._applied:
            return self._applied[key]
        bound = dict(zip(function.names, values, strict=True))
        found = yield function.body, function.scope.bind(bound)
        if key is not None:
            self._applied[key] = found
        return found

    def _system(self, node: tree.Call, scope: Scope) -> Evaluation:
        """A sub-system in an expression: the same one for the same inputs."""
        definition = self.names.systems[node.function]
        values = []
        for part in self.arguments(node, definition):
            values.append(self.as_number((yield part, scope), part))
        key = (definition.name, tuple(values))
        if key not in self._anonymous:
            prefix = f"{definition.name}[{len(self._anonymous)}]."
            instance = Instance(definition.name, prefix, definition.outputs)
            self._anonymous[key] = instance
            self.fill(definition, instance, values, scope, node.place)
        return self._anonymous[key]

    def arguments(self, node: tree.Call, definition: tree.Definition) -> list[Any]:
        """The arguments of a sub-system in the order of its inputs."""
        found: dict[str, Any] = {}
        for index, argument in enumerate(node.arguments):
            if isinstance(argument, tree.Given):
                name, value = argument.name, argument.value
            elif index < len(definition.inputs):
                name, value = definition.inputs[index], argument
            else:
                name, value = "", argument
            if name not in definition.inputs or name in found:
                listed = ", ".join(definition.inputs) or "none"
                what = f"{name} is given twice" if name in found else "there is no such input"
                raise self.error(
                    argument.place, f"{definition.name} has the inputs {listed}: {what}"
                )
            found[name] = value
        missing = [name for name in definition.inputs if name not in found]
        if missing:
            raise self.error(node.place, f"{definition.name} needs its input {missing[0]}")
        return [found[name] for name in definition.inputs]

    def _at_time(self, node: tree.Call, scope: Scope) -> Evaluation:
        """x(t), which is x, and x(t - tau)."""
        name = node.function
        arguments: tuple[Any, ...] = node.arguments
        instance = self.named.get((scope.prefix, name))
        others = self.names.parameters | self.names.dims | self.names.noises
        several = instance is not None and len(instance.outputs) > 1
        if len(arguments) != 1 or several or name in others:
            raise self.names.unknown_function(name, self.source, node.place)
        argument = arguments[0]
        first = argument.terms[0] if isinstance(argument, tree.Sum) else argument
        if isinstance(argument, tree.Sum) and isinstance(first, tree.Name):
            if first.name not in self.names.dims:
                raise self.error(
                    node.place,
                    f"{name} is no function, and {first.name} no dimension: {name} one sample "
                    f"before is delay({name}), and a time before {name}(t - tau)",
                )
        elif not (isinstance(first, tree.Name) and first.name in self.names.dims):
            raise self.names.unknown_function(name, self.source, node.place)
        found = self._name(tree.Name(name, place=node.place), scope)
        if argument is first:
            return found
        later = isinstance(argument, tree.Sum) and (
            len(argument.terms) != 2 or not isinstance(argument.terms[1], tree.Negative)
        )
        if later:
            raise self.error(
                argument.place, f"{name} is known at {first.name} and before: {name}(t - tau)"
            )
        (_, subtracted) = argument.terms
        assert isinstance(subtracted, tree.Negative)
        by = subtracted.body
        found = self.as_number(found, node)
        by = self.as_number((yield by, scope), by)
        return self._delayed(found, by, argument.place, node, scope)


def _plain(values: list[Value]) -> bool:
    return all(isinstance(value, int) for value in values)


def _unknowns(definition: tree.Definition) -> set[str]:
    """The names that the equations of a sub-system use."""
    return {
        node.name
        for statement in definition.statements
        for node, bound in walk(*sides(statement))
        if isinstance(node, tree.Name) and node.name not in bound
    }
