"""Rules that rewrite equations and circuits, and circuits made simpler.

`rule` is a rule as data, `reading` reads it from text. `conditions` has what it may ask,
`arguments` what its placeholders stand for in circuits. `notation` says what rules rewrite:
`equations`, with `trees` and `matching`, and `terms`, with `wire_numbers`. `strategies` applies
rules, `rewrite` is what users call. `rules` is the library. `checking` tries a rule on random
`instances`, whose values `functions` and `collocation` compute.

`simplify` needs no rules: it works on the wiring graph, of which `rows` makes a term. `comparing`
tells whether two circuits are one system, by `polynomials`.
"""
