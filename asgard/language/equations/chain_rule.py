"""The chain rule."""

from .elementary import FUNCTIONS
from .expressions import Apply, Opaque, Pool, Power, Product, Sum


def total_derivative(pool: Pool, root: int, dim: str) -> int:
    """The derivative along a dimension by the chain rule."""
    found: dict[int, int] = {}
    for index in pool.reach([root], into=lambda node: not isinstance(node, Opaque)):
        node = pool[index]
        if isinstance(node, Sum | Product | Power | Apply) and not pool.constant[index]:
            found[index] = _chained(pool, node, [found[part] for part in node.parts])
        else:
            found[index] = pool.derivative(index, dim)
    return found[root]


def _chained(pool: Pool, node: Sum | Product | Power | Apply, slopes: list[int]) -> int:
    """The derivative of a node from those of its parts."""
    if isinstance(node, Sum):
        return pool.sum(slopes)
    if isinstance(node, Product):
        return pool.sum(
            pool.product([*node.parts[:place], slope, *node.parts[place + 1 :]])
            for place, slope in enumerate(slopes)
        )
    if isinstance(node, Power):
        base, exponent = node.parts
        less = pool.sum((exponent, pool.number(-1.0)))
        by_base = pool.product((exponent, pool.power(base, less), slopes[0]))
        if pool.value(slopes[1]) == 0:
            return by_base
        by_exponent = (pool.add(node), pool.apply("log", base), slopes[1])
        return pool.sum((by_base, pool.product(by_exponent)))
    terms = []
    for place, slope in enumerate(slopes):
        if pool.value(slope) != 0:
            partial = FUNCTIONS[node.function].partial(pool, node.parts, place)
            terms.append(pool.product((partial, slope)))
    return pool.sum(terms)
