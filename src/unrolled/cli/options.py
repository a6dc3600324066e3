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
                plain, _ = value_type(field)
                limits = field.metadata
                shown = click.Choice(limits["choices"]) if limits["choices"] else plain
                default = (defaults or {}).get(field.name, field.default)
                name = f"--{field.name.replace('_', '-')}"
                if plain is bool:
                    name += f"/--{limits['against'] or f'no-{name[2:]}'}"
                command = click.option(
                    name,
                    field.name,
                    type=shown,
                    default=default,
                    show_default=default not in (None, ""),
                    help=limits["help"] + (notes or {}).get(field.name, ""),
                )(command)
        return command

    return decorate


def given_of(kind: type[Settings], values: Mapping[str, object]) -> dict[str, object]:
    """The options that belong to some settings and were given on the command line."""
    context, names = click.get_current_context(), [field.name for field in dataclasses.fields(kind)]
    is_given = {name: context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT for name in names}
    return {name: values[name] for name in names if is_given[name]}


def settings_of(kind: type[S], values: Mapping[str, object]) -> S:
    """Settings from the options that belong to them."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})
