"""Barriers against their specification: between two of them no thread meets what is another's, and none is in vain."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from unrolled.engine.backends.cpu.barriers import Access, barriers

segments = st.tuples(st.sampled_from([0, 4, 8]), st.sampled_from([4, 8]))
accesses = st.one_of(
    st.builds(Access, st.sampled_from("ab"), st.booleans(), st.sampled_from([None, "rows", "panels"])),
    st.builds(Access, st.sampled_from("ab"), st.booleans(), st.just("features"), segments),
)


def touched(access, thread):
    """Features of two rows that one of two threads may touch: (row, feature)."""
    if access.share is None:
        return {(row, feature) for row in range(2) for feature in range(16)}
    if access.share == "rows":
        return {(thread, feature) for feature in range(16)}
    if access.share == "panels":
        return {(row, feature) for row in range(2) for feature in range(16) if feature % 3 % 2 == thread}
    at, width = access.segment
    half = width // 2
    return {(row, at + half * thread + i) for row in range(2) for i in range(half)}


def race(phases, meets):
    """Whether two threads can meet in a buffer, one of them writing, with no barrier between."""
    since = []
    for phase, now in list(enumerate(phases)) * 3:
        if phase in meets:
            since = []
        for access, before in itertools.product(now, since):
            is_shared = access.buffer == before.buffer and (access.is_write or before.is_write)
            if is_shared and any(touched(access, thread) & touched(before, 1 - thread) for thread in (0, 1)):
                return True
        since += now
    return False


@given(st.lists(st.lists(accesses, max_size=3), min_size=1, max_size=5))
def test_no_thread_meets_what_is_anothers(phases):
    meets = barriers(len(phases), lambda phase, step: phases[phase])
    assert not race(phases, meets)


def test_the_fewest_for_a_recurrence():
    """The state is read whole by a product, whose columns the thread's own loop reads, which writes the state's other slot."""
    product = [Access(("state", 0), False), Access("m", True, "features", (0, 8))]
    loop = [Access("m", False, "features", (0, 8)), Access(("state", 1), True, "features", (0, 8))]

    def turning(phase, step):
        state = ("state", (step - 1) % 2) if phase == 0 else ("state", step % 2)
        own = (product, loop)[phase]
        return [Access(state, a.is_write, a.share, a.segment) if a.buffer != "m" else a for a in own]

    assert barriers(2, turning) == {0}
    assert barriers(2, lambda phase, step: (product, [])[phase]) == set()
