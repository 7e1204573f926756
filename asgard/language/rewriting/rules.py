"""Rules that hold, in groups, and `check`, which tries a rule on random instances.

`ag.rewrite` takes these groups, your own `Rules`, and texts.
"""

from .checking import check
from .reading import Rules
from .rule import Rule

__all__ = ["Rule", "Rules", "arithmetic", "calculus", "check", "circuits", "functions"]


def __dir__() -> list[str]:
    return __all__


arithmetic = Rules("""
[X] + 0 => [X]
[X]*0 => 0
0/[X] => 0
[X]*1 => [X]
[X]/1 => [X]
1/(1/[X]) => [X]
[X]/[X] => 1
[X]^1 => [X]
[X]^0 => 1
1^[X] => 1
-0 => 0
-(-[X]) => [X]
(-[X])*[Y] => -([X]*[Y])
[X]/(-[Y]) => -([X]/[Y])
-([X] + [Y]) => -[X] - [Y]
[A] + [B] => value([A] + [B]) where [A] is a number, [B] is a number
[A]*[B] => value([A]*[B]) where [A] is a number, [B] is a number
[A]^[N] => value([A]^[N]) where [A] is a number, [N] is an integer
[X] - [X] => 0
[X] + [X] => 2*[X]
[A]*[X] + [X] => value([A] + 1)*[X] where [A] is a number
[A]*[X] - [X] => value([A] - 1)*[X] where [A] is a number
-([A]*[X]) + [X] => value(1 - [A])*[X] where [A] is a number
[A]*[X] + [B]*[X] => value([A] + [B])*[X] where [A] is a number, [B] is a number
[A]*[X] - [B]*[X] => value([A] - [B])*[X] where [A] is a number, [B] is a number
[X]*[X] => [X]^2
[X]*[X]^[N] => [X]^value([N] + 1) where [N] is an integer
[X]^[N]/[X] => [X]^value([N] - 1) where [N] is an integer
[X]/[X]^[N] => [X]^value(1 - [N]) where [N] is an integer
[X]^[N]*[X]^[M] => [X]^value([N] + [M]) where [N] is an integer, [M] is an integer
[X]^[N]/[X]^[M] => [X]^value([N] - [M]) where [N] is an integer, [M] is an integer
([X]^[N])^[M] => [X]^value([N]*[M]) where [N] is an integer, [M] is an integer
""")

calculus = Rules("""
diff(int([F], [X]), [X]) => [F]
diff([F], [X]) => 0 where [F] is free of [X]
diff([X], [X]) => 1
diff([F] + [G], [X]) => diff([F], [X]) + diff([G], [X])
diff(-[F], [X]) => -diff([F], [X])
diff([A]*[F], [X]) => [A]*diff([F], [X]) where [A] is free of [X]
diff([F]/[G], [X]) => (diff([F], [X])*[G] - [F]*diff([G], [X]))/[G]^2
diff([F]*[G], [X]) => diff([F], [X])*[G] + [F]*diff([G], [X])
diff([F]^[N], [X]) => [N]*[F]^([N] - 1)*diff([F], [X]) where [N] is constant
diff([F]^[G], [X]) => [F]^[G]*(diff([G], [X])*log([F]) + [G]*diff([F], [X])/[F])
diff(exp([F]), [X]) => exp([F])*diff([F], [X])
diff(log([F]), [X]) => diff([F], [X])/[F]
diff(sqrt([F]), [X]) => diff([F], [X])/(2*sqrt([F]))
diff(sin([F]), [X]) => cos([F])*diff([F], [X])
diff(cos([F]), [X]) => -sin([F])*diff([F], [X])
diff(tan([F]), [X]) => (1 + tan([F])^2)*diff([F], [X])
diff(arcsin([F]), [X]) => diff([F], [X])/sqrt(1 - [F]^2)
diff(arccos([F]), [X]) => -diff([F], [X])/sqrt(1 - [F]^2)
diff(arctan([F]), [X]) => diff([F], [X])/(1 + [F]^2)
diff(sinh([F]), [X]) => cosh([F])*diff([F], [X])
diff(cosh([F]), [X]) => sinh([F])*diff([F], [X])
diff(tanh([F]), [X]) => (1 - tanh([F])^2)*diff([F], [X])
diff(arcsinh([F]), [X]) => diff([F], [X])/sqrt(1 + [F]^2)
diff(arctanh([F]), [X]) => diff([F], [X])/(1 - [F]^2)
diff(sigmoid([F]), [X]) => sigmoid([F])*(1 - sigmoid([F]))*diff([F], [X])
diff(erf([F]), [X]) => 2/sqrt(pi)*exp(-[F]^2)*diff([F], [X])
diff([F], [X], 1) => diff([F], [X])
diff([F], [X], [N]) => 0 where [F] is free of [X]
diff(diff([F], [X]), [X]) => diff([F], [X], 2)
diff(diff([F], [X], [N]), [X]) => diff([F], [X], value([N] + 1)) where [N] is an integer
diff([F] + [G], [X], [N]) => diff([F], [X], [N]) + diff([G], [X], [N])
diff(-[F], [X], [N]) => -diff([F], [X], [N])
diff([A]*[F], [X], [N]) => [A]*diff([F], [X], [N]) where [A] is free of [X]
int([F] + [G], [X]) => int([F], [X]) + int([G], [X])
int(-[F], [X]) => -int([F], [X])
int([A]*[F], [X]) => [A]*int([F], [X]) where [A] is constant
int(0, [X]) => 0
""")

functions = Rules("""
exp(0) => 1
log(1) => 0
sqrt(0) => 0
sin(0) => 0
cos(0) => 1
tan(0) => 0
tanh(0) => 0
exp(log([X])) => [X]
log(exp([X])) => [X]
log(sqrt([X])) => log([X])/2
log(1/[X]) => -log([X])
exp([X])*exp([Y]) => exp([X] + [Y])
exp([X])/exp([Y]) => exp([X] - [Y])
exp([X])^[N] => exp([N]*[X]) where [N] is an integer
sqrt([X])^2 => [X]
sqrt([X]^2) => abs([X])
abs(abs([X])) => abs([X])
abs(-[X]) => abs([X])
sin(-[X]) => -sin([X])
cos(-[X]) => cos([X])
tan(-[X]) => -tan([X])
sinh(-[X]) => -sinh([X])
cosh(-[X]) => cosh([X])
tanh(-[X]) => -tanh([X])
sin([X])^2 + cos([X])^2 => 1
cosh([X])^2 - sinh([X])^2 => 1
sin(arcsin([X])) => [X]
cos(arccos([X])) => [X]
tan(arctan([X])) => [X]
sinh(arcsinh([X])) => [X]
arcsinh(sinh([X])) => [X]
tanh(arctanh([X])) => [X]
arctanh(tanh([X])) => [X]
maximum([X], [X]) => [X]
minimum([X], [X]) => [X]
maximum([X], [Y]) + minimum([X], [Y]) => [X] + [Y]
if([C], [X], [X]) => [X]
""")

circuits = Rules(
    """
id(1) => id
split(1) => id
permute([P]) => id(size([P])) where [P] is in order
permute(1, 0) => swap
monoidal(id([N]), id([M])) => id([N] + [M])
composition([F], id([N])) => [F]
composition(id([N]), [F]) => [F]
composition(swap, swap) => id(2)
composition(swap, permute([P])) => permute(after(order(1, 0), [P]))
composition(permute([P]), swap) => permute(after([P], order(1, 0)))
composition(permute([P]), permute([Q])) => permute(after([P], [Q]))
composition(split, swap) => split
composition(split, monoidal(discard, id)) => id
composition(split, monoidal(id, discard)) => id
composition(split([N]), monoidal(id([M]), split([K]))) => split([N] + [K] - 1)
composition(split([N]), monoidal(split([K]), id([M]))) => split([N] + [K] - 1)
composition([F], discard) => discard where [F] is 1 -> 1
composition(monoidal([F], [G]), monoidal([H], [K]))
    => monoidal(composition([F], [H]), composition([G], [K]))
    where composition([F], [H]) is a circuit, composition([G], [K]) is a circuit
trace(swap) => id
trace(trace([F], [N]), [M]) => trace([F], [N] + [M])
trace(monoidal([F], [G]), [N]) => monoidal([F], trace([G], [N])) where trace([G], [N]) is a circuit
trace(composition(monoidal([F], id([N])), [G]), [N]) => composition([F], trace([G], [N]))
    where composition([F], trace([G], [N])) is a circuit
trace(composition([G], monoidal([F], id([N]))), [N]) => composition(trace([G], [N]), [F])
    where composition(trace([G], [N]), [F]) is a circuit
add(1) => id
multiplication(1) => id
power(1) => id
scalar(1) => id
composition(swap, add) => add
composition(swap, multiplication) => multiplication
composition(swap, maximum) => maximum
composition(swap, minimum) => minimum
composition(monoidal([F], const(0)), add) => [F] where [F] is n -> 1
composition(monoidal(const(0), [F]), add) => [F] where [F] is n -> 1
composition(monoidal(const([A]), const([B])), add) => const([A] + [B])
composition(monoidal(const([A]), const([B])), multiplication) => const([A]*[B])
composition(monoidal([F], const([A])), multiplication) => composition([F], scalar([A]))
    where [F] is n -> 1
composition(monoidal(const([A]), [F]), multiplication) => composition([F], scalar([A]))
    where [F] is n -> 1
composition(const([A]), scalar([B])) => const([A]*[B])
composition(scalar([A]), scalar([B])) => scalar([A]*[B])
composition(split, monoidal(scalar([A]), scalar([B])), add) => scalar([A] + [B])
composition(split, monoidal(id, scalar([B])), add) => scalar(1 + [B])
composition(split, monoidal(scalar([A]), id), add) => scalar([A] + 1)
composition(split, add) => scalar(2)
composition(split, multiplication) => power(2)
composition(power([N]), power([M])) => power([N]*[M])
    where [N] is an integer, [M] is an integer
composition(exp, log) => id
composition(register([T], [A]), deregister([T])) => id
""",
    "circuits",
)
