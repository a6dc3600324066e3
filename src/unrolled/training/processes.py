"""Several processes, on one machine or many, as torchrun starts them; alone, every function here does nothing.

Start: torchrun --nproc-per-node 2 -m unrolled train text FILE
"""

import os

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree

from unrolled.engine.trees import Tree


def rank() -> int:
    """This process's number, 0 where it is alone. Process 0 alone writes files and shows progress."""
    return int(os.environ.get("RANK", "0")) if is_launched() else 0


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if is_launched() else 1


def is_launched() -> bool:
    """Whether torchrun, or something that speaks as it does, started this process."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def join(device: torch.device) -> None:
    """Joins the process group; call it once before training."""
    if world_size() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def barrier() -> None:
    """Waits for the other processes."""
    if world_size() > 1:
        dist.barrier()


def leave() -> None:
    """Leaves the process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def same_text(text: str) -> str:
    """Process 0's text, in every process."""
    if world_size() == 1:
        return text
    join(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    box = [text]
    dist.broadcast_object_list(box, 0)
    return box[0]


def shared_gradients(module: nn.Module) -> nn.Module:
    """The module with gradients averaged over the processes at every backward."""
    return DistributedDataParallel(module) if world_size() > 1 else module


def agreed(value: float) -> float:
    """Process 0's value, in every process: clocks differ, and all must stop at the same step."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=_device())
    dist.broadcast(shared, 0)
    return float(shared.item())


def gathered(tree: Tree) -> list[Tree]:
    """The trees of all processes, in their order, in every process; their tensors agree in shape."""
    if world_size() == 1:
        return [tree]
    leaves, spec = pytree.tree_flatten(tree)
    columns: list[list[Tree]] = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            column: list[Tree] = [None] * world_size()
            dist.all_gather_object(column, leaf)
            columns.append(column)
            continue
        here = leaf.to(_device())
        all_leaves = [torch.empty_like(here) for _ in range(world_size())]
        dist.all_gather(all_leaves, here.contiguous())
        columns.append([each.to(leaf.device) for each in all_leaves])
    return [pytree.tree_unflatten([column[i] for column in columns], spec) for i in range(world_size())]


def mean(value: Tensor) -> Tensor:
    """The mean of a scalar over the processes, for display."""
    if world_size() == 1:
        return value
    shared = value.detach().to(_device(), copy=True)
    dist.all_reduce(shared)
    return shared / world_size()


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
