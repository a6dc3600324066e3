"""Does the training loop cost anything? `unrolled train text` against the same model in a bare loop, interleaved.

python -m benchmarks.text_throughput
"""

import statistics
import sys

import torch
from torch import nn

from benchmarks.harness import append, interleaved, quartiles
from unrolled.data.corpus import Corpus
from unrolled.tasks.text import model as task
from unrolled.tasks.text.settings import TextSettings
from unrolled.training.display import PlainDisplay
from unrolled.training.loop import _Training
from unrolled.training.settings import TrainSettings

STEPS = 10


class Bare(nn.Module):
    """The model, as one writes it by hand."""

    def __init__(self, size: int, settings: TextSettings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, settings.hidden)
        self.lstm = nn.LSTM(settings.hidden, settings.hidden, settings.layers, dropout=settings.dropout)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(settings.hidden, size)

    def forward(self, x, state):
        y, state = self.lstm(self.embedding(x), state)
        return self.output(self.dropout(y)), state


def bare_loop(ids: torch.Tensor, size: int, settings: TextSettings, dtype: torch.dtype):
    """A careful user's loop: the same batches, clipping, optimizer and precision, and nothing else."""
    model = Bare(size, settings).train()
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    length = (len(ids) - 1) // settings.batch
    inputs = ids[: length * settings.batch].view(settings.batch, length).t().contiguous()
    targets = ids[1 : length * settings.batch + 1].view(settings.batch, length).t().contiguous()
    state, at = None, 0

    def steps():
        nonlocal state, at
        for _ in range(STEPS):
            if at + settings.k1 > length:
                state, at = None, 0
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                logits, state = model(inputs[at : at + settings.k1], state)
                loss = nn.functional.cross_entropy(
                    logits.float().flatten(0, 1), targets[at : at + settings.k1].flatten()
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            state = tuple(part.detach() for part in state)
            at += settings.k1

    return steps


def ours_loop(text: str, settings: TextSettings, precision: str):
    """What `unrolled train text` does, with its display, a few steps at a time."""
    training = TrainSettings(minutes=1000, precision=precision)
    model = task.TextModel(settings)
    job = model._job(Corpus(text, b"", (), "utf-8", ""), None, training, torch.device("cpu"))
    display = PlainDisplay(sys.stderr)
    display.start(items_per_step=job.items_per_step, item=job.item)
    under_way = _Training(job, training, None, display, None)

    def steps():
        for _ in range(STEPS):
            under_way.update()
            under_way.is_evaluation_due()
            under_way.is_checkpoint_due()

    return steps, job, model


def main() -> None:
    text = "".join(
        chr(97 + int(i)) for i in torch.randint(0, 26, (400_000,), generator=torch.Generator().manual_seed(0))
    )
    rows: list[dict[str, object]] = []
    for precision in ("float32", "bfloat16"):
        settings = TextSettings()
        ours, job, model = ours_loop(text, settings, precision)
        dtype = getattr(torch, precision)
        bare = bare_loop(torch.from_numpy(job.train_ids), model.units.size, settings, dtype)
        seconds = interleaved({"bare loop, torch.nn.LSTM": bare, "unrolled train text": ours}, rounds=9)
        items = STEPS * job.items_per_step
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        for name, each in seconds.items():
            ratio = medians["bare loop, torch.nn.LSTM"] / medians[name]
            row = {"precision": precision, "rival": name, **quartiles(each)}
            rows.append(row | {"chars_per_s": round(items / medians[name]), "of_bare_loop": round(ratio, 3)})
            print(f"{precision:9} {name:26} {items / medians[name]:8,.0f} chars/s  {ratio:.3f} of the bare loop")
    append("text_throughput", rows)


if __name__ == "__main__":
    main()
