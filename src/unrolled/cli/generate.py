"""`unrolled generate`.

Inputs: a prompt. Outputs: text, as it is generated.
"""

import sys
from pathlib import Path

import click

from unrolled import tasks
from unrolled.cli.models import opened
from unrolled.cli.options import PATH, options, settings_of
from unrolled.errors import ModelFileError
from unrolled.tasks.capabilities import Generates, GenerateSettings


@click.command(short_help="Write text with a model.")
@click.argument("model", type=PATH)
@click.option("--prompt", default="", help="text to go on from")
@click.option("--seed", type=int, help="same seed, same text  [a new one each time]")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda ...")
@options(GenerateSettings)
def generate(model: Path, prompt: str, seed: int | None, device: str, **values: object) -> None:
    """Write text with a model, as it comes, after the prompt.

    \b
    unrolled generate runs/book/model.safetensors --prompt "Once upon" --temperature 0.7 --length 1000
    """
    how = settings_of(GenerateSettings, values)
    _, loaded = opened(model, device)
    if not isinstance(loaded, Generates):
        those = " or ".join(repr(name) for name in tasks.names() if hasattr(tasks.task(name).Model, "generate"))
        raise ModelFileError(f"{model}: is a model of the task {loaded.task!r}; expected one of {those}")
    texts = loaded.generate(
        prompt, length=how.length, temperature=how.temperature, top_k=how.top_k, top_p=how.top_p, seed=seed
    )
    click.echo(prompt, nl=False)
    for text in texts:
        click.echo(text, nl=False)
        sys.stdout.flush()
    click.echo()
