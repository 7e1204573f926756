"""Rules that cannot be read are refused where they are wrong."""

import pytest
import wrong_rules

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

CASES = [
    *(("equations", *case) for case in wrong_rules.EQUATIONS),
    *(("circuits", *case) for case in wrong_rules.CIRCUITS),
]


@pytest.mark.parametrize(("notation", "text", "line", "column", "message"), CASES)
def test_the_error_shows_line_column_and_place(notation, text, line, column, message):
    with pytest.raises(ag.ParseError, match=message) as caught:
        tuple(ag.rules.Rules(text, notation))
    error = caught.value
    assert (error.line, error.column) == (line, column)
    shown = str(error).split("\n")
    assert shown[0].startswith(f"line {line}, column {column}: ")
    assert shown[1] == "  " + text.split("\n")[line - 1]
    assert shown[2] == " " * (column + 1) + "^"


def test_wrong_arguments_are_refused():
    with pytest.raises(ag.CircuitError, match='notation must be "equations" or "circuits"'):
        ag.rules.Rules("[X]*0 => 0", "circuit")
    with pytest.raises(ag.CircuitError, match='notation must be "equations" or "circuits"'):
        ag.rules.check("[X]*0 => 0", notation="text")
    with pytest.raises(ag.CircuitError, match="Rules are a text, not list"):
        ag.rules.Rules(["[X]*0 => 0"])
    with pytest.raises(ag.CircuitError, match="check takes a text or a group of rules, not int"):
        ag.rules.check(3)
    with pytest.raises(ag.CircuitError, match="instances must be an integer of at least 1"):
        ag.rules.check("[X]*0 => 0", instances=0)


def test_unknown_conditions_list_those_that_there_are():
    with pytest.raises(ag.ParseError) as caught:
        ag.rewrite("x = 1", "[X]*0 => 0 where [X] is big")
    assert "'[A] is a number'" in caught.value.expected


def test_rewrite_and_check_read_texts_alike():
    for call in (lambda text: ag.rewrite("x = 1", text), ag.rules.check):
        with pytest.raises(ag.ParseError, match="the text has no rules"):
            call("")
    with pytest.raises(ag.ParseError, match="unknown circuit"):
        ag.rules.check("spit => id", notation="circuits")
