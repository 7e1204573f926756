"""Whether what is being lowered is a part of a kernel, where some primitives have another form; and
calls that XLA does not inline, of which kernels are made."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr
from jax.interpreters import mlir
from jaxlib.mlir import ir

_in_kernel = contextvars.ContextVar("in_kernel", default=False)


@contextlib.contextmanager
def lowering_kernel() -> Iterator[None]:
    """A context in which all that is lowered is a part of a kernel."""
    token = _in_kernel.set(True)
    try:
        yield
    finally:
        _in_kernel.reset(token)


def in_kernel() -> bool:
    """Whether what is being lowered is a part of a kernel."""
    return _in_kernel.get()


def lowered_call(
    context: mlir.LoweringRuleContext,
    operands: Any,
    name: str,
    jaxpr: ClosedJaxpr,
    **attributes: str,
) -> Any:
    """The results of a jaxpr, by a call that XLA does not inline. The jaxpr is lowered as it is:
    `mlir.lower_fun` would trace it again."""
    results = mlir.core_call_lowering(context, *operands, name=name, call_jaxpr=jaxpr)
    texts = {"inlineable": "false", **attributes}
    marks: dict[str, ir.Attribute] = {key: ir.StringAttr.get(text) for key, text in texts.items()}
    results[0].owner.attributes["mhlo.frontend_attributes"] = ir.DictAttr.get(marks)
    return results
