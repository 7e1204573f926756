"""What commands print."""

import os
import sys


def write(text: str) -> None:
    """Prints to stdout. A reader that has closed the pipe is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Flushing the rest at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UnicodeEncodeError:
        # A terminal of few letters shows marks for the others.
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
