"""What a long fit shows of its progress."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

from ..errors import CircuitError

# Called with the steps taken, the number of all steps, and the last loss.
Report = Callable[[int, int, float], None]


@contextlib.contextmanager
def shown(progress: Any) -> Iterator[Report | None]:
    """The function to report to: the user's own, a bar, lines, or None."""
    if progress is not True:
        if progress is not False and not callable(progress):
            raise CircuitError(f"progress must be True, False or a function, not {progress!r}")
        yield cast(Report, progress) if progress else None
        return
    try:
        from tqdm import tqdm  # pyright: ignore[reportMissingModuleSource]
    except ImportError:
        yield _line
        return
    with contextlib.ExitStack() as stack:
        bar: Any = None

        def move(step: int, steps: int, loss: float) -> None:
            nonlocal bar
            bar = stack.enter_context(tqdm(total=steps)) if bar is None else bar
            bar.set_postfix(loss=f"{loss:.6g}", refresh=False)
            bar.update(step - bar.n)

        yield move


def _line(step: int, steps: int, loss: float) -> None:
    sys.stderr.write(f"step {step} of {steps}: loss {loss:.6g}\n")
