"""The script of a repro: it runs one layer in two setups, and needs only ncnn and numpy."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from string import Template

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.comparisons import PRECISION_FLAGS, PRECISIONS, Setup
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.diagnose.cause_names import CauseName
from pytest_ncnn_parity.engine.protocol import Isolated, Result
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.integers import BITS
from pytest_ncnn_parity.plan.cases import Case, Plan
from pytest_ncnn_parity.report.document import WorkerEnvironment

VULKAN_FP16 = Setup("vulkan", "fp16")
RUNS_OF_CHANCE = 5  # runs of a candidate whose fault does not show in every run


class FailedLayer(Frozen):
    """A red layer's case: what the worker saw, the cause derived from it, and the failure's text."""

    sample: str
    case: Case
    result: Result
    cause: CauseName
    text: str

    @property
    def layer(self) -> Layer:
        assert self.case.layer is not None
        return self.case.layer

    @property
    def candidate(self) -> Setup | None:
        """The setup in which the layer shows its fault; None if the reference's own values show it.

        What was predicted about the inside of a layer shows only where a device computes it.
        """
        evidence = self.result.evidence
        within = evidence.inside or evidence.constant or evidence.integers
        return self.case.comparison.candidate or (VULKAN_FP16 if within is not None else None)

    @property
    def tolerance(self) -> Tolerance:
        """The tolerance; integers have none, because they are right or wrong."""
        metrics = self.result.metrics
        return Tolerance() if metrics is not None and metrics.integers else self.case.tolerance

    @property
    def holds_bits(self) -> bool:
        """Whether the layer's outputs are integers of 32 bits, which are no floats."""
        integers = self.result.evidence.integers
        return integers is not None and integers.held_as == BITS


def text(plan: Plan, failed: FailedLayer, environment: WorkerEnvironment, isolated: Isolated) -> str:
    """The whole script. `isolated` is what the worker wrote of the layer."""
    return TEMPLATE.substitute(
        header="\n".join(_comment(line) for line in header(plan, failed, environment)),
        constants="\n".join(
            f"{name} = {pformat(value, width=100, compact=True, sort_dicts=False)}"
            for name, value in _constants(plan, failed, isolated).items()
        ),
    )


def header(plan: Plan, failed: FailedLayer, environment: WorkerEnvironment) -> list[str]:
    """What was seen, in which layer and where: lines for a comment at the head of a file."""
    layer, devices, sample = failed.layer, environment["devices"], failed.sample
    predicted = failed.case.comparison.candidate is None and failed.candidate is not None
    return [
        *failed.text.splitlines(),
        *(("  it was predicted: this program runs the layer on Vulkan to see it",) if predicted else ()),
        "",
        f"Layer {layer.name}, line {layer.line} of {Path(plan.spec.param).name}; sample {sample}.",
        f"Seen with ncnn {environment['ncnn']}, numpy {environment['numpy']}, Python "
        f"{environment['python']} on {environment['system']}, device "
        f"{failed.result.evidence.device or 'cpu'}.",
        *(f"Vulkan device: {device['name']}, fp16-p/s/u/a={device['fp16']}" for device in devices),
    ]


def runs(failed: FailedLayer) -> int:
    """How often the candidate is run: several times if the fault does not show each time."""
    return RUNS_OF_CHANCE if failed.cause == "nondeterministic" else 1


def _constants(plan: Plan, failed: FailedLayer, isolated: Isolated) -> dict[str, object]:
    comparison = failed.case.comparison
    return {
        "INPUTS": dict(isolated.inputs),
        "OUTPUTS": list(failed.layer.outputs),
        "REFERENCE": options(comparison.reference),
        "CANDIDATE": None if failed.candidate is None else options(failed.candidate),
        "TOLERANCE": {key: value for key, value in vars(failed.tolerance).items() if value is not None},
        "INTEGERS": failed.holds_bits,
        "HALF": comparison.half,
        "UNDERFLOW": failed.cause == "underflow",
        "RUNS": runs(failed),
        "SETUP": plan.spec.setup if isolated.custom else None,
    }


def _comment(line: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in line)
    return f"# {plain}".rstrip()


def options(setup: Setup) -> dict[str, bool | int | None]:
    """ncnn's options for `setup`, and `vulkan`: the index of the device, or None for the CPU."""
    index = setup.device_index if setup.on_vulkan else None
    flags = {flag: flag in PRECISIONS[setup.precision] for flag in sorted(PRECISION_FLAGS)}
    return {"vulkan": index, **flags, **setup.options}


TEMPLATE = Template('''\
#!/usr/bin/env python3
$header
#
# Needs ncnn and numpy. Exit status: 1 the fault is there, 0 it is not, 2 it cannot be tried here.

import importlib
import sys
from pathlib import Path

import ncnn
import numpy as np

$constants
HERE = Path(__file__).resolve().parent


def stop(why):
    print(f"cannot be tried: {why}")
    sys.exit(2)


class Net(ncnn.Net):
    layers = []  # of a project's function: ncnn holds no reference to them

    def register_custom_layer(self, type, creator, destroyer=lambda layer: None):
        def create():
            self.layers.append(creator())
            return self.layers[-1]

        return super().register_custom_layer(type, create, destroyer)


def load(setup):
    net = Net()
    if SETUP:  # the project's function that registers the operator
        module, _, function = SETUP.partition(":")
        sys.path.insert(0, str(Path.cwd()))
        try:
            getattr(importlib.import_module(module), function)(net)
        except ImportError as error:
            stop(f"needs {SETUP}; run this in its project's folder ({error})")
    for name, value in setup.items():
        if name != "vulkan" and hasattr(net.opt, name):
            setattr(net.opt, name, value)
        elif name != "vulkan" and value:
            stop(f"ncnn {ncnn.__version__} has no option {name}")
    net.opt.use_vulkan_compute = setup["vulkan"] is not None
    if setup["vulkan"] is not None:
        if setup["vulkan"] >= ncnn.get_gpu_count():
            stop(f"no Vulkan device {setup['vulkan']}")
        net.set_vulkan_device(setup["vulkan"])
    if net.load_param(str(HERE / "layer.param")) or net.load_model(str(HERE / "layer.bin")):
        stop("ncnn does not load layer.param and layer.bin")
    return net


def run(setup):
    net = load(setup)
    extractor = net.create_extractor()
    for blob, name in INPUTS.items():
        array = np.load(HERE / name)
        extractor.input(blob, ncnn.Mat(array).clone())
    values = {}
    for blob in OUTPUTS:
        rc, mat = extractor.extract(blob)
        if rc != 0:
            print(f"{blob}: extract gives {rc}")
            sys.exit(1)
        values[blob] = np.array(mat).view(np.int32) if INTEGERS else np.array(mat)
    del extractor
    return values


def compare(blob, candidate, reference):
    """Say how the candidate differs; whether it is out of tolerance."""
    if candidate.shape != reference.shape:
        print(f"{blob}: shape {[*candidate.shape]}, the reference has {[*reference.shape]}")
        return True
    c, r = candidate.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(c) & np.isfinite(r)
    absmax = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        budget = TOLERANCE["atol"] + TOLERANCE["rtol"] * np.abs(r) + TOLERANCE["scaled"] * absmax
        same = (c == r) | (np.isnan(c) & np.isnan(r))
        wrong = np.where(finite, np.abs(c - r) > budget, ~same)
        off = np.where(finite, np.abs(c - r), np.where(same, 0, np.inf))
    fault = bool(wrong.any())
    # of several that are as far off, as inf is, the largest
    largest = np.where(off == off.max(), np.nan_to_num(np.abs(r)), -1).argmax()
    place = np.unravel_index(largest, c.shape)
    print(
        f"{blob}: {np.count_nonzero(wrong)} of {c.size} elements out of tolerance; the worst, at "
        f"{[int(i) for i in place]}: {c[place]:.9g}, reference {r[place]:.9g}"
    )
    c, r = c[finite], r[finite]
    cosine = (c @ r) / max(np.sqrt((c @ c) * (r @ r)), 1e-300) if (c != r).any() else 1.0
    noise = (c - r) @ (c - r)
    sqnr = 10 * np.log10(max(r @ r, 1e-300) / noise) if noise else np.inf
    for name, value in (("cosine", cosine), ("sqnr_db", sqnr)):
        if name in TOLERANCE and value < TOLERANCE[name]:
            print(f"{blob}: {name} {value:.6g}, wanted {TOLERANCE[name]:g}")
            fault = True
    return fault


def unholdable(blob, reference):
    """Say what 16 bits cannot hold of the reference, or what it should not hold itself."""
    fed = [np.load(HERE / name) for name in INPUTS.values()]
    if np.isnan(reference).any() and not any(np.isnan(array).any() for array in fed):
        print(f"{blob}: the reference makes nan of inputs without")
        return True
    size = np.abs(reference[np.isfinite(reference)]).max(initial=0.0)
    if HALF == "fp16" and size >= 65520:
        print(f"{blob}: the reference reaches {size:.10g}; fp16 ends at 65504")
        return True
    zeroed = np.count_nonzero((reference != 0) & (np.abs(reference) <= 2.0**-25))
    if UNDERFLOW and zeroed:
        print(f"{blob}: {zeroed} values become 0 in fp16, which breaks the layers that read them")
        return True
    return False


def main():
    print(f"ncnn {ncnn.__version__}, numpy {np.__version__}")
    reference = run(REFERENCE)
    faults = [unholdable(blob, value) for blob, value in reference.items() if not INTEGERS]
    for _ in range(RUNS if CANDIDATE else 0):
        candidate = run(CANDIDATE)
        faults += [compare(blob, candidate[blob], reference[blob]) for blob in OUTPUTS]
    print("the fault is there" if any(faults) else "the fault is not seen here")
    return int(any(faults))


if __name__ == "__main__":
    sys.exit(main())
''')
