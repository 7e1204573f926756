"""The structure of the code: lines of code by folder, and the files and calls one run passes.

    python benchmarks/structure.py            # this checkout
    python benchmarks/structure.py OTHER      # another checkout

A line of code is one that is not blank, a comment or part of a docstring. The run is the first
`simulate` of a pendulum, its trace and compilation included.
"""

import ast
import collections
import io
import pathlib
import sys
import tokenize

SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(path: pathlib.Path) -> int:
    """How many lines of a file hold code."""
    source = path.read_text()
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            documentation.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - documentation)


def longest_function(path: pathlib.Path) -> tuple[int, str]:
    """The length in lines and the name of a file's longest function."""
    functions = [
        ((node.end_lineno or 0) - node.lineno + 1, node.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    return max(functions, default=(0, ""))


def print_folders(package: pathlib.Path) -> None:
    files: collections.Counter[str] = collections.Counter()
    lines: collections.Counter[str] = collections.Counter()
    longest = (0, "", "")
    for path in sorted(package.rglob("*.py")):
        folder = "/".join(path.relative_to(package).parts[:-1]) or "."
        files[folder] += 1
        lines[folder] += lines_of_code(path)
        longest = max(longest, (*longest_function(path), str(path.relative_to(package))))
    print(f"{'folder':24} {'files':>6} {'lines':>6}")
    for folder in sorted(files):
        print(f"{folder:24} {files[folder]:6} {lines[folder]:6}")
    print(f"{'all':24} {files.total():6} {lines.total():6}")
    print(f"longest function: {longest[1]} in {longest[2]}, {longest[0]} lines with its docstring")


def print_passage(package: pathlib.Path) -> None:
    import jax.numpy as jnp

    import asgard as ag

    # A pendulum: angle'' = -9.81 sin(angle).
    swing = ag.Sin() >> ag.Scalar(-9.81) >> ag.Register("t", 0.0) >> ag.Register("t", 1.0)
    pendulum = (swing >> ag.Split()).trace()
    ts = jnp.linspace(0.0, 1.0, 3)
    calls: collections.Counter[str] = collections.Counter()
    root = str(package)

    def count(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            calls[frame.f_code.co_filename] += 1

    sys.setprofile(count)
    ag.simulate(pendulum, ts)
    sys.setprofile(None)
    print(f"the first run of a pendulum passes {len(calls)} files and {calls.total()} calls")
    calls.clear()
    sys.setprofile(count)
    ag.simulate(pendulum, ts)
    sys.setprofile(None)
    print(f"the second run passes {len(calls)} files and {calls.total()} calls")


def main() -> None:
    default = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else default
    sys.path.insert(0, str(root))
    package = root / "asgard"
    print_folders(package)
    print_passage(package)


if __name__ == "__main__":
    main()
