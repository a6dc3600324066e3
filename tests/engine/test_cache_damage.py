"""A damaged cache: no signal, no wrong number, no hang; nothing of another user's is used."""

import os
import subprocess
import sys

import pytest
from tests.engine import cache_damage

SAMPLE = 2 * len(cache_damage.KINDS)  # each kind, of a library and of a plan


def damaged(first, count, *more):
    command = [sys.executable, "-m", "tests.engine.cache_damage", str(first), str(count), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_a_sample():
    assert SAMPLE >= 40
    assert damaged(0, SAMPLE) == ([], "")


@pytest.mark.slow
def test_five_hundred_tries():
    assert damaged(SAMPLE, 500) == ([], "")


def test_a_digest_that_is_not_checked_is_noticed():
    wrong, _ = damaged(0, 6 * SAMPLE, "sabotage")
    kinds = {line.split("; ")[0] for line in wrong}
    assert {"another", "a number"} <= kinds
    assert any(line.split("; ")[1].endswith(".so") for line in wrong)
    assert any(line.split("; ")[1].endswith(".json") for line in wrong)
