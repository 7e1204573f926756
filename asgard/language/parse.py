"""From text to circuits."""

import contextlib
import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import lark
import numpy as np

from ..circuits.atoms.registers import TaylorPolynomial
from ..circuits.circuit import Circuit, circuit_of
from ..circuits.fields import check_count, check_name
from ..circuits.terms import Assembly
from ..errors import CircuitError, ParseError
from .keywords import KEYWORDS, WORDS, Keyword, series
from .places import shorten
from .syntax import read

# Longer integers are larger than any count that fits into memory.
_MOST_DIGITS = 18
# The smallest value of each kind of integer.
_LEAST = {"count": 1, "degree": 0, "index": 0}
# Numbers that the grammar reads as names.
_NAMED_NUMBERS = ("inf", "nan", "infj", "nanj")


def parse(text: str, *, names: Mapping[str, Circuit] | None = None) -> Circuit:
    """Reads a circuit from the text that `str(circuit)` prints.

    Keywords may be written in upper or lower case. Dimensions, noises, wires and `names` are case
    sensitive. White space does not matter.

    **Arguments:**

    - `text`: the circuit, such as `"composition(split, add)"`.
    - `names`: circuits by further words: your own atoms, blocks and functions, which print by name.

    **Returns:** the circuit. `parse(str(c)) == c` for circuits of built-in atoms with scalar
    numbers, in the float dtype that they were printed in.

    **Raises:** `ParseError` if the text is no circuit, and `DegreeError` if wire counts do not fit,
    both with line and column. `CircuitError` if `text` is no string, or `names` are wrong.

    ```python
    loop = ag.parse("trace(composition(add, register(t, 1.0), split))")
    tank = ag.parse("composition(Valve, register(t))", names={"Valve": Valve(0.3)})
    ```
    """
    if not isinstance(text, str):
        raise CircuitError(f"parse reads a string, not {type(text).__name__}")
    return _Builder(text, _check_names(names)).build(read(text))


@dataclasses.dataclass
class _Call:
    """A call that is being read: its arguments as they stand, and the values of the first of them.

    The value of a circuit that a combinator joins is None: the circuit is in the assembly. `dim` is
    the dimension that a series such as `exp(8)` is along, None where none is allowed.
    """

    token: lark.Token
    keyword: Keyword
    arguments: list[Any]
    dim: str | None
    values: list[Any] = dataclasses.field(default_factory=list)

    @property
    def combinator(self) -> str | None:
        """The combinator that the call is, if it is one."""
        word = self.token.lower()
        return word if word in ("composition", "monoidal", "trace") else None


class _Builder:
    """Builds the circuit of a tree, with a stack of calls: texts nest deeper than Python's stack.

    Atoms that are written alike are one object.
    """

    def __init__(self, text: str, names: Mapping[str, Circuit]):
        self.text = text
        self.names = names
        self.assembly = Assembly()
        self.built: dict[str, Circuit] = {}

    def build(self, tree: lark.Tree) -> Circuit:
        calls = [self.open(tree, None)]
        while calls:
            call = calls[-1]
            index = len(call.values)
            if index == len(call.arguments):
                self.close(calls.pop())
                if calls:
                    joins = calls[-1].combinator is not None
                    calls[-1].values.append(None if joins else circuit_of(self.assembly.pop()))
            elif call.keyword.kind(index) == "circuit":
                calls.append(self.open_argument(call, index))
            else:
                call.values.append(self.read(call, index))
        return circuit_of(self.assembly.pop())

    def open(self, tree: lark.Tree, dim: str | None) -> _Call:
        """Starts a call: finds its keyword and checks how many arguments it has."""
        token: Any = tree.children[0]
        arguments = tree.children[1:]
        word = token.lower()
        if token in self.names:
            circuit = self.names[token]
            keyword = Keyword(lambda: circuit)
        elif word in TaylorPolynomial.functions and arguments:
            if dim is None:
                raise self.error(
                    token,
                    f"{word} with a degree is a series, the first argument of compose only; "
                    f"the function is {word} alone",
                )
            keyword = series(word, dim)
        elif word in KEYWORDS:
            keyword = KEYWORDS[word]
        else:
            raise self.error(token, *self.unknown(token))
        if not keyword.accepts(len(arguments)):
            missing = keyword.required[len(arguments) :]
            extra = arguments[len(keyword.required + keyword.optional) :]
            raise self.error(
                _first_token(extra[0]) if extra else token,
                f"{keyword.usage(token)}; it is given {len(arguments)}",
                tuple(WORDS[kind] for kind in missing[:1]),
            )
        return _Call(token, keyword, arguments, dim)

    def open_argument(self, call: _Call, index: int) -> _Call:
        """Starts the call that is an argument. `compose` gives the series in its first a `dim`."""
        argument = call.arguments[index]
        if not isinstance(argument, lark.Tree):
            raise self.misfit(call, index)
        dim = call.dim
        if call.token.lower() == "compose":
            dim = self.read(call, 2) if index == 0 else None
        return self.open(argument, dim)

    def close(self, call: _Call) -> None:
        """Adds the circuit of a call whose arguments are read to the assembly."""
        token = call.token
        if call.combinator is not None:
            count = len(call.arguments)
            if call.combinator == "trace":
                count = call.values[1] if len(call.values) > 1 else 1
            elif call.combinator == "composition":
                pairs = itertools.pairwise(self.assembly.degrees(count))
                wrong = [index for index, ((_, out), (into, _)) in enumerate(pairs) if out != into]
                token = _first_token(call.arguments[wrong[0] + 1]) if wrong else token
            with self.located_at(token):
                self.assembly.combine(call.combinator, count)
            return
        text = f"{token if token in self.names else token.lower()} {call.dim} {call.values!r}"
        # Circuits as arguments print too much to look up.
        circuit = None if "circuit" in call.keyword.required else self.built.get(text)
        if circuit is None:
            with self.located_at(token):
                circuit = call.keyword.build(*call.values)
            self.built[text] = circuit
        self.assembly.push(circuit)

    def read(self, call: _Call, index: int) -> Any:
        """The value of an argument that is not a circuit."""
        kind = call.keyword.kind(index)
        token: Any = call.arguments[index]
        name = None
        if isinstance(token, lark.Tree):
            if len(token.children) > 1:
                raise self.misfit(call, index)
            token = name = _first_token(token)
        if kind in ("number", "exponent"):
            if name is not None and name.lower() not in _NAMED_NUMBERS:
                raise self.misfit(call, index)
            whole = kind == "exponent" and re.fullmatch("[+-]?[0-9]+", token)
            return self.integer(token) if whole else self.number(token)
        if kind in _LEAST:
            if not re.fullmatch("[+-]?[0-9]+", token):
                raise self.misfit(call, index)
            value = self.integer(token)
            with self.located_at(token):
                check_count(call.token, kind, value, _LEAST[kind])
            return value
        if name is None:
            raise self.misfit(call, index)
        with self.located_at(name):
            check_name(call.token, str(kind), str(name))
        return str(name)

    def integer(self, token: lark.Token) -> int:
        if len(token) > _MOST_DIGITS:
            raise self.error(token, f"{shorten(token)} is too large")
        return int(token)

    def number(self, token: lark.Token) -> float | complex:
        word = token.lower()
        value = complex(word) if "j" in word else float(word)
        dtype = np.dtype(jnp.result_type(type(value)))
        with np.errstate(over="ignore"):
            overflows = not np.isfinite(np.asarray(value).astype(dtype))
        if overflows and "inf" not in word and "nan" not in word:
            raise self.error(token, f"{shorten(token)} is more than {dtype} holds")
        return value

    def error(self, token: lark.Token, message: str, expected: tuple[str, ...] = ()) -> ParseError:
        line, column = token.line or 1, token.column or 1
        return ParseError(message, line=line, column=column, expected=expected, text=self.text)

    def misfit(self, call: _Call, index: int) -> ParseError:
        """The error for an argument of the wrong kind."""
        argument = call.arguments[index]
        found = shorten(_first_token(argument))
        if isinstance(argument, lark.Tree) and len(argument.children) > 1:
            found += " with arguments"
        words = WORDS[str(call.keyword.kind(index))]
        return self.error(
            _first_token(argument),
            f"unexpected {found}, in argument {index + 1} of {call.token}",
            (words,),
        )

    def unknown(self, token: lark.Token) -> tuple[str, tuple[str, ...]]:
        """The message for a word that is neither a keyword nor one of `names`."""
        known = {word.lower(): word for word in (*KEYWORDS, *self.names)}
        near = difflib.get_close_matches(token.lower()[:40], known, n=1)
        hint = (
            f"did you mean {known[near[0]]}?"
            if near
            else "own atoms and blocks are given with names={...}"
        )
        return f"unknown circuit {shorten(token)}; {hint}", ()

    @contextlib.contextmanager
    def located_at(self, token: lark.Token) -> Iterator[None]:
        """Adds line and column to the errors of what is built."""
        try:
            yield
        except CircuitError as error:
            if type(error) is CircuitError:
                raise self.error(token, str(error)) from None
            raise error.located_at(self.text, token.line or 1, token.column or 1) from None


def _first_token(node: Any) -> lark.Token:
    """Where an argument starts: a call's name, or the number itself."""
    first: Any = node.children[0] if isinstance(node, lark.Tree) else node
    return first


def _check_names(names: Mapping[str, Circuit] | None) -> Mapping[str, Circuit]:
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise CircuitError(f"parse: names maps words to circuits; it is a {type(names).__name__}")
    for name, circuit in names.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise CircuitError(f"parse: names are identifiers, not {name!r}")
        if name.lower() in KEYWORDS:
            raise CircuitError(f"parse: the name {name!r} is the keyword {name.lower()}")
        if not isinstance(circuit, Circuit):
            found = f"the class {circuit.__name__}" if isinstance(circuit, type) else repr(circuit)
            raise CircuitError(f"parse: the name {name!r} stands for a circuit, not {found}")
    return names
