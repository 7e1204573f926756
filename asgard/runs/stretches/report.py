"""What long work shows of its progress."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

from ...errors import CircuitError

# What is done, of how much, and a number that says how it goes.
Told = tuple[Any, Any, Any]
# What users hand over as `progress`: called with these three.
Report = Callable[[Any, Any, Any], None]


@dataclasses.dataclass(frozen=True)
class Words:
    """What lines and bars say: "`done` 3 of 10: `value` 0.5", and from where is counted."""

    done: str
    value: str
    start: float = 0

    def said(self, done: Any, whole: Any, value: Any) -> str:
        """A report as text."""
        return f"at {self.done} {done:.6g} of {whole:.6g}: {self.value} {value:.6g}"


def check_progress(progress: Any) -> None:
    """Raises `CircuitError` for what shows no progress."""
    if not isinstance(progress, bool) and not callable(progress):
        raise CircuitError(f"progress must be True, False or a function, not {progress!r}")


@contextlib.contextmanager
def shown(progress: Any, words: Words) -> Iterator[Report | None]:
    """The function to report to: the user's own, a bar, lines, or None."""
    check_progress(progress)
    if progress is not True:
        yield cast(Report, progress) if progress else None
        return

    def line(*told: Any) -> None:
        sys.stderr.write(words.said(*told).removeprefix("at ") + "\n")

    try:
        from tqdm import tqdm  # pyright: ignore[reportMissingModuleSource]
    except ImportError:
        yield line
        return
    with contextlib.ExitStack() as stack:
        bar: Any = None

        def move(done: Any, whole: Any, value: Any) -> None:
            nonlocal bar
            part = abs(done - words.start)
            if bar is None:
                # What a checkpoint has is not counted as done now. Each report may be shown: tqdm
                # would else wait for as much as the largest one has brought.
                options = {"initial": part, "miniters": 0, "bar_format": _BAR}
                bar = stack.enter_context(tqdm(total=abs(whole - words.start), **options))
            bar.set_postfix({words.value: f"{value:.6g}"}, refresh=False)
            bar.update(part - bar.n)

        yield move


# As tqdm's own, but for times, which are no whole numbers.
_BAR = "{l_bar}{bar}| {n:.6g}/{total:.6g} [{elapsed}<{remaining}{postfix}]"
