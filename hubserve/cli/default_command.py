"""A command group with a default command: `hubserve profile MODEL` beside `hubserve profile compare A B`."""

from typing import Any

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """A typer group whose first command runs where the first argument is the name of none of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)
