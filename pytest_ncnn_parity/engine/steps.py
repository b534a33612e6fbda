"""A native step, which a worker announces before it calls native code, and why it gave no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pytest_ncnn_parity.base.frozen import Frozen

# Before a step, a worker writes this mark, the step as text and a newline to stderr. A mark without a
# text ends the output that belongs to one result.
STEP_MARK = b"\x1e"

Kind = Literal["worker", "vulkan", "setup", "files", "load", "layer", "network", "compare"]
# What a layer or a network is run on: "" for the values of the trajectory or the sample's inputs, "own"
# for values that the network itself computed, "changed" for values that were changed to try something.
RunOn = Literal["", "own", "changed"]
DeathKind = Literal[
    "crash",
    "timeout",
    "memory",
    "worker",
    "refused",
    "shape",
    "misread",
    "int8",
    "words",
    "misfit",
    "hint",
    "files",
    "raised",
]
_IN_WORDS: Mapping[RunOn, str] = {"": "", "own": ", its own inputs", "changed": ", changed inputs"}


class Step(Frozen):
    """One native step; two steps are equal if the second one repeats what the first one did.

    `label` says which network runs it: the setup it is loaded in; for kind `files` the files; for
    `setup` the project's function; for `worker`, and for `vulkan` on a worker, the worker's name.
    `layer` is the layer's number; `name` is its name or, for kind `compare`, the blob's, and for kind
    `network` the only output that is taken out, where a run takes one of several. `feed`: the 16-bit
    format to which the layer's inputs are rounded. `on`: what the inputs are, because a death on some
    values proves nothing for others. `patched`: the network is a patched copy, so that many networks
    share this step's text.
    """

    kind: Kind
    label: str = ""
    layer: int | None = None
    name: str = ""
    feed: str | None = None
    on: RunOn = ""
    patched: bool = False

    def __str__(self) -> str:
        if self.kind == "worker":
            return f"start the worker {self.label}"
        if self.kind == "vulkan":
            return f"start Vulkan at {self.label}" if self.label else "start Vulkan"
        if self.kind == "setup":
            return f"load with setup {self.label}"
        if self.kind == "files":
            return f"load {self.label}"
        if self.kind == "load":
            return f"load on {self.label}"
        if self.kind == "compare":
            return f"compare {self.name}"
        if self.kind == "network":
            return f"network on {self.label}{_IN_WORDS[self.on]}"
        return f"layer {self.layer} {self._what()}"

    def _what(self) -> str:
        """What a step of kind `layer` runs, and on which inputs."""
        inputs = f", {self.feed} inputs" if self.feed else ""
        return f"{self.name} on {self.label}{inputs}{_IN_WORDS[self.on]}"

    @property
    def in_words(self) -> str:
        """The step with its verb, as in `run layer 3 conv on cpu fp32`."""
        return f"run {self}" if self.kind in ("layer", "network") else str(self)

    def progress(self, layers: int) -> str:
        """The step as a progress line shows it, for a network of `layers` layers."""
        if self.kind != "layer" or self.layer is None:
            return str(self)
        return f"layer {self.layer + 1} of {layers}, {self._what()}"

    @property
    def loads(self) -> bool:
        """Whether the step prepares a network rather than running it."""
        return self.kind in ("setup", "files", "load")

    @property
    def runs(self) -> bool:
        """Whether the step runs a loaded network or compares its values."""
        return self.kind in ("layer", "network", "compare")

    @property
    def of_files(self) -> bool:
        """Whether a failure concerns every network of these files and not just one setup."""
        return self.kind in ("setup", "files")

    @property
    def ends_alike(self) -> bool:
        """Whether the step ends the same way for every sample, because no sample's value enters it."""
        return self.kind in ("vulkan", "load") and not self.patched


class Death(Frozen):
    """Why a native step gave no result.

    `kind`: `crash`, `timeout` and `memory` ended a worker, a crash perhaps `from_outside`; `worker`: a
    declared worker could not be started or reached, or its answers made no sense; `refused`: ncnn itself
    returned an error; `shape`: the two sides have different shapes. Five were not run: `misread` would
    read 16-bit values as fp32, `int8` int8 values as 32-bit, and `words` floats as integers, integers
    as floats, or words that its table does not have; in `misfit` the inputs do not fit the network, in
    `hint` a shape hint contradicts them. `files` and `raised` (by the project's code) are faults of what
    the spec names at `key`, with details in `lines`; `key` may also be that of an option, below the
    setup that has it.
    `step` is None if a worker died outside of any.
    """

    kind: DeathKind
    detail: str
    step: Step | None = None
    stderr: str = ""
    from_outside: bool = False
    key: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def in_loading(self) -> bool:
        return self.step is not None and self.step.loads

    @property
    def of_worker(self) -> bool:
        """Whether a declared worker was unavailable, so that nothing is known about a network."""
        return self.kind == "worker"

    @property
    def of_shapes(self) -> bool:
        """Whether the inputs do not fit the model, so that nothing is known about a setup."""
        return self.kind in ("misfit", "hint", "int8", "words")
