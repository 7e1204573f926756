"""State atoms in functions under `@ag.circuit`: the output wire now, what goes in later."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

import jax

from ...circuits.atoms.events import Counter, Relay, Reset, SampleHold
from ...circuits.atoms.registers import Delay, JumpRegister, Register, StochasticRegister
from ...circuits.atoms.unknown import Unknown
from ...circuits.circuit import Atom
from ...circuits.recording import current
from ...errors import CircuitError

P = ParamSpec("P")

if TYPE_CHECKING:

    class Wire(jax.Array):
        """What a state holds: an array of JAX, whose `input` is what goes into the state."""

        input: Any

else:
    Wire = jax.Array


# The names of the functions here, by those of the atoms that they open.
OPEN_FORMS: dict[str, str] = {}


def _open_form(name: str, atom: Callable[P, Atom]) -> Callable[P, Wire]:
    """The function that opens a state: it makes the atom, and gives the wire that this drives."""

    kind = getattr(atom, "__name__", name)
    OPEN_FORMS[kind] = name

    def open(*arguments: P.args, **keywords: P.kwargs) -> Wire:
        recorder = current()
        if recorder is None:
            raise CircuitError(
                f"ag.{name} is the wire of a state in a function under @ag.circuit; elsewhere the "
                f"circuit is ag.{kind}"
            )
        try:
            signature.bind(*arguments, **keywords)
        except TypeError as error:
            hint = '; ag.Var("name")(wire) names a wire' if "name" in keywords else ""
            raise CircuitError(f"ag.{name} takes {plain}: {error}{hint}") from error
        return recorder.open(atom(*arguments, **keywords))

    open.__name__ = open.__qualname__ = name
    open.__doc__ = _DOC.format(name=name, kind=kind)
    signature = inspect.signature(atom)
    open.__dict__["__signature__"] = signature
    shown = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    plain = signature.replace(parameters=shown, return_annotation=signature.empty)
    return open


_DOC = """What an `ag.{kind}` holds, in a function under `@ag.circuit`.

**Arguments:** those of `ag.{kind}`.

**Returns:** its output wire, an array under a trace of JAX. `wire.input = …` says what goes in,
once, before or after the wire is used; a tuple where the atom reads several wires.

**Raises:** `CircuitError` outside of such a function, and inside of a loop or branch of JAX in it.

```python
x = ag.{name}(...)
x.input = -x
```
"""

register = _open_form("register", Register)
stochastic_register = _open_form("stochastic_register", StochasticRegister)
jump_register = _open_form("jump_register", JumpRegister)
delay = _open_form("delay", Delay)
unknown = _open_form("unknown", Unknown)
reset = _open_form("reset", Reset)
relay = _open_form("relay", Relay)
sample_hold = _open_form("sample_hold", SampleHold)
counter = _open_form("counter", Counter)
