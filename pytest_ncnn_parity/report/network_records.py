"""The network under test, and the worker that ran it, as the JSON report holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_ncnn_parity.base import digests
from pytest_ncnn_parity.compare.comparisons import Comparison
from pytest_ncnn_parity.engine.facts import Facts
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.network.param_line import MASK_ID
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.report import input_doubt, lost_axes
from pytest_ncnn_parity.report.document import DeclaredWorkerRecord, DeviceRecord, WorkerEnvironment
from pytest_ncnn_parity.report.document.model import ComparisonRecord, LayerRecord, NetworkRecord
from pytest_ncnn_parity.spec.sources import file_of


def network_record(plan: Plan, spec: str, param: str) -> tuple[NetworkRecord, list[str]]:
    """Return the record of the network under test and of the spec's files, which baselines compare.

    The second value has a note for each file that can no longer be read, and for each Reduction that
    has lost its axes.
    """
    files = {plan.spec.path: spec, plan.spec.param: param, plan.spec.bin: plan.spec.model.bin}
    for other in plan.others:
        files |= zip(plan.spec.beside(other), (other.param, other.bin), strict=True)
    files |= {path: name for name, path in _arrays(plan).items()}
    hashes, notes = {}, lost_axes.notes(plan.graph.layers)
    for path, shown in files.items():
        try:
            hashes[path] = digests.of_file(path)
        except OSError as error:
            notes.append(f"{shown}: {error.strerror}, so the report has no hash of it")
    return _network(plan, spec, param, hashes), notes


def _arrays(plan: Plan) -> dict[str, Path]:
    """Return the files that samples read, inputs and recordings, by the names that the spec gives."""
    samples = plan.spec.samples.values()
    sources = (source for one in samples for source in (*one.blobs.values(), *one.expect.values()))
    names = sorted({name for name in map(file_of, sources) if name is not None})
    return {name: plan.spec.path.parent / name for name in names}


def _network(plan: Plan, spec: str, param: str, hashes: Mapping[Path, str]) -> NetworkRecord:
    selected = {layer.number for layer in plan.layers}
    return {
        "spec": spec,
        "param": param,
        "bin": plan.spec.model.bin,
        "setup": plan.spec.setup,
        "spec_sha256": hashes.get(plan.spec.path),
        "param_sha256": hashes.get(plan.spec.param),
        "bin_sha256": hashes.get(plan.spec.bin),
        "samples": list(plan.spec.inputs),
        "comparisons": [_with_hashes(plan, comparison, hashes) for comparison in plan.comparisons()],
        "outputs": list(plan.outputs),
        "recorded": {sample: list(plan.recorded(sample)) for sample in plan.spec.samples},
        "not_run": _numbers(plan, lambda sample, layer: layer.number not in plan.run_layers[sample]),
        "fed": _numbers(plan, lambda sample, layer: _is_fed(plan, sample, layer)),
        "arrays_sha256": {n: hashes[path] for n, path in _arrays(plan).items() if path in hashes},
        "noise": input_doubt.noise(plan),
        "smooth": input_doubt.smooth(plan),
        "layers": [layer_record(layer, layer.number in selected) for layer in plan.masked.layers],
    }


def _numbers(plan: Plan, of: Callable[[str, Layer], bool]) -> dict[str, list[int]]:
    """Return by sample the numbers of the selected layers that `of` holds for, where there are any."""
    found = {s: [one.number for one in plan.layers if of(s, one)] for s in plan.spec.inputs}
    return {sample: numbers for sample, numbers in found.items() if numbers}


def _is_fed(plan: Plan, sample: str, layer: Layer) -> bool:
    """Whether `sample` feeds an output of `layer`, which need not run then."""
    return layer.type != "Input" and any(blob in plan.spec.inputs[sample] for blob in layer.outputs)


def _with_hashes(plan: Plan, comparison: Comparison, hashes: Mapping[Path, str]) -> ComparisonRecord:
    """Return the record of a comparison, with the hashes of other files that its candidate runs."""
    record, files = comparison_record(comparison), comparison.other_files
    if files is not None:
        paths = plan.spec.beside(files)
        record["param_sha256"], record["bin_sha256"] = (hashes.get(path) for path in paths)
    return record


def comparison_record(comparison: Comparison) -> ComparisonRecord:
    """Return the record of a comparison of the spec, or of that with recorded outputs."""
    return {
        "name": comparison.name,
        "reference": comparison.reference_name,
        "candidate": None if comparison.candidate is None else str(comparison.candidate),
        "half": comparison.half,
    }


def layer_record(layer: Layer, selected: bool) -> LayerRecord:
    """Return the record of a layer; its `params` are those of its line except for the mask."""
    return {
        "name": layer.name,
        "type": layer.type,
        "line": layer.line,
        "inputs": list(layer.inputs),
        "outputs": list(layer.outputs),
        "mask": layer.mask,
        "params": " ".join(f"{k}={v}" for k, v in layer.params.items() if k != MASK_ID),
        "selected": selected,
    }


def worker_environment(facts: Facts) -> WorkerEnvironment:
    """Return what workers have reported about themselves so far, with the devices as ncnn names them."""
    versions = facts.versions
    return {
        "ncnn": versions.get("ncnn"),
        "numpy": versions.get("numpy"),
        "python": versions.get("python"),
        "machine": versions.get("machine"),
        "system": versions.get("system"),
        "devices": [_device(device) for device in facts.devices],
        "workers": {name: _declared(reported) for name, reported in facts.workers.items()},
    }


def _declared(facts: Mapping[str, str]) -> DeclaredWorkerRecord:
    return {
        "ncnn": facts["ncnn"],
        "python": facts["python"],
        "machine": facts["machine"],
        "system": facts["system"],
        "features": facts["features"],
        "devices": facts.get("devices", ""),
    }


def _device(device: Mapping[str, str]) -> DeviceRecord:
    return {
        "index": device["index"],
        "name": device["name"],
        "driver": device.get("driver"),
        "api": device.get("api"),
        "fp16": device["fp16"],
    }
