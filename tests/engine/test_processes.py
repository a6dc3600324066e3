"""Several processes: none changes another's tensors, and none waits for another's threads."""

import ctypes
import mmap
import multiprocessing
import os
import sys
import threading

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import unrolled
from unrolled.engine.backends import openmp
from unrolled.engine.backends.cpu import memory
from unrolled.engine.backends.cpu.build import build

PATIENCE_S = 120
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 warns of what is tested here
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def work(seed):
    """Outputs and gradients of a layer and of a scan, most of them larger than the pool's smallest block."""
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(48, 32, 48, generator=generator).requires_grad_()
    layer, cell = unrolled.GRU(48, 64, engine="fused"), unrolled.cells.LSTM(64, 64)
    with torch.no_grad():
        for parameter in (*layer.parameters(), *cell.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    hidden, last = layer(xs)
    ys, state = unrolled.scan(cell, hidden, cell.initial_state(32), engine="fused")
    found = [hidden, last, ys, *state]
    assert hidden.nbytes >= memory.LEAST
    total = sum((each * each).sum() for each in found)
    return [each.detach() for each in found] + list(torch.autograd.grad(total, [xs, *layer.parameters()]))


def are_equal(found, expected):
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


class Works(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return work(i)


def work_as_arrays(seed):
    return [each.numpy() for each in work(seed)]


def in_child(function, meanwhile=lambda: None, patience_s=PATIENCE_S):
    """What a forked child's `function` returns, while this process does something else; None if it does not end."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(function()))
    child.start()
    meanwhile()
    found = receiver.recv() if receiver.poll(patience_s) else None
    child.kill()
    child.join()
    return found


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_items_of_a_data_loader_are_those_of_one_process(way):
    expected = [work(i) for i in range(len(Works()))]
    loader = DataLoader(
        Works(), batch_size=None, num_workers=2, multiprocessing_context=way, timeout=PATIENCE_S, prefetch_factor=1
    )
    own = []
    for i, item in enumerate(loader):
        own.append(work(i))
        assert are_equal(item, expected[i]), f"item {i}"
    assert all(map(are_equal, own, expected))


def test_results_of_a_pool_are_those_of_one_process():
    expected = [work(i) for i in range(6)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        running = pool.map_async(work_as_arrays, range(6), chunksize=1)
        own = [work(i) for i in range(6)]
        found = running.get(PATIENCE_S)
    assert all(map(are_equal, own, expected))
    for one, its in zip(found, expected, strict=True):
        assert are_equal(list(map(torch.from_numpy, one)), its)


def assert_apart():
    """Neither process sees what the other one writes after the fork, be it by hand or where memory is used again."""
    held = work(1)
    expected = [each.clone() for each in held]
    child_wrote, parent_wrote = multiprocessing.Event(), multiprocessing.Event()

    def child():
        is_as_it_was = are_equal(held, expected)
        found = work(2)
        held[0].zero_()
        child_wrote.set()
        parent_wrote.wait(PATIENCE_S)
        return is_as_it_was, are_equal(held[1:], expected[1:]), are_equal(found, work(2)), bool((held[0] == 0).all())

    seen = []

    def parent():
        child_wrote.wait(PATIENCE_S)
        seen.append(are_equal(held, expected))
        for each in held:
            each.fill_(7)
        held.clear()  # its memory is used again
        seen.append(are_equal(work(2), work(2)))
        parent_wrote.set()

    assert in_child(child, parent) == (True, True, True, True)
    assert seen == [True, True]


def test_what_a_process_writes_after_a_fork_the_other_one_does_not_see():
    assert_apart()


def test_shared_mappings_are_noticed(monkeypatch):
    monkeypatch.setattr(memory, "_map", lambda size: mmap.mmap(-1, size))
    monkeypatch.setattr(memory, "_free", {})
    with pytest.raises(AssertionError):
        assert_apart()


def test_a_child_starts_with_an_empty_pool_and_keeps_no_block_of_its_parent():
    like = torch.empty(0)
    held = [memory.new_tensor(like, memory.LEAST)]
    memory.new_tensor(like, memory.LEAST).zero_()
    assert memory.kept_bytes() > 0

    def child():
        at_first = memory.kept_bytes()
        held.clear()
        of_parent = memory.kept_bytes()
        memory.new_tensor(like, memory.LEAST).zero_()
        return at_first, of_parent, memory.kept_bytes()

    assert in_child(child) == (0, 0, 4 * memory.LEAST)


@pytest.mark.usefixtures("two_threads")
def test_a_child_runs_on_two_threads_after_its_parent_did():
    expected = work(3)
    for _ in range(3):
        assert in_child(lambda: are_equal(work(3), expected))
        assert are_equal(work(3), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not libgomp")
@pytest.mark.usefixtures("two_threads")
def test_threads_that_do_not_end_before_a_fork_are_noticed(monkeypatch):
    work(3)
    monkeypatch.setattr(openmp, "_library", lambda: None)
    assert in_child(lambda: bool(work(3)), patience_s=8) is None


@pytest.mark.usefixtures("two_threads")
def test_a_process_may_fork_while_other_threads_are_at_work():
    expected = [work(i) for i in range(3)]
    is_over, found = threading.Event(), {1: [], 2: []}

    def at_work(i):
        while not is_over.is_set():
            found[i].append(are_equal(work(i), expected[i]))

    threads = [threading.Thread(target=at_work, args=(i,)) for i in found]
    for thread in threads:
        thread.start()
    try:
        of_children = [
            in_child(lambda: are_equal(work(0), expected[0]) and are_equal(work(1), expected[1])) for _ in range(4)
        ]
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert of_children == [True] * 4
    assert all(found[1])
    assert all(found[2])


# Holds the memory for calls on a thread of its own until it is told to stop; its second call says whether it is free.
HELD = """
#include "scratch.h"
#include <sched.h>
extern "C" __attribute__((visibility("default"))) void run(volatile long* found) {
  Scratch scratch(1 << 20);
  found[1] = scratch.own;
  for (long i = 0; i < 1 << 20; i++) scratch.memory[i] = 1;
  found[2] = 1;
  while (!found[0]) sched_yield();
}
"""


def test_memory_that_another_thread_held_at_the_fork_is_free_in_the_child():
    run = build(HELD, "torch.float32")
    long = torch.zeros(3, dtype=torch.int64)  # stop, whether it was busy, begun
    address = ctypes.c_void_p(long.data_ptr())
    holder = threading.Thread(target=run, args=(address,))
    holder.start()
    while not long[2]:
        pass

    def is_busy():
        again = torch.tensor([1, 0, 0])
        run(ctypes.c_void_p(again.data_ptr()))
        return bool(again[1])

    try:
        assert is_busy()
        assert in_child(lambda: (is_busy(), is_busy())) == (False, False)
    finally:
        long[0] = 1
        holder.join()
    assert not is_busy()
