"""Where the solve of a loop without registers starts."""

from typing import Any

import equinox as eqx

from ..circuit import Atom
from ..constraints import Number
from ..fields import as_number, number_text


class Unknown(Atom):
    """A wire that passes through, and the value from which it is solved for on a loop.

    A loop that no register cuts is a fixed point. With this atom on it the wire is one of its
    unknowns, and solves start from `guess`; a guess that `FixedPoint` has by name goes before.

    ```python
    # z = cos(z) from 0.7
    (ag.Cos() >> ag.Unknown(0.7) >> ag.Split()).trace()
    ```
    """

    guess: Number = eqx.field(converter=as_number, default=0.0)
    n_in = 1
    n_out = 1

    def __call__(self, x: Any) -> Any:
        return x

    def text(self) -> str:
        number = number_text(self.guess)
        return "unknown" if number in ("0.0", "-0.0") else f"unknown({number})"
