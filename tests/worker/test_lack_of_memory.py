"""What a worker makes of a blob that ncnn did not make: a lack of memory, or another reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")

CODE = """
import resource
from pytest_ncnn_parity.worker import limits
resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, -1))
resource.setrlimit(resource.RLIMIT_AS, ({most}, -1))
held = bytearray({held} << 20)
print(*limits.refused("extract a", limits.NO_BLOB), sep=": ")
"""


@pytest.mark.parametrize(
    ("most", "held", "said"),
    [
        ("512 << 20", 300, "memory: extract a: -100, given no more memory; it has used "),
        ("4 << 30", 0, "refused: extract a: -100: nothing was made, unless it would be larger than "),
        ("-1", 0, "refused: extract a: -100: nothing was made, unless it would be larger than "),
    ],
    ids=["few addresses left", "many left", "any number"],
)
def test_addresses_that_run_out_are_a_lack_of_memory(most: str, held: int, said: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE.format(most=most, held=held)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith(said)
    assert ("of 512 MiB of addresses (ulimit -v)" in run.stdout) == (held > 0)
