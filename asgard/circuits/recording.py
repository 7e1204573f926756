"""Circuits called on wires: which function under `@ag.circuit` is being recorded now.

`language.functions` records; circuits only hand their calls over.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Recorder(Protocol):
    """What notes down the circuits that a function calls on wires.

    `folds` says that functions which it calls stay blocks, as pictures show them. Else they run as
    a part of it.
    """

    folds: bool

    def open(self, atom: Any) -> Any:
        """The output wire of a state atom that is fed later."""

    def apply(self, circuit: Any, wires: Sequence[Any]) -> Any:
        """The output wires of a circuit, which becomes a node of its own."""

    def fold(self, circuit: Any, wires: Sequence[Any], types: Sequence[Any]) -> Any:
        """The output wires, of these types, of a circuit that stays as it is."""

    def evaluate(self, atom: Any, rule: Callable[..., Any], wires: Sequence[Any]) -> Any:
        """The output wires of a pointwise atom, by its value rule."""


_recorder: ContextVar[Recorder | None] = ContextVar("_recorder", default=None)


def current() -> Recorder | None:
    """The recorder of the function that runs now; None outside of one."""
    return _recorder.get()


@contextlib.contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Hands calls of circuits to a recorder; None hands them to nobody."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
