"""What a tableau is checked for: here that of Bogacki and Shampine, with one thing wrong each."""

import numpy as np
import pytest

import asgard as ag

pytestmark = pytest.mark.usefixtures("unchecked")

SOLUTION = (2 / 9, 1 / 3, 4 / 9)
DENSE = ((1.0, -4 / 3, 5 / 9), (0.0, 1.0, -2 / 3), (0.0, 4 / 3, -8 / 9), (0.0, -1.0, 1.0))
GOOD = {
    "order": 3,
    "times": (0, 1 / 2, 3 / 4, 1),
    "stages": ((1 / 2,), (0, 3 / 4), SOLUTION),
    "errors": ((-5 / 72, 1 / 12, 1 / 9, -1 / 8),),
    "dense": DENSE,
    "stability": 2.52,
}

WRONG = [
    ({"order": 3.0}, "order must be an integer of at least 1, not 3.0"),
    ({"order": 4}, r"order 4: the sum of stages\[-1\] \* times\*\*3 must be 0.25, not 0.229"),
    ({"times": [0, 1]}, r"times must be a tuple of numbers, not \[0, 1\]"),
    ({"times": (0, 1 / 2, 1)}, "times must have 4 numbers, not 3: one for the start of the step"),
    ({"times": (0, 0.4, 3 / 4, 1)}, r"the sum of stages\[0\], which is times\[1\], must be 0.4"),
    ({"times": (0.1, 1 / 2, 3 / 4, 1)}, r"times\[0\], the start of the step, must be 0, not 0.1"),
    ({"stages": (), "times": (0,)}, "stages has no row"),
    ({"stages": (1 / 2, (0, 3 / 4), SOLUTION)}, r"stages\[0\] must be a tuple of numbers, not 0.5"),
    ({"stages": ((1 / 2, 0), (0, 3 / 4), SOLUTION)}, r"stages\[0\] must be of length 1, not 2"),
    (
        {"stages": ((1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 5 / 9))},
        r"stages\[2\].* must be 1, not 1.1",
    ),
    ({"errors": ()}, "errors must be 1 row or 2, not 0"),
    ({"errors": GOOD["errors"][0]}, r"errors\[0\] must be a tuple of numbers, not -0.069"),
    ({"errors": ((1, -1, 0, 0, 0),)}, r"errors\[0\] has 5 numbers, and the step has 4 stages"),
    ({"errors": ((7 / 24, 1 / 4, 1 / 3, 1 / 8),)}, r"the sum of errors\[0\].* must be 0, not 1"),
    ({"errors": ((0, 0, 0, 0),)}, r"errors\[0\] is 0 throughout, and estimates no error"),
    ({"dense": np.array(DENSE)}, "dense must be a tuple of rows, not array"),
    ({"dense": DENSE[:3]}, "dense must have 4 rows, one for each stage, not 3"),
    ({"dense": (DENSE[0][:2], *DENSE[1:])}, r"dense\[1\] must be of length 2, not 3"),
    (
        {"dense": ((1.0, 0, 0), *DENSE[1:])},
        r"the sum of dense\[0\], .* must be 0.2222222222, not 1",
    ),
    ({"dense": tuple(row[::-1] for row in DENSE)}, "weights of power 1 in dense must be 1, not 0"),
    ({"stability": None}, "stability must be a number, not None"),
    ({"stability": 0}, "stability must be positive, not 0"),
    ({"stability": 25.0}, "stability 25 is too large: .* multiplies y by -1.67e"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_tableau_is_refused(change, message):
    ag.Tableau(**GOOD)
    with pytest.raises(ag.CircuitError, match=f"Tableau: .*{message}"):
        ag.Tableau(**(GOOD | change))


def test_a_method_whose_tableau_is_none_or_a_field_is_refused():
    method = type("Mine", (ag.RungeKutta,), {"tableau": GOOD})
    with pytest.raises(ag.CircuitError, match="Mine: tableau must be a Tableau, not"):
        method()
    fields = {"tableau": ag.Tableau(**GOOD), "__annotations__": {"tableau": ag.Tableau}}
    method = type("Mine", (ag.RungeKutta,), fields)
    with pytest.raises(ag.CircuitError, match="Mine: tableau is no field: declare it as ClassVar"):
        method()


def test_a_stage_at_the_start_may_read_no_slope():
    """The same method with its first stage a second time, which nothing reads."""

    def with_zero(row):
        return (row[0], 0, *row[1:])

    change = {
        "times": with_zero(GOOD["times"]),
        "stages": ((0,), *map(with_zero, GOOD["stages"])),
        "errors": (with_zero(GOOD["errors"][0]),),
        "dense": (DENSE[0], (0.0, 0.0, 0.0), *DENSE[1:]),
    }

    def end(**change):
        tableau = ag.Tableau(**(GOOD | change))
        calculus = ag.Real(method=type("Mine", (ag.RungeKutta,), {"tableau": tableau})())
        grows = ag.ode(lambda t, y: y, 1.0)
        return ag.simulate(grows, [0.0, 0.1], calculus=calculus).output[-1]

    np.testing.assert_allclose(end(**change), end(), rtol=1e-14)
