"""Which source subwords moved a translation, by integrated gradients.

Inputs: the network, a source in subwords and the ids of its translation. Outputs: a number for each source subword, or
for each word that they make.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.data.subwords import BEGIN, END, PAD
from unrolled.insight.attribution import integrated_at
from unrolled.tasks.translate.net import TranslateNet


def source_effects(net: TranslateNet, source: Sequence[int], target: Sequence[int]) -> list[float]:
    """What each subword of the source adds to the log-probability of the whole translation, in nats, beside a source
    of zero vectors.
    """
    device = next(net.parameters()).device
    sources = torch.tensor([*source], device=device).unsqueeze(1)
    inputs, wanted = (torch.tensor(ids, device=device) for ids in ([BEGIN, *target], [*target, END]))
    lengths = torch.tensor([len(sources)])

    def log_p() -> Tensor:
        memory = net.encode(sources, lengths)
        readouts, _, _ = net.decode(inputs.unsqueeze(1), net.first_state(memory), memory)
        scores = net.scores(readouts[:, 0]).float().index_fill(1, torch.tensor([PAD, BEGIN], device=device), -torch.inf)
        return scores.log_softmax(1).gather(1, wanted.unsqueeze(1)).sum().unsqueeze(0)

    [values], _ = integrated_at(log_p, [net.encoder])
    return values.flatten(1).sum(1).tolist()


def by_word(text: str, subwords: Sequence[str], nats: Sequence[float]) -> list[tuple[str, float]]:
    """The words of a text with the sums of their subwords; the subwords as they are where no spaces part words."""
    words = text.split()
    if len(words) < 2 or "".join(words) != "".join(subwords):
        return list(zip(subwords, nats, strict=True))
    found, rest = [], iter(zip(subwords, nats, strict=True))
    for word in words:
        read, total = "", 0.0
        while len(read) < len(word):
            subword, value = next(rest)
            read, total = read + subword, total + value
        found.append((word, total))
    return found
