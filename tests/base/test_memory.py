"""The memory that a share is taken of: the machine's, or a limit's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_ncnn_parity.base import memory

resource = pytest.importorskip("resource")


def test_the_limit_on_addresses_counts() -> None:
    limit = 1 << 30
    assert memory.machine() > limit, "a machine that is too small for this test"
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "from pytest_ncnn_parity.base import memory; print(memory.machine(), memory.parse('75%'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(limit), str(limit * 3 // 4)]


def test_a_size_is_one_that_the_system_takes_as_a_limit() -> None:
    size = memory.parse("999999999999TiB")
    assert size is not None
    code = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({size}, {size}))"
    subprocess.run([sys.executable, "-c", code], check=True)
