"""Options of a command from the settings' dataclasses, so that each is declared once."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from unrolled.settings import Settings, value_type

PATH = click.Path(path_type=Path)


S = TypeVar("S", bound=Settings)


def options(
    *kinds: type[Settings], defaults: Mapping[str, object] | None = None, notes: dict[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command one option for each field of the settings; notes by name stand after the help of some."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for kind in reversed(kinds):
            for field in reversed(dataclasses.fields(kind)):
                default = (defaults or {}).get(field.name, field.default)
                command = click.option(
                    flag(field),
                    field.name,
                    type=declared(field),
                    default=default,
                    show_default=default not in (None, ""),
                    help=field.metadata["help"] + (notes or {}).get(field.name, ""),
                )(command)
        return command

    return decorate


def flag(field: dataclasses.Field) -> str:
    """A field's name on the command line; both names of what is true or false."""
    name, (plain, _) = f"--{field.name.replace('_', '-')}", value_type(field)
    return name if plain is not bool else f"{name}/--{field.metadata['against'] or f'no-{name[2:]}'}"


def declared(field: dataclasses.Field) -> type | click.Choice:
    """A field's type on the command line."""
    return click.Choice(choices) if (choices := field.metadata["choices"]) else value_type(field)[0]


def given_of(kind: type[Settings], values: Mapping[str, object]) -> dict[str, object]:
    """The options that belong to some settings and were given on the command line."""
    context, names = click.get_current_context(), [field.name for field in dataclasses.fields(kind)]
    is_given = {name: context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT for name in names}
    return {name: values[name] for name in names if is_given[name]}


def settings_of(kind: type[S], values: Mapping[str, object]) -> S:
    """Settings from the options that belong to them."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})
