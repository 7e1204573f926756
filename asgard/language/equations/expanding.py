"""From the tree of a system to relations between expressions.

Functions are replaced by their values, sub-systems by their equations with names of their own, and
dx = a*dt + b*dW by x = int(a, t) + int(b, W).
"""

import dataclasses
from collections.abc import Mapping

from ..places import Source
from . import tree
from .evaluating import Evaluator, Instance, Scope, Value
from .expressions import (
    Differential,
    Integral,
    Pool,
    Variable,
)
from .forms import linear
from .names import Names, head


@dataclasses.dataclass(frozen=True)
class Relation:
    """left = right. `place` is where the equation starts in the text, `text` how it prints."""

    left: int
    right: int
    place: int
    text: str


@dataclasses.dataclass(frozen=True)
class Reset:
    """reset(target, trigger, value). `place` is where the target stands, `text` how it prints."""

    target: int
    trigger: int
    value: int
    place: int
    text: str


class Expander(Evaluator):
    """Collects the relations and resets of a system."""

    def __init__(self, source: Source, names: Names, pool: Pool):
        super().__init__(source, names, pool)
        self.relations: list[Relation] = []
        self.resets: list[Reset] = []

    def expand(self, system: tree.System) -> None:
        """Adds the relations of all statements."""
        top = Scope({})
        # Instances first: the text may use a wire of one above it.
        for statement in system.statements:
            self._declare(statement, top)
        for statement in system.statements:
            self._statement(statement, top)

    def expression(
        self, expression: tree.Expression, source: Source, prefix: str | None = None
    ) -> int:
        """An expression outside of the system, in a text of its own: it may add no relation.

        With the prefix of a sub-system in use, the name of its definition stands for that.
        """
        own, self.source = self.source, source
        self.standing = {} if prefix is None else {self.instances[prefix]: prefix}
        known, count = set(self.places), len(self.relations)
        try:
            found = self.number(expression, Scope({}))
            if len(self.relations) > count:
                raise self.error(expression.place, "sub-systems stand in equations only")
            for name in self.places.keys() - known:
                raise self.error(self.places[name], f"the equations have no unknown {name}")
        finally:
            self.source, self.standing = own, {}
        return found

    def _declare(self, statement: tree.Statement, scope: Scope) -> None:
        """Makes room for `p` where a statement is p = tank(...)."""
        if not isinstance(statement, tree.Equation):
            return
        left, right = statement.left, statement.right
        if not isinstance(right, tree.Call) or right.function not in self.names.systems:
            return
        if isinstance(left, tree.Name):
            name = scope.prefix + left.name
            if (scope.prefix, left.name) in self.named:
                raise self.error(left.place, f"{left.name} is a sub-system already")
            outputs = self.names.systems[right.function].outputs
            self.named[scope.prefix, left.name] = Instance(right.function, f"{name}.", outputs)

    def _statement(self, statement: tree.Statement, scope: Scope) -> None:
        match statement:
            case tree.Call("sde"):
                self._sde(statement, scope)
            case tree.Call("reset"):
                self._reset(statement, scope)
            case tree.Call(function):
                raise self.error(
                    statement.place,
                    f"an equation has two sides: {function}(...) = ...; only sde and reset stand "
                    "alone",
                )
            case tree.Definition() if scope.systems:
                raise self.error(statement.place, "a sub-system is defined outside of others")
            case tree.Equation():
                self._equation(statement, scope)

    def _equation(self, equation: tree.Equation, scope: Scope) -> None:
        function = head(equation)
        if function is not None and function.name in self.names.functions:
            if scope.systems:
                raise self.error(equation.place, "a function is defined outside of sub-systems")
            return
        left, right = equation.left, equation.right
        name = left.name if isinstance(left, tree.Name) else ""
        instance = self.named.get((scope.prefix, name))
        call = right if isinstance(right, tree.Call) else None
        if instance is not None and call is not None and call.function in self.names.systems:
            self._connect(call, instance, scope)
            if len(instance.outputs) != 1:
                return
            # A sub-system of one output is that output too.
            variable = self.variable(Scope({}, scope.prefix), name, left.place)
            inner = self.as_number(instance, left)
            self._relate(variable, inner, equation)
            return
        found = self.names.differentials(equation)
        if found is not None:
            self._stochastic(equation, found, scope)
        else:
            values = self.number(left, scope), self.number(right, scope)
            self._relate(*values, equation)

    def _relate(self, left: int, right: int, statement: tree.Equation | tree.Call) -> None:
        text = str(statement) if isinstance(statement, tree.Equation) else "sde(...)"
        self.relations.append(Relation(left, right, statement.place, text))

    def _sde(self, call: tree.Call, scope: Scope) -> None:
        """sde(drift, diffusion, x) or sde(drift, diffusion, x, W)."""
        self.check_count(call)
        drift, diffusion, unknown = call.arguments[:3]
        if not isinstance(unknown, tree.Name):
            raise self.error(unknown.place, "sde(drift, diffusion, x) is about an unknown x")
        noises = sorted(self.names.noises)
        if len(call.arguments) > 3:
            named = call.arguments[3]
            if not isinstance(named, tree.Name) or named.name not in noises:
                raise self.error(named.place, "the last of four is a noise: say noise=(...)")
            noises = [named.name]
        if len(noises) > 1:
            raise self.error(
                call.place, f"which noise? Write sde(drift, diffusion, x, {noises[0]})"
            )
        factors = {
            self.names.time(call.place): self.number(drift, scope),
            noises[0]: self.number(diffusion, scope),
        }
        self._integrate(unknown.name, factors, call, scope)

    def _reset(self, call: tree.Call, scope: Scope) -> None:
        """reset(x, trigger, value)."""
        self.check_count(call)
        target, trigger, value = (self.number(part, scope) for part in call.arguments)
        unknown, condition = call.arguments[:2]
        trigger = self.trigger(trigger, condition.place)
        text = tree.expression_text(unknown)  # pyright: ignore[reportArgumentType]
        self.resets.append(Reset(target, trigger, value, unknown.place, text))

    def _stochastic(self, equation: tree.Equation, found: Mapping[str, int], scope: Scope) -> None:
        """dx = a*dt + b*dW, in any linear form."""
        scaled = self.names.dims | self.names.noises
        unknowns = [name for name in found if name not in scaled]
        for name in unknowns:
            if f"d{name}" in scope.bindings:
                raise self.error(found[name], f"d{name} is no differential here")
        if not unknowns:
            shown = " and ".join(f"d{name}" for name in found)
            raise self.error(
                equation.place,
                f"{shown} {'are differentials' if len(found) > 1 else 'is a differential'}, and "
                "there is none of an unknown: write dx = ...*dt, or call a number otherwise",
            )
        if len(unknowns) != 1:
            shown = " and ".join(f"d{name}" for name in unknowns)
            raise self.error(
                equation.place,
                "a stochastic equation has the differential of one unknown, dx = ...*dt + ...*dW; "
                f"this one has {shown}. Noises are said with noise=(...)",
            )
        marks = {name: self.pool.add(Differential(name)) for name in found}
        inner = scope.bind({f"d{name}": mark for name, mark in marks.items()})
        left, right = self.number(equation.left, inner), self.number(equation.right, inner)
        form = linear(self.pool, self.pool.difference(left, right), marks.values())
        unknown = unknowns[0]
        own = None if form is None else form.slopes.get(marks[unknown])
        if form is None or own is None or self.pool.value(form.rest) != 0:
            raise self.error(
                equation.place,
                f"d{unknown} cannot be isolated: each term has one differential as a factor, "
                f"dx = a*x*dt + b*x*dW. The derivative d{unknown}/dt is diff({unknown}, t)",
            )
        over = self.pool.negative(self.pool.reciprocal(own))
        factors = {
            name: self.pool.product((form.slopes[mark], over))
            for name, mark in marks.items()
            if name != unknown and mark in form.slopes
        }
        self._integrate(unknown, factors, equation, scope)

    def _integrate(
        self,
        unknown: str,
        factors: Mapping[str, int],
        statement: tree.Equation | tree.Call,
        scope: Scope,
    ) -> None:
        """The relation of an unknown that is a sum of integrals, from its initial value."""
        variable = self.variable(scope, unknown, statement.place)
        time = self.names.time(statement.place)
        noisy = [name for name in factors if name in self.names.noises]
        steady = [name for name in factors if name not in self.names.noises]
        if not noisy:
            (dim,) = steady or (time,)
            slope = factors.get(dim, self.pool.number(0.0))
            self._relate(self.pool.derivative(variable, dim), slope, statement)
            return
        start = scope.prefix + unknown
        terms = []
        for name in (*steady, *noisy):
            # The first one holds the initial value.
            owner = None if terms else start
            if name in self.names.noises:
                terms.append(self.pool.add(Integral((factors[name],), time, name, owner)))
            else:
                terms.append(self.pool.add(Integral((factors[name],), name, None, owner)))
        self._relate(variable, self.pool.sum(terms), statement)

    def _connect(self, node: tree.Call, instance: Instance, scope: Scope) -> None:
        definition = self.names.systems[node.function]
        values = [self.number(part, scope) for part in self.arguments(node, definition)]
        self.fill(definition, instance, values, scope, node.place)

    def fill(
        self,
        definition: tree.Definition,
        instance: Instance,
        values: list[int],
        scope: Scope,
        place: int,
    ) -> None:
        """Adds the equations of a sub-system."""
        if definition.name in scope.systems:
            raise self.error(place, f"{definition.name} holds itself")
        self.instances[instance.prefix] = definition.name
        bindings: dict[str, Value] = dict(zip(definition.inputs, values, strict=True))
        inner = Scope(bindings, instance.prefix, (*scope.systems, definition.name))
        for name in definition.outputs:
            if name not in definition.inputs:
                self.variable(inner, name, definition.place)
            else:
                variable = self.pool.add(Variable(instance.prefix + name))
                self.places.setdefault(instance.prefix + name, definition.place)
                value = self.as_number(bindings[name], definition)
                self.relations.append(Relation(variable, value, definition.place, name))
        for statement in definition.statements:
            self._declare(statement, inner)
        for statement in definition.statements:
            self._statement(statement, inner)
