"""What each name of a system stands for: by what is said, or else by its use.

Said are parameters, inputs and noises. By use, a name that something is differentiated or
integrated along is a dimension; `g(x) = ...` and `system g(x) -> y { ... }` define functions and
sub-systems; `d` before the name of a noise makes a differential. What is left are unknowns.
"""

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...errors import EquationError
from ..places import Source
from . import tree
from .elementary import FUNCTIONS
from .hints import ELSEWHERE
from .switching import SWITCHING

# Operators: how many arguments each takes, at least and at most.
OPERATORS = {
    "diff": (2, 3),
    "int": (2, 2),
    "delay": (1, 2),
    "if": (3, 3),
    "apply": (1, 64),
    "sde": (3, 4),
    "reset": (3, 3),
    **{name: entry.arity for name, entry in SWITCHING.items()},
}
RESERVED = {*OPERATORS, *(name for name, function in FUNCTIONS.items() if function.listed)}
_ADVICE = "give it in parameters={...} or inputs=(...), or add an equation that determines it"


@dataclasses.dataclass(frozen=True)
class Names:
    """What names stand for.

    - `parameters`, `inputs`, `noises`: as they were said; `noises` also has those found by use.
    - `dims`: the dimensions. `time` is the one that delays, noises and differentials are along.
    - `leading`: the dimensions of integrals, and of derivatives that are left sides.
    - `functions`: those that equations `g(x) = ...` define. `systems`: the sub-systems by name.
    """

    source: Source
    parameters: frozenset[str]
    inputs: frozenset[str]
    noises: frozenset[str]
    dims: frozenset[str]
    leading: tuple[str, ...]
    functions: Mapping[str, "Function"]
    systems: Mapping[str, tree.Definition]

    def time(self, place: int) -> str:
        """The dimension of delays and noises."""
        for candidates in (self.leading, tuple(sorted(self.dims))):
            if "t" in candidates:
                return "t"
            if len(candidates) == 1:
                return candidates[0]
            if candidates:
                raise self.source.error(
                    place,
                    f"{' and '.join(candidates)} are dimensions, and it is not clear which of them "
                    "is time: name that one t",
                )
        raise AssertionError("equations with a delay or a noise have a dimension")

    def differentials(self, equation: tree.Equation) -> dict[str, int] | None:
        """Of dx = a*dt + b*dW the names x, t and W with their places; None of other equations."""
        found = differentials(equation, self.parameters | self.inputs)
        return found if found.keys() & (self.dims | self.noises) else None

    def unknown_function(self, name: str, source: Source, place: int) -> EquationError:
        """The error for a call of what is no function."""
        known = [*RESERVED, *self.functions, *self.systems]
        near = difflib.get_close_matches(name, known, n=1)
        meant = ELSEWHERE.get(name, near[0] if near else None)
        hint = (
            f"did you mean {meant}?"
            if meant
            else f"a function is defined by an equation {name}(x) = ..., a product needs a *, and "
            f'initial={{"{name}": ...}} says what an unknown is at first'
        )
        return source.error(place, f"unknown function {name}; {hint}")

    def undefined(self, name: str, source: Source, place: int) -> EquationError:
        """The error for a name that nothing defines."""
        hint = _ADVICE
        near = difflib.get_close_matches(name, sorted(self._known()), n=1, cutoff=0.75)
        if name == "e":
            hint = "e^x is exp(x)"
        elif name.lower() == "pi":
            hint = "did you mean pi?"
        elif name in self.noises:
            hint = f"{name} is a noise, so write d{name} or int(..., {name})"
        elif name[0] == "d" and (name[1:2].isupper() or name[1:] in {*self.dims, *self.noises}):
            hint = (
                f"differentials are those of an equation dx = ...*dt + ...*dW, whose noises "
                f"noise=(...) may say; {_ADVICE}"
            )
        elif near:
            hint = f"did you mean {near[0]}? Else {_ADVICE}"
        return source.error(place, f"undefined name {name}: {hint}")

    def _known(self) -> frozenset[str]:
        """The names that stand for values."""
        return self.parameters | self.inputs | self.dims


def names_of(
    system: tree.System,
    source: Source,
    parameters: Iterable[str],
    inputs: Iterable[str],
    noises: Iterable[str],
    dims: Iterable[str],
) -> Names:
    """What the names of a system stand for.

    `dims` are dimensions that are known to be some: those of streams in initial values.

    Raises `EquationError` for names that are used as two things, or that may be either of two.
    """
    said = frozenset(parameters), frozenset(inputs), frozenset(noises)
    statements = tuple(_all(system.statements))
    finder = _Finder(source, *said, set(dims))
    finder.dimensions(statements)
    functions, systems = finder.definitions(statements)
    leading = finder.leading(statements)
    noise = finder.noise(statements)
    if noise and not finder.dims:
        finder.dims.add("t")
    names = Names(
        source,
        said[0],
        said[1],
        said[2] | noise,
        frozenset(finder.dims),
        leading,
        functions,
        systems,
    )
    finder.check_conflicts(names, system, statements)
    return names


def _all(statements: Iterable[tree.Statement]) -> Iterator[tree.Statement]:
    """All statements, also those of sub-systems, which stand after their sub-system."""
    for statement in statements:
        yield statement
        if isinstance(statement, tree.Definition):
            yield from _all(statement.statements)


def walk(*roots: Any) -> Iterator[tuple[Any, frozenset[str]]]:
    """All nodes of expressions, each with the names that abstractions around it bind."""
    pending: list[tuple[Any, frozenset[str]]] = [(root, frozenset()) for root in reversed(roots)]
    while pending:
        node, bound = pending.pop()
        yield node, bound
        if isinstance(node, tree.Abstraction):
            bound = bound | set(node.names)
        pending.extend((part, bound) for part in reversed(tree.children(node)))


def sides(statement: tree.Statement) -> tuple[tree.Expression, ...]:
    """The expressions of a statement itself."""
    if isinstance(statement, tree.Equation):
        return (statement.left, statement.right)
    return (statement,) if isinstance(statement, tree.Call) else ()


def differentials(equation: tree.Equation, said: frozenset[str]) -> dict[str, int]:
    """The names that start with d and are not said, without the d, and where each stands first."""
    found: dict[str, int] = {}
    for node, bound in walk(equation.left, equation.right):
        free = isinstance(node, tree.Name) and node.name not in bound | said
        if free and node.name[0] == "d" and len(node.name) > 1:
            found.setdefault(node.name[1:], node.place)
    return found


@dataclasses.dataclass
class _Finder:
    source: Source
    parameters: frozenset[str]
    inputs: frozenset[str]
    noises: frozenset[str]
    dims: set[str]

    def definitions(
        self, statements: Iterable[tree.Statement]
    ) -> tuple[dict[str, "Function"], dict[str, tree.Definition]]:
        functions: dict[str, Function] = {}
        systems: dict[str, tree.Definition] = {}
        for statement in statements:
            if isinstance(statement, tree.Definition):
                name, place = statement.name, statement.place
                self.define(name, place, name in functions or name in systems)
                systems[name] = statement
                for wire in (*statement.inputs, *statement.outputs):
                    if wire in self.dims:
                        raise self.source.error(
                            place, f"{wire} is a wire of {name} and a dimension: rename one of them"
                        )
            elif isinstance(statement, tree.Equation):
                found = head(statement)
                # f(t) = ... with a dimension t says the values of an unknown f.
                if found is None or (len(found.arguments) == 1 and self.dims & {*found.arguments}):
                    continue
                self.define(
                    found.name, found.place, found.name in functions or found.name in systems
                )
                functions[found.name] = Function(found, statement.right)
        return functions, systems

    def define(self, name: str, place: int, twice: bool) -> None:
        if name in RESERVED:
            raise self.source.error(place, f"{name} is a function already: choose another name")
        if name in self.parameters | self.inputs | self.noises:
            raise self.source.error(place, f"{name} is said to be no function: choose another name")
        if twice:
            raise self.source.error(place, f"{name} is defined twice")

    def dimensions(self, statements: Sequence[tree.Statement]) -> None:
        """Finds the dimensions. What is integrated along may also be a noise."""
        integrals: dict[str, int] = {}
        for statement in statements:
            found = head(statement) if isinstance(statement, tree.Equation) else None
            # One argument may be a dimension: f(t) = ... for an unknown f.
            own = set(found.arguments if found and len(found.arguments) > 1 else ())
            for node, bound in walk(*sides(statement)):
                if not isinstance(node, tree.Call) or node.function not in ("diff", "int"):
                    continue
                if len(node.arguments) < 2:
                    continue  # an error of its own, later
                along = node.arguments[1]
                if not isinstance(along, tree.Name) or along.name in bound | own:
                    raise self.source.error(
                        along.place,
                        f"{node.function} is along a dimension, which is a name: "
                        f"{node.function}(..., t)",
                    )
                if node.function == "diff":
                    self.dims.add(along.name)
                elif along.name not in self.noises:
                    integrals.setdefault(along.name, along.place)
        for statement in statements:
            if isinstance(statement, tree.Equation) and "t" in self.differentials(statement):
                self.dims.add("t")
        if "t" in integrals or len(integrals) == 1:
            self.dims.add("t" if "t" in integrals else next(iter(integrals)))
        for name, place in integrals.items():
            if name not in self.dims:
                raise self.source.error(
                    place,
                    f"{name} may be a noise or a dimension: say noise=({name!r},), or "
                    f"differentiate along {name} somewhere",
                )
        if not self.dims:
            calls = {
                node.function
                for statement in statements
                for node, _ in walk(*sides(statement))
                if isinstance(node, tree.Call)
            }
            self.dims |= {"n"} if "delay" in calls else set()
            evolving = {"sde", "reset"} | (set() if self.dims else SWITCHING.keys())
            timed = self.noises or calls & evolving or (not self.dims and self.is_time(statements))
            self.dims |= {"t"} if timed else set()

    def is_time(self, statements: Sequence[tree.Statement]) -> bool:
        """Whether t is the time where nothing is along it: no equation is left to determine it."""
        if any(isinstance(statement, tree.Definition) for statement in statements):
            return False
        heads = [head(one) if isinstance(one, tree.Equation) else None for one in statements]
        functions = RESERVED.union(found.name for found in heads if found is not None)
        names: set[str] = set()
        for statement, found in zip(statements, heads, strict=True):
            own = set(found.arguments if found else ())
            for node, bound in walk(*sides(statement)):
                if isinstance(node, tree.Call) and node.function not in functions:
                    own |= {one.name for one in node.arguments if isinstance(one, tree.Name)}
                if isinstance(node, tree.Name) and node.name not in bound | own:
                    names.add(node.name)
        unknowns = names - self.parameters - self.inputs - {"pi"}
        equations = sum(isinstance(one, tree.Equation) for one in statements)
        return "t" in unknowns and equations - sum(map(bool, heads)) < len(unknowns)

    def leading(self, statements: Iterable[tree.Statement]) -> tuple[str, ...]:
        """The dimensions that unknowns evolve along: of integrals, and of derivatives that are a
        left side."""
        found: dict[str, None] = {}
        for statement in statements:
            for node, _ in walk(*sides(statement)):
                if isinstance(node, tree.Call) and node.function == "int":
                    found.update((name, None) for name in _along(node) if name in self.dims)
            if isinstance(statement, tree.Equation):
                for node, _ in walk(statement.left):
                    if isinstance(node, tree.Call) and node.function == "diff":
                        found.update((name, None) for name in _along(node))
        return tuple(found)

    def differentials(self, equation: tree.Equation) -> dict[str, int]:
        return differentials(equation, self.parameters | self.inputs)

    def noise(self, statements: Iterable[tree.Statement]) -> frozenset[str]:
        """The noises that no one said; none where some are said.

        They are those of dx = ... + b*dW with a dt, or with an x that is a name elsewhere and a W
        that is none; and W of sde(...).
        """
        if self.noises:
            return frozenset()
        used = {
            node.name
            for statement in statements
            for node, _ in walk(*sides(statement))
            if isinstance(node, tree.Name)
        }
        zero = tree.Number(0.0)
        found: set[str] = set()
        unknown: set[str] = set()
        for statement in statements:
            if isinstance(statement, tree.Equation):
                left = self.differentials(tree.Equation(statement.left, zero)).keys()
                right = self.differentials(tree.Equation(zero, statement.right)).keys()
                unknown |= left
                if (left | right) & self.dims:
                    found |= right
                elif left & used and isinstance(statement.left, tree.Name):
                    found |= right - used
            elif isinstance(statement, tree.Call) and statement.function == "sde":
                found.add("W")
        return frozenset(found - self.dims - unknown)

    def check_conflicts(
        self, names: Names, system: tree.System, statements: Iterable[tree.Statement]
    ) -> None:
        """Raises for a name that is used as two things."""
        kinds: dict[str, Collection[str]] = {
            "a parameter": names.parameters,
            "an input": names.inputs,
            "a noise": names.noises,
            "a dimension": names.dims,
            "a function": names.functions.keys(),
            "a sub-system": names.systems.keys(),
        }
        for name in set().union(*kinds.values()):
            found = [kind for kind, members in kinds.items() if name in members]
            if len(found) > 1 or name in RESERVED:
                found = found if len(found) > 1 else ["a function", *found]
                raise self.source.error(
                    _place_of(name, statements),
                    f"{name} is {' and '.join(found)}: rename one of them",
                )
        self.check_left_sides(system.statements, kinds)
        del kinds["an input"]  # sub-systems have inputs of their own
        for statement in statements:
            if isinstance(statement, tree.Definition):
                self.check_left_sides(statement.statements, kinds)

    def check_left_sides(
        self, statements: Iterable[tree.Statement], kinds: Mapping[str, Collection[str]]
    ) -> None:
        """Raises where an equation is about what is no unknown."""
        for statement in statements:
            left = unknown_of(statement.left) if isinstance(statement, tree.Equation) else None
            for kind, members in kinds.items():
                if left is not None and left.name in members:
                    raise self.source.error(
                        left.place,
                        f"{left.name} is {kind}, so no equation determines it: rename one of them",
                    )


@dataclasses.dataclass(frozen=True)
class Function:
    """The function that an equation g(x) = body defines."""

    head: "Head"
    body: tree.Expression


@dataclasses.dataclass(frozen=True)
class Head:
    """The left side g(x, y) of an equation that defines a function."""

    name: str
    arguments: tuple[str, ...]
    place: int


def head(statement: tree.Equation) -> Head | None:
    """The head of an equation g(x) = ..., None of others."""
    left = statement.left
    if not isinstance(left, tree.Call) or left.function in RESERVED or not left.arguments:
        return None
    names = [argument.name for argument in left.arguments if isinstance(argument, tree.Name)]
    if len(names) < len(left.arguments):
        return None
    return Head(left.function, tuple(names), left.place)


def unknown_of(left: tree.Expression) -> tree.Name | None:
    """The unknown that a left side x, diff(x, t) or diff(diff(x, t), t) is about."""
    inner: Any = left
    while isinstance(inner, tree.Call) and inner.function == "diff" and inner.arguments:
        inner = inner.arguments[0]
    return inner if isinstance(inner, tree.Name) else None


def _along(call: tree.Call) -> list[str]:
    """The second argument of diff and int, if it is a name."""
    return [name.name for name in call.arguments[1:2] if isinstance(name, tree.Name)]


def _place_of(name: str, statements: Iterable[tree.Statement]) -> int:
    """Where a name stands first."""
    for statement in statements:
        if isinstance(statement, tree.Definition) and statement.name == name:
            return statement.place
        for node, _ in walk(*sides(statement)):
            if isinstance(node, tree.Name | tree.Parameter) and node.name == name:
                return node.place
            if isinstance(node, tree.Call) and node.function == name:
                return node.place
    return 0
