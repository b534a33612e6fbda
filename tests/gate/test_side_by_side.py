"""Under xdist, a process that would only wait for another's sample takes one that nobody has begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import networks
import own_layers
import pytest
from conftest import Gate

MEET = """\
    import hashlib
    import time
    from pathlib import Path

    import ncnn
    import numpy as np

    FOLDER = Path(__file__).with_name("met")


    class Affine(ncnn.Layer):
        '''x; an error where no other input is run within a minute.'''

        def __init__(self):
            super().__init__()
            self.one_blob_only = True

        def load_model(self, weights):
            weights.load(8, 1)
            return 0

        def forward(self, bottom, top, option):
            values = np.array(bottom)
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / hashlib.sha256(values.tobytes()).hexdigest()).touch()
            for _ in range(1200):
                if len(list(FOLDER.iterdir())) > 1:
                    top.clone_from(ncnn.Mat(values), option.blob_allocator)
                    return 0
                time.sleep(0.05)
            return -1


    def register(net):
        net.register_custom_layer("Affine", Affine, lambda layer: None)
"""
ONE = "compare: [cpu-vs-vulkan]\n"


@pytest.mark.once
@pytest.mark.parametrize("specs", [1, 2])
def test_two_samples_run_at_the_same_time(
    pytester: pytest.Pytester, gate: Gate, started: Callable[[], int], specs: int
) -> None:
    folder = pytester.path
    own_layers.affine(folder)
    own_layers.project(folder, MEET, compare=ONE)
    both = "inputs:\n  a: {in0: {random: normal}}\n  b: {in0: {random: normal, seed: 2}}\n"
    if specs == 1:
        networks.spec(folder, f"setup: nets.ops:register\n{both}{ONE}")
    else:
        _spec_of_other_input(folder)
    run = gate("-n", "2")
    assert (run.ids("failed"), len(run.ids("passed")), started()) == ([], 2 * 3, 2)


def _spec_of_other_input(folder: Path) -> None:
    other = "inputs:\n  other: {in0: {random: normal, seed: 2}}\n"
    own_layers.affine(folder)
    text = (folder / "net.parity.yaml").read_text("utf-8")
    (folder / "second.parity.yaml").write_text(text.replace(networks.NOISE, other), "utf-8")
