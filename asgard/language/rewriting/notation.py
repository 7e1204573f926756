"""What rules rewrite: nodes with parts, of one notation or another."""

import abc
from collections.abc import Iterator
from typing import Any

from .rule import Rule


class Notation(abc.ABC):
    """How nodes are taken apart, put together, matched and shown."""

    @abc.abstractmethod
    def parts(self, node: Any) -> tuple[Any, ...]:
        """The nodes in a node, from left to right."""

    @abc.abstractmethod
    def rebuilt(self, node: Any, parts: Any) -> Any:
        """A node with other parts."""

    @abc.abstractmethod
    def text(self, node: Any) -> str:
        """A node as it is written."""

    @abc.abstractmethod
    def head(self, node: Any, pattern: bool = False) -> Any:
        """What a pattern shares with all that it fits."""

    @abc.abstractmethod
    def rewritten(self, rule: Rule, node: Any) -> Iterator[Any]:
        """What a rule makes of a node, in all the ways in which it applies."""
