"""Public names in code, such as `ag.simulate`, lead to the API's pages.

A name after `ag.` that Asgard does not have is a warning: pages do not outlive what they describe.
"""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import asgard as ag

QUALIFIED = re.compile(r"ag\.([A-Za-z]\w*(?:\.\w+)*)(?:\(.*\))?", re.DOTALL)
CLASS = re.compile(r"[A-Z]\w+")
# Modules with a page of their own.
MODULES = ("taylor", "taylor.rules", "statistics", "rules")


class LinkNames(SphinxTransform):
    """Makes references of inline code that is a public name."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            name = self.named(literal.astext())
            if name is None or isinstance(literal.parent, (nodes.reference, addnodes.pending_xref)):
                continue
            reference = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="mod" if name in MODULES else "obj",
                reftarget=f"asgard.{name}",
                refdoc=self.env.docname,
                refwarn=True,
            )
            literal.replace_self(reference)
            reference += literal

    def named(self, text: str) -> str | None:
        """The public name that a piece of code is, in a docstring also without `ag.`."""
        if found := QUALIFIED.fullmatch(text):
            return found[1]
        in_docstring = self.env.docname.startswith("api/")
        if in_docstring and CLASS.fullmatch(text) and text in dir(ag):
            return text
        return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(LinkNames)
    return {"parallel_read_safe": True}
