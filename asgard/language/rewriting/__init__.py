"""Rules that rewrite equations and circuits, and circuits made simpler.

`rule` is a rule as data, `reading` reads it from text. `expressions` and `terms` say what equations
and circuits are to rules: how they are matched and built (`conditions` has what rules ask).
`strategies` applies rules, `rewrite` is what users call. `rules` is the library, and `checking`
tries a rule on random instances, whose values `functions` and `collocation` compute.

`simplify` needs no rules: it works on the wiring graph. `comparing` tells whether two circuits are
the same system.
"""
