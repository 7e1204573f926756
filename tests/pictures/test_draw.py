"""Pictures of circuits: what is drawn, where, and that it can be read."""

import functools
import itertools
import random
import sys
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import pytest
from random_circuits import random_circuit

import asgard as ag
from asgard.pictures import draw
from asgard.pictures.diagram import Diagram, diagram_of
from asgard.pictures.geometry import Frame, Path, Point, spread, text_width
from asgard.pictures.layout.crossings import crossings
from asgard.pictures.layout.feedback import orders
from asgard.pictures.layout.layers import Layers, Link, layered
from asgard.pictures.layout.ordering import ordered, reduce_crossings
from asgard.pictures.layout.placing import DETAIL_SIZE, NAME_SIZE, Placed
from asgard.pictures.scene import STYLES, Text

LORENZ = ag.equations(
    "diff(x, t) = s*(y - x); diff(y, t) = x*(r - z) - y; diff(z, t) = x*y - b*z",
    parameters={"s": 10.0, "r": 28.0, "b": 8 / 3},
    initial={"x": 1.0, "y": 1.0, "z": 1.0},
)


class Gain(ag.Block):
    """A block with a block in it."""

    factor: float = 2.0

    def circuit(self):
        return ag.Scalar(self.factor) >> Inner() >> ag.Var("gained")


class Inner(ag.Block):
    def circuit(self):
        return (ag.Add() >> ag.Register("t", 1.0) >> ag.Split()).trace()


def coupled(states: int, seed: int) -> ag.Circuit:
    """States that feed one another at random: about five atoms a state."""
    numbers = random.Random(seed)
    lines = []
    for state in range(states):
        one, other = numbers.randrange(states), numbers.randrange(states)
        factor = f"*x{other}" if numbers.random() < 0.5 else ""
        lines.append(f"diff(x{state}, t) = -a*x{state} + tanh(x{one}){factor}")
    initial = {f"x{state}": 0.1 for state in range(states)}
    return ag.equations("\n".join(lines), parameters={"a": 1.0}, initial=initial)


def nested_loops() -> ag.Circuit:
    inner = (ag.Add() >> ag.Tanh() >> ag.Register("t", 1.0) >> ag.Split()).trace()
    return (ag.Add() >> inner >> ag.Sin() >> ag.Split()).trace()


@functools.cache
def circuits() -> dict[str, ag.Circuit]:
    """Circuits of all forms."""
    zoo = ag.Monoidal(
        ag.StochasticRegister("t", "W") >> ag.Deregister("t"),
        ag.Unknown(0.7) >> ag.Delay("n", 0.5),
        ag.Relay(0.1, 0.5) @ ag.Clock(1.0) >> ag.SampleHold(0.0) >> ag.Power(3),
    )
    found = {
        "lorenz": LORENZ,
        "nested": nested_loops(),
        "zoo": ag.Coordinate("t") >> ag.Split(3) >> zoo >> ag.Multiplication(3) >> ag.Var("all"),
        "identity": ag.Id(3),
        "permutation": ag.Permute((2, 0, 3, 1)),
        "unused": ag.Id() @ ag.Discard() @ ag.Const(1.0) >> (ag.Sin() >> ag.Discard()) @ ag.Id(),
        "beside": nested_loops() @ ag.Sin() @ nested_loops(),
        "itself": (ag.Swap() >> ag.Id() @ ag.Register("t")).trace(),
        "chain": ag.Composition(*[ag.Sin(), ag.Scalar(0.5)] * 30),
        "sixty": coupled(15, 4),
    }
    for seed in range(25):
        found[f"random {seed}"] = random_circuit(random.Random(seed), 2, 2, 3 + seed % 3)
    return found


@functools.cache
def drawing(name: str) -> ag.Drawing:
    return ag.draw(circuits()[name])


NAMES = list(circuits())


PARTS = [part / 16 for part in range(1, 17)]


def polyline(path: Path) -> list[Point]:
    """Points on a path, close together."""
    points = [path.start]
    for step in path.steps:
        start = points[-1]
        if step.controls is None:
            points.append(step.to)
            continue
        for t in PARTS:
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            corners = (start, *step.controls, step.to)
            points.append(
                Point(
                    sum(w * c.x for w, c in zip(weights, corners, strict=True)),
                    sum(w * c.y for w, c in zip(weights, corners, strict=True)),
                )
            )
    return points


def meetings(one: list[Point], other: list[Point]) -> int:
    """How often two polylines cross."""

    def side(a: Point, b: Point, c: Point) -> float:
        return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)

    count = 0
    for (a, b), (c, d) in itertools.product(itertools.pairwise(one), itertools.pairwise(other)):
        if max(a.x, b.x) < min(c.x, d.x) or max(c.x, d.x) < min(a.x, b.x):
            continue
        count += side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
    return count


def boxes_of(placed: Placed) -> list[Frame]:
    pairs = zip(placed.diagram.boxes, placed.frames, strict=True)
    return [frame for box, frame in pairs if not box.is_end]


def overlap(one: Frame, other: Frame) -> bool:
    return (
        one.x < other.right
        and other.x < one.right
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def text_frame(text: Text) -> Frame:
    width = text_width(text.text, text.size)
    left = {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    return Frame(text.point.x - left, text.point.y - 0.75 * text.size, width, text.size)


@pytest.mark.parametrize("name", NAMES)
def test_every_wire_leads_from_its_source_to_all_its_readers(name):
    placed = drawing(name).layout
    diagram = placed.diagram
    for index, wire in enumerate(diagram.wires):
        ways = [way.path for way in placed.ways if way.link.wire == index]
        source = placed.outputs[wire.source.box][wire.source.index]
        readers = [placed.inputs[port.box][port.index] for port in wire.readers]
        ends = [path.steps[-1].to for path in ways]
        assert all(ends.count(reader) == 1 for reader in readers)
        if not readers:
            assert any(on(source, path.start) for path, _ in placed.loose)
            continue
        # From the source on, each way begins on what has been reached.
        reached = [source]
        waiting = ways
        while waiting:
            linked = [path for path in waiting if any(on(path.start, p) for p in reached)]
            assert linked
            reached += itertools.chain.from_iterable(segments(path) for path in linked)
            waiting = [path for path in waiting if path not in linked]


def segments(path: Path) -> list[tuple[Point, Point]]:
    return list(itertools.pairwise(polyline(path)))


def on(point: Point, place: Point | tuple[Point, Point]) -> bool:
    """Whether a point is another, or is on a segment."""
    if isinstance(place, Point):
        return abs(point.x - place.x) + abs(point.y - place.y) < 1e-6
    (a, b) = place
    cross = (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x)
    inside = min(a.x, b.x) - 1e-6 <= point.x <= max(a.x, b.x) + 1e-6
    return abs(cross) < 1e-4 and inside


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_in_order_on_the_sides_of_their_boxes(name):
    placed = drawing(name).layout
    for box, frame, ins, outs in zip(
        placed.diagram.boxes, placed.frames, placed.inputs, placed.outputs, strict=True
    ):
        assert (len(ins), len(outs)) == (box.n_in, box.n_out)
        for ports, x in ((ins, frame.x), (outs, frame.right)):
            heights = [port.y for port in ports]
            assert all(port.x == x for port in ports)
            assert heights == sorted(set(heights))
            assert all(frame.y <= y <= frame.y + frame.height for y in heights)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps(name):
    scene, placed = drawing(name).scene, drawing(name).layout
    frames = boxes_of(placed)
    assert not any(overlap(one, other) for one, other in itertools.combinations(frames, 2))
    texts = [text_frame(mark) for mark in scene.marks if isinstance(mark, Text)]
    for one, other in itertools.combinations(texts, 2):
        assert not overlap(one, other)
    for name_frame in texts:
        assert name_frame.x >= 0
        assert name_frame.right <= scene.width
        assert 0 <= name_frame.y <= scene.height - name_frame.height
    # Letters in boxes are apart from wires where the boxes are.
    apart = [Frame(f.x + 0.1, f.y, f.width - 0.2, f.height) for f in frames] + texts
    for way in placed.ways:
        for a, b in segments(way.path):
            for t in PARTS:
                dot = Frame(a.x + t * (b.x - a.x), a.y + t * (b.y - a.y), 0.0, 0.0)
                assert not any(overlap(dot, frame) for frame in apart)


@pytest.mark.parametrize("name", NAMES)
def test_letters_fit_into_their_boxes(name):
    for box, frame in zip(
        drawing(name).layout.diagram.boxes, drawing(name).layout.frames, strict=True
    ):
        assert text_width(box.label.name, NAME_SIZE) < frame.width or box.is_end
        assert text_width(box.label.detail, DETAIL_SIZE) < frame.width or box.is_end


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sixty"])
def test_wires_cross_as_often_as_is_counted(name):
    placed = drawing(name).layout
    lines = [(way.link.wire, polyline(way.path)) for way in placed.ways]
    drawn = sum(
        meetings(one, other)
        for (wire, one), (reader, other) in itertools.combinations(lines, 2)
        if wire != reader
    )
    assert drawn == crossings(ordered(placed.diagram))


def counted_by_hand(links: list[Link], *columns: tuple[int, ...]) -> int:
    """Crossings of links that do not turn: where the orders of their two ends differ."""
    rank = {item: index for column in columns for index, item in enumerate(column)}
    ends = [
        sorted((end.right, rank[end.item], end.port) for end in (link.start, link.stop))
        for link in links
    ]
    return sum(
        (a[1:] < c[1:] and d[1:] < b[1:]) or (c[1:] < a[1:] and b[1:] < d[1:])
        for (b, a), (d, c) in itertools.combinations(ends, 2)
    )


def fewest_crossings(layers: Layers) -> int:
    """The least over all orders of all columns, column by column."""
    orders = [list(itertools.permutations(column)) for column in layers.columns]
    best = dict.fromkeys(orders[0], 0)
    for gap, (left, right) in zip(layers.gaps[1:], itertools.pairwise(orders), strict=False):
        best = {
            order: min(best[other] + counted_by_hand(gap, other, order) for other in left)
            for order in right
        }
    return min(best.values())


@pytest.mark.parametrize("seed", range(12))
def test_small_diagrams_have_the_fewest_crossings_that_their_columns_allow(seed):
    numbers = random.Random(seed)
    atoms = [numbers.choice([ag.Add(), ag.Divide(), ag.Sin() @ ag.Cos()]) for _ in range(4)]
    shuffled = [ag.Permute(numbers.sample(range(8), 8)) for _ in range(2)]
    spread_out = ag.Monoidal(*[ag.Split()] * 4)
    narrowed = [atom if atom.n_out == 1 else atom >> ag.Add() for atom in atoms]
    circuit = ag.Composition(
        spread_out, shuffled[0], ag.Monoidal(*narrowed), spread_out, shuffled[1],
        ag.Monoidal(*[ag.Multiplication()] * 4),
    )  # fmt: skip
    diagram = diagram_of(circuit, 0)
    layers = layered(diagram, orders(diagram)[0])
    fewest = fewest_crossings(layers)
    reduce_crossings(layers)
    assert crossings(layers) == fewest


def test_planar_circuits_have_no_crossings():
    planar = {
        "nested loops": nested_loops(),
        "row of loops": ag.Composition(*[nested_loops()] * 8),
        "beside": nested_loops() @ nested_loops(),
        "tree": ag.Split(4) >> (ag.Sin() @ ag.Cos() @ ag.Exp() @ ag.Tanh()) >> ag.Add(4),
    }
    for name, circuit in planar.items():
        assert crossings(ordered(diagram_of(circuit, 0))) == 0, name


def test_a_permutation_crosses_as_often_as_it_has_inversions():
    order = (4, 2, 0, 3, 1)
    inversions = sum(one > other for one, other in itertools.combinations(order, 2))
    assert crossings(ordered(diagram_of(ag.Permute(order), 0))) == inversions


def test_what_leads_back_is_what_a_trace_feeds_back():
    layout = ag.draw(nested_loops()).layout
    names = [box.label.name for box in layout.diagram.boxes]
    middles = {frame.middle.x: name for name, frame in zip(names, layout.frames, strict=True)}
    assert [middles[x] for x in sorted(middles)] == ["", "+", "+", "tanh", "∫ dt", "sin", ""]
    assert len(layout.arrows) == 2


def test_pictures_of_sixty_atoms_stay_of_a_size_to_look_at():
    scene = drawing("sixty").scene
    assert scene.description == "a circuit of 65 boxes and 65 wires"
    assert scene.width < 5000
    assert scene.height < 2500


@pytest.mark.slow
def test_three_hundred_atoms_are_drawn_and_more_than_can_be_looked_at_are_refused(monkeypatch):
    chain = ag.Composition(*[ag.Sin()] * 300)
    assert "301 wires" in repr(ag.draw(chain))
    assert chain._repr_svg_() is None
    monkeypatch.setattr(draw, "_MOST_BOXES", 299)
    with pytest.raises(ag.CircuitError, match="300 boxes are too many to look at, more than 299"):
        ag.draw(chain)


def names_in(drawing: ag.Drawing) -> list[str]:
    boxes = drawing.layout.diagram.boxes
    return [box.label.name for box in boxes if not box.is_end]


def test_blocks_are_folded_or_open():
    circuit = ag.Sin() >> Gain()
    assert names_in(ag.draw(circuit)) == ["sin", "Gain"]
    assert names_in(ag.draw(circuit, blocks=1)) == ["sin", "× 2", "Inner"]
    opened = ["sin", "× 2", "+", "∫ dt"]
    assert names_in(ag.draw(circuit, blocks=2)) == opened
    assert names_in(ag.draw(circuit, blocks="open")) == opened
    assert names_in(ag.draw(Gain())) == ["× 2", "Inner"]


def test_wires_and_ends_bear_their_names():
    texts = [mark.text for mark in ag.draw(LORENZ).scene.marks if isinstance(mark, Text)]
    assert {"x", "y", "z"} <= set(texts)

    @ag.circuit
    def decay(drive, *, rate=2.0):
        level = ag.register("t", 1.0)
        level.input = drive - rate * level
        return {"level": level}

    texts = [mark.text for mark in ag.draw(decay()).scene.marks if isinstance(mark, Text)]
    assert {"drive", "level", "drive − ②"} <= set(texts)


def test_functions_show_their_formulas():
    def slope(t, y):
        return {"a": -(y["a"] ** 2), "b": y["a"] - (y["b"] - jnp.sin(t)) / 3}

    names = names_in(ag.draw(ag.ode(slope, {"a": 1.0, "b": 2.0})))
    assert "−a^2" in names
    assert any("sin(t)" in name for name in names)


def test_no_part_of_a_function_shows_the_name_of_the_function():
    @ag.circuit
    def cruise(u, *, mass=1200.0):
        v = ag.register("t", 20.0)
        throttle = jnp.clip(u, 0.0, 10.0)
        v.input = (400 * throttle - 0.4 * v**2) / mass
        return {"v": v, "throttle": throttle}

    boxes = ag.draw(cruise()).layout.diagram.boxes
    names = {box.label.name for box in boxes}
    assert "clip(u, 0, 10)" in names
    assert any(name.endswith("/1200") for name in names)
    assert not any("cruise" in box.label.name + box.label.whole for box in boxes)


def test_entries_of_arrays_are_shown_as_they_are_read():
    @ag.circuit
    def taken(u=jnp.zeros((3, 4)), v=jnp.zeros(5)):  # noqa: B008 - say what the wires carry
        return 2 * u[0, 1], v[-1], jnp.sum(v[1:3]), -v[::2], u[:, 1] * 2, (u[0] + 1)[2], -v[0:1]

    names = names_in(ag.draw(taken()))
    shown = ["2*u[0, 1]", "v[4]", "sum(v[1:3])", "−v[::2]", "u[:, 1]*2", "(u[0] + 1)[2]", "−v[:1]"]
    assert names == shown


@ag.circuit
def controller(error, *, gain=2.0):
    total = ag.register("t", 0.0)
    total.input = error
    return {"u": gain * error + total, "total": total}


@ag.circuit
def tank(inflow=jnp.zeros(2), *, control=controller()):  # noqa: B008 - made once
    level = ag.register("t", jnp.zeros(2))
    level.input = inflow + control(-level)["u"]
    return level


@ag.circuit
def plants(u, *, first=tank()):  # noqa: B008 - made once
    levels = first(jnp.stack([u, 2 * u]))
    return levels[0] + ag.Sin()(levels[1])


def test_functions_that_a_function_calls_are_blocks():
    assert names_in(ag.draw(tank())) == ["∫ dt", "controller", "−①", "inflow + ②"]
    assert names_in(ag.draw(plants()))[0] == "tank"
    counts = [names_in(ag.draw(plants(), blocks=depth)).count("∫ dt") for depth in (0, 1, 2)]
    assert counts == [0, 1, 2]
    assert "controller" in names_in(ag.draw(plants(), blocks=1))
    assert "controller" not in names_in(ag.draw(plants(), blocks=2))
    # What it says in a run is in no box.
    assert len(names_in(ag.draw(plants(), blocks="open"))) > 5
    assert ag.draw(plants(first=tank(control=controller(gain=3.0)))).svg()


def test_a_function_whose_number_is_computed_from_wires_is_drawn_open():
    @ag.circuit
    def scheduled(u):
        return controller(gain=u**2)(u)["u"]

    names = names_in(ag.draw(scheduled()))
    assert "controller" not in names
    assert "∫ dt" in names


def test_what_is_no_formula_of_numbers_or_too_long_is_shown_in_part():
    @ag.circuit
    def room(u):
        x = ag.register("t", jnp.zeros(3))
        x.input = jnp.eye(3) @ x + u
        long = u
        for _ in range(12):
            long = jnp.sin(long) * long + jnp.cos(long)
        return {"x": x, "clamped": jax.lax.clamp(0.0, u, 1.0), "long": long}

    labels = [box.label for box in ag.draw(room()).layout.diagram.boxes]
    names = [label.name for label in labels]
    assert "dot([3×3], x)" in names
    assert "clamp(0, u, 1)" in names
    assert not any("room" in name for name in names)
    (long,) = (label for label in labels if "cos" in label.name)
    assert long.name.endswith("…")
    assert len(long.name) <= 32
    assert len(long.whole) <= 400


def test_every_kind_of_atom_has_a_style_of_its_own():
    kinds = {
        box.label.kind for name in ("zoo", "nested") for box in drawing(name).layout.diagram.boxes
    }
    assert kinds >= {"register", "noise", "delay", "event", "derivative", "unknown", "constant"}
    assert len({style.edge for style in STYLES.values()}) == len(STYLES)
    # Without colours too, states differ from one another.
    states = [STYLES[kind] for kind in ("register", "derivative", "delay", "noise", "event")]
    assert len({(style.corners, style.bars) for style in states}) == len(states)


def test_svg_is_xml_and_the_same_every_time():
    for name in NAMES:
        assert ElementTree.fromstring(drawing(name).svg()).tag.endswith("svg")
    for name in ("lorenz", "zoo", "random 3"):
        assert ag.draw(circuits()[name]).svg() == drawing(name).svg()


class Odd(ag.Atom):
    n_in = n_out = 1

    def __call__(self, x):
        return x

    def text(self):
        return "a<b & \"c\" \x00 > 'd'"


def test_labels_are_escaped():
    text = ag.draw(Odd()).svg()
    shown = [element.text for element in ElementTree.fromstring(text).iter()]
    assert "a<b & \"c\"   > 'd'" in shown


def test_numbers_that_are_not_known_are_left_open():
    drawn = []

    def traced(factor):
        drawn.append(names_in(ag.draw(ag.Scalar(factor))))
        return factor

    jax.make_jaxpr(traced)(2.0)
    assert drawn == [["× …"]]
    assert names_in(ag.draw(ag.Scalar(jnp.ones((2, 3))))) == ["× [2×3]"]


def test_notebooks_show_circuits_and_drawings():
    circuit = nested_loops()
    assert circuit._repr_svg_() == ag.draw(circuit).svg() == ag.draw(circuit)._repr_svg_()
    assert (ag.Id() @ (ag.Split().trace()) >> ag.Add())._repr_svg_() is None


def test_files_and_axes(tmp_path):
    drawn = ag.draw(nested_loops(), path=tmp_path / "loops.svg")
    assert (tmp_path / "loops.svg").read_text(encoding="utf-8") == drawn.svg()
    drawn.save(tmp_path / "loops.png", dpi=96)
    drawn.save(str(tmp_path / "loops.pdf"))
    assert (tmp_path / "loops.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "loops.pdf").read_bytes().startswith(b"%PDF")

    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert drawn.plot(axes) is axes
    marks = len(axes.patches) + len(axes.texts)
    assert marks == len(drawn.scene.marks)


def test_svg_needs_no_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    drawn = ag.draw(nested_loops(), path=tmp_path / "loops.svg")
    with pytest.raises(ImportError, match=r"asgard\[plot\]"):
        drawn.save(tmp_path / "loops.png")


@pytest.mark.usefixtures("unchecked")
def test_wrong_calls():
    with pytest.raises(ag.CircuitError, match=r"takes a circuit, not .*; did you mean to call it"):
        ag.draw(ag.Sin)
    with pytest.raises(ag.CircuitError, match="takes a circuit, not float"):
        ag.draw(2.0)
    for blocks in ("closed", -1, True, 1.5, None):
        with pytest.raises(ag.CircuitError, match='"folded", "open" or a number of levels'):
            ag.draw(ag.Sin(), blocks=blocks)
    with pytest.raises(ag.CircuitError, match=r"saved as .svg, .png or .pdf, not as 'a.jpg'"):
        ag.draw(ag.Sin(), path="a.jpg")
    with pytest.raises(ag.LoopError, match="no atom in it"):
        ag.draw(ag.Id() @ (ag.Split().trace()) >> ag.Add())


def test_heights_spread_as_little_as_they_must():
    assert spread([0.0, 100.0], 20.0) == [0.0, 100.0]
    assert spread([50.0, 50.0], 20.0) == [40.0, 60.0]
    assert spread([60.0, 0.0, 30.0], 10.0) == pytest.approx([20.0, 30.0, 40.0])


def test_empty_diagrams_are_empty():
    assert ordered(Diagram((), ())).columns == []
