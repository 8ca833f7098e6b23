"""A memory limit kills what needs more, and says how many it has killed; afterwards nothing is limited."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rig.machine.quota import QuotaUnavailable, open_memory_limit

WAIT_S = 20.0
TAKES_MEMORY = "input(); taken = b'x' * (64 << 20); print('done')"


def test_the_kernel_kills_what_needs_more_memory_than_the_limit() -> None:
    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", TAKES_MEMORY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    try:
        with open_memory_limit(8) as limit, begin() as limited:
            limit.hold([limited.pid])
            assert limited.communicate("\n", WAIT_S) == ("", None)
            assert (limited.returncode, limit.count_killed()) == (-9, 1)
    except QuotaUnavailable as error:
        pytest.skip(str(error))
    assert not limit.folder.exists()
    with begin() as free:
        assert free.communicate("\n", WAIT_S) == ("done\n", None)
