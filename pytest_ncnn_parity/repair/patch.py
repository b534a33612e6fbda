"""Masks as a patch of the .param file: the lines that change, the diff for `git apply`, the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_ncnn_parity.base import write_files
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.int8 import int8_blobs
from pytest_ncnn_parity.network.masks import NO_VULKAN
from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.repair.search import Masks
from pytest_ncnn_parity.spec import SUFFIX


class Patch(Frozen):
    """What masks change in a .param file.

    `before` and `after` are the changed lines. `diff` is for `git apply`. `patched` is the text of the
    whole network as it was verified, including masks that the spec adds in memory. `written` names the
    files that hold these two, if they were written.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    diff: str = ""
    patched: str = ""
    written: tuple[str, ...] = ()


NO_PATCH = Patch()


def patched(graph: Graph, masks: Masks) -> Graph:
    """`graph` with the bits of `masks` added to the masks of its layers."""
    return graph.remasked([layer.mask | masks.get(layer.number, 0) for layer in graph.layers])


def with_readers(graph: Graph, masks: Masks) -> Masks:
    """`masks` with those of layers that give int8 on what reads it as well.

    ncnn cannot upload int8 to all devices (src/gpu.cpp, convert_packing), so that a network in which the
    CPU makes what Vulkan reads may not run at all.
    """
    wider = dict(masks)
    blobs = int8_blobs(graph)
    waiting = [number for number, mask in masks.items() if mask & NO_VULKAN]
    while waiting:
        maker = graph.layers[waiting.pop()]
        readers = (one for blob in blobs.intersection(maker.outputs) for one in graph.consumers[blob])
        for reader in readers:
            if reader.number not in wider:
                wider[reader.number] = wider[maker.number]
                waiting.append(reader.number)
    return wider


def make_patch(plan: Plan, masks: Masks, root: Path) -> Patch:
    """The patch that writes `masks` into the .param, combined with the masks of the spec."""
    file = plan.graph
    network = patched(plan.masked, masks)
    changed = [layer for layer in file.layers if layer.number in masks]
    masked = file.remasked(
        [network.masks[n] if n in masks else mask for n, mask in enumerate(file.masks)]
    )
    return Patch(
        before=tuple(file.line_of(layer) for layer in changed),
        after=tuple(masked.line_of(layer) for layer in changed),
        diff=file.diff(masked, _path_for_git(plan.spec.param, root)),
        patched=network.text,
    )


def _path_for_git(param: Path, root: Path) -> str:
    """The path by which `git apply` knows the file: from its repository's top, else `root`.

    A file outside of both is known by its name, to be patched in its own folder.
    """
    file = param.resolve()
    repositories = (folder for folder in file.parents if (folder / ".git").exists())
    top = next(repositories, root.resolve())
    return file.relative_to(top).as_posix() if file.is_relative_to(top) else file.name


def stem_of_files(plan: Plan, comparison: str, folder: Path, root: Path) -> Path:
    """The common start of the paths of a fix's files: in `folder`, by the spec's path from `root`.

    For a spec outside of `root`, by its whole path.
    """
    spec = plan.spec.path
    folder /= spec.parent.relative_to(root if spec.is_relative_to(root) else spec.anchor)
    return folder / f"{spec.name.removesuffix(SUFFIX)}.{comparison}"


def write_patch(patch: Patch, stem: Path) -> Patch:
    """Write the patched .param and the diff to files whose paths begin with `stem`. Raises OSError."""
    param, diff = Path(f"{stem}.param"), path_of_patch(stem)
    write_files.write(patch.patched, param)
    write_files.write(patch.diff, diff)
    return replace(patch, written=(str(param), str(diff)))


def path_of_patch(stem: Path) -> Path:
    return Path(f"{stem}.patch")
