"""Wiring atoms: they route wires and compute nothing, so no node of the graph stands for them."""

from typing import TYPE_CHECKING, Any, cast

import equinox as eqx

from ...errors import CircuitError
from ..circuit import Atom
from ..fields import check_count, check_name


class Wiring(Atom):
    """An atom that only routes: output wire i is input wire `sources[i]`."""

    if TYPE_CHECKING:
        sources = cast(Any, ())
    else:
        sources: eqx.AbstractVar[tuple[int, ...]]

    def __call__(self, *values: Any) -> Any:
        return tuple(values[source] for source in self.sources)


class Id(Wiring):
    """`n` wires that pass straight through."""

    n: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("Id", "n", self.n, least=1)

    @property
    def n_in(self) -> int:
        return self.n

    @property
    def n_out(self) -> int:
        return self.n

    @property
    def sources(self) -> tuple[int, ...]:
        return tuple(range(self.n))

    def text(self) -> str:
        return "id" if self.n == 1 else f"id({self.n})"


class Split(Wiring):
    """One wire into `n` copies."""

    n: int = eqx.field(static=True, default=2)
    n_in = 1

    def __check_init__(self):
        check_count("Split", "n", self.n, least=1)

    @property
    def n_out(self) -> int:
        return self.n

    @property
    def sources(self) -> tuple[int, ...]:
        return (0,) * self.n

    def text(self) -> str:
        return "split" if self.n == 2 else f"split({self.n})"


class Discard(Wiring):
    """Ends a wire."""

    n_in = 1
    n_out = 0
    sources = ()

    def text(self) -> str:
        return "discard"


class Swap(Wiring):
    """Crosses two wires."""

    n_in = 2
    n_out = 2
    sources = (1, 0)

    def text(self) -> str:
        return "swap"


class Permute(Wiring):
    """Reorders wires: output i is input `order[i]`."""

    order: tuple[int, ...] = eqx.field(static=True, converter=tuple)

    def __check_init__(self):
        whole = all(hasattr(index, "__index__") for index in self.order)
        if not self.order or not whole or sorted(self.order) != list(range(len(self.order))):
            raise CircuitError(
                f"Permute: order must hold each of 0 to {max(len(self.order) - 1, 0)} once, "
                f"not {self.order}"
            )

    @property
    def n_in(self) -> int:
        return len(self.order)

    @property
    def n_out(self) -> int:
        return len(self.order)

    @property
    def sources(self) -> tuple[int, ...]:
        return self.order

    def text(self) -> str:
        return f"permute({', '.join(map(str, self.order))})"


class Var(Wiring):
    """An identity that names its wire, to be read off a trajectory by that name."""

    name: str = eqx.field(static=True)
    n_in = 1
    n_out = 1
    sources = (0,)

    def __check_init__(self):
        check_name("Var", "wire", self.name)

    def text(self) -> str:
        return f"var({self.name})"
