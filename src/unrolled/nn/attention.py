"""Attention over a memory.

Inputs: queries and a memory. Outputs: what each query reads, and its weights over the memory.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Weights over the places of a memory, and the mean that they give.

    "additive": v · tanh(W q + U m), D. Bahdanau, K. Cho and Y. Bengio, ICLR 2015; "multiplicative": W q · U m, M.-T.
    Luong, H. Pham and C. Manning, EMNLP 2015, over the square root of its size (A. Vaswani et al., NeurIPS 2017).
    """

    def __init__(self, kind: str, query: int, memory: int, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.of_memory = nn.Linear(memory, size, bias=False)
        self.of_query = nn.Linear(query, size)
        if kind == "additive":
            self.score = nn.Linear(size, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """[batch, places, memory] → [batch, places, size]: what all queries share."""
        return self.of_memory(memory)

    def forward(self, queries: Tensor, keys: Tensor, memory: Tensor, is_padding: Tensor) -> tuple[Tensor, Tensor]:
        """What is read, [batch, n, memory], and the weights [batch, n, places].

        Args:
            queries: [batch, n, query].
            keys: of `keys`.
            memory: [batch, places, memory].
            is_padding: bool [batch, places].
        """
        score = self.score.weight if self.kind == "additive" else None
        return attend(self.of_query(queries), keys, memory, is_padding, score)


def attend(
    asked: Tensor, keys: Tensor, memory: Tensor, is_padding: Tensor, score: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What is read and the weights, of `Attention.forward`.

    Args:
        asked: W q, [batch, n, size].
        keys: U m, [batch, places, size].
        memory: [batch, places, memory].
        is_padding: bool [batch, places].
        score: v, [1, size]; None of a multiplicative attention.
    """
    if score is None:
        scores = asked @ keys.transpose(1, 2) / keys.shape[2] ** 0.5
    else:
        scores = nn.functional.linear((asked.unsqueeze(2) + keys.unsqueeze(1)).tanh(), score).squeeze(3)
    weights = scores.masked_fill(is_padding.unsqueeze(1), -torch.inf).softmax(2)
    return weights @ memory, weights
