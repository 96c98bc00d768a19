"""`TableSpace`, a model space whose choices are the columns of a table."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from hubserve.space import ModelSpace, Picker


@dataclass(frozen=True)
class TableSpace(ModelSpace):
    """The product of the candidates of each column of a table. Its networks do nothing: the archs are scored by the table.

    Args:
        columns: Pairs of the name of a column, which is the label of a choice, and its candidates: numbers or strings.
    """

    columns: tuple[tuple[str, tuple[Any, ...]], ...]

    def build(self, pick: Picker) -> nn.Module:
        """Asks for the value of each column and returns a module that returns its input."""
        for label, candidates in self.columns:
            pick(label, candidates)
        return nn.Identity()
