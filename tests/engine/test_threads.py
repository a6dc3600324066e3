"""The threads of one call, where they meet."""

import ctypes
import multiprocessing
import os
import sys
import time

import pytest

from unrolled.engine.backends.cpu.build import build

# Each thread counts its rounds; after each meeting all must have counted as far. One is late by turns.
MEETINGS = """
#include "threads.h"
#include <cstdlib>
extern "C" __attribute__((visibility("default"))) void run(long* found) {
  static const long ROUNDS = 100;
  long* rounds = (long*)calloc(8 * found[0], sizeof(long));
  std::atomic<long> faults{0}, slept{0};
  Team team(found[0]);
  team.run([&](int tid) {
    rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    for (long i = 0; i < ROUNDS; i++) {
      if (i % 16 == tid) for (volatile long late = 0; late < 2000000; late++);
      rounds[8 * tid]++;
      team.meet();
      for (int other = 0; other < team.n; other++) faults += rounds[8 * other] != i + 1;
      team.meet();
    }
    getrusage(RUSAGE_THREAD, &after);
    slept += after.ru_nvcsw - before.ru_nvcsw;
  });
  free(rounds);
  found[0] = team.n, found[1] = faults, found[2] = slept;
}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads give way by sched_yield")
def test_threads_meet_also_where_there_are_more_of_them_than_processors():
    wanted = len(os.sched_getaffinity(0)) + 4
    found = (ctypes.c_long * 3)(wanted)
    build(MEETINGS, "torch.float32")(found)
    n_threads, faults, slept = found
    assert n_threads == wanted
    assert faults == 0
    assert slept > 0, "who waits for one that has no processor sleeps"


# Whether the second of two threads had begun when the first went to work.
WOKEN = """
#include "threads.h"
extern "C" __attribute__((visibility("default"))) void run(long* found) {
  std::atomic<int> begun{0};
  Team team(2);
  team.run([&](int tid) {
    if (tid == 0) found[0] = begun;
    begun++;
  });
}
"""


def times_both_had_begun() -> int:
    """Of 50, each after so long a rest that the second thread sleeps."""
    run, found, times = build(WOKEN, "torch.float32"), (ctypes.c_long * 1)(), 0
    for _ in range(50):
        time.sleep(0.02)
        run(found)
        times += found[0]
    return times


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread cannot be kept on a processor")
def test_who_was_woken_on_the_same_processor_need_not_wait_for_it():
    """50, and some 40 beside two busy programs; 28 where the first thread does not await the other."""
    one = {min(os.sched_getaffinity(0))}
    with multiprocessing.get_context("spawn").Pool(1, os.sched_setaffinity, (0, one)) as pool:
        assert any(pool.apply(times_both_had_begun) > 36 for _ in range(3))
