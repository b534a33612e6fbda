"""Spec against network and files: names that exist, shapes that fit. Every error at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_ncnn_parity import param
from pytest_ncnn_parity.errors import guess
from pytest_ncnn_parity.keys import FileSource, ImageSource
from pytest_ncnn_parity.param import Graph
from pytest_ncnn_parity.plan import Plan, matches, matches_blob
from pytest_ncnn_parity.setups import GOLDEN
from pytest_ncnn_parity.spec import Spec, SpecError


def plan(spec: Spec, project: Path = Path()) -> Plan:
    """The plan of `spec` in `project`, pytest's rootdir; its network is read here.

    SpecError or ParamError if it cannot be run.
    """
    files = [
        f"{spec.at('model', key)}: {kind} file {path} {_state(path)}"
        for key, kind, path in (("param", "model", spec.param), ("bin", "weights", spec.bin))
        if _state(path)
    ]
    if files:
        raise SpecError(files)
    made = Plan(spec, param.read(str(spec.param)), project)
    errors = [
        *_inputs(spec, made.graph),
        *_expected(spec, made.graph),
        *_selection(spec, made),
        *_tolerances(spec, made.graph),
        *_masks(spec, made.graph),
        *_known(spec, made),
    ]
    if errors:
        raise SpecError(errors)
    return made


def _state(path: Path) -> str:
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        return f"does not exist{guess(path.name, beside)}"
    if not path.is_file():
        return "is not a file"
    return ""


def _inputs(spec: Spec, graph: Graph) -> Iterator[str]:
    volumes = any("3D" in layer.type for layer in graph.layers)
    for sample, blobs in spec.inputs.items():
        for blob in graph.inputs:
            if blob not in blobs:
                place = spec.at("inputs", sample, of_key=True)
                yield f"{place}: inputs.{sample}: the network's input {blob!r} is missing"
        for blob, source in blobs.items():
            place = spec.at("inputs", sample, blob, of_key=True)
            name = f"inputs.{sample}.{blob}"
            if blob not in graph.inputs:
                yield (
                    f"{place}: {name}: the network has no such input{guess(blob, graph.inputs)}; "
                    f"it has {', '.join(graph.inputs)}"
                )
                continue
            if isinstance(source, FileSource | ImageSource):
                path = spec.path.parent / (
                    source.file if isinstance(source, FileSource) else source.image
                )
                if _state(path):
                    yield f"{place}: {name}: {path} {_state(path)}"
                continue
            known = graph.shapes.get(blob)
            if source.shape is None:
                if known is None:
                    yield (
                        f"{place}: {name}: the key 'shape' is missing, and "
                        f"{Path(graph.source).name} does not tell it either"
                    )
            else:
                yield from _shape(f"{place}: {name}", source.shape, volumes)


def _expected(spec: Spec, graph: Graph) -> Iterator[str]:
    for name, sample in spec.samples.items():
        for blob, source in sample.expect.items():
            key = ("inputs", name, "expect", blob)
            where = f"{spec.at(*key, of_key=True)}: {'.'.join(key)}"
            path = spec.path.parent / source.file
            if blob not in graph.outputs:
                yield (
                    f"{where}: the network has no such output{guess(blob, graph.outputs)}; "
                    f"it has {', '.join(graph.outputs)}"
                )
            elif _state(path):
                yield f"{where}: {path} {_state(path)}"


def _shape(where: str, shape: list[int], volumes: bool) -> Iterator[str]:
    if len(shape) == 4 and shape[0] == 1 and not volumes:
        yield (
            f"{where}: shape {shape} starts with a batch of 1; ncnn has no batch dimension and "
            f"would compute garbage. Write {shape[1:]} (c, h, w)"
        )


def _selection(spec: Spec, plan: Plan) -> Iterator[str]:
    for key in ("include", "exclude"):
        for i, pattern in enumerate(getattr(spec.layers, key)):
            if not any(matches(pattern, layer) for layer in plan.graph.layers):
                yield _matches_nothing(spec.at("layers", key, i), f"layers.{key}", pattern, plan.graph)
    if not plan.layers:
        yield f"{spec.at('layers', of_key=True)}: layers: nothing is selected, so nothing is tested"


def _tolerances(spec: Spec, graph: Graph) -> Iterator[str]:
    for pattern in spec.tolerance.layers:
        if not any(matches(pattern, layer) for layer in graph.layers):
            place = spec.at("tolerance", "layers", pattern, of_key=True)
            yield _matches_nothing(place, "tolerance.layers", pattern, graph)
    for pattern in spec.tolerance.outputs:
        if not any(matches_blob(pattern, blob) for blob in graph.outputs):
            yield (
                f"{spec.at('tolerance', 'outputs', pattern, of_key=True)}: tolerance.outputs: "
                f"{pattern!r} matches no output{guess(pattern, graph.outputs)}; there is "
                f"{', '.join(graph.outputs)}"
            )


def _matches_nothing(place: str, where: str, pattern: str, graph: Graph) -> str:
    types = {f"type:{layer.type}" for layer in graph.layers}
    known = types if pattern.startswith("type:") else set(graph.names)
    return f"{place}: {where}: {pattern!r} matches no layer{guess(pattern, known)}"


def _masks(spec: Spec, graph: Graph) -> Iterator[str]:
    for name in spec.masks:
        if name not in graph.names:
            yield (
                f"{spec.at('masks', name, of_key=True)}: masks: no layer {name!r} in "
                f"{Path(graph.source).name}{guess(name, graph.names)}"
            )


def _known(spec: Spec, plan: Plan) -> Iterator[str]:
    names = [comparison.name for comparison in spec.comparisons]
    if any(sample.expect for sample in spec.samples.values()):
        names.append(GOLDEN.name)
    for i, entry in enumerate(spec.known):
        place = spec.at("known", i)
        if entry.comparison is not None and entry.comparison not in names:
            yield (
                f"{place}: known: no comparison {entry.comparison!r} in this spec"
                f"{guess(entry.comparison, names)}; it has {', '.join(names)}"
            )
        if entry.sample is not None and entry.sample not in spec.inputs:
            yield f"{place}: known: no sample {entry.sample!r}{guess(entry.sample, spec.inputs)}"
        if entry.layer and not any(matches(entry.layer, layer) for layer in plan.graph.layers):
            yield _matches_nothing(place, "known", entry.layer, plan.graph)
        if entry.output and not any(matches_blob(entry.output, b) for b in plan.graph.outputs):
            yield f"{place}: known: no output {entry.output!r}{guess(entry.output, plan.graph.outputs)}"
