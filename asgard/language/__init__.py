"""Circuits from text: `parse` reads what `str(circuit)` prints, `equations` what is on paper.

A text is a keyword, alone or with arguments in parentheses: `scalar(2.0)`, `composition(split,
add)`. `grammar.lark` holds that grammar, `syntax` reads a text by it, `keywords` says what each
keyword takes and builds, `parse` builds the circuit. `equations/` has a notation of its own.
`rewriting/` changes both by rules.
"""
