"""Which shapes come out of each operator, against what ncnn makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import fresh_python
from network import Network

from pytest_ncnn_parity.engine.protocol import Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.shapes.rules.outcomes import OUTCOMES
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.worker.values.blob import Blob

# operator and parameters; the shapes of its inputs; how many outputs
LAYERS: list[tuple[str, list[tuple[int, ...]], int]] = [
    ("Convolution 0=4 1=3 6=108", [(3, 9, 11)], 1),
    ("Convolution 0=4 1=3 11=1 3=2 13=1 4=1 14=0 6=36", [(3, 9, 11)], 1),
    ("Convolution 0=4 1=3 2=2 3=2 4=2 15=1 14=0 16=3 6=108", [(3, 9, 11)], 1),
    ("Convolution 0=4 1=3 3=2 4=-233 6=108", [(3, 9, 11)], 1),
    ("Convolution 0=4 1=3 3=2 4=-234 6=108", [(3, 9, 10)], 1),
    ("Convolution 0=4 1=1 6=64", [(16,)], 1),
    ("ConvolutionDepthWise 0=6 1=3 3=2 4=1 6=54 7=6", [(6, 7, 8)], 1),
    ("Convolution1D 0=4 1=3 3=2 4=1 6=60", [(5, 10)], 1),
    ("ConvolutionDepthWise1D 0=6 1=3 6=18 7=6", [(6, 10)], 1),
    ("Convolution3D 0=4 1=3 21=1 3=2 6=72", [(2, 5, 6, 7)], 1),
    ("Deconvolution 0=4 1=4 3=2 4=1 6=192", [(3, 5, 6)], 1),
    ("Deconvolution 0=4 1=3 3=2 4=1 18=1 19=1 6=108", [(3, 5, 6)], 1),
    ("Deconvolution 0=4 1=3 3=2 4=1 18=1 6=108", [(3, 5, 6)], 1),  # below as well
    ("Deconvolution 0=4 1=3 3=2 4=1 18=1 19=0 6=108", [(3, 5, 6)], 1),
    ("DeconvolutionDepthWise 0=6 1=4 3=2 4=1 6=96 7=6", [(6, 5, 6)], 1),
    ("Deconvolution1D 0=4 1=4 3=2 4=1 6=48", [(3, 5)], 1),
    ("Pooling 0=0 1=2 2=2", [(3, 9, 11)], 1),
    ("Pooling 0=1 1=3 2=2 3=1 5=1", [(3, 9, 11)], 1),
    ("Pooling 0=0 1=3 2=2 5=2", [(3, 9, 11)], 1),
    ("Pooling 0=0 4=1", [(3, 9, 11)], 1),
    ("Pooling 0=1 7=1 8=3 18=2", [(3, 9, 11)], 1),
    ("Pooling 0=1 7=1 8=3", [(3, 9, 11)], 1),  # along h as well
    ("Pooling 0=1 7=1 8=-233 18=2", [(3, 9, 11)], 1),
    ("Pooling1D 0=0 1=3 2=2", [(4, 11)], 1),
    ("Pooling1D 0=0 1=3 2=2", [(1, 4, 11)], 1),
    ("Pooling1D 0=0 4=1", [(1, 4, 11)], 1),
    ("Pooling1D 0=1 7=1 8=4", [(1, 4, 11)], 1),
    ("Convolution1D 0=4 1=3 3=2 4=1 6=60", [(1, 5, 10)], 1),
    ("ConvolutionDepthWise1D 0=4 1=3 6=12 7=4", [(1, 4, 10)], 1),
    ("Deconvolution1D 0=4 1=3 3=2 6=60", [(1, 5, 10)], 1),
    ("Pooling1D 0=0 4=1", [(4, 11)], 1),
    ("Pooling1D 0=1 7=1 8=4", [(4, 11)], 1),
    ("Pooling3D 0=0 1=2 2=2", [(3, 4, 5, 6)], 1),
    ("Pooling3D 0=1 1=2 2=2 21=1 22=1 5=1", [(4, 8, 6)], 1),  # of depth 1
    ("Pooling3D 0=0 4=1", [(4, 8, 6)], 1),
    ("Convolution3D 0=2 1=3 21=1 6=72", [(4, 8, 6)], 1),
    ("InnerProduct 0=7 2=84", [(12,)], 1),
    ("InnerProduct 0=7 2=84", [(3, 2, 2)], 1),
    ("InnerProduct 0=7 2=84", [(5, 12)], 1),
    ("Gemm 2=0 3=1 5=1 6=1 8=7 9=12 10=-1", [(5, 12)], 1),
    ("Gemm 2=1 3=0", [(12, 5), (12, 7)], 1),
    ("Gemm 3=1 14=1", [(5, 12), (7, 12)], 1),
    (f"Einsum -23300=12,{','.join(map(str, b'kil,kjl->ijk'))}", [(2, 5, 3), (2, 7, 3)], 1),
    ("Einsum -23300=2,105,105", [(4, 4)], 1),
    ("MultiHeadAttention 0=8 1=2 2=64 7=1", [(3, 8), (2, 5, 4), (2, 5, 4)], 3),
    ("MultiHeadAttention 0=8 1=2 2=64 7=1", [(3, 8), (6, 8), (2, 6, 4), (2, 6, 4)], 3),
    ("Gemm 3=1 11=1", [(5, 12), (7, 12)], 1),
    ("Gemm 4=1 6=1 7=5 9=12 10=-1", [(12, 7)], 1),
    ("MatMul", [(5, 12), (12, 7)], 1),
    ("MatMul 0=1", [(3, 5, 12), (3, 7, 12)], 1),
    ("MatMul", [(3, 5, 12), (12, 7)], 1),
    ("MatMul", [(5, 12), (3, 12, 7)], 1),
    ("Embed 0=6 1=10 3=60", [(5,)], 1),
    ("LSTM 0=6 1=96 2=0", [(5, 4)], 1),
    ("GRU 0=6 1=144 2=2", [(5, 4)], 1),
    ("RNN 0=6 1=24 2=0", [(5, 4)], 1),
    ("LSTM 0=6 1=96 2=0", [(4,)], 1),
    ("GRU 0=6 1=144 2=2", [(1, 5, 4)], 1),
    ("MatMul", [(3, 5, 12), (2, 3, 12, 7)], 1),
    ("MatMul", [(2, 3, 5, 12), (12, 7)], 1),
    ("MatMul", [(2, 1, 5, 12), (1, 3, 12, 7)], 1),
    ("MultiHeadAttention 0=8 1=2 2=64", [(5, 8)], 1),
    ("MultiHeadAttention 0=8 1=2 2=64", [(5, 8), (3, 8)], 1),
    ("SDPA 7=1", [(4, 5, 8), (2, 7, 8), (2, 7, 6), (2, 3, 8), (2, 3, 6)], 3),
    ("SDPA 5=1 7=1", [(2, 5, 8), (2, 5, 8), (2, 5, 8), (5, 8), (2, 3, 8), (2, 3, 8)], 3),
    ("SDPA", [(2, 5, 8), (2, 7, 8), (2, 7, 6)], 1),
    ("BinaryOp 0=0", [(3, 4, 5), (3, 1, 1)], 1),
    ("BinaryOp 0=0", [(1, 4, 1), (3, 1, 5)], 1),
    ("BinaryOp 0=0", [(3,), (3, 4, 5)], 1),
    ("BinaryOp 0=0 1=1 2=0.5", [(3, 4)], 1),
    ("Concat 0=0", [(3, 4, 5), (2, 4, 5)], 1),
    ("Concat 0=-1", [(3, 4), (3, 2)], 1),
    ("Slice -23300=2,-233,-233 1=0", [(7, 4, 5)], 2),
    ("Slice -23300=2,2,5 1=2", [(3, 4, 7)], 2),
    ("Slice -23302=1,2 1=1", [(3, 7, 5)], 2),
    ("Crop 0=1 1=2 2=0 3=3 4=2 5=-233", [(3, 6, 7)], 1),
    ("Crop -23309=1,1 -23310=1,-1 -23311=1,2", [(3, 6, 7)], 1),
    ("Crop", [(3, 6, 7), (3, 4, 5)], 1),
    ('Crop 19="0,1" 20="//(0w,2),-1" 21="2,1"', [(3, 6, 7)], 1),
    ('Crop 19="0,0,-(0w,3)" 20="-233,1h,-233" 21="0,1,2"', [(3, 6, 7), (3, 4, 5)], 1),
    ("Reshape 0=10 1=-1", [(3, 4, 5)], 1),
    ("Reshape 0=0 1=-1 2=2", [(4, 6, 5)], 1),
    ("Reshape 0=-1", [(3, 4)], 1),
    ('Reshape 6="//(0w,2),*(0h,2),0c"', [(3, 4, 6)], 1),
    ('Reshape 6="1w,1h,-1"', [(240,), (7, 6, 10)], 1),
    ('Reshape 6="-(+(0w,1),min(1h,2)),max(0d,1),1,-1"', [(4, 5), (6, 7)], 1),
    ('Reshape 6="0,-1"', [(3, 4, 6)], 1),
    ('Reshape 6="trunc(*(0w,1.5)),floor(/(0h,2)),ceil(/(0c,0.75))"', [(3, 4, 4)], 1),
    ('Reshape 6="abs(neg(0w)),*(//(0h,1.5),1.5),2.0"', [(2, 3, 5)], 1),
    ("Reshape 0=2 1=3 11=2 2=-1", [(3, 4, 5)], 1),
    ("Flatten", [(3, 4, 5)], 1),
    *((f"Permute 0={order}", [(3, 4, 5)], 1) for order in range(6)),
    *((f"Permute 0={order}", [(4, 5)], 1) for order in range(2)),
    ("Squeeze 0=1 1=1 2=1", [(1, 4, 1)], 1),
    ("Squeeze 0=1", [(3, 1)], 1),
    ("Squeeze -23303=1,0", [(1, 4, 5)], 1),
    ("Squeeze -23303=2,0,-1", [(1, 4, 1)], 1),
    ("ExpandDims -23303=1,0", [(4, 5)], 1),
    ("ExpandDims -23303=1,-1", [(4, 5)], 1),
    ("ExpandDims -23303=2,0,2", [(4,)], 1),
    ("Reduction 0=3 1=1 5=1", [(3, 4, 5)], 1),
    ("Reduction 0=3 1=0 -23303=1,0 4=0 5=1", [(3, 4, 5)], 1),
    ("Reduction 0=3 1=0 -23303=2,1,2 4=1 5=1", [(3, 4, 5)], 1),
    ("Reduction 0=3 1=0 -23303=2,1,2 4=0 5=1", [(3, 4, 5)], 1),
    ("Reduction 0=3 1=0 -23303=1,-1 4=0 5=1", [(4, 5)], 1),
    ("Reduction 0=3 1=0 5=1", [(3, 4, 5)], 1),
    ("Padding 0=1 1=2 2=3 3=4", [(3, 4, 5)], 1),
    ("Padding 0=1 1=2 2=3 3=4 7=1 8=2", [(3, 4, 5)], 1),
    ("Padding 2=3 3=4", [(5,)], 1),
    ("Tile -23302=3,2,1,3", [(3, 4, 5)], 1),
    ("Tile -23302=4,1,2,1,1", [(3, 1, 4, 5)], 1),
    ("Tile -23302=3,2,1,3", [(4, 5)], 1),
    ("Tile -23302=1,3", [(4, 5)], 1),
    ("Tile 0=1 1=3", [(3, 4, 5)], 1),
    ("Tile 1=3", [(5,)], 1),
    ("PixelShuffle 0=2", [(12, 3, 4)], 1),
    ("Reorg 0=2", [(3, 4, 6)], 1),
    ("Interp 0=1 1=2.0 2=1.5", [(3, 4, 5)], 1),
    ("Interp 0=2 3=7 4=9", [(3, 4, 5)], 1),
    ('Interp 0=2 9="*(0w,2),+(0h,1)"', [(3, 4, 5)], 1),
    ('Interp 0=1 9="1w,1h"', [(3, 4, 5), (2, 7, 9)], 1),
    ('Interp 0=1 9="*(0w,1.5)"', [(3, 4, 5)], 1),
    ("Interp 0=2 1=3.0 2=2.0 3=7", [(3, 4, 5)], 1),  # one size alone does not count
    # in float64 these products are 114.99... and 28.99...
    ("Interp 0=1 1=1.15 2=1.15", [(1, 20, 100)], 1),
    ("Interp 0=1 1=0.29 2=0.29", [(1, 100, 100)], 1),
    ("GLU 0=0", [(4, 6)], 1),
    ("Split", [(3, 4, 5)], 2),
    ("ShuffleChannel 0=2", [(4, 3, 3)], 1),
    ("Softmax 0=0 1=1", [(3, 4)], 1),
    ("CumulativeSum 0=1", [(3, 4)], 1),
    ("BatchNorm 0=3", [(3, 4, 5)], 1),
    ("LayerNorm 0=5 1=1e-5 2=1", [(3, 4, 5)], 1),
    ("UnaryOp 0=0", [(3, 4, 5)], 1),
    ("Eltwise 0=1", [(3, 4), (3, 4)], 1),
]

ASK = """
import os, sys, json
import ncnn
import numpy as np
from pytest_ncnn_parity.network.param import parse
from pytest_ncnn_parity.network.shapes.rules.outcomes import outcome
from pytest_ncnn_parity.network.shapes.rules.table import unfit

with open("w.bin", "wb") as file:
    file.write(bytes(1 << 20))
for text, shapes, count in json.loads(sys.argv[1]):
    kind, _, params = text.partition(" ")
    inputs = [f"b{i}" for i in range(len(shapes))]
    outputs = [f"out{i}" for i in range(count)]
    lines = [f"Input {blob} 0 1 {blob}" for blob in inputs]
    lines.append(" ".join([kind, "it", str(len(inputs)), str(count), *inputs, *outputs, params]))
    param = "\\n".join(("7767517", f"{len(lines)} {len(inputs) + count}", *lines, ""))
    layer = parse(param, "net.param").layers[-1]
    shapes = [tuple(shape) for shape in shapes]
    assert not unfit(layer, shapes), (text, unfit(layer, shapes))
    net = ncnn.Net()
    net.opt.num_threads = 1
    assert net.load_param_mem(param) == 0, text
    assert net.load_model("w.bin") == 0, text
    extractor = net.create_extractor()
    for blob, shape in zip(inputs, shapes):
        fed = np.zeros(shape, np.float32)
        extractor.input(blob, ncnn.Mat(fed).clone())
    made = [np.array(extractor.extract(blob)[1]).shape for blob in outputs]
    if list(outcome(layer, shapes)) != made:
        print(text, shapes, "told", outcome(layer, shapes), "ncnn makes", made)
print("asked", flush=True)
os._exit(0)
"""


@pytest.mark.since_ncnn("1.0.20260526", "it has no SDPA")
def test_what_comes_out_is_what_ncnn_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = fresh_python(ASK, json.dumps(LAYERS))
    assert (asked.stdout, asked.returncode) == ("asked\n", 0), asked.stderr[-2000:]


def test_every_operator_that_changes_shapes_is_asked() -> None:
    tried = {text.partition(" ")[0] for text, _, _ in LAYERS}
    rules = {OUTCOMES[kind] for kind in tried}
    assert {kind for kind, rule in OUTCOMES.items() if rule not in rules} == {"MemoryData"}


@pytest.mark.since_ncnn("1.0.20260526", "its Reshape has no expressions")
@pytest.mark.parametrize(
    ("expression", "fits"), [("0w,round(*(0h,1.5)),0c", False), ("0w,*(0h,2),2", True)]
)
def test_a_reshape_that_made_another_number_of_elements_did_not_fit(
    expression: str, fits: bool, tmp_path: Path
) -> None:
    net = Network()
    net.layer("Input", "in0")
    net.layer("Reshape", "view", ["in0"], ["out0"], f'6="{expression}"')
    net.write(tmp_path / "net")
    files = str(tmp_path / "net.param"), str(tmp_path / "net.bin")
    layer = param.read(files[0]).names["view"]
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), Model(*files), (0, 0), 1, lambda _: None)
    fed = {"in0": Blob.of(np.ones((4, 8, 8), np.float32))}
    if fits:
        assert loaded.run_layer(layer, fed)["out0"].shape == (2, 16, 8)
        return
    with pytest.raises(StepFailed) as failure:
        loaded.run_layer(layer, fed)
    assert failure.value.death.kind == "misfit"
    assert "[4, 12, 8], which needs 384" in failure.value.death.detail


@pytest.mark.parametrize(("least", "found"), [(16, True), (1000, False)])
def test_a_proposal_that_finds_nothing_is_an_empty_list(least: int, found: bool, tmp_path: Path) -> None:
    """ncnn returns -100 for it, as for a blob that memory does not suffice for."""
    net = Network()
    scores, offsets, picture = (net.layer("Input", name) for name in ("scores", "offsets", "picture"))
    net.layer("Proposal", "boxes", [scores, offsets, picture], ["out0", "out1"], f"5={least}")
    net.write(tmp_path / "net")
    files = str(tmp_path / "net.param"), str(tmp_path / "net.bin")
    layer = param.read(files[0]).names["boxes"]
    loaded = LoadedNet(NetSpec(0, "cpu", "fp32"), Model(*files), (0,) * 4, 1, lambda _: None)
    fed = {"scores": np.full((18, 4, 4), 0.5), "offsets": np.zeros((36, 4, 4)), "picture": [64, 64, 1]}
    made = loaded.run_layer(layer, {blob: Blob.of(np.float32(array)) for blob, array in fed.items()})
    for blob, columns in (("out0", 4), ("out1", 1)):
        shape = made[blob].shape
        assert (shape[1:] == (1, columns)) if found else (0 in shape)
