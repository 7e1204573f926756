"""Signatures as they are written in the source: defaults are not evaluated."""

import ast
import dataclasses
import inspect
import textwrap
from typing import Any


def of_function(function: Any, bound: bool = False) -> str:
    """`(arguments) -> type` of a function; of a method without its first argument."""
    if given := vars(function).get("__signature__"):
        shown = [each.replace(annotation=each.empty) for each in given.parameters.values()]
        return str(given.replace(parameters=shown, return_annotation=given.empty))
    node = _parsed(inspect.unwrap(function))
    assert isinstance(node, ast.FunctionDef)
    if bound:
        _drop_first(node.args)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


def of_class(cls: type) -> str:
    """`(arguments)` of a class: those of its written `__init__`, else its fields."""
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if base.__module__.startswith("asgard") and inspect.isfunction(init) and _written(init):
            return of_function(init, bound=True).removesuffix(" -> None")
    if not dataclasses.is_dataclass(cls):
        return ""
    annotations = _annotations(cls)
    parts = []
    for field in dataclasses.fields(cls):
        if field.init:
            default = "" if field.default is dataclasses.MISSING else f" = {field.default!r}"
            parts.append(f"{field.name}: {annotations[field.name]}{default}")
    return f"({', '.join(parts)})"


def _parsed(thing: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def _written(function: Any) -> bool:
    """Whether a person wrote it, and no decorator made it."""
    return function.__code__.co_filename == inspect.getsourcefile(inspect.unwrap(function)) and (
        "asgard" in function.__code__.co_filename
    )


def _drop_first(arguments: ast.arguments) -> None:
    (arguments.posonlyargs or arguments.args).pop(0)


def _annotations(cls: type) -> dict[str, str]:
    """The annotations of the fields of a class and of its bases, as they are written."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("asgard"):
            continue
        node = _parsed(base)
        assert isinstance(node, ast.ClassDef)
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                found[line.target.id] = ast.unparse(line.annotation)
    return found
