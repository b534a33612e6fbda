"""A project with a layer of its own: its network, its spec and the module that registers it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import networks
import numpy as np
from network import Network

OPS = """\
    import ncnn
    import numpy as np


    class Affine(ncnn.Layer):
        '''x * factor + bias; in fp16 nobody asks it to.'''

        def __init__(self):
            super().__init__()
            self.one_blob_only = True

        def load_param(self, params):
            self.factor = params.get(0, 1.0)
            return 0

        def load_model(self, weights):
            self.bias = np.array(weights.load(8, 1))
            return 0

        def forward(self, bottom, top, option):
            made = np.array(bottom) * self.factor + self.bias
            top.clone_from(ncnn.Mat(made), option.blob_allocator)
            return 0


    def register(net):
        net.register_custom_layer("Affine", Affine, lambda layer: None)
"""


def affine(folder: Path, factor: str = "3.0") -> None:
    """A layer of one's own between two that run on Vulkan."""
    net = Network()
    x = net.layer("Input", "in0", params="0=8")
    x = net.layer("BinaryOp", "before", [x], params="0=0 1=1 2=0.25")
    x = net.layer("Affine", "own", [x], params=f"0={factor}", weights=[np.ones(8)], flagged=False)
    net.layer("BinaryOp", "after", [x], ["out0"], params="0=2 1=1 2=0.5")
    net.write(folder / "net")


def project(folder: Path, ops: str = OPS, setup: str = "nets.ops:register", compare: str = "") -> None:
    (folder / "nets").mkdir()
    (folder / "nets" / "ops.py").write_text(textwrap.dedent(ops), "utf-8")
    networks.spec(folder, f"setup: {setup}\n{networks.NOISE}{compare}")
