"""What ncnn does, where this project relies on it. Each runs in a fresh interpreter with real ncnn."""

from __future__ import annotations

import platform
from pathlib import Path

import networks
import pytest
from conftest import EXAMPLES, SHARED, fresh_python

PRELUDE = """
import os, sys
import numpy as np
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.values.blob import Blob
from pytest_ncnn_parity.worker.networks.loaded import LoadedNet
from pytest_ncnn_parity.engine.protocol import Model, NetSpec

def load(stem, device, precision, masks=None):
    graph = param.read(stem + ".param")
    graph = graph.with_masks(masks or {})
    model = Model(stem + ".param", stem + ".bin", graph.text)
    return graph, LoadedNet(NetSpec(0, device, precision), model, graph.masks, 2, lambda step: None)

def feed(graph, shape):
    array = np.ascontiguousarray(np.random.RandomState(0).normal(size=shape), np.float32)
    return {blob: Blob.of(array) for blob in graph.inputs}

def stepped(graph, net, inputs):
    blobs = dict(inputs)
    for layer in graph.layers:
        if layer.type != "Input":
            blobs.update(net.run_layer(layer, blobs))
    return blobs

def same(a, b):
    return np.array_equal(a.array.view(np.uint32), b.array.view(np.uint32))

stem, shape = sys.argv[1], tuple(map(int, sys.argv[2].split(",")))
"""
DONE = "\nprint('done', flush=True)\nos._exit(0)\n"

NETWORKS = [
    (str(EXAMPLES / "style_decoder" / "style_decoder"), "32"),
    (str(EXAMPLES / "attention" / "attention"), "1,8,8"),
    (str(SHARED / "nanodet-m"), "3,64,64"),
    (str(SHARED / "cunet_noise0_model"), "3,64,64"),
]


def on(networks: list[tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("stem", "shape"), networks, ids=[Path(stem).name for stem, _ in networks]
    )


real_networks = on(NETWORKS)
quick_networks = on(NETWORKS[:3])  # for what depends on the graph, and not on another kernel
two_networks = on(NETWORKS[1:3])  # for what a graph with branches shows, however long it is


def confirm(code: str, stem: str, shape: str) -> None:
    if not Path(f"{stem}.param").exists():
        pytest.skip("the real models of ../shared/models are not here")
    done = fresh_python(PRELUDE + code + DONE, stem, shape)
    assert done.stdout.endswith("done\n"), done.stderr[-2000:]


@pytest.mark.since_ncnn("1.0.20260526", "some operators compute otherwise in a run than alone")
@real_networks
def test_stepping_is_bitwise_one_run(stem: str, shape: str) -> None:
    code = """
for device, precision in (("cpu", "fp32"), ("vulkan", "fp32"), ("vulkan", "fp16")):
    graph, net = load(stem, device, precision)
    inputs = feed(graph, shape)
    blobs = stepped(graph, net, inputs)
    whole = net.run(inputs, graph.outputs)
    assert all(same(whole[o], blobs[o]) for o in graph.outputs), (device, precision)
"""
    confirm(code, stem, shape)


@pytest.mark.parametrize(
    ("stem", "shape"),
    [(str(EXAMPLES / "digits" / "digits"), "1,8,8"), *NETWORKS[2:]],
    ids=["digits", "nanodet-m", "cunet"],
)
def test_a_run_that_is_followed_is_bitwise_one_run(stem: str, shape: str) -> None:
    code = """
for precision in ("fp32", "fp16"):
    graph, net = load(stem, "vulkan", precision)
    assert all(layer.type == "Input" or net.execution(layer).where == "vulkan" for layer in graph.layers)
    inputs = feed(graph, shape)
    whole, run, taken = net.run(inputs, graph.outputs), net.followed(inputs), {}
    for layer in graph.layers:
        if layer.type != "Input":
            taken.update(run(layer))
    assert all(same(whole[o], taken[o]) for o in graph.outputs), precision
"""
    confirm(code, stem, shape)


MASKED = """
from pytest_ncnn_parity.worker.networks.pool import Pool
from pytest_ncnn_parity.engine.protocol import Judge

MIXED = NetSpec(0, "vulkan", "fp16", mixed=True)
model = Model(stem + ".param", stem + ".bin")
graph = param.read(model.param)
inputs = feed(graph, shape)
steps = []
pool = Pool(steps.append)

def random_masks():
    # on a few layers; on many; and half of these given up, as in a search
    random = np.random.RandomState(0)
    count = len(graph.layers)
    for share in (0.2, 0.7):
        masks = np.where(random.rand(count) < share, random.choice((1, 16, 17, 18, 19), count), 0)
        masks[[layer.type == "Input" for layer in graph.layers]] = 0
        yield tuple(masks.tolist())
    yield tuple(np.where(random.rand(count) < 0.5, masks, 0).tolist())

def mixed(masks, remember):
    job = Judge((model,), (MIXED,), 0, {}, 2, masks=masks, remember=remember)
    pool.prepare(job)
    return pool.get(job, MIXED).run(inputs, graph.outputs)

def reloaded(masks):
    text = graph.remasked(masks).text
    patched = Model(model.param, model.bin, text)
    net = LoadedNet(NetSpec(0, "vulkan", "fp16"), patched, masks, 2, steps.append)
    return net.run(inputs, graph.outputs)
"""


@pytest.mark.since_ncnn("1.0.20260526", "a masked layer's upload and download round otherwise")
@quick_networks
def test_choosing_the_net_by_layer_is_bitwise_the_masked_network(stem: str, shape: str) -> None:
    """With the memo of a search, which is open from one set of masks to the next, and without."""
    code = """
tried = list(random_masks())
found = {}
for remember in (True, False):
    steps.clear()
    found[remember] = [mixed(masks, remember) for masks in tried]
    taken = sum(step.kind == "layer" for step in steps)
    every = len(tried) * sum(layer.type != "Input" for layer in graph.layers)
    assert taken < every if remember else taken == every, (taken, every)
for masks, remembered, fresh in zip(tried, found[True], found[False]):
    whole = reloaded(masks)
    for o in graph.outputs:
        assert same(whole[o], remembered[o]) and same(whole[o], fresh[o]), (o, masks)
"""
    confirm(MASKED + code, stem, shape)


@pytest.mark.since_ncnn("1.0.20260526", "a masked layer's upload and download round otherwise")
@two_networks
def test_a_trial_of_late_masks_goes_on_where_an_earlier_one_was_kept(stem: str, shape: str) -> None:
    """Of a large network the values of all steps have no room in memory."""
    code = """
from pytest_ncnn_parity.worker.networks.step_cache import StepCache

pool._cache = StepCache(0, 1 << 30)
late = [layer.number for layer in graph.running(graph.outputs)][-8:]
for turn, masked in enumerate((late, late[4:], late[2:6], late[:1], late[7:])):
    masks = tuple(18 if n in masked else 0 for n in range(len(graph.layers)))
    steps.clear()
    found = mixed(masks, remember=True)
    first = min(step.layer for step in steps if step.kind == "layer")
    assert first >= late[0] if turn else first < late[0], (turn, first, late)
    whole = reloaded(masks)
    assert all(same(whole[o], found[o]) for o in graph.outputs), masked

reference = NetSpec(0, "vulkan", "fp32")
job = Judge((model,), (reference,), 0, {}, 2, remember=True)
steps.clear()
for _ in range(2):
    pool.prepare(job)
    pool.get(job, reference).run(inputs, graph.outputs)
assert [step.kind for step in steps].count("network") == 1, "which each trial asks for"
"""
    confirm(MASKED + code, stem, shape)


@two_networks
def test_a_trial_steps_through_the_trajectory_only_if_it_reads_what_no_trial_read(
    stem: str, shape: str
) -> None:
    """The room is for the values around the last layers, not for those of the network."""
    code = """
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.judge.lockstep import Lockstep
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.step_cache import StepCache
import weakref

tolerance = Tolerance(atol=1e-3, rtol=1e-2, scaled=0.05)
nets = NetSpec(0, "cpu", "fp32"), NetSpec(0, "vulkan", "fp16", mixed=True)
plain = NetSpec(0, "vulkan", "fp16")
steps_through, last, near, trials = graph.running(graph.outputs), [], set(), []
for layer in steps_through[-3:]:
    case = CaseSpec(layer.name, "some", "pair", 0, 1, "fp16", tolerance, layer=layer.number)
    last.append(case)
    near |= {*layer.inputs, *layer.outputs}

def judged(masks, remember, candidate):
    steps.clear()
    job = Judge((model,), (nets[0], candidate), 0, {}, 2, cases=tuple(last), probe=False, masks=masks,
                defaults={"some": tolerance}, layer_tolerances={"some": {}}, remember=remember)
    pool.prepare(job)
    whole = graph if masks is None else graph.remasked(masks)
    sample = SampleRun(job, whole, inputs, JobNets(pool, job))
    lockstep = Lockstep(sample)
    trials.append(weakref.ref(lockstep))
    results = list(lockstep.results())
    on_cpu = [step for step in steps if step.kind == "layer" and step.label == "cpu fp32"]
    ran = [step.layer for step in on_cpu if not step.feed]
    return [(one.id, one.outcome, one.metrics, one.reason) for one in results], ran

true, ran = judged(None, False, plain)
assert len(ran) > 3
values = stepped(graph, load(stem, "cpu", "fp32")[1], inputs)
sizes = {blob: value.array.nbytes for blob, value in values.items()}
room = 8 * sum(sizes[blob] for blob in near)
assert room < sum(sizes.values()), "all values would have room"
pool._cache = StepCache(room, 0)
none = (0,) * len(graph.layers)
for turn in range(4):
    found, ran = judged(none, True, nets[1])
    assert found == true, (turn, found, true)
    assert len(ran) > 3 if turn == 0 else ran == [], (turn, ran)
alive = [turn for turn, trial in enumerate(trials) if trial() is not None]
assert len(alive) <= 1, f"values of the trials {alive} are still in memory"
"""
    confirm(MASKED + code, stem, shape)


def test_where_the_reference_cannot_be_had_each_case_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """As where an older binding takes no further layers of a project's own."""
    networks.convolution(tmp_path)
    code = """
from pytest_ncnn_parity.compare.tolerance import Tolerance
from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.failures import Unavailable
from pytest_ncnn_parity.worker.judge.lockstep import Lockstep
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks.job_nets import JobNets

def full(load, graph):
    raise Unavailable("the table is full")

pool._fresh = full
allowed = Tolerance()
cases = tuple(CaseSpec(f"some::{n}", "some", "range", 0, None, "fp16", allowed, layer=n) for n in (1, 2))
job = Judge((model,), (NetSpec(0, "cpu", "fp32"),), 0, {}, 1, cases=cases, defaults={"some": allowed},
            layer_tolerances={"some": {}})
found = list(Lockstep(SampleRun(job, graph, inputs, JobNets(pool, job))).results())
assert [(one.outcome, one.reason) for one in found] == 2 * [("skipped", "the table is full")], found
"""
    confirm(MASKED + code, str(tmp_path / "net"), "8,24,24")


def test_a_network_that_lacked_memory_is_tried_once_in_each_trial(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    code = """
from pytest_ncnn_parity.engine.steps import Step
from pytest_ncnn_parity.worker.failures import StepFailed, failed

tried = []

def full(job, load):
    tried.append(load.label)
    raise failed(Step("load", load.label), "memory", "given no more memory")

pool._fresh = full
masks = tuple([18] * len(graph.layers))
for trials in (1, 2, 3):
    job = Judge((model,), (MIXED,), 0, {}, 2, masks=masks, remember=True)
    pool.prepare(job)
    for _ in range(3):  # as each case asks for it
        try:
            pool.get(job, MIXED)
        except StepFailed as lacking:
            assert lacking.death.kind == "memory"
        else:
            raise AssertionError("loaded")
    assert len(tried) == trials, tried
"""
    confirm(MASKED + code, str(tmp_path / "net"), "8,24,24")


def test_a_search_keeps_the_networks_of_earlier_masks_only_while_there_is_room(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    code = """
from pytest_ncnn_parity.worker import limits

def loads_of(has_room):
    limits.has_held_less_than_half = lambda: has_room
    steps.clear()
    for mask in (18, 1, 18):
        mixed(tuple(0 if layer.type == "Input" else mask for layer in graph.layers), remember=True)
    pool.prepare(Judge((model,), (NetSpec(0, "cpu", "fp32"),), 0, {}, 2, last=True))
    return [step.label for step in steps if step.kind == "load"]

masked = ["vulkan fp16 with 31=18", "vulkan fp16 with 31=1"]
assert loads_of(True) == ["vulkan fp16", *masked], "that of the Input layer's mask is the network itself"
found = loads_of(False)
assert found.count(masked[0]) == 2, found
"""
    confirm(MASKED + code, str(tmp_path / "net"), "8,24,24")


def test_the_fp16_setup_is_what_ncnn_does_by_default() -> None:
    """`shipped` is Vulkan with ncnn's defaults: those of Option, which precision fp16 sets."""
    code = """
import ncnn, os
from pytest_ncnn_parity.compare.comparisons import PRECISIONS, PRECISION_FLAGS
opt = ncnn.Option()
on = {flag for flag in PRECISION_FLAGS if getattr(opt, flag, False)}
assert on == PRECISIONS["fp16"], on
print("done", flush=True)
os._exit(0)
"""
    done = fresh_python(code)
    assert done.stdout.endswith("done\n"), done.stderr


def test_masks_leave_no_bit_of_the_options_read_back_in_doubt(tmp_path: Path) -> None:
    """Where each layer runs and in which format, as `execution` reads it, by its mask."""
    networks.convolution(tmp_path)
    code = """
for mask, expected in (
    (0, "vulkan, fp16 storage, fp16 arithmetic"),
    (1, "vulkan, fp16 storage, fp32 arithmetic"),
    (16, "cpu fp32"), (17, "cpu fp32"), (18, "cpu fp32"), (19, "cpu fp32"),
):
    graph, net = load(stem, "vulkan", "fp16", {"c2": mask})
    assert str(net.execution(graph.names["c2"])) == expected, mask
"""
    confirm(code, str(tmp_path / "net"), "8,24,24")


def test_safe_masks_keep_the_network_right(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    code = """
graph, cpu = load(stem, "cpu", "fp32")
inputs = feed(graph, shape)
true = cpu.run(inputs, graph.outputs)["c3"].array
for mask in (1, 16, 17, 18, 19):
    _, net = load(stem, "vulkan", "fp16", {"c2": mask})
    made = net.run(inputs, graph.outputs)["c3"].array
    assert np.abs(made - true).max() < 0.01 * np.abs(true).max(), mask
"""
    confirm(code, str(tmp_path / "net"), "8,24,24")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="about kernels for x86")
def test_on_x86_the_fp16_of_the_cpu_is_ignored(tmp_path: Path) -> None:
    networks.convolution(tmp_path)
    code = """
from pytest_ncnn_parity.worker.networks import capabilities, execution, here, loaded
graph, fp32 = load(stem, "cpu", "fp32")
loaded.is_x86 = execution.is_x86 = lambda architecture: False  # so that the setup is not refused
capabilities.stores_half = lambda *asked: True
_, fp16 = load(stem, "cpu", "fp16")
inputs = feed(graph, shape)
assert same(*(net.run(inputs, graph.outputs)["c3"] for net in (fp32, fp16)))
"""
    confirm(code, str(tmp_path / "net"), "8,24,24")


@pytest.mark.since_ncnn("1.0.20260526", "its cast truncates")
def test_rounding_is_numpys(tmp_path: Path) -> None:
    """ncnn's casts, which round the inputs of layer cases, are IEEE's round to nearest even."""
    code = """
values = np.random.RandomState(0).normal(0, 1e4, 100_003).astype(np.float32)
values[:6] = (65504, 65519.99, 65520, -65520, 2**-25, 2**-25 * 1.001)
rounded = Blob.of(values).rounded("fp16").array
assert np.array_equal(rounded, values.astype(np.float16).astype(np.float32))
"""
    networks.chain(tmp_path)
    confirm(code, str(tmp_path / "net"), "8")
