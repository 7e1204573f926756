"""Power series of functions and of the solutions of differential equations."""

from . import rules as rules
from .checking import check_rules as check_rules
from .expansion import expand as expand
from .expansion import ode as ode
