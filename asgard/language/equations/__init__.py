"""Circuits from equations.

`grammar.lark` and `reading` take a text to its syntax tree (`tree`). `names` says what each name
is. `expanding` takes the tree to relations between expressions, with `evaluating`: functions,
sub-systems and differentials are gone then, and expressions that are alike are one (`expressions`,
with the tables of functions in `elementary` and `switching`). `system` finds what unknowns evolve
along, `structure` which relation determines which unknown, `isolating` solves each for its unknown,
and `resets` finds the states that jump. `planning` makes the atoms and wires of that, a `plan`.
`block` is the circuit, with its numbers by name, and `equations` is all of it in one function.
`writing` and `latex` lead back to paper.
"""
