"""Commands whose options cost nothing where they are not given.

typer converts every value through pydantic, also one that is not there, and to import pydantic takes a fifth of a
command's time. The rule: nothing stays nothing; whatever was given goes typer's way.
"""

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class Option(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _nothing(self, ctx) if value is None and not self.required else super().process_value(ctx, value)


class Argument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _nothing(self, ctx) if value is None and not self.required else super().process_value(ctx, value)


class Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _lean(super().get_params(ctx))


class Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        return _lean(super().get_params(ctx))


def _nothing(parameter: TyperOption | TyperArgument, ctx: Any) -> Any:
    value = () if parameter.multiple or parameter.nargs == -1 else None
    return value if parameter.callback is None else parameter.callback(ctx, parameter, value)


def _lean(parameters: list[Any]) -> list[Any]:
    """The same ones: typer makes them itself, and has no place to say of what class."""
    for each in parameters:
        if type(each) is TyperOption:
            each.__class__ = Option
        elif type(each) is TyperArgument:
            each.__class__ = Argument
    return parameters
