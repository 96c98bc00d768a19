"""Lets the documentation site show the examples of docstrings (lines that begin with >>>) as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n)(?!\s*$).*)*", re.MULTILINE)
"""From a line with a prompt to the next empty line."""


class DocstringExamples(griffe.Extension):
    """Puts each example into a fenced block."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called once for each module, class, function and attribute."""
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(lambda match: f"```pycon\n{match[0]}\n```", obj.docstring.value)
