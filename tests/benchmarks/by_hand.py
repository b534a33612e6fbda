"""What an engineer writes instead of a gate: every blob of one network, three ways, in numpy.

    python by_hand.py PARAM BIN BLOB C H W LOW HIGH

Loads the network on the CPU in fp32 and on Vulkan in fp32 and fp16, feeds all three the same seeded
input, extracts every blob from one extractor each, and prints one line per blob and comparison. It
stands for the bare runs a gate needs; it shares no code with the plugin.
"""

from __future__ import annotations

import sys

import ncnn
import numpy as np

TOLERANCE = {"cpu-vs-vulkan": 1e-3, "fp16-vs-fp32": 6e-2}


def load(param: str, weights: str, vulkan: bool, fp16: bool) -> ncnn.Net:
    net = ncnn.Net()
    net.opt.use_vulkan_compute = vulkan
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = fp16
    net.opt.use_bf16_storage = False
    net.opt.lightmode = False
    if net.load_param(param) or net.load_model(weights):
        sys.exit(f"{param}: cannot be loaded")
    if vulkan and not net.opt.use_vulkan_compute:
        sys.exit("no Vulkan device")
    return net


def run(net: ncnn.Net, blob: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """All blobs of one run."""
    extractor = net.create_extractor()
    extractor.input(blob, ncnn.Mat(array).clone())
    outputs = {}
    for each in net.blobs():
        code, mat = extractor.extract(each.name)
        if code:
            sys.exit(f"{each.name}: extract returned {code}")
        outputs[each.name] = np.array(mat)
    return outputs


def compare(name: str, blob: str, reference: np.ndarray, candidate: np.ndarray) -> bool:
    r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    max_abs = np.abs(c - r).max()
    scaled = max_abs / max(np.abs(r).max(), 1e-30)
    cosine = (c @ r) / max(np.linalg.norm(c) * np.linalg.norm(r), 1e-30)
    nan, inf = np.isnan(c).sum(), np.isinf(c).sum()
    good = not nan and not inf and scaled <= TOLERANCE[name]
    print(
        f"{'ok  ' if good else 'FAIL'} {name:14} {blob:32} max_abs {max_abs:.3e} "
        f"scaled {scaled:.3e} cosine {cosine:.6f} nan {nan} inf {inf}"
    )
    return good


def main() -> int:
    param, weights, blob, *numbers = sys.argv[1:]
    shape, (low, high) = tuple(map(int, numbers[:3])), map(float, numbers[3:])
    array = np.random.RandomState(0).uniform(low, high, shape).astype(np.float32)
    cpu = run(load(param, weights, vulkan=False, fp16=False), blob, array)
    vulkan_net = load(param, weights, vulkan=True, fp16=False)
    half_net = load(param, weights, vulkan=True, fp16=True)
    vulkan, half = run(vulkan_net, blob, array), run(half_net, blob, array)
    good = [compare("cpu-vs-vulkan", name, cpu[name], vulkan[name]) for name in cpu]
    good += [compare("fp16-vs-fp32", name, vulkan[name], half[name]) for name in cpu]
    print(f"{sum(good)} of {len(good)} agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
