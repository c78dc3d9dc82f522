"""Options that a parser of ours reads."""

from collections.abc import Callable
from typing import TypeVar

import click

from glue.settings import Address

T = TypeVar("T")


class Parsed(click.ParamType[T]):
    """What `parse` makes of the text; its ValueError refuses it as wrong usage."""

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Parse it, or refuse it."""
        try:
            return self._parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


ADDRESS = Parsed("HOST:PORT", Address.parse)
