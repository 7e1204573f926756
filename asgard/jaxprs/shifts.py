"""What only shifts exponents: the largest entry in a softmax, which cancels.

With m = max(x), `jax.nn.softmax(x)` is exp(x - m) / Σ exp(x - m), and `logsumexp(x)` is
m + log Σ exp(x - m). Neither depends on m, which `stop_gradient` keeps out of their derivatives. So
they have no kink where another entry becomes the largest, and no step should end there.
"""

from collections.abc import Mapping, Sequence

from .primitives import traits
from .program import Equation, Program


def shifts(program: Program) -> set[int]:
    """The values on which the outputs depend only by such an m."""
    users: dict[int, list[Equation]] = {}
    for equation in program.equations:
        for number in equation.ins:
            users.setdefault(number, []).append(equation)
    needed, found = set(program.outputs), set[int]()
    for equation in reversed(program.equations):
        if needed.isdisjoint(equation.outs):
            found.update(equation.outs)
        elif equation.name != "stop_gradient" or not _only_shifts(equation.outs[0], program, users):
            needed.update(equation.ins)
    return found


def _only_shifts(number: int, program: Program, users: Mapping[int, Sequence[Equation]]) -> bool:
    """Whether a value is taken from exponents, and besides only added to what is made of them."""
    places, shifted = [number], False
    for place in places:
        if place in program.outputs:
            return False
        for user in users.get(place, ()):
            if user.name == "sub" and user.ins[0] != place:
                shifted |= any(one.name == "exp" for one in users.get(user.outs[0], ()))
            elif traits(user.name).moves and user.ins[0] == place:
                places += user.outs
            elif user.name != "add":
                return False
    return shifted
