"""The values of `--input` and `--order`, read from text."""

import math
import re
from collections.abc import Iterator

import numpy as np

from ..circuits.stream import Stream
from ..errors import located

# An order that needs more coefficients than this for a wire is taken for a typing error.
_MOST_COEFFICIENTS = 100_000


class ArgumentError(Exception):
    """A wrong argument: which one, what is wrong, and where in its text."""

    def __init__(self, argument: str, message: str, text: str, offset: int):
        super().__init__(f"argument {argument}: {located(message, text, 1, offset + 1)}")


def read_stream(argument: str, default_dim: str) -> Stream:
    """An input's stream, from `x:1,0,0` or `1,0,0`."""
    dim, colon, _ = argument.partition(":")
    if not colon:
        dim = default_dim
    elif not re.fullmatch(r"[A-Za-z_]\w*", dim, re.ASCII):
        raise ArgumentError("--input", f"{dim!r} does not name a dimension", argument, 0)
    items = _items(argument, start=len(dim + colon) if colon else 0)
    return Stream(np.asarray([_number(argument, offset, item) for offset, item in items]), dim)


def _number(argument: str, offset: int, item: str) -> float | complex:
    """One coefficient, which starts at `offset` in the argument."""
    try:
        value = complex(item) if "j" in item.lower() else float(item)
    except ValueError:
        fault = f"{item.strip()!r} is not a number" if item.strip() else "a number is missing"
        raise ArgumentError("--input", fault, argument, offset) from None
    if np.isinf(value) and "inf" not in item.lower():
        raise ArgumentError("--input", f"{item} is more than float64 holds", argument, offset)
    return value


def read_orders(argument: str, dims: tuple[str, ...]) -> dict[str, int]:
    """The order along each of `dims`, from `12` or `t=12,x=40`."""
    if "=" not in argument:
        orders = dict.fromkeys(dims, _order(argument, 0, argument))
    else:
        orders = {}
        for offset, item in _items(argument):
            dim, equals, number = item.partition("=")
            if not equals:
                raise ArgumentError("--order", "each must be a DIM=N", argument, offset)
            if dim.strip() not in dims:
                known = f"they are {', '.join(dims)}" if dims else "there are none"
                fault = f"{dim.strip()!r} is no dimension of the circuit and its inputs; {known}"
                raise ArgumentError("--order", fault, argument, offset)
            if dim.strip() in orders:
                raise ArgumentError("--order", f"{dim.strip()} has two orders", argument, offset)
            orders[dim.strip()] = _order(argument, offset + len(dim) + 1, number)
        missing = [dim for dim in dims if dim not in orders]
        if missing:
            fault = f"none is given along {', '.join(missing)}"
            raise ArgumentError("--order", fault, argument, len(argument))
    if math.prod(order + 1 for order in orders.values()) > _MOST_COEFFICIENTS:
        fault = f"that is more than {_MOST_COEFFICIENTS:,} coefficients a wire"
        raise ArgumentError("--order", fault, argument, 0)
    return orders


def _order(argument: str, offset: int, item: str) -> int:
    """One order, which starts at `offset` in the argument."""
    if not re.fullmatch(r"\s*\+?[0-9]{1,18}\s*", item):
        fault = f"an order is a count, not {item.strip()!r}"
        raise ArgumentError("--order", fault, argument, offset)
    return int(item)


def _items(argument: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """The parts of a text between commas, and where each starts."""
    for item in argument[start:].split(","):
        yield start + len(item) - len(item.lstrip()), item
        start += len(item) + 1
