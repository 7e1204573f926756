"""Random circuits along t, for tests that need many: much that a simpler circuit does not have."""

import random

import asgard as ag

_STRAIGHT = (ag.Sin, ag.Cos, ag.Tanh, ag.Id, lambda: ag.Add(1), lambda: ag.Power(1))
_NUMBERED = (ag.Scalar, lambda c: ag.Register("t", c), lambda c: ag.Register("t", c / 2))


def random_circuit(draw: random.Random, n_in: int, n_out: int, depth: int = 3) -> ag.Circuit:
    """A circuit of some wires in and out, whose loops are cut by registers."""
    form = draw.choice(["row", "beside", "loop", "copies"]) if depth else "wires"
    if form == "row":
        between = draw.randint(1, 3)
        return ag.Composition(
            random_circuit(draw, n_in, between, depth - 1),
            random_circuit(draw, between, n_out, depth - 1),
        )
    if form == "beside" and min(n_in, n_out) > 1:
        first_in, first_out = draw.randint(1, n_in - 1), draw.randint(1, n_out - 1)
        return ag.Monoidal(
            random_circuit(draw, first_in, first_out, depth - 1),
            random_circuit(draw, n_in - first_in, n_out - first_out, depth - 1),
        )
    if form == "loop":
        inside = random_circuit(draw, n_in + 1, n_out + 1, depth - 1)
        return (inside >> ag.Id(n_out) @ ag.Register("t", draw.uniform(-1, 1))).trace()
    if form == "copies" and n_in == n_out == 1:
        # The same circuit twice: what has no numbers in it is one.
        same = random_circuit(draw, 1, 1, depth - 1)
        return ag.Split() >> same @ same >> draw.choice([ag.Add(), ag.Swap() >> ag.Maximum()])
    return _wires(draw, n_in, n_out)


def _wires(draw: random.Random, n_in: int, n_out: int) -> ag.Circuit:
    """Each wire out of one atom, from copies of the wires in; some are dropped."""
    copies = [draw.randint(0, 2) for _ in range(n_in)]
    split = [ag.Discard() if not n else ag.Id() if n == 1 else ag.Split(n) for n in copies]
    atoms: list[ag.Circuit] = []
    read = 0
    for _ in range(n_out):
        left = sum(copies) - read
        if left > 1 and draw.random() < 0.4:
            atoms.append(draw.choice([ag.Add(), ag.Multiplication(), ag.Maximum()]))
            read += 2
        elif left:
            number = round(draw.uniform(-1, 1), 2)
            numbered = draw.random() < 0.5
            atoms.append(draw.choice(_NUMBERED)(number) if numbered else draw.choice(_STRAIGHT)())
            read += 1
        else:
            atoms.append(ag.Const(draw.choice([0.5, -0.3])))
    atoms += [ag.Discard()] * (sum(copies) - read)
    layers = [split, [ag.Permute(_order(draw, sum(copies)))] if sum(copies) else [], atoms]
    joined = [ag.Monoidal(*layer) if len(layer) > 1 else layer[0] for layer in layers if layer]
    return ag.Composition(*joined) if len(joined) > 1 else joined[0]


def _order(draw: random.Random, count: int) -> tuple[int, ...]:
    return tuple(draw.sample(range(count), count))
