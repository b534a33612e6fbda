"""Writes the text of a first spec for a .param file; `first_inputs` chooses what is fed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from pytest_ncnn_parity.base.errors import ParityError, cut, listed
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.network import param
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.operator_kinds import of_another_namespace
from pytest_ncnn_parity.spec import yaml12
from pytest_ncnn_parity.spec.first_inputs import FirstInput, first_inputs

SCHEMA = "parity.schema.json"
UNCONVERTED = frozenset([".pt", ".pth", ".onnx", ".safetensors", ".tflite", ".caffemodel"])
ADDRESS = "Spec schema"  # label of the schema's address among the URLs of the package


class StarterError(ParityError):
    """A file for which no spec can be written."""


def starter(path: Path, folder: Path) -> str:
    """A spec for the model at `path`, to be saved in `folder`.

    Raises StarterError or ParamError if there is no such model.
    """
    _refuse_others(path)
    graph = param.read(str(path))
    absolute = folder / path
    shown = absolute.relative_to(folder) if absolute.is_relative_to(folder) else path
    try:
        str(shown).encode("utf-8")
    except UnicodeEncodeError:
        raise StarterError(
            f"{str(path)!a}: a spec cannot hold a name that is not UTF-8: rename the file"
        ) from None
    weights = absolute.with_suffix(".bin").is_file()
    inputs = first_inputs(graph, absolute)
    return "\n".join(
        [*_head(shown, weights), *_not_converted(graph), *_inputs(inputs), *_rest(graph), ""]
    )


def _refuse_others(path: Path) -> None:
    """Raise StarterError that says what to name, or to do, in place of a file that is none of ncnn's."""
    if path.suffix.lower() in UNCONVERTED and path.is_file():
        how = f"convert it first, as with pnnx {path.name} inputshape=[1,3,224,224]"
        raise StarterError(f"{printable(str(path))}: is no model of ncnn: {printable(how)}")
    # . and / have no suffix to replace
    if path.suffix == ".bin" and (beside := path.with_suffix(".param")).is_file():
        raise StarterError(f"{printable(str(path))}: has the weights: name {printable(str(beside))}")


def _schema() -> str:
    """The address of the schema, as the installed package states it, or the name of a local copy."""
    stated: list[str] = metadata.metadata("pytest-ncnn-parity").get_all("Project-URL") or []
    addresses = dict(url.split(", ", 1) for url in stated)
    return addresses.get(ADDRESS, SCHEMA)


def _head(path: Path, weights: bool) -> Iterator[str]:
    missing = "" if weights else "  # this file does not exist: create it, or name the weights"
    yield f"# yaml-language-server: $schema={_schema()}"
    yield f"# (for editors; for a copy of your own: pytest --ncnn-parity-schema=spec > {SCHEMA})"
    yield ""
    yield "model:"
    yield f"  param: {yaml12.quoted(path.as_posix())}"
    yield f"  bin: {yaml12.quoted(path.with_suffix('.bin').as_posix())}{missing}"


def _not_converted(graph: Graph) -> Iterator[str]:
    """What cannot be run, said before the first run, as a name tells it."""
    left = dict.fromkeys(layer.type for layer in graph.layers if of_another_namespace(layer.type))
    if left:
        names = cut(listed(list(left), 3), 60)
        yield ""
        yield f"# The converter left operators that ncnn lacks, {names}: write that"
        yield "# part of the model otherwise; or register them (setup:), if they are layers of your own."


def _inputs(inputs: Iterable[FirstInput]) -> Iterator[str]:
    yield ""
    yield "# Samples: each has a source for every input. Real values find the most faults: record some,"
    yield "# {file: in0.npy}."
    yield "inputs:"
    yield "  noise:"
    said: set[str] = set()
    for fed in inputs:
        yield from (f"    {line}" for line in fed.comments if line not in said)
        said.update(fed.comments)  # several inputs of one kind have one comment
        yield from (f"    {line}" for line in _pair(fed.blob, fed.source))


def _pair(name: str, value: str) -> list[str]:
    """A line of a mapping; two lines if the key is long."""
    return f"{yaml12.key(name)} {value}".split("\n")


def _rest(graph: Graph) -> Iterator[str]:
    last = graph.layers[-1]
    yield ""
    yield "compare: [cpu-vs-vulkan, fp16-vs-fp32, fp16-range]  # the default; also shipped, or your own"
    yield ""
    yield "# Further keys; remove the '# ' to use one:"
    yield "# tolerance:  # shares of the largest value; where one is given, nothing else is forgiven"
    yield "#   fp16: {scaled: 1.0e-1}  # by precision, in place of 0.05 for layers and 0.08 for outputs"
    yield "#   layers:  # by name, with *, or by type"
    yield from (f"#     {line}" for line in _pair(f"type:{last.type}", "{scaled: 5.0e-2}"))
    for output in graph.outputs[:1]:
        yield "#   outputs:"
        yield from (f"#     {line}" for line in _pair(output, "{cosine: 0.999}"))
    if graph.outputs:
        yield "# outputs:  # the blobs your app takes out; these are those that no layer reads"
        yield from (f"#   - {yaml12.quoted(output)}" for output in graph.outputs)
    yield '# layers: {include: ["*"], exclude: []}  # which layers are judged'
    yield "# masks:  # added to the .param's in memory; a red run suggests some"
    yield from (f"#   {line}" for line in _pair(last.name, "18"))
    yield "# known:  # known failures, with the reason"
    yield f"#   - layer: {yaml12.quoted(last.name)}"
    yield "#     comparison: fp16-range"
    yield "#     reason: why it may fail"
