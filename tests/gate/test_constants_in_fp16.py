"""Parameters and weights that fp16 does not keep are predicted where Vulkan's kernels suffer from it."""

from __future__ import annotations

from pathlib import Path

import ncnn
import numpy as np
from conftest import Gate
from network import Network

C, SIZE = 16, (16, 4, 4)
POINTWISE = f"0={C} 1=1 5=0 6={C * C}"
LEAKY = "9=2 -23310=1,1e5"
CHANNELS = "1=0 -23303=1,0 4=1 5=1"  # reduced, and kept as an axis
LARGE = np.full(C, 1e5)
FLAT = (np.ones(C), np.zeros(C), np.full(C, 1e-12), np.zeros(C))  # slope, mean, variance, bias

# an operator, its parameters, its weights, how large its inputs are, and the cause if fp16 spoils it
LAYERS = {
    "times_1e5": ("BinaryOp", "0=2 1=1 2=100000.0", (), 1e-3, "accumulator-overflow"),
    "by_1e5": ("BinaryOp", "0=3 1=1 2=-100000.0", (), 1e2, "accumulator-overflow"),
    "by_1e-7": ("BinaryOp", "0=3 1=1 2=1e-7", (), 1e-5, "underflow"),
    "times_1e-9": ("BinaryOp", "0=2 1=1 2=1e-9", (), 5e3, "underflow"),
    "at_most_1e9": ("BinaryOp", "0=5 1=1 2=1000000000.0", (), 1.0, None),
    "elu": ("ELU", "0=100000.0", (), 1e-3, "accumulator-overflow"),
    "scale": ("Scale", f"0={C} 1=1", (LARGE, np.ones(C)), 1e-3, "storage-overflow"),
    "prelu": ("PReLU", f"0={C}", (LARGE,), 1e-3, "storage-overflow"),
    "batchnorm": ("BatchNorm", f"0={C}", FLAT, 1e-6, "storage-overflow"),
    "batchnorm_ok": ("BatchNorm", f"0={C}", (LARGE, np.zeros(C), LARGE**2, np.zeros(C)), 1.0, None),
    "conv": ("Convolution", f"0={C} 1=1 5=0 6={C * C}", (np.eye(C) * 1e5,), 1e-3, "storage-overflow"),
    "conv_tiny": ("Convolution", f"0={C} 1=1 5=0 6={C * C}", (np.eye(C) * 1e-9,), 5e3, "underflow"),
    "conv_ok": ("Convolution", f"0={C} 1=1 5=0 6={C * C}", (np.eye(C) * 6e4,), 1e-3, None),
    "flat": ("InstanceNorm", f"0={C} 1=1e-12 2=0", (), 0.0, "storage-overflow"),
    "flat_ok": ("InstanceNorm", f"0={C} 1=1e-5 2=0", (), 0.0, None),
    "groups": ("GroupNorm", f"0=4 1={C} 2=1e-12 3=0", (), 0.0, "storage-overflow"),
    "selu": ("SELU", "1=100000.0", (), 1e-3, "accumulator-overflow"),
    "selu_product": ("SELU", "0=50000.0 1=2.0", (), 1e-3, "accumulator-overflow"),
    "shrink_ok": ("Shrink", "1=100000.0", (), 1.0, None),
    "sum_1e5": ("Eltwise", "0=1 -23301=2,1e5,1.0", (), 1e-3, "accumulator-overflow"),
    "sum_1e-9": ("Eltwise", "0=1 -23301=2,1e-9,1e-9", (), 5e3, "underflow"),
    "product": ("Eltwise", "0=0 -23301=2,1e5,1e5", (), 1.0, None),
    "leaky": ("Convolution", f"{POINTWISE} {LEAKY}", (np.eye(C),), 1e-3, "accumulator-overflow"),
    "relu": ("Convolution", f"{POINTWISE} 9=1 -23310=1,1e5", (np.eye(C),), 1.0, None),
    "capped": ("Convolution", f"{POINTWISE} 9=3 -23310=2,-3.4e38,6.0", (np.eye(C),), 1.0, None),
    "both": ("Convolution", f"{POINTWISE} 9=3 -23310=2,-3e38,6", (np.eye(C) * 1e5,), 1e-3,
             "storage-overflow"),
    "depthwise": ("ConvolutionDepthWise", f"0={C} 1=1 5=0 6={C} 7={C} {LEAKY}", (np.ones(C),), 1e-3,
                  "accumulator-overflow"),
    "inner": ("InnerProduct", f"0={C} 1=0 2={256 * C} {LEAKY}", (np.eye(C, 256),), 1e-3,
              "accumulator-overflow"),
    "lrn": ("LRN", "", (), 300.0, "accumulator-overflow"),
    "lrn_within": ("LRN", "0=1 1=3", (), 300.0, "accumulator-overflow"),
    "lrn_factor": ("LRN", "4=1e-9", (), 1e-5, "accumulator-overflow"),
    "lrn_ok": ("LRN", "", (), 40.0, None),
    "nearest": ("Interp", "0=1 2=2.0", (), 1.0, "accumulator-overflow"),
    "nearest_ok": ("Interp", "0=1 1=3.0 2=3.0", (), 1.0, None),
    "bilinear": ("Interp", "0=2 1=4.0 2=4.0", (), 1.0, "precision"),
    "bilinear_cut": ("Interp", "0=2 1=1.3 2=1.3", (), 1.0, None),  # 1.3 * 8 rows is no whole number
    "bilinear_ok": ("Interp", "0=2 1=3.0 2=3.0 6=1", (), 1.0, None),
    "bicubic": ("Interp", "0=3 3=12 4=650", (), 1.0, "precision"),
    "bicubic_ok": ("Interp", "0=3 3=7 4=9 6=1", (), 1.0, None),
    "softplus": ("Softplus", "", (), 20.0, "accumulator-overflow"),
    "softplus_ok": ("Softplus", "", (), 2.0, None),
    "sinh": ("UnaryOp", "0=22", (), 0.05, "accumulator-overflow"),
    "cosh": ("UnaryOp", "0=24", (), 0.05, "accumulator-overflow"),
    "asinh": ("UnaryOp", "0=23", (), 10.0, "accumulator-overflow"),
    "asinh_negative": ("UnaryOp", "0=23", (), 5.0, "underflow"),
    "asinh_ok": ("UnaryOp", "0=23", (), 10.0, None),
    "squares": ("Reduction", f"0=2 {CHANNELS}", (), 1e-4, "underflow"),
    "l2": ("Reduction", f"0=8 {CHANNELS}", (), 1e-4, "underflow"),
    "l2_half": ("Reduction", f"0=8 {CHANNELS} 2=0.5", (), 1e-4, "underflow"),
    "l2_ok": ("Reduction", f"0=8 {CHANNELS}", (), 0.1, None),
    "logsumexp": ("Reduction", f"0=10 {CHANNELS}", (), 1.0, "underflow"),
    "logsumexp_ok": ("Reduction", f"0=10 {CHANNELS}", (), 1.0, None),
    "norm_caffe": ("Normalize", "0=1 1=1 2=1e-10 3=1", (np.ones(1),), 1e-5, "underflow"),
    "norm_torch": ("Normalize", "0=0 1=1 2=1e-12 3=1 4=1 9=1", (np.ones(1),), 1e-5, "underflow"),
    "norm_large": ("Normalize", "0=0 1=1 2=1e-10 3=1 4=1 9=1", (np.ones(1),), 300.0,
                   "accumulator-overflow"),
    "norm_ok": ("Normalize", "0=1 1=1 2=1e-4 3=1", (np.ones(1),), 0.1, None),
}  # fmt: skip
SIZES = {
    "nearest": (2, 40_000),
    "bilinear": (4, 10, 400),
    "bicubic": (2, 9, 500),
}  # where other than SIZE
OFFSETS = {
    "sinh": 11.3,
    "cosh": -11.3,
    "asinh": 300.0,
    "asinh_negative": -90.0,
    "asinh_ok": 100.0,
    "logsumexp": -22.0,
}
PAIRS = ("Eltwise",)  # of inputs, the same one twice
UNFLAGGED = ("Scale", "PReLU", "BatchNorm", "Normalize")
# older ncnn has no kernel for them
NEW_ON_VULKAN = ("groups", "selu", "selu_product", "shrink_ok")
NEW_OPERATIONS = ("sinh", "cosh", "asinh", "asinh_negative", "asinh_ok")
NEW_OPERATORS = ("Softplus", "Reduction")  # these run on the CPU


def layers() -> list[str]:
    """The names of the layers, but for those that this ncnn does not run on Vulkan, or not at all."""
    old = ncnn.__version__ < "1.0.20260526"
    return [
        name
        for name, (kind, *_) in LAYERS.items()
        if not (old and (name in NEW_OPERATIONS or kind in NEW_OPERATORS))
    ]


def network(folder: Path) -> None:
    rng = np.random.RandomState(0)
    net, files = Network(), []
    for name in layers():
        kind, params, weights, size, _ = LAYERS[name]
        x = net.layer("Input", f"in_{name}")
        read = net.split(x, 2) if kind in PAIRS else [x]
        flagged = kind not in UNFLAGGED
        net.layer(kind, name, read, [f"out_{name}"], params, list(weights), flagged=flagged)
        shape = SIZES.get(name, SIZE)
        values = rng.normal(OFFSETS.get(name, 0.0), size, shape)
        np.save(folder / f"{name}.npy", values.astype(np.float32))
        files.append(f"in_{name}: {{file: {name}.npy}}")
    masked = net.layer("Input", "mask", params="0=8 1=8")
    masked = net.layer("BinaryOp", "hide", [masked], params="0=2 1=1 2=-1000000000.0")
    net.layer("Softmax", "prob", [masked], ["out_prob"], "0=1 1=1")
    np.save(folder / "mask.npy", np.triu(np.ones((8, 8), np.float32), 1))
    net.write(folder / "net")
    spec = f"inputs:\n  s: {{{', '.join(files)}, mask: {{file: mask.npy}}}}\n"
    text = f"model: {{param: net.param, bin: net.bin}}\n{spec}compare: [shipped, fp16-range]\n"
    (folder / "net.parity.yaml").write_text(text)


def test_what_is_predicted_of_constants_is_what_vulkan_does(gate: Gate, tmp_path: Path) -> None:
    network(tmp_path)
    run = gate(str(tmp_path), "--ncnn-parity-fix=off")
    expected = {name: LAYERS[name][-1] for name in layers()}
    expected |= {"hide": "accumulator-overflow", "prob": None}
    for comparison in ("fp16-range", "shipped"):
        cases = {name: run.cases[f"s::{comparison}::{name}"] for name in expected}
        for name, case in cases.items():
            if name in NEW_ON_VULKAN and case["outcome"] == "skipped":
                continue
            assert case["cause"] == expected[name], (comparison, name)
