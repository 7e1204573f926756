"""The rules of JAX's primitives, and how to add one: `add_rule(name, kind)`."""

from ..registry import Bilinear as Bilinear
from ..registry import Built as Built
from ..registry import Derivative as Derivative
from ..registry import Frozen as Frozen
from ..registry import Linear as Linear
from ..registry import Recurrence as Recurrence
from ..registry import Refused as Refused
from ..registry import Rewrite as Rewrite
from ..registry import add_rule as add_rule
from . import table as table
