"""Steps over tensors of more than two axes: heads, memories that are matrices, products within a head."""

import math

import torch
from torch import nn
from torch.nn import functional as F

INPUT, HEADS, WIDTH = 3, 3, 4
HIDDEN = HEADS * WIDTH


class Deep(nn.Module):
    """A step with a state [batch, HIDDEN], or of another shape."""

    state_shape: tuple[int, ...] = (HIDDEN,)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(len(type(self).__name__))
        draw = lambda *shape: nn.Parameter(0.5 * torch.randn(*shape, generator=generator))
        self.inner, self.heads = draw(HIDDEN, INPUT), draw(HEADS, WIDTH, WIDTH)
        self.shared, self.bias, self.gains = draw(WIDTH, WIDTH), draw(HEADS, WIDTH), draw(HEADS, 1)
        self.keys, self.values = draw(WIDTH, INPUT), draw(WIDTH, INPUT)


class Einsum(Deep):
    """Block-diagonal recurrence, as in sLSTM."""

    def forward(self, x, h):
        heads = torch.einsum("bhd,hde->bhe", h.view(-1, HEADS, WIDTH), self.heads) + self.bias
        new = torch.tanh(heads.reshape(-1, HIDDEN) + F.linear(x, self.inner))
        return new, new


class EinsumOtherWay(Deep):
    def forward(self, x, h):
        heads = torch.einsum("hed,bhd->bhe", self.heads, h.view(-1, HEADS, WIDTH))
        new = torch.tanh(heads.flatten(1) + x @ self.inner.t())
        return new, new


class Bmm(Deep):
    def forward(self, x, h):
        heads = torch.bmm(h.view(-1, HEADS, WIDTH).transpose(0, 1), self.heads).transpose(0, 1)
        new = torch.tanh(heads.reshape(-1, HIDDEN) + F.linear(x, self.inner))
        return new * 2, new


class StateOfHeads(Deep):
    """The state itself has heads; each head is normalized."""

    state_shape = (HEADS, WIDTH)

    def forward(self, x, h):
        heads = torch.einsum("bhd,hde->bhe", h, self.heads)
        heads = self.gains * F.layer_norm(heads, (WIDTH,)) + self.bias
        new = torch.tanh(heads + F.linear(x, self.inner).view(-1, HEADS, WIDTH))
        return new.mean(1), new


class Shared(Deep):
    """One weight for all heads, a softmax over the heads."""

    state_shape = (HEADS, WIDTH)

    def forward(self, x, h):
        mixed = F.linear(h, self.shared)
        weight = torch.softmax(mixed.sum(-1), -1)
        new = torch.tanh(mixed * weight.unsqueeze(-1) + F.linear(x, self.inner).view(-1, HEADS, WIDTH))
        return new.flatten(1), new


class Memory(Deep):
    """A memory that is a matrix, written by outer products and read by a query, as in fast weights and mLSTM."""

    state_shape = (WIDTH, WIDTH)

    def forward(self, x, memory):
        key, value = torch.tanh(F.linear(x, self.keys)), F.linear(x, self.values)
        query = torch.softmax(key, -1)
        read = torch.bmm(memory, query.unsqueeze(-1)).squeeze(-1)
        memory = 0.9 * memory + value.unsqueeze(-1) * key.unsqueeze(1)
        return read, memory


class Delta(Deep):
    """The delta rule, with einsum: what the memory gives for the key is taken away before it is written."""

    state_shape = (WIDTH, WIDTH)

    def forward(self, x, memory):
        key, value = F.normalize(F.linear(x, self.keys), dim=-1), F.linear(x, self.values)
        old = torch.einsum("bij,bj->bi", memory, key)
        memory = memory + torch.einsum("bi,bj->bij", torch.tanh(value - old), key)
        return old, memory


class Slices(Deep):
    """Heads picked, joined and put back."""

    state_shape = (HEADS, WIDTH)

    def forward(self, x, h):
        first, rest = h[:, :1], h[:, 1:]
        turned = torch.cat((rest, first), 1)
        wide = torch.cat((turned[..., 2:], turned[..., :2]), -1)
        new = 0.5 * wide + torch.sigmoid(h[:, 0]).unsqueeze(1) * F.linear(x, self.inner).view(-1, HEADS, WIDTH)
        return new[:, 1], torch.tanh(new) / math.sqrt(2)


class GroupNorm(Deep):
    """Groups of the heads together, with gains; and of a wide product, each group by itself."""

    state_shape = (HEADS, WIDTH)

    def forward(self, x, h):
        wide = F.group_norm(F.linear(x, self.inner), 2, self.bias.flatten())
        whole = F.group_norm(h, 1, self.gains.squeeze(1), self.gains.squeeze(1), eps=0.1)
        new = torch.tanh(whole + wide.view(-1, HEADS, WIDTH) + F.group_norm(h, HEADS))
        return wide, new


class Largest(Deep):
    """Reductions over both axes."""

    state_shape = (HEADS, WIDTH)

    def forward(self, x, h):
        low, high = h.amin(-1, keepdim=True), h.amax(1, keepdim=True)
        spread = (h - h.mean((1, 2), keepdim=True)) * torch.rsqrt(h.square().sum((1, 2), keepdim=True) + 1)
        new = torch.tanh(spread + 0.1 * low - 0.1 * high + F.linear(x, self.inner).view(-1, HEADS, WIDTH) + self.bias)
        return new.sum(2), new


STEPS = [Einsum, EinsumOtherWay, Bmm, StateOfHeads, Shared, Memory, Delta, Slices, GroupNorm, Largest]


class Square(nn.Module):
    """As many heads as numbers in a head: a wrong order of axes would fit too."""

    state_shape = (3, 3)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        draw = lambda *shape: nn.Parameter(0.5 * torch.randn(*shape, generator=generator))
        self.inner, self.heads, self.shared = draw(9, INPUT), draw(3, 3, 3), draw(3, 3)
        self.bias = draw(3, 1, 3)

    def mixed(self, h):
        raise NotImplementedError

    def forward(self, x, h):
        new = torch.tanh(self.mixed(h) + F.linear(x, self.inner).view(-1, 3, 3))
        return new.sum(1), new


class OtherOrder(Square):
    def mixed(self, h):
        return torch.bmm(h.transpose(0, 1), self.heads.permute(2, 1, 0)).transpose(0, 1)


class WithItself(Square):
    def mixed(self, h):
        return h @ h.transpose(1, 2) @ self.shared


class FromTheLeft(Square):
    def mixed(self, h):
        return self.shared @ h + h.transpose(1, 2) @ self.shared


class SoftmaxOfMerged(Square):
    def mixed(self, h):
        return torch.softmax(h.reshape(-1, 3) @ self.shared, -1).view(-1, 3, 3)


class ScaledProduct(Square):
    def mixed(self, h):
        return torch.baddbmm(self.bias, h.transpose(0, 1), self.heads, alpha=2, beta=0.5).transpose(0, 1)


class PartsOfMerged(Square):
    def mixed(self, h):
        return torch.stack((h.reshape(-1, 3) @ self.shared).chunk(3, 0), 1)


class SoftmaxOverBatch(Square):
    def mixed(self, h):
        return torch.softmax(h.reshape(-1, 3) @ self.shared, 0).view(-1, 3, 3)


class RowsInAnotherOrder(Square):
    def mixed(self, h):
        merged = h.reshape(-1, 3) @ self.shared
        return torch.cat((merged[3:], merged[:3]), 0).view(-1, 3, 3)


class WholeNumbers(Square):
    def mixed(self, h):
        return (3 * h @ self.shared).long()


SQUARE = [OtherOrder, WithItself, FromTheLeft, SoftmaxOfMerged]
REFUSED = {
    ScaledProduct: "aten.mul takes a sum over the batch, as the gradient of a weight is one; a fused loop computes each row by itself",
    PartsOfMerged: "it computes with the number of rows of the batch (",
    SoftmaxOverBatch: "aten.div takes a sum over the batch, as the gradient of a weight is one; a fused loop computes each row by itself",
    RowsInAnotherOrder: "what it does depends on the number of rows of the batch (",
    WholeNumbers: "aten._to_copy turns it into torch.int64",
}
