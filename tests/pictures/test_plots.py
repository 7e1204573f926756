"""Plots of results: what they draw is what the results hold."""

import ast
import dataclasses
import pickle
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pytest

import asgard as ag

matplotlib.use("Agg")

from matplotlib import pyplot as plt

TS = jnp.linspace(0.0, 2.0, 21)
FAST = ag.Real(order=8, rtol=1e-8, max_steps=255)


def movement(t, y):
    """A fall, a number that grows until t = 1, a row and a grid."""
    return {
        "height": y["speed"],
        "speed": -9.81,
        "growth": y["growth"] ** 2,
        "row": jnp.array([1.0, 2.0, 3.0]),
        "grid": jnp.ones((2, 3)),
    }


START = {
    "height": 1.0,
    "speed": 0.0,
    "growth": 1.0,
    "row": jnp.zeros(3),
    "grid": jnp.zeros((2, 3)),
}


@pytest.fixture(scope="module")
def failed():
    """A run of all kinds of wires, which passes height 0 at sqrt(2 / 9.81) and fails at 1."""
    events = (ag.Event("height", name="passes < 0"),)
    circuit = ag.ode(movement, START)
    run = ag.simulate(circuit, TS, events=events, calculus=FAST, throw=False)
    turn = jnp.exp(1j * TS) * (1 + 0 * run["growth"])
    seen = run.events["passes < 0"]
    seen = dataclasses.replace(
        seen,
        outputs=(*seen.outputs, jnp.exp(1j * seen.times)),
        names=seen.names | {"turn": jnp.exp(1j * seen.times)},
    )
    return dataclasses.replace(
        run,
        outputs=(*run.outputs, turn),
        names=run.names | {"turn": turn},
        events={"passes < 0": seen},
    )


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def line(ax, label):
    """The data of the line of a label."""
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found.get_xdata(), found.get_ydata()


def texts(ax):
    """What the legend says, inside of the axes or below them."""
    legends = [one for one in ax.get_figure().legends if one.get_visible()]
    legends += [ax.get_legend()] if ax.get_legend() else []
    return [text.get_text() for one in legends for text in one.get_texts()]


def test_lines_carry_the_data_and_are_labelled_by_names(failed):
    ax = failed.plot("height", "speed", units={"speed": "m/s", "time": "s"})
    for name, label in (("height", "height"), ("speed", "speed (m/s)")):
        xs, ys = line(ax, label)
        np.testing.assert_array_equal(xs, TS)
        np.testing.assert_array_equal(ys, failed[name])
    assert ax.get_xlabel() == "time (s)"
    assert {"height", "speed (m/s)"} <= set(texts(ax))


def test_one_wire_names_the_axis_and_a_plot_on_given_axes_gives_them(failed):
    _, given = plt.subplots()
    assert failed.plot("growth", ax=given) is given
    assert given.get_ylabel() == "growth"
    assert "growth" not in texts(given)
    np.testing.assert_array_equal(given.lines[0].get_ydata(), failed["growth"])


def test_runs_on_the_same_axes_have_colours_and_labels_of_their_own(failed):
    ax = failed.plot("growth", label="first")
    failed.plot("growth", label="second", ax=ax)
    assert {"first", "second"} <= set(texts(ax))
    one, other = (one for one in ax.lines if one.get_label() in ("first", "second"))
    assert one.get_color() != other.get_color()


def test_entries_of_arrays_and_parts_of_complex_wires_are_lines(failed):
    ax = failed.plot("row", "turn", "grid[1,2]")
    np.testing.assert_array_equal(line(ax, "row[1]")[1], failed["row"][:, 1])
    np.testing.assert_array_equal(line(ax, "Re turn")[1], failed["turn"].real)
    np.testing.assert_array_equal(line(ax, "Im turn")[1], failed["turn"].imag)
    np.testing.assert_array_equal(line(ax, "grid[1,2]")[1], failed["grid"][:, 1, 2])
    real, imaginary = (one for one in ax.lines if one.get_label() in ("Re turn", "Im turn"))
    assert real.get_color() == imaginary.get_color()
    assert real.get_linestyle() != imaginary.get_linestyle()


def test_all_outputs_are_drawn_by_default(failed):
    ax = failed.plot()
    # Three numbers, two parts, three and six entries.
    assert len([one for one in ax.lines if len(one.get_xdata()) == len(TS)]) == 14
    assert {"growth", "Im turn", "grid[0,0]"} <= set(texts(ax))


def test_of_many_lines_some_are_in_the_legend(failed):
    wide = jnp.broadcast_to(failed["growth"][:, None], (len(TS), 40))
    run = ag.Trajectory(TS, (wide,), {}, ag.Status.ok, {}, None)
    ax = run.plot()
    assert texts(ax)[0] == "output[0]"
    assert texts(ax)[-1] == "output[39]"
    assert len(texts(ax)) == 7


def test_events_are_marked_at_their_times_on_the_curve(failed):
    ax = failed.plot("speed")
    (mark,) = [one for one in ax.lines if one.get_marker() == "o" and len(one.get_xdata())]
    np.testing.assert_allclose(mark.get_xdata(), [np.sqrt(2 / 9.81)], rtol=1e-6)
    np.testing.assert_allclose(mark.get_ydata(), [-np.sqrt(2 * 9.81)], rtol=1e-6)
    assert "event: passes < 0" in texts(ax)


def test_what_a_run_did_not_reach_is_shaded_and_the_legend_says_why(failed):
    ax = failed.plot("growth")
    (shade,) = ax.patches
    begin = float(failed.reached)
    assert begin == pytest.approx(1.0, abs=1e-6)
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((begin, 2.0))
    assert "failed: max_steps" in texts(ax)


def seen_in(figure):
    """The legends that a figure shows once drawn."""
    figure.canvas.draw()
    every = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    return [one for one in every if one is not None and one.get_visible()]


def test_a_legend_of_ones_own_takes_the_place_of_that_below(failed):
    ax = failed.plot("height", "speed")
    figure = ax.get_figure()
    assert len(seen_in(figure)) == 1
    with_legend = ax.get_position().height
    ax.plot(TS, TS, label="mine")
    own = ax.legend()
    assert seen_in(figure) == [own]
    assert "mine" in [text.get_text() for text in own.get_texts()]
    assert ax.get_position().height > with_legend
    assert pickle.loads(pickle.dumps(figure)) is not None
    # A further plot on the same axes shows one legend of all.
    failed.plot("growth", label="more", ax=ax)
    (shown,) = seen_in(figure)
    assert {"height", "mine", "more"} <= {text.get_text() for text in shown.get_texts()}


def test_runs_in_one_phase_plot_are_told_apart_by_their_labels(failed):
    ax = failed.phase("height", "speed", label="first")
    failed.phase("height", "speed", label="second", ax=ax)
    assert texts(ax) == ["first", "start", "event: passes < 0", "second"]
    rows = failed.phase("row", "row", label="run")
    assert {"run: [0]", "run: [2]"} <= set(texts(rows))


def test_a_phase_plot_has_one_wire_over_the_other(failed):
    ax = failed.phase("height", "speed", units={"height": "m"})
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), failed["height"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), failed["speed"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("height (m)", "speed")
    assert "start" in texts(ax)


def test_heat_maps_and_films_show_fields(failed):
    places = np.array([0.0, 0.5, 2.0])
    over_time = failed.heat_map("row", space=places).collections[0]
    np.testing.assert_array_equal(over_time.get_array(), np.asarray(failed["row"]).T)
    last = failed.heat_map("grid")
    reached = int(np.sum(np.isfinite(failed["growth"])))
    np.testing.assert_array_equal(last.collections[0].get_array(), failed["grid"][reached - 1])
    near = failed.heat_map("grid", at=0.52)
    assert near.get_title() == "time 0.5"
    for name in ("row", "grid"):
        film = failed.animate(name)
        frames = list(film.new_frame_seq())
        assert len(frames) == reached
        (drawn,) = film._func(frames[3])
        shown = drawn.get_ydata() if name == "row" else drawn.get_array()
        np.testing.assert_array_equal(shown, failed[name][3])
        film._draw_was_started = True  # else it warns that nobody has seen it


def test_wrong_calls_say_what_there_is(failed):
    with pytest.raises(ag.CircuitError, match=r"nothing is named 'hight'; there are .*height"):
        failed.plot("hight")
    with pytest.raises(ag.CircuitError, match=r"array \[3\], without row\[3\]"):
        failed.plot("row[3]")
    with pytest.raises(ag.CircuitError, match="ax takes axes"):
        failed.plot("height", ax=3)
    with pytest.raises(ag.CircuitError, match="complex"):
        failed.phase("height", "turn")
    with pytest.raises(ag.CircuitError, match="other shapes"):
        failed.phase("height", "row")
    with pytest.raises(ag.CircuitError, match="of one or two axes"):
        failed.heat_map("height")
    with pytest.raises(ag.CircuitError, match="positions along each axis"):
        failed.heat_map("row", space=TS)
    with pytest.raises(ag.CircuitError, match="at is for fields of two axes"):
        failed.heat_map("row", at=0.5)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), failed)
    with pytest.raises(ag.CircuitError, match="draws one run"):
        batch.plot()


def test_units_are_texts_by_name(failed, unchecked):
    with pytest.raises(ag.CircuitError, match="units are a dictionary"):
        failed.plot("height", units={"height": 3})


def test_under_a_transformation_plots_say_so_and_html_is_text(failed):
    shown = []

    @jax.jit
    def inside(run):
        shown.append(run._repr_html_())
        return run.plot().lines

    with pytest.raises(ag.CircuitError, match=r"plot it outside"):
        inside(failed)
    assert shown[0].startswith("<pre>Trajectory(")


def test_matplotlib_is_asked_for_by_its_extra(failed, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "asgard\[plot\]"'):
        failed.plot()


def test_matplotlib_is_imported_only_where_it_is_called_for():
    # `below` is itself imported only where a legend is drawn.
    for file in (Path(ag.__file__).parent / "pictures").rglob("*.py"):
        tops = ast.parse(file.read_text(encoding="utf-8")).body
        found = [ast.unparse(one) for one in tops if isinstance(one, ast.Import | ast.ImportFrom)]
        assert file.stem == "below" or not any("matplotlib" in one for one in found), file
        assert not any(".below" in one for one in found), file


def test_results_print_a_table(failed):
    lines = repr(failed).splitlines()
    assert lines[0] == "Trajectory"
    rows = dict(line.split(maxsplit=1) for line in lines[1:] if not line.startswith("  events"))
    assert rows["times"] == "21, from 0 to 2"
    assert rows["method"] == "Taylor(order=8)"
    assert rows["status"] == "max_steps at 1"
    height = np.asarray(failed["height"])
    low, high = np.nanmin(height), np.nanmax(height)
    assert rows["height"] == f"{low:.4g} to {high:.4g}"
    assert "  events passes < 0" in repr(failed)
    traced = []
    jax.eval_shape(lambda run: traced.append(repr(run)), failed)
    assert traced[0].startswith("Trajectory(")


def test_a_range_is_of_all_paths_and_entries():
    ts, entries = jnp.linspace(0.0, 1.0, 3), jnp.arange(20.0)
    wide = ag.ode(lambda t, y: jnp.zeros_like(y), entries)
    assert repr(ag.simulate(wide, ts)).endswith("0 to 19")


def test_interrupted_work_prints_as_such():
    fit = ag.Fit(
        ag.Scalar(2.0), jnp.ones(3), jnp.ones(()), jnp.asarray(2), ag.FitStatus.interrupted
    )
    assert "interrupted after 2 steps" in repr(fit)


def test_what_fits_and_equilibria_found_prints_as_numbers():
    line = ag.Scalar(2.0)
    xs = jnp.arange(4.0)
    noise = jnp.array([0.1, -0.1, 0.1, -0.1])

    def residuals(circuit, ys):
        return circuit.factor * xs - ys

    known = ag.uncertainty(line, residuals, args=(2.0 * xs + noise,))
    assert repr(known).splitlines()[1].endswith(f"  2 ± {float(known.standard_errors[0]):.2g}")
    rest = ag.equilibrium(ag.ode(lambda t, y, u: u - y, 1.0), inputs=(2.0,))
    assert repr(rest).splitlines()[1:3] == ["  status   ok", "  y        2"]


def table(result):
    """The rows of a result's HTML, which must parse, by their first texts."""
    root = ElementTree.fromstring(result._repr_html_())
    return {row[0].text: row[1] for row in root.iter("tr")}


def test_html_is_a_table_with_small_pictures_and_escapes_names(failed):
    rows = table(failed)
    assert rows["status"].text == "max_steps at 1"
    assert rows["times"].text == "21, from 0 to 2"
    assert rows["events passes < 0"].text == "1"
    assert rows["steps"].text == str(int(failed.stats["steps"]))
    (drawn,) = rows["height"].iter("{http://www.w3.org/2000/svg}polyline")
    points = np.array([point.split(",") for point in drawn.get("points").split()], float)
    height = np.asarray(failed["height"])
    height = height[np.isfinite(height)]
    assert len(points) == len(height)
    # Pixels count downward, with a margin of 2.
    expected = 46 - 44 * (height - height.min()) / np.ptp(height)
    np.testing.assert_allclose(points[:, 1], expected, atol=0.051)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), failed)
    assert table(batch)["failed"].text == "2"


@pytest.fixture(scope="module")
def paths():
    """Paths of two wires, one of which fails in one path of them."""
    increments = 0.1 * np.random.default_rng(0).standard_normal((50, 20))
    wiener = ag.StochasticRegister("t", "W") >> ag.Var("B")
    circuit = ag.Const(1.0) >> wiener >> ag.Split() >> ag.Id() @ (ag.Scalar(2.0) >> ag.Var("C"))
    calculus = ag.Stochastic(steps=1, noise={"W": increments})
    return circuit, calculus, ag.ensemble(circuit, TS, calculus=calculus, paths=50)


def test_bands_of_a_fan_are_the_quantiles(paths):
    *_, run = paths
    ax = run.plot("C", quantiles=(0.1, 0.5, 0.9), paths=3)
    values = np.asarray(run["C"])
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=0)
    corners = ax.collections[0].get_paths()[0].vertices
    for t, *edges in zip(np.asarray(TS), low, high, strict=True):
        heights = corners[np.isclose(corners[:, 0], t), 1]
        assert heights.min() == pytest.approx(edges[0])
        assert heights.max() == pytest.approx(edges[1])
    drawn = [one.get_ydata() for one in ax.lines if len(one.get_xdata())]
    np.testing.assert_array_equal(drawn[:3], values[:3])
    np.testing.assert_allclose(drawn[3], middle)
    assert texts(ax) == ["median", "10 % to 90 %", "paths"]
    assert texts(run.plot())[:2] == ["B", "C"]
    assert len(list(table(run)["B"].iter("{http://www.w3.org/2000/svg}polyline"))) == 7


def test_paths_that_have_ended_are_left_out_and_counted(paths):
    *_, run = paths
    values = run["C"].at[0, 10:].set(jnp.nan)
    failures = dataclasses.replace(run.failures, count=jnp.asarray(1, jnp.uint32))
    run = dataclasses.replace(run, names={"C": values}, failures=failures)
    ax = run.plot("C", quantiles=(0.5,), paths=0)
    (drawn,) = [one.get_ydata() for one in ax.lines if len(one.get_xdata())]
    np.testing.assert_allclose(drawn, np.nanmedian(values, axis=0))
    assert "1 of 50 paths ended" in texts(ax)


def test_statistics_that_were_kept_are_drawn(paths):
    circuit, calculus, run = paths
    kept = {
        "mean": ag.statistics.Mean(of=second),
        "variance": ag.statistics.Variance(of=second),
        "quantiles": ag.statistics.Quantiles(-5.0, 5.0, of=first),
    }
    reduced = ag.ensemble(circuit, TS, calculus=calculus, paths=50, reduce=kept)
    ax = reduced.plot("second")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.mean(run["C"], axis=0), atol=1e-12)
    top = ax.collections[0].get_paths()[0].vertices[:, 1].max()
    spread = np.std(run["C"], axis=0, ddof=1)
    assert top == pytest.approx(float(np.max(np.mean(run["C"], axis=0) + 2 * spread)))
    assert {"first", "second", "5 % to 95 %"} <= set(texts(reduced.plot()))
    assert table(reduced)["statistics"].text == "Mean, Quantiles, Variance"
    with pytest.raises(ag.CircuitError, match="there are second, first"):
        reduced.plot("third")
    by_wire = {"reduce": ag.statistics.Mean("C"), "statistics": reduced.statistics["mean"]}
    by_wire = dataclasses.replace(reduced, **by_wire).plot("C")
    np.testing.assert_array_equal(by_wire.lines[0].get_ydata(), reduced.statistics["mean"])
    other = {"reduce": ag.statistics.Histogram(0.0, 1.0), "statistics": jnp.zeros((21, 102))}
    with pytest.raises(ag.CircuitError, match="kept none, but Histogram"):
        dataclasses.replace(reduced, **other).plot()


def first(B, C):
    return B


def second(B, C):
    return C


def line_through(circuit, ts):
    """What a scalar makes of the times."""
    return circuit.factor * ts


@pytest.fixture(scope="module")
def fitted():
    data = 2.0 * TS + jnp.where(jnp.arange(21) % 2, 0.1, -0.1)

    def loss(circuit, ts, data):
        return jnp.mean((line_through(circuit, ts) - data) ** 2)

    start = ag.Scalar(1.0)
    return data, ag.fit(start, loss, args=(TS, data), optimizer=optax.sgd(0.1), steps=30)


def test_a_fit_shows_how_its_loss_fell(fitted):
    _, fit = fitted
    ax = fit.plot()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [*fit.losses, fit.loss])
    assert ax.get_yscale() == "log"
    assert ax.get_title() == "all 30 steps taken"
    rows = table(fit)
    assert rows["status"].text == "all 30 steps taken"
    assert float(rows["scalar.factor"].text) == pytest.approx(float(fit.circuit.factor), rel=1e-5)


def test_data_are_drawn_with_the_fit_and_a_band_of_two_standard_errors(fitted):
    data, fit = fitted
    known = ag.uncertainty(fit.circuit, lambda c, ts, d: line_through(c, ts) - d, args=(TS, data))
    ax = fit.plot_data(line_through, TS, data, uncertainty=known)
    np.testing.assert_array_equal(line(ax, "data")[1], data)
    xs, ys = line(ax, "fitted")
    np.testing.assert_allclose(ys, float(fit.circuit.factor) * xs)
    # A line through 0 is off by its slope's error, times x.
    corners = ax.collections[0].get_paths()[0].vertices
    expected = (float(fit.circuit.factor) + 2 * float(known.standard_errors[0])) * 2.0
    assert corners[:, 1].max() == pytest.approx(expected)
    with pytest.raises(ag.CircuitError, match="one for each time"):
        fit.plot_data(line_through, TS, data[1:])
    with pytest.raises(ag.CircuitError, match="not what the model returns"):
        fit.plot_data(line_through, TS, {"a": data})


def test_a_stream_is_drawn_about_its_centre():
    stream = ag.Stream([2.0, 3.0, 0.5], "x", center=1.0)
    ax = stream.plot(radius=0.5, name="f", units={"x": "m"})
    xs, ys = ax.lines[0].get_data()
    assert (xs[0], xs[-1]) == (0.5, 1.5)
    np.testing.assert_allclose(ys, 2 + 3 * (xs - 1) + (xs - 1) ** 2 / 2)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (m)", "f")
    flat = ag.Stream([[0.0, 1.0], [10.0, 0.0]], ("x", "y")).plot()
    heights = np.asarray(flat.collections[0].get_array())
    assert heights[-1, 0] == pytest.approx(-9.0)  # at x = -1, y = 1
    with pytest.raises(ag.CircuitError, match="radius must be a number above 0"):
        stream.plot(radius=-1.0)


def low_pass_circuit():
    """x' = u - x: the response is 1 / (1 + iω)."""
    return ((ag.Id() @ ag.Scalar(-1.0)) >> ag.Add() >> ag.Register("t") >> ag.Split()).trace()


def test_a_bode_plot_has_gain_in_decibels_and_phase_in_degrees():
    w = np.logspace(-1, 1, 9)
    linear = ag.linearize(low_pass_circuit(), inputs=(0.0,))
    gain, phase = ag.plot_frequency_response(linear, w, label="first order", units={"time": "s"})
    np.testing.assert_allclose(gain.lines[0].get_ydata(), -10 * np.log10(1 + w**2), atol=1e-9)
    np.testing.assert_allclose(phase.lines[0].get_ydata(), -np.degrees(np.arctan(w)))
    assert phase.get_xlabel() == "angular frequency (rad/s)"
    again = ag.plot_frequency_response(linear, w, label="again", axes=(gain, phase))
    assert again == (gain, phase)
    assert texts(gain) == ["first order", "again"]
    assert gain.lines[0].get_color() != gain.lines[1].get_color()
    with pytest.raises(ag.CircuitError, match="there are output"):
        ag.plot_frequency_response(linear, w, output="speed")
    with pytest.raises(ag.CircuitError, match="frequencies above 0"):
        ag.plot_frequency_response(linear, np.zeros(3))
    with pytest.raises(ag.CircuitError, match="takes no \\['at'\\]"):
        ag.plot_frequency_response(linear, w, at=None)
