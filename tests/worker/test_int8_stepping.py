"""Values that ncnn holds in int8: stepped, each layer gets what it gets in one run."""

from __future__ import annotations

from pathlib import Path

import pytest
import quantized
from conftest import fresh_python

PRELUDE = """
import os, sys
import numpy as np
from pytest_ncnn_parity.engine.protocol import Judge, Model, NetSpec
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.worker.networks.pool import Pool
from pytest_ncnn_parity.worker.values.blob import Blob

SETUPS = [NetSpec(0, "cpu", "fp32"), NetSpec(0, "cpu", "fp32", {"use_packing_layout": False})]
SETUPS += [NetSpec(0, "vulkan", precision) for precision in ("fp32", "fp16")]
steps = []
pool = Pool(steps.append)
folder = sys.argv[1]

def stepped(graph, reads, net, inputs):
    # `among` the layers each sees no value but those that it needs
    blobs = dict(inputs)
    for layer in graph.layers:
        if layer.type != "Input":
            blobs.update(net.run_layer(layer, {blob: blobs[blob] for blob in reads(layer)}))
    return blobs

def same(a, b):
    return a.array.dtype == b.array.dtype and np.array_equal(a.array, b.array)

def of(name):
    model = Model(f"{folder}/{name}.param", f"{folder}/{name}.bin")
    graph = pool.graph(model)
    values = np.random.RandomState(1).normal(size=(3, 16, 16)).astype(np.float32)
    return model, graph, {blob: Blob.of(values) for blob in graph.inputs}

def loaded(model, spec, **of_job):
    job = Judge((model,), (spec,), 0, {}, 1, **of_job)
    pool.prepare(job)
    return pool.get(job, spec)
"""
DONE = "\nprint('done', flush=True)\nos._exit(0)\n"


def confirm(code: str, folder: Path) -> None:
    done = fresh_python(PRELUDE + code + DONE, str(folder))
    assert done.stdout.endswith("done\n"), done.stderr[-2000:]


@pytest.mark.parametrize("between", quantized.BETWEEN)
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_stepping_is_bitwise_one_run(tmp_path: Path, between: str) -> None:
    """Whether values between layers come packed (of 8 channels) or not (of 6)."""
    for channels in (8, 6):
        quantized.chain(tmp_path, between, channels, name=f"net{channels}")
    code = """
for name in ("net8", "net6"):
    model, graph, inputs = of(name)
    for spec in SETUPS:
        net = loaded(model, spec)
        blobs = stepped(graph, pool.int8(model).reads, net, inputs)
        assert blobs["conv1"].int8 and blobs["depthwise"].int8, (name, spec)
        whole = net.run(inputs, graph.outputs)
        assert all(same(whole[o], blobs[o]) for o in graph.outputs), (name, spec)
"""
    confirm(code, tmp_path)


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_other_terms_and_inner_products(tmp_path: Path) -> None:
    """8=101 and 102 of both convolutions, a scale for all groups or one for each; InnerProduct."""
    for terms in ((1, 1), (2, 2)):
        quantized.chain(tmp_path, terms=terms, name=f"net{terms[0]}")
    quantized.classifier(tmp_path, name="classifier")
    code = """
for name in ("net1", "net2", "classifier"):
    model, graph, inputs = of(name)
    for spec in SETUPS:
        net = loaded(model, spec)
        blobs = stepped(graph, pool.int8(model).reads, net, inputs)
        assert blobs["conv1"].int8, (name, spec)
        whole = net.run(inputs, graph.outputs)
        assert all(same(whole[o], blobs[o]) for o in graph.outputs), (name, spec)
"""
    confirm(code, tmp_path)


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_choosing_the_net_by_layer_is_bitwise_the_masked_network(tmp_path: Path) -> None:
    """What a device does not take from the CPU is refused there as well; nothing is made up for it."""
    for between in ("split", "several"):
        quantized.chain(tmp_path, between, name=between)
    code = """
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks import vulkan

ran = refused = 0
for name in ("split", "several"):
    model, graph, inputs = of(name)
    number = {layer.name: layer.number for layer in graph.layers}
    def moved(*names):
        return tuple(16 * (layer.name in names) for layer in graph.layers)
    for names in (["conv2"], ["depthwise", "conv2"], ["conv1"], list(number)[1:], ["conv1", "conv2"]):
        masks = moved(*names)
        spec = NetSpec(0, "vulkan", "fp16", mixed=True)
        net = loaded(model, spec, masks=masks)
        try:
            values = net.run(inputs, graph.outputs)
        except StepFailed as failed:
            assert "conv1" in names and len(names) < len(number) - 1, (names, failed.death)
            assert failed.death.kind == "refused" and not vulkan.takes_int8(0)
            refused += 1
            continue
        patched = Model(model.param, model.bin, graph.remasked(masks).text)
        whole = loaded(patched, NetSpec(0, "vulkan", "fp16")).run(inputs, graph.outputs)
        assert all(same(whole[o], values[o]) for o in graph.outputs), names
        ran += 1
assert ran >= 6 and ran + refused == 10
"""
    confirm(code, tmp_path)


@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_a_value_that_is_needed_in_int8_twice_is_made_again_once(tmp_path: Path) -> None:
    """A Concat of an int8 value and of what a layer that quantizes made of the same value."""
    quantized.concat_of_two(tmp_path)
    code = """
model, graph, inputs = of("net")
for spec in SETUPS:
    net = loaded(model, spec)
    blobs = stepped(graph, pool.int8(model).reads, net, inputs)
    assert blobs["concat"].int8
    whole = net.run(inputs, graph.outputs)
    assert all(same(whole[o], blobs[o]) for o in graph.outputs), spec
"""
    confirm(code, tmp_path)


LAYERS = """
from pytest_ncnn_parity.compare.tolerance import DEFAULTS, OPERATORS
from pytest_ncnn_parity.network.operators import operator
from pytest_ncnn_parity.worker.judge.natures import Natures

def worst(graph, outputs, expected, tolerance):
    return Natures(graph, None, None, None, None).worst(outputs, expected, tolerance, whole=False)

def of_layer(layer):
    return OPERATORS.get(("fp32", operator(layer)), DEFAULTS["fp32"].layer)

def walked(graph, inputs):
    # each layer of the CPU, with the values that it reads and those that it makes
    net = loaded(model, SETUPS[0])
    blobs = dict(inputs)
    for layer in graph.layers:
        if layer.type != "Input":
            made = net.run_layer(layer, blobs)
            blobs.update(made)
            yield layer, blobs, made
"""


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_layers_alone_agree_but_for_a_step_here_and_there(tmp_path: Path) -> None:
    """On ten seeds: the CPU, plain and packed, and Vulkan."""
    for seed in range(10):
        quantized.deep(tmp_path, seed, blocks=2, requantized=seed % 2 == 0, name=f"net{seed}")
    code = """
off = 0
for seed in range(10):
    model, graph, inputs = of(f"net{seed}")
    inputs = {"in0": Blob.of(np.random.RandomState(seed).normal(size=(3, 48, 48)).astype(np.float32))}
    others = [loaded(model, spec, remember=True) for spec in SETUPS[1:3]]
    for layer, blobs, made in walked(graph, inputs):
        for net in others:
            metrics, _ = worst(graph, net.run_layer(layer, blobs), made, of_layer(layer))
            assert metrics.agrees, (seed, layer, metrics)
            off += bool(metrics.forgiven)
assert off  # or there is nothing to be said for it
"""
    confirm(LAYERS + code, tmp_path)


@pytest.mark.once
@pytest.mark.since_ncnn("1.0.20260526", "a network with int8 layers runs on the CPU")
def test_a_layer_with_a_fault_does_not_agree(tmp_path: Path) -> None:
    """In the channel that has the largest values; in one that is all zeros nothing is wrong."""
    layers = ("expand1", "depthwise1", "project1")
    quantized.deep(tmp_path, 0, blocks=2, name="right")
    for fault in quantized.FAULTS:
        for layer in layers:
            if layer != "project1" or fault != "output_scale":
                for channel in range(8):
                    wrong = quantized.Fault(fault, layer, channel)
                    quantized.deep(tmp_path, 0, 2, name=f"{fault}-{layer}-{channel}", fault=wrong)
    code = """
from pathlib import Path

model, graph, inputs = of("right")
inputs = {"in0": Blob.of(np.random.RandomState(0).normal(size=(3, 48, 48)).astype(np.float32))}
tried = 0
for layer, blobs, made in walked(graph, inputs):
    value = next(iter(made.values()))
    channel = int(np.abs(value.array[:8]).max((1, 2)).argmax())
    for path in sorted(Path(folder).glob(f"*-{layer.name}-{channel}.param")):
        other, _, _ = of(path.stem)
        for spec in SETUPS[:3]:
            values = loaded(other, spec, remember=True).run_layer(layer, blobs)
            metrics, _ = worst(graph, values, made, of_layer(layer))
            assert not metrics.agrees, (path.stem, spec, metrics)
            tried += 1
assert tried == 11 * 3, tried
"""
    confirm(LAYERS + code, tmp_path)
