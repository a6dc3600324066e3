"""A fork waits until no other thread is within a check of guards, whose lock would stay locked in the child."""

import os
import threading
import time

import torch

import unrolled
from unrolled.engine.step import guarded
from unrolled.engine.step.undisturbed import unforked


def test_no_check_is_in_progress_at_a_fork(monkeypatch):
    def step(x, h):
        h = torch.tanh(h + x)
        return h, h

    guarded.forget()
    xs, h = torch.zeros(2, 2, 3), torch.zeros(2, 3)
    unrolled.scan(step, xs, h)
    [[found]] = guarded._captures.values()
    begun, ended = threading.Event(), threading.Event()

    def slow(_):
        begun.set()
        time.sleep(0.3)
        ended.set()
        return True

    assert found._guards._check.__qualname__.startswith("unforked")
    monkeypatch.setattr(found._guards, "_check", unforked(slow))
    thread = threading.Thread(target=found.holds, args=(step, found._examples))
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if ended.is_set() else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
