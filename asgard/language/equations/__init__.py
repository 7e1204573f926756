"""Circuits from equations.

`grammar.lark` and `reading` take a text to its syntax tree (`tree`). `names` says what each name
is. `expanding` takes the tree to relations between expressions: functions, sub-systems and
differentials are gone then, and expressions that are alike are one (`expressions`, with the table
of functions in `elementary`). `structure` finds which relation determines which unknown,
`isolating` solves each for its unknown. `plan` makes the atoms and wires of that, `block` is the
circuit, with its numbers by name, and `equations` is all of it in one function.
"""
