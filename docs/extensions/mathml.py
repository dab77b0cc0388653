"""Formulas as MathML, which browsers show by themselves: no script, and none from elsewhere."""

from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math import latex2mathml


def visit_inline(translator: Any, node: Any) -> None:
    """Write a formula within a line."""
    translator.body.append(latex2mathml.tex2mathml(node.astext(), as_block=False))
    raise SkipNode


def visit_block(translator: Any, node: Any) -> None:
    """Write a formula of its own."""
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math">{formula}</div>\n')
    raise SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Offer it as a way to write formulas in html."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
