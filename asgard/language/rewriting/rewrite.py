"""`rewrite`: equations and circuits by rules."""

from collections.abc import Iterable, Sequence
from typing import Any, overload

from ...circuits.circuit import Circuit
from ...circuits.fields import check_choice, check_count, check_name
from ...errors import CircuitError, ParseError
from ..equations import tree
from ..equations.names import head, unknown_of
from ..equations.reading import read, read_expression
from .equations import Expressions
from .reading import Rules, read_rules
from .rule import Rule
from .strategies import STRATEGIES, Rewriter
from .terms import Terms, circuit_of, term_of
from .trees import map_sides, normal, presented

Ruleset = str | Rules | Rule

# Calls that are lines of a system. All other lines without a = are expressions.
_STATEMENTS = ("reset", "sde")


@overload
def rewrite(
    thing: str,
    rules: Ruleset | Iterable[Ruleset],
    strategy: str = "repeat",
    *,
    constants: Sequence[str] = (),
    most: int = 10_000,
) -> str: ...
@overload
def rewrite(
    thing: Circuit,
    rules: Ruleset | Iterable[Ruleset],
    strategy: str = "repeat",
    *,
    constants: Sequence[str] = (),
    most: int = 10_000,
) -> Circuit: ...
def rewrite(
    thing: Circuit | str,
    rules: Ruleset | Iterable[Ruleset],
    strategy: str = "repeat",
    *,
    constants: Sequence[str] = (),
    most: int = 10_000,
) -> Circuit | str:
    """Equations or a circuit, rewritten by rules.

    **Arguments:**

    - `thing`: a text of equations as `equations` takes it, or one expression; or a circuit.
    - `rules`: a text with a rule a line, such as `"[X]*0 => 0"`; a group of the library, such as
      `ag.rules.arithmetic`; or a list of texts and groups. The first rule that applies is taken.
    - `strategy`: `"repeat"` rewrites, parts first, until no rule applies; `"once"` applies one rule
      in the first place where one does, from the outside in; `"bottom-up"` and `"top-down"` go
      through once, with one rule at most in each place.
    - `constants`: the names in equations that are numbers, such as parameters: what the conditions
      `is constant` and `is free of` go by. `pi` and `$a` are constant without it.
    - `most`: the largest number of steps.

    **Returns:** a text for a text, a circuit for a circuit. `parse` and `equations` read what
    results are printed as.

    **Raises:** `ParseError` for rules that cannot be read, with line and column. `DegreeError` for
    a rule whose result has other wires. `CircuitError` for rules that go round in circles or have
    no end, by their names, and for wrong arguments.

    ```python
    ag.rewrite("diff(x, t) = 0*y + 2*3*x", ag.rules.arithmetic)  # diff(x, t) = 6*x
    ```
    """
    check_choice("rewrite", "strategy", strategy, STRATEGIES)
    check_count("rewrite", "most", most, least=1)
    if isinstance(constants, str):
        raise CircuitError('rewrite: constants are names, such as ("a", "b"), not a text')
    for name in constants:
        check_name("rewrite", "constant", name)
    try:
        if isinstance(thing, Circuit):
            rewriter = Rewriter(Terms(), _rules(rules, "circuits"), most)
            return circuit_of(rewriter.run(strategy, term_of(thing)))
        if isinstance(thing, str):
            return _rewritten_text(thing, _rules(rules, "equations"), strategy, constants, most)
        raise CircuitError(
            f"rewrite takes a circuit or the text of equations, not {type(thing).__name__}"
        )
    except CircuitError as error:
        raise error.with_traceback(None) from None  # which is as deep as the term


def _rules(given: Any, notation: str) -> tuple[Rule, ...]:
    """The rules of an argument, all of one notation."""
    if isinstance(given, str):
        return read_rules(given, notation)
    if isinstance(given, Rules | Rule):
        if given.notation != notation:
            this = "a circuit, whose text is ag.to_equations(circuit)"
            this = this if notation == "circuits" else "a text of equations"
            raise CircuitError(f"rewrite: these are rules for {given.notation}, and this is {this}")
        return given.rules if isinstance(given, Rules) else (given,)
    if isinstance(given, Iterable):
        return tuple(rule for one in given for rule in _rules(one, notation))
    raise CircuitError(f"rewrite: rules are texts or groups of rules, not {type(given).__name__}")


def _rewritten_text(
    text: str, rules: tuple[Rule, ...], strategy: str, constants: Sequence[str], most: int
) -> str:
    system = _read(text)
    roots = system.statements if isinstance(system, tree.System) else (system,)
    names = frozenset({"pi", *constants}) - set(_bound(roots))
    rewriter = Rewriter(Expressions(names, frozenset(_dims(roots))), rules, most)

    def change(expression: tree.Expression) -> tree.Expression:
        return presented(rewriter.run(strategy, normal(expression)))

    if not isinstance(system, tree.System):
        return str(tree.expression_text(change(system)))
    return str(tree.System(map_sides(system.statements, change, lambda one: head(one) is not None)))


def _read(text: str) -> tree.System | tree.Expression:
    """A system, or else one expression."""
    try:
        system = read(text)
        match system.statements:
            case (tree.Call(function) as call,) if function not in _STATEMENTS:
                return call
        return system
    except ParseError as error:
        try:
            return read_expression(text)
        except ParseError:
            raise error from None


def _walk(roots: Iterable[Any]) -> Iterable[Any]:
    """All statements and all nodes of expressions."""
    pending = list(roots)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, tree.Equation):
            pending += [node.left, node.right]
        elif isinstance(node, tree.Definition):
            pending += node.statements
        else:
            pending += tree.children(node)


def _dims(roots: Iterable[Any]) -> Iterable[str]:
    """The names that something is differentiated or integrated along."""
    for node in _walk(roots):
        if isinstance(node, tree.Call) and node.function in ("diff", "int"):
            yield from (arg.name for arg in node.arguments[1:2] if isinstance(arg, tree.Name))


def _bound(roots: Iterable[Any]) -> Iterable[str]:
    """The names of arguments and unknowns: they are no constants, whatever is called so."""
    for node in _walk(roots):
        if isinstance(node, tree.Abstraction):
            yield from node.names
        elif isinstance(node, tree.Definition):
            yield from node.inputs
        elif isinstance(node, tree.Equation):
            found, unknown = head(node), unknown_of(node.left)
            yield from found.arguments if found else ()
            yield from (unknown.name,) if unknown else ()
