"""Rules of the library hold, and wrong rules are found to be wrong."""

import pytest

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

GROUPS = {
    name: getattr(ag.rules, name) for name in ("arithmetic", "calculus", "functions", "circuits")
}
# Circuits are run for each instance.
INSTANCES = {"circuits": 4}


@pytest.mark.parametrize("name", GROUPS)
def test_every_rule_of_the_library_holds_on_random_instances(name):
    for rule in GROUPS[name]:
        ag.rules.check(rule, instances=INSTANCES.get(name, 10))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("name", GROUPS)
def test_every_rule_of_the_library_holds_on_more_instances(name, seed):
    ag.rules.check(GROUPS[name], instances=3 * INSTANCES.get(name, 20), seed=seed)


WRONG = {
    "[X] + [Y] => [X]": r"for \[X\] = .*, \[Y\] = .* is .* at t = .*, x = .*, and .* is",
    "diff([F]*[G], [X]) => diff([F], [X])*diff([G], [X])": "is wrong",
    "diff([F], [X]) => 0": "is wrong",
    "int([A]*[F], [X]) => [A]*int([F], [X]) where [A] is free of t": "is wrong",
    "log([X]*[Y]) => log([X]) + log([Y])": "no real number",
    "sqrt([X]^2) => [X]": "is wrong",
    "[A]*[B] => value([A] + [B]) where [A] is a number, [B] is a number": "is wrong",
    "[X]^[N] => [X]^value([N] + 1) where [N] is an integer": "is wrong",
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_rule_is_shown_with_an_instance(rule):
    with pytest.raises(ag.CircuitError, match=WRONG[rule]) as caught:
        ag.rules.check(rule)
    assert f"'{rule}' is wrong" in str(caught.value)


WRONG_CIRCUITS = {
    "add => multiplication": "add gives .* and multiplication .* for the same inputs",
    "scalar([A]) => scalar([A] + 1)": r"for \[A\] = .* is|gives",
    "composition([F], [G]) => composition([G], [F])": "is wrong",
    "composition(split, [F]) => [F]": "changes how many wires|no circuit",
    "composition(permute([P]), permute([Q])) => permute(after([Q], [P]))": "is wrong",
    "trace(trace([F], [N]), [M]) => trace([F], [N])": "is wrong",
}


@pytest.mark.parametrize("rule", WRONG_CIRCUITS)
def test_a_wrong_rule_of_circuits_is_shown_with_an_instance(rule):
    with pytest.raises(ag.CircuitError, match=WRONG_CIRCUITS[rule]):
        ag.rules.check(rule, notation="circuits")


def test_own_rules_that_hold_pass():
    ag.rules.check("sin(2*[X]) => 2*sin([X])*cos([X])")
    ag.rules.check("composition(split, add) => scalar(2)", notation="circuits")
    ag.rules.check(ag.rules.Rules("swap => permute(1, 0)", "circuits"))


def test_what_cannot_be_checked_is_said():
    with pytest.raises(ag.CircuitError, match=r"'f\(.*\)' has no value at a point"):
        ag.rules.check("f([X]) => [X]")
    with pytest.raises(ag.CircuitError, match="was not checked: no instance was found"):
        ag.rules.check("log(-1) => 0")


def test_groups_are_read_when_used_and_join():
    group = ag.rules.Rules("[X]*0 => 0  # zero\n\n# a comment\nsin(0) => 0")
    assert [str(rule) for rule in group] == ["[X]*0 => 0", "sin(0) => 0"]
    assert len(group + ag.rules.Rules("cos(0) => 1")) == 3
    assert tuple(ag.rules.Rules(str(group.rules[0]))) == group.rules[:1]
    with pytest.raises(TypeError):
        group + ag.rules.circuits


def test_a_rule_goes_on_where_a_line_begins_with_where_or_an_arrow():
    (rule,) = ag.rules.Rules("[A]*[X]\n  => [X]*[A]\n  where [A] is a number,\n  [X] is constant")
    assert str(rule) == "[A]*[X] => [X]*[A] where [A] is a number, [X] is constant"
    assert [condition.kind for condition in rule.conditions] == ["number", "constant"]
