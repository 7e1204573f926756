"""From solved unknowns to the atoms and wires of a plan.

A wire has the number of the expression that it carries. What is made of numbers and parameters
alone is no wire: it is a number of the atom that reads it, and is computed when the circuit is.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import jax.numpy as jnp

from ...circuits.atoms.arithmetic import Add, Const, Divide, Multiplication, Scalar
from ...circuits.atoms.arithmetic import Power as PowerAtom
from ...circuits.atoms.events import Reset
from ...circuits.atoms.functions import Function
from ...circuits.atoms.registers import Coordinate as CoordinateAtom
from ...circuits.atoms.registers import Delay as DelayAtom
from ...circuits.atoms.registers import Deregister, Register, StochasticRegister
from ...circuits.atoms.unknown import Unknown
from ...circuits.circuit import Atom
from .elementary import FUNCTIONS
from .expressions import (
    Apply,
    Coordinate,
    Delay,
    Derivative,
    Input,
    Integral,
    Pool,
    Power,
    Product,
    Sum,
    Switching,
    Variable,
    parts,
)
from .forms import polynomial
from .histories import Histories
from .plan import Constant, Numbered, Plan, Step
from .resets import integral_of
from .switching import SWITCHING


class Circular(Exception):
    """Unknowns that are equal to one another and to nothing else."""

    def __init__(self, variables: tuple[int, ...]):
        super().__init__()
        self.variables = variables


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where an integral in a sum starts, and which of the terms are no part of that."""

    value: int
    others: tuple[int, ...]


@dataclasses.dataclass
class Planner:
    """Makes the steps of a system.

    - `along`: what each unknown evolves along. `order`: that of its derivative that is solved for.
    - `solutions`: what this derivative is, by the variable's number.
    - `starts`: the initial values of state wires: a constant by the number of the wire.
    - `guesses`: where the solves of algebraic loops start, likewise, by the unknown's number.
    - `resets`: triggers and values of states that are reset, by the unknown's number.
    - `streams`: the numbers of those initial values and parameters that are streams.
    """

    pool: Pool
    along: Mapping[str, str | None]
    order: Mapping[str, int]
    solutions: dict[int, int]
    starts: dict[int, int]
    guesses: dict[int, int]
    resets: dict[int, tuple[int, int]]
    streams: frozenset[int]

    def __post_init__(self):
        self.steps: dict[int, Step] = {}
        self.constants: set[int] = set()
        self.pending: list[int] = []
        self.readers: Counter[int] = Counter()

    def plan(self, inputs: Sequence[str], outputs: Sequence[int], names: Mapping[str, int]) -> Plan:
        """The plan for these output wires and wires by name."""
        events = itertools.chain.from_iterable(self.resets.values())
        self._count_readers([*outputs, *names.values(), *events])
        self._start_integrals()
        self._reset_integrals()
        self.histories = Histories(
            self.pool,
            self.along,
            self.order,
            self.solutions,
            self.starts,
            self.guesses,
            self.streams,
        )
        wires = tuple(self.pool.add(Input(name)) for name in inputs)
        ends = tuple(self.wire(output) for output in outputs)
        named = tuple((name, self.wire(index)) for name, index in names.items())
        while self.pending:
            index = self.pending.pop()
            if index not in self.steps and index not in wires:
                self.steps[index] = self._step(index)
        named += self._derivatives(dict(named))
        found = self.pool.reach(self.constants)
        return Plan(
            tuple(Constant(index, self.pool[index]) for index in found),
            tuple(self.steps[index] for index in sorted(self.steps)),
            wires,
            ends,
            named,
        )

    def _derivatives(self, named: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
        """States that are derivatives, by names such as diff_q_t, where they have none."""
        found = []
        taken = set(named.values())
        for index, step in self.steps.items():
            node = self.pool[index]
            atom = step.atom.kind if isinstance(step.atom, Numbered) else None
            if isinstance(node, Variable) and atom in (Register, Reset) and index not in taken:
                words = [node.name.replace(".", "_")]
                for dim, order in node.orders:
                    words += [dim, str(order)] if order > 1 else [dim]
                name = "_".join(["diff", *words] if node.orders else words)
                if name.isidentifier() and name not in named:
                    found.append((name, index))
        return tuple(found)

    def wire(self, index: int) -> int:
        """The wire of an expression, which will have a step."""
        passed = set()
        while index in self.solutions and index not in self.guesses:
            if index in passed:
                raise Circular(tuple(passed))
            passed.add(index)
            index = self.solutions[index]
        self.pending.append(index)
        return index

    def number(self, index: int) -> int:
        """A constant that an atom holds."""
        self.constants.add(index)
        return index

    def _count_readers(self, ends: Iterable[int]) -> None:
        """Counts who reads each expression: others, unknowns that are solved for, and `ends`."""
        pool = self.pool
        self.readers = Counter((*ends, *self.solutions.values()))
        for index in pool.reach((*ends, *self.solutions.values())):
            self.readers.update(parts(pool[index]))

    def _start_integrals(self) -> None:
        """Lets x0 + int(a, t) and x0 + k*int(a, t) start at x0, where no one else reads the
        integral. x0 is made of numbers and parameters, or is a polynomial in other coordinates."""
        for variable, solution in self.solutions.items():
            terms = self._spread(solution) if self.readers[solution] == 1 else []
            for place, term in enumerate(terms):
                integral = self._own_integral(term) if len(terms) > 1 else None
                start = None if integral is None else self._start(terms, integral)
                if integral is None or start is None:
                    continue
                self.starts[integral] = start.value
                moving = [integral if n == place else terms[n] for n in start.others]
                self.solutions[variable] = self.pool.sum(moving)
                self.readers.update((integral, self.solutions[variable]))
                break

    def _reset_integrals(self) -> None:
        """Resets integrals where an unknown is a sum with one, so that the sum becomes the value.

        What is an integral against a noise gets one of 0 beside it, to be reset.
        """
        pool = self.pool
        zero = pool.number(0.0)
        for variable in [variable for variable in self.resets if variable in self.solutions]:
            trigger, value = self.resets.pop(variable)
            solution = self.solutions[variable]
            integral = integral_of(pool, solution)
            node = None if integral is None else pool[integral]
            assert integral is not None
            assert isinstance(node, Integral)
            if node.noise is not None:
                owner = pool[variable].name  # pyright: ignore[reportAttributeAccessIssue]
                integral = pool.add(Integral((zero,), node.dim, None, owner))
                solution = self.solutions[variable] = pool.sum((solution, integral))
            if integral != solution:
                value = pool.difference(value, pool.difference(solution, integral))
                self.readers.update((solution, *pool.terms(solution), *pool.terms(value)))
            self.resets[integral] = trigger, value

    def _start(self, terms: Sequence[int], integral: int) -> "_Start | None":
        """Where an integral starts that stands in a sum."""
        pool = self.pool
        dim = pool[integral].dim  # pyright: ignore[reportAttributeAccessIssue]
        own = {Coordinate(dim)}
        fixed = [
            place
            for place, term in enumerate(terms)
            if pool.constant[term]
            or (
                own.isdisjoint(pool[part] for part in pool.reach([term]))
                and polynomial(pool, term) is not None
            )
        ]
        if not fixed:
            return None
        total = pool.sum(terms[place] for place in fixed)
        value = total if pool.constant[total] else polynomial(pool, total)
        others = tuple(place for place in range(len(terms)) if place not in fixed)
        return None if value is None else _Start(value, others)

    def _own_integral(self, term: int) -> int | None:
        """A term as an integral that nothing else reads and that has no initial value."""
        pool = self.pool
        fixed, moving = self._factors(term)
        if len(moving) != 1 or self.readers[moving[0]] > 1 or moving[0] in self.starts:
            return None
        node = pool[moving[0]]
        if not isinstance(node, Integral) or node.owner is not None:
            return None
        body = pool.product((*fixed, *node.parts))
        return pool.add(dataclasses.replace(node, parts=(body,)))

    def _terms(self, index: int, factor: int | None = None) -> list[int]:
        """The terms of a sum times a constant, with those of sums that nothing else reads."""
        pool = self.pool
        found: list[int] = []
        pending = [(part, factor) for part in reversed(parts(pool[index]))]
        while pending:
            term, by = pending.pop()
            inner, scale = term, by
            if not pool.constant[term] and isinstance(pool[term], Product):
                fixed, moving = self._factors(term)
                if len(moving) == 1 and self.readers[term] == 1:
                    inner, scale = moving[0], pool.product([*fixed, *([] if by is None else [by])])
            if self._spreads(inner, scale):
                pending += [(part, scale) for part in reversed(parts(pool[inner]))]
            else:
                found.append(term if by is None else pool.product((by, term)))
        return found

    def _spread(self, index: int) -> list[int]:
        """What an expression is the sum of."""
        if isinstance(self.pool[index], Sum):
            return self._terms(index)
        fixed, moving = self._factors(index)
        if not fixed or len(moving) != 1:
            return [index]
        factor = self.pool.product(fixed)
        spreads = self._spreads(moving[0], factor)
        return self._terms(moving[0], factor) if spreads else [index]

    def _spreads(self, index: int, factor: int | None) -> bool:
        """Whether the terms of a sum, each times a constant, are no more nodes than the sum is."""
        pool = self.pool
        node = pool[index]
        if not isinstance(node, Sum) or self.readers[index] != 1 or pool.constant[index]:
            return False
        if factor is None or pool.value(factor) == 1:
            return True
        scaled = [part for part in node.parts if self._factors(part)[0]]
        return len(node.parts) <= len(scaled) + 2

    def _factors(self, index: int) -> tuple[list[int], list[int]]:
        """The factors of a product that are constants, and the others: with those of products in
        it that nothing else reads."""
        pool = self.pool
        fixed: list[int] = []
        moving: list[int] = []
        pending = [index]
        while pending:
            factor = pending.pop()
            node = pool[factor]
            if pool.constant[factor]:
                fixed.append(factor)
            elif isinstance(node, Product) and (factor == index or self.readers[factor] == 1):
                pending += reversed(node.parts)
            else:
                moving.append(factor)
        return fixed, moving

    def _step(self, index: int) -> Step:
        if self.pool.constant[index]:
            return Step(Numbered(Const, (), (self.number(index),)), (), index)
        node = self.pool[index]
        match node:
            case Coordinate(dim):
                return self._of(CoordinateAtom(dim), (), index)
            case Variable():
                return self._variable(node, index)
            case Sum():
                return self._sum(self._terms(index), index)
            case Product():
                return self._product(index)
            case Power():
                return self._power(node, index)
            case Apply(function, arguments):
                return self._of(FUNCTIONS[function].atom(), arguments, index)
            case Integral((body,), dim, None):
                return self._state(Register, (dim,), body, index)
            case Integral((body,), dim, noise):
                return self._state(StochasticRegister, (dim, noise), body, index)
            case Delay((body,), dim):
                return self._state(DelayAtom, (dim,), body, index)
            case Delay((body, by), dim):
                numbers = self.number(self.histories.of(index, node)), self.number(by)
                return Step(Numbered(DelayAtom, (dim,), numbers), (self.wire(body),), index)
            case Switching():
                return self._switching(node, index)
            case Derivative((body,), dim):
                return self._of(Deregister(dim), (body,), index)
        raise AssertionError(node)

    def _of(self, atom: Atom, reads: Iterable[int], index: int) -> Step:
        return Step(atom, tuple(self.wire(part) for part in reads), index)

    def _state(self, kind: type, arguments: tuple[str | None, ...], body: int, index: int) -> Step:
        start = self.starts.get(index, self.pool.number(0.0))
        if index in self.resets:
            reads = (body, *self.resets[index])
            atom = Numbered(Reset, arguments, (self.number(start),))
            return Step(atom, tuple(map(self.wire, reads)), index)
        return Step(Numbered(kind, arguments, (self.number(start),)), (self.wire(body),), index)

    def _switching(self, node: Switching, index: int) -> Step:
        entry = SWITCHING[node.function]
        wires, numbers = node.parts[: entry.wires], node.parts[entry.wires :]
        atom = Numbered(entry.atom, (), tuple(map(self.number, numbers)), node.dim)
        return Step(atom, tuple(map(self.wire, wires)), index)

    def _variable(self, node: Variable, index: int) -> Step:
        """A derivative below the one that is solved for is a register, any other a deregister."""
        if index in self.guesses:
            guess = Numbered(Unknown, (), (self.number(self.guesses[index]),))
            return Step(guess, (self.wire(self.solutions[index]),), index)
        dim = self.along[node.name]
        across = [other for other, _ in node.orders if other != dim]
        if across or node.order(dim) > self.order[node.name]:
            along = across[0] if across else str(dim)
            below = self.pool.add(node.along(along, by=-1))
            return self._of(Deregister(along), (below,), index)
        return self._state(Register, (dim,), self.pool.add(node.along(str(dim))), index)

    def _sum(self, terms: Sequence[int], index: int) -> Step:
        pool = self.pool
        fixed = [term for term in terms if pool.constant[term]]
        moving = [term for term in terms if not pool.constant[term]]
        reads = [*moving, pool.sum(fixed)] if fixed else moving
        return self._of(Add(len(reads)), reads, index)

    def _product(self, index: int) -> Step:
        pool = self.pool
        terms = self._spread(index)
        if len(terms) > 1:
            return self._sum(terms, index)
        fixed, moving = self._factors(index)
        if fixed:
            factor, body = pool.product(fixed), pool.product(moving)
            return Step(Numbered(Scalar, (), (self.number(factor),)), (self.wire(body),), index)
        under = [base for part in moving if (base := self._divisor(part)) is not None]
        over = [part for part in moving if self._divisor(part) is None]
        if under and over:
            return self._of(Divide(), (pool.product(over), pool.product(under)), index)
        if under:
            return self._of(PowerAtom(-1), (pool.product(under),), index)
        return self._of(Multiplication(len(over)), over, index)

    def _divisor(self, index: int) -> int | None:
        """What a factor 1/x divides by, None of others."""
        node = self.pool[index]
        if isinstance(node, Power) and self.pool.value(node.parts[1]) == -1:
            return node.parts[0]
        return None

    def _power(self, node: Power, index: int) -> Step:
        base, exponent = node.parts
        value = self.pool.value(exponent)
        if value is not None and value == int(value) and abs(value) < 2**31:
            return self._of(PowerAtom(int(value)), (base,), index)
        if self.pool.constant[exponent]:
            atom = Numbered(PowerAtom, (), (self.number(exponent),))
            return Step(atom, (self.wire(base),), index)
        return self._of(Function(jnp.power, 2), (base, exponent), index)
