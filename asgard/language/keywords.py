"""The keywords of the text notation: what each takes and what it builds."""

import dataclasses
from collections.abc import Callable

from ..circuits.atoms import arithmetic, events, functions, registers, unknown, wiring
from ..circuits.circuit import Circuit, Composition, Monoidal, Trace

# The kinds of argument, in words.
WORDS = {
    "circuit": "a circuit",
    "count": "a count",
    "degree": "a degree",
    "index": "the index of a wire",
    "number": "a number",
    "exponent": "a number",
    "dimension": "the name of a dimension",
    "noise": "the name of a noise",
    "wire": "the name of a wire",
}


@dataclasses.dataclass(frozen=True)
class Keyword:
    """What a keyword builds, and the kinds of the arguments it takes.

    `required` come first, then `optional`; a keyword that `repeats` takes any number more of its
    last kind. One that requires none stands without parentheses too.
    """

    build: Callable[..., Circuit]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    repeats: bool = False

    def kind(self, index: int) -> str | None:
        """The kind of the argument at `index`, None past the last."""
        kinds = self.required + self.optional
        if index < len(kinds):
            return kinds[index]
        return kinds[-1] if self.repeats else None

    def accepts(self, count: int) -> bool:
        """Whether the keyword may stand with `count` arguments."""
        return len(self.required) <= count and (
            self.repeats or count <= len(self.required) + len(self.optional)
        )

    def usage(self, word: str) -> str:
        """What the keyword takes, in words."""
        least, kinds = len(self.required), self.required + self.optional
        if not kinds:
            return f"{word} takes no arguments"
        if self.repeats:
            return f"{word} takes {least} argument{'s'[: least != 1]} or more"
        counts = " or ".join(str(count) for count in range(least, len(kinds) + 1))
        return f"{word} takes {counts} argument{'s'[: len(kinds) != 1]}, {word}({', '.join(kinds)})"


def _permute(*order: int) -> wiring.Permute:
    return wiring.Permute(order)


KEYWORDS: dict[str, Keyword] = {
    "composition": Keyword(Composition, ("circuit", "circuit"), repeats=True),
    "monoidal": Keyword(Monoidal, ("circuit", "circuit"), repeats=True),
    "trace": Keyword(Trace, ("circuit",), ("count",)),
    "id": Keyword(wiring.Id, (), ("count",)),
    "split": Keyword(wiring.Split, (), ("count",)),
    "discard": Keyword(wiring.Discard),
    "swap": Keyword(wiring.Swap),
    "permute": Keyword(_permute, ("index",), repeats=True),
    "var": Keyword(wiring.Var, ("wire",)),
    "add": Keyword(arithmetic.Add, (), ("count",)),
    "multiplication": Keyword(arithmetic.Multiplication, (), ("count",)),
    "scalar": Keyword(arithmetic.Scalar, ("number",)),
    "const": Keyword(arithmetic.Const, ("number",)),
    "divide": Keyword(arithmetic.Divide),
    "power": Keyword(arithmetic.Power, ("exponent",)),
    "register": Keyword(registers.Register, ("dimension",), ("number",)),
    "deregister": Keyword(registers.Deregister, ("dimension",)),
    "delay": Keyword(registers.Delay, ("dimension",), ("number",) * 2),
    "stochastic_register": Keyword(
        registers.StochasticRegister, ("dimension", "noise"), ("number",)
    ),
    "reset": Keyword(events.Reset, ("dimension",), ("number",)),
    "relay": Keyword(events.Relay, ("number",) * 2, ("number", "number", "dimension")),
    "sample_hold": Keyword(events.SampleHold, (), ("number", "dimension")),
    "counter": Keyword(events.Counter, (), ("number", "dimension")),
    "pulse": Keyword(events.Pulse, ("number",), ("number", "number", "dimension")),
    "clock": Keyword(events.Clock, ("number",), ("number", "dimension")),
    "coordinate": Keyword(registers.Coordinate, ("dimension",)),
    "unknown": Keyword(unknown.Unknown, (), ("number",)),
    "compose": Keyword(registers.Substitution, ("circuit", "circuit", "dimension")),
    **{
        name.lower(): Keyword(atom)
        for name, atom in vars(functions).items()
        if isinstance(atom, type)
        and issubclass(atom, functions.Elementary)
        and atom is not functions.Elementary
    },
}


def series(function: str, dim: str) -> Keyword:
    """The keyword of a Taylor polynomial of `function` along `dim`, as in `exp(8)`."""
    return Keyword(
        lambda degree: registers.TaylorPolynomial(function, degree, dim), required=("degree",)
    )
