"""Experiments as files: what they give, and what is said of those that are wrong."""

import csv
import json
import math
import textwrap
import tomllib

import numpy as np
import pytest
from mutated_files import EXAMPLES, mutated

from asgard.cli.experiments.comparing import Comparison
from asgard.cli.experiments.document import Document
from asgard.cli.experiments.experiment import read_model
from asgard.cli.experiments.formula import read_formula
from asgard.cli.experiments.lines import lines_of
from asgard.cli.faults import InputError
from asgard.cli.main import main

DECAY = str(EXAMPLES / "basics" / "decay.toml")
GOOD = """\
title = "Two of them"
equations = \"\"\"
diff(x, t) = -a*x
diff(y, t) = x - u
\"\"\"
parameters = { a = 0.5 }
initial = { x = 2.0 }
inputs = { u = "sin(a*t)" }

[calculus]
rtol = 1e-6

[times]
until = 1.0

[[events]]
name = "low"
when = "x < 1"

[[expected]]
output = "x"
formula = "2*exp(-a*t)"

[units]
x = "m"
"""


@pytest.fixture
def file(tmp_path):
    """Writes an experiment and gives its path."""

    def write(text, name="experiment.toml"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return write


def test_a_run_that_is_as_expected_has_status_0_and_one_that_is_not_has_1(capsys):
    assert main(["run", DECAY]) == 0
    assert "met: x = initial.x*exp(-rate*t)" in capsys.readouterr().out
    # The closed form reads the numbers that are set.
    assert main(["run", DECAY, "--set", "rate=2.0", "--set", "x=3.0"]) == 0
    capsys.readouterr()
    assert main(["run", DECAY, "--set", "expected.0.formula=2*exp(-rate*t) + 1e-3*(t == 3)"]) == 1
    assert " is off by 0.001 at the time 3, allowed 2e-14" in capsys.readouterr().out


def test_counts_of_events_are_said_as_counts(file, capsys):
    text = GOOD.replace('output = "x"', 'event = "low"\ntimes = ["log(2)/a"]\ncount = 1')
    text = text.replace('formula = "2*exp(-a*t)"', "rtol = 1e-5").replace(
        "until = 1.0", "until = 2"
    )
    name = file(text)
    assert main(["run", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  met: low happens once" in lines
    assert any(line.startswith("  met: times of low within ") for line in lines)
    assert main(["run", name, "--set", "expected.0.count=2"]) == 1
    assert "  MISSED: low happens 2 times; it happened once" in capsys.readouterr().out.splitlines()


def test_a_parameter_may_be_a_formula_of_those_before_it(file, capsys):
    name = file(GOOD.replace("a = 0.5", 'b = "8/3", a = "3*b/16"'))
    assert main(["run", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["parameters"]
    assert found["a"] == pytest.approx(0.5, rel=1e-15)
    assert main(["run", name, "--set", "b=16/3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"]["a"] == pytest.approx(1.0, rel=1e-15)


def test_options_may_stand_between_files(capsys):
    assert main(["run", DECAY, "--set", "rate=2.0", DECAY, "--check"]) == 0
    assert "2 files: 2 ok" in capsys.readouterr().out


def test_a_run_that_fails_has_status_1_and_says_how(file, capsys):
    blows_up = """\
        title = "Blow-up"
        equations = "diff(x, t) = x^2"
        initial.x = 1.0
        times.until = 2.0
        """
    assert main(["run", file(blows_up)]) == 1
    assert "failed: " in capsys.readouterr().out


def test_several_files_run_and_the_worst_status_counts(file, capsys):
    wrong = file("title = 3")
    assert main(["run", wrong, DECAY, "/nowhere.toml", "--json"]) == 2
    captured = capsys.readouterr()
    objects = [json.loads(line) for line in captured.out.splitlines()]
    assert [one["status"] for one in objects] == ["wrong", "ok", "wrong"]
    assert captured.err.startswith(f"{wrong}:1: title: found 3, expected a text")


def test_out_has_a_table_an_object_and_a_picture(tmp_path, capsys):
    folder = tmp_path / "new" / "results"
    argv = ["run", DECAY, "--out", str(folder), "--plot", "--set", "times.points=3"]
    assert main(argv) == 0
    assert capsys.readouterr().out.count("wrote ") == 3
    with (folder / "decay.csv").open() as opened:
        names, *rows = csv.reader(opened)
    assert names == ["t", "x"]
    exact = [[t, 2 * math.exp(-t / 2)] for t in (0.0, 5.0, 10.0)]
    np.testing.assert_allclose(np.array(rows, float), exact, rtol=1e-14)
    found = json.loads((folder / "decay.json").read_text())
    assert found["columns"]["x"] == [float(x) for _, x in rows]
    assert found["parameters"] == {"rate": 0.5, "initial.x": 2.0}
    assert (folder / "decay.png").read_bytes().startswith(b"\x89PNG")


def test_a_good_file_is_checked_without_a_run(file, capsys):
    assert main(["run", file(GOOD), "--check"]) == 0
    assert main(["run", file(GOOD + 'z = "m"'), "--check"]) == 2
    assert (
        capsys.readouterr().err.rstrip().endswith(":26: units.z: there is no wire z; they are x, y")
    )


UNCLOSED = "this is no TOML: a text is not closed: its second quote is missing"
# What is changed in a good file, on which line that is an error, and what is said.
FAULTS = [
    ("title = ", "titel = ", 1, "titel: there is no such key; did you mean title?"),
    ("a = 0.5", 'a = "b"', 6, "parameters.a: unknown name b; a formula is made of numbers and"),
    ("a = 0.5", 'a = "1/0"', 6, "parameters.a: 1/0 is inf, expected a finite number"),
    ("a = 0.5", "a = [1, [2]]", 6, "parameters.a: found rows of different shapes"),
    ("a = 0.5", "a = nan", 6, "parameters.a: found nan, expected a number"),
    ("a = 0.5", "a = true", 6, "parameters.a: found true, expected a number"),
    ("a = 0.5", "", 3, "equations: undefined name a: give it in the tables parameters or inputs"),
    ("x - u", "x - z", 4, "equations: undefined name z"),
    ("x - u", "x -* u", 4, "equations: "),
    ("x = 2.0", "z = 2.0", 7, "initial.z: "),
    ("x = 2.0", 'x = "z"', 7, "initial.x: the equations have no unknown z"),
    ("x = 2.0", 'x = "1 +"', 7, "initial.x: "),
    ('"sin(a*t)"', '"sin(b*t)"', 8, "inputs.u: unknown name b"),
    (
        '"sin(a*t)"',
        '"sinus(a*t)"',
        8,
        "inputs.u: a formula has no function sinus; did you mean sin",
    ),
    ('"sin(a*t)"', '"sin(a, t)"', 8, "inputs.u: sin takes 1, not 2 arguments"),
    (
        "rtol = 1e-6",
        "rtol = -1",
        11,
        "calculus.rtol: found -1, expected a number that is 0 or more",
    ),
    ("rtol = 1e-6", "paths = 9", 11, "calculus.paths: there is no such key: it is for stochastic"),
    ("rtol = 1e-6", 'method = "rk4"', 11, "calculus.method: found the text"),
    ("rtol = 1e-6", 'name = "steddy"', 11, "calculus.name: found the text"),
    ("until = 1.0", "until = 0", 14, "times.until: is the first time, too"),
    ("until = 1.0", "unti = 1.0", 14, "times.unti: there is no such key; did you mean until?"),
    ("until = 1.0", "points = 5", 13, "times: the key until is missing"),
    (
        "until = 1.0",
        "until = 1.0\npoints = 1",
        15,
        "times.points: found 1, expected a whole number",
    ),
    ("until = 1.0", "at = [0, 2, 1]", 14, "times.at: expected times that increase, or decrease"),
    ("until = 1.0", "until = 1979-05-27", 14, "times.until: found a date or a time"),
    ('when = "x < 1"', 'when = "z < 1"', 18, "events[0].when: unknown name z"),
    ('when = "x < 1"', "", 16, "events[0]: the key when is missing"),
    ('output = "x"', 'output = "w"', 21, "expected[0].output: there is no wire w"),
    ('output = "x"', "outptu = 1", 20, "expected[0]: says not what is expected"),
    ('formula = "2*exp(-a*t)"', "", 20, "expected[0]: give one of the keys formula and values"),
    (
        'formula = "2*exp(-a*t)"',
        "at = [2.0]\nvalues = [1.0]",
        22,
        "expected[0].at: expected times from 0 to 1",
    ),
    ('x = "m"', "x = 3", 25, "units.x: found 3, expected a unit in a few letters"),
    ('x = "m"', 'x = "m\\ns"', 25, "units.x: found the text"),
    ('x = "m"', "x = ", 25, "this is no TOML: "),
    ('x = "m"', 'x = m"', 25, "this is no TOML: Invalid value; a text has quotes around it"),
    ('Two of them"', "Two of them", 1, UNCLOSED),
    ('x = "m"', "x = 'm", 25, UNCLOSED),
    ('u\n"""', "u", 2, UNCLOSED),
    ("[[events]]", "[events]", 16, "events: found a table, expected an array of tables: write [[e"),
    ("[[expected]]", "[expected]", 20, "expected: found a table, expected an array of tables: "),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), FAULTS, ids=[one[1] for one in FAULTS])
def test_an_error_says_the_line_and_what_was_expected(file, old, new, line, message):
    assert old in GOOD
    name = file(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_model(name)
    assert str(error.value).startswith(f"{name}:{line}: {message}")


def test_values_of_a_wrong_shape_are_an_error_and_no_miss(file, capsys):
    text = GOOD.replace('formula = "2*exp(-a*t)"', "values = [1.0, 2.0]")
    assert main(["run", file(text)]) == 2
    assert "expected values of the shape [101], found [2]" in capsys.readouterr().err


def test_a_closed_form_that_is_not_finite_is_an_error_and_meets_nothing(file, capsys):
    text = GOOD.replace("2*exp(-a*t)", "1/(t - 1)")
    assert main(["run", file(text)]) == 2
    assert "20: expected[0]: what is expected is not finite" in capsys.readouterr().err


def test_an_error_that_is_infinite_is_allowed_by_nothing():
    assert not Comparison("x", math.inf, math.inf).met


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"title = '\xff'", ":1: is no text in UTF-8"),
        (b"\x00\x01\x02", ":1: this is no TOML"),
        (b"", ":1: the key title is missing: what the experiment is, a text of one line"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, ":1: arrays or tables are nested too deeply"),
        (b"a = 1" + b"0" * 5000, ":1: this is no TOML"),
        (b"a = 1 " + b"# \n" * 500_000, ": is more than 1,000,000 bytes long"),
    ],
    ids=["not UTF-8", "binary", "empty", "deep", "huge number", "long"],
)
def test_a_file_that_is_no_experiment_is_one_message(tmp_path, contents, message):
    path = tmp_path / "file.toml"
    path.write_bytes(contents)
    with pytest.raises(InputError) as error:
        read_model(str(path))
    assert str(error.value).startswith(f"{path}{message}")


def test_what_cannot_be_read_or_written_is_one_message(tmp_path, capsys):
    assert main(["run", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["run", "no\0name"]) == 2
    occupied = tmp_path / "occupied"
    occupied.touch()
    assert main(["run", DECAY, "--out", str(occupied)]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rate", "expected NAME=VALUE"),
        ("rat=1", "there is no number rat; did you mean rate?"),
        ("rate=[1", "this is no value of TOML: Unclosed array"),
        ('title="a', "this is no value of TOML: "),
        ("times.until=soon", 'times.until: found the text "soon", expected a number'),
        ("expected.7.rtol=1", "expected a number below 1, not 7"),
        ("title.x.y=1", "there is no table to hold x"),
    ],
)
def test_a_setting_that_is_wrong_names_the_option(setting, message):
    with pytest.raises(InputError) as error:
        read_model(DECAY, [setting])
    assert str(error.value).startswith(f"--set {setting}: {message}")


PELTS = EXAMPLES / "fitting" / "pelts.toml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1901,47.2", "1901,many", 'data.csv:3: hare: found "many", expected a number'),
        ("1901,47.2", "1901,-1", "data.csv:3: hare: found -1, expected a number above 0"),
        ("1901,47.2", "1900,47.2", "data.csv:3: year: expected times that increase"),
        ("1901,47.2", "1901,1,47.2", "data.csv:3: found 4 cells, expected 3"),
        ("year,hare", "year,har", "the column har of "),
        ("year,hare", "yaer,hare", "has no column year; did you mean yaer?"),
    ],
)
def test_data_that_do_not_fit_are_an_error_with_their_line(file, capsys, old, new, message):
    data = (EXAMPLES / "data" / "lynx_hare.csv").read_text()
    assert old in data
    file(data.replace(old, new), "data.csv")
    text = PELTS.read_text().replace("../data/lynx_hare.csv", "data.csv")
    assert main(["run", file(text)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('fit.free=["a", "e"]', "fit.free[1]: there is no parameter e"),
        ('fit.positive=["initial.har"]', "fit.positive[0]: there is no number initial.har; did"),
        ("fit.method=adam", "fit: adam needs the key learning_rate"),
        ("fit.bounds={a = [1, 2, 3]}", "fit.bounds.a: expected a pair [low, high]"),
        ("fit.data=no.csv", "fit.data: there is no file"),
    ],
)
def test_what_is_wrong_with_a_fit_is_said_before_it_runs(capsys, setting, message):
    assert main(["run", str(PELTS), "--set", setting]) == 2
    assert f": {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-x^2", -6.25),
        ("2*x - 3/x/2", 5.0 - 0.6),
        ("if(x > 2, 1, 2) + (x <= 2)", 1.0),
        ("sin(pi/2)*maximum(x, 3)", 3.0),
        ("initial.y + $a", 11.0),
        ("(x - 3)^3", -0.125),
        ("2^-1", 0.5),
    ],
)
def test_a_formula_has_the_value_of_what_is_written(text, value):
    numbers = {"x": 2.5, "a": 4.0, "initial.y": 7.0}
    formula = read_formula(text, numbers, (), Document("", {}), "numbers")
    assert float(formula(numbers)) == pytest.approx(value, rel=1e-15)


def test_a_formula_runs_no_code():
    for text in (
        "__import__('os')",
        "x.__class__",
        "exec(1)",
        "(lambda: 1)()",
        "x[0]",
        "x if 1 else 2",
    ):
        with pytest.raises(InputError):
            read_formula(text, ["x"], (), Document("", {}), "x")


def test_lines_of_keys_are_found_in_any_notation():
    text = """\
# a comment = with "quotes
k2 = 1
"k3" = { inside = 'a # no comment', k = [1, 2], deep.er = 1979-05-27 07:32:00 }
k4.dotted . "with.dot" = 4
k5 = QQQ
    k6 = \\QQQ inside""QQQ # a comment
k7 = [ # entries
    1,
    { x = 2 }, # [
    '''
two''',
]
[k13.sub]
k14 = true
[[k15]]
k16 = 0
[[k15]]
k18 = 0
[k15.table]
k20 = [[1], [2]]
""".replace("QQQ", 3 * '"')
    assert tomllib.loads(text)["k5"].startswith("    k6 = ")
    keys = lines_of(text).keys
    assert keys["k2",] == 2
    assert keys["k3", "deep", "er"] == 3
    assert keys["k4", "dotted", "with.dot"] == 4
    assert [keys["k7", index] for index in range(3)] == [8, 9, 10]
    assert keys["k7", 1, "x"] == 9
    assert keys["k13", "sub", "k14"] == 14
    assert keys["k15", 0, "k16"] == 16
    assert keys["k15", 1] == 17
    assert keys["k15", 1, "table", "k20", 1] == 20
    assert lines_of(text).texts["k5",] == 6


def test_names_of_examples_are_their_own():
    names = [path.stem for path in EXAMPLES.glob("*/*") if path.suffix in (".py", ".toml")]
    assert len(names) == len(set(names))


def test_mutated_files_are_read_or_are_one_message(tmp_path):
    outcomes = [_read(tmp_path, seed) for seed in range(80)]
    assert 0 < sum(outcomes) < len(outcomes)


def _read(folder, seed):
    """Whether a mutated file is an experiment. Raises what is no message for a user."""
    path = folder / "mutated.toml"
    path.write_bytes(mutated(seed))
    try:
        read_model(str(path))
    except InputError:
        return False
    return True


def test_inputs_of_a_circuit_are_set_by_their_number(file):
    circuit = """\
        title = "A sum"
        circuit = "composition(add, var(x))"
        inputs = [1.0, "sin(t)"]
        times.until = 1.0
        """
    assert read_model(file(circuit), ["inputs.1=3"]).inputs == (1.0, 3.0)


@pytest.mark.slow
def test_a_fit_may_start_before_its_data_and_move_by_an_optimizer(file, capsys):
    rows = [f"{t},{2 * math.exp(-0.5 * (t + 1))}" for t in range(3)]
    file("\n".join(["t,x", *rows]), "data.csv")
    text = """\
        title = "Decay from -1 on"
        equations = "diff(x, t) = -a*x"
        parameters = { a = 0.7 }
        initial = { x = 2.0 }
        calculus = { rtol = 1e-6, max_steps = 64 }
        times = { from = -1 }

        [fit]
        data = "data.csv"
        free = ["a"]
        bounds = { a = [0.1, 2.0] }
        method = "adam"
        learning_rate = 0.05
        steps = 200

        [[expected]]
        parameter = "a"
        value = 0.5
        rtol = 1e-4

        [[expected]]
        output = "x"
        formula = "initial.x*exp(-a*(t + 1))"
        rtol = 1e-5
        """
    assert main(["run", file(text)]) == 0
    assert "real: 4 times from -1 to 2" in capsys.readouterr().out


@pytest.mark.slow
def test_300_mutated_files_end_with_a_status_and_without_a_traceback(tmp_path, capsys):
    path = tmp_path / "mutated.toml"
    statuses = []
    for seed in range(300):
        path.write_bytes(mutated(seed))
        statuses.append(main(["run", str(path)]))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        assert "internal error" not in captured.err, (seed, captured.err)
        assert (statuses[-1] == 2) == bool(captured.err)
    assert set(statuses) == {0, 1, 2}


@pytest.mark.slow
def test_every_example_is_as_it_expects(capsys):
    files = sorted(map(str, EXAMPLES.glob("*/*.toml")))
    assert len(files) >= 15
    status = main(["run", *files])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
