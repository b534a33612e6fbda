"""A native step: what a worker announces before it lets native code run, so that a death has a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# A worker writes this mark, the step as text and a newline to stderr before it takes the step. A mark
# without a text ends the output that belongs to a result.
STEP_MARK = b"\x1e"

Kind = Literal["worker", "vulkan", "setup", "files", "load", "layer", "network", "compare"]


@dataclass(frozen=True)
class Step:
    """One native step; two are equal where the second would do what the first did.

    `label` says which network takes it: the setup it is loaded in, the files of kind `files`, or the
    project's function of kind `setup`; of kind `worker`, and of `vulkan` there, the worker's name.
    `layer` is the layer's number, `name` its name, or the blob's of kind `compare`. `feed`: the 16-bit
    format that the layer's inputs are rounded to. `own`: they are values that the network itself made.
    `patched`: the network is a patched copy, so that many networks share this step's text.
    """

    kind: Kind
    label: str = ""
    layer: int | None = None
    name: str = ""
    feed: str | None = None
    own: bool = False
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
            return f"network on {self.label}"
        return f"layer {self.layer} {self._what()}"

    def _what(self) -> str:
        """What a step of kind `layer` runs, and on what."""
        inputs = f", {self.feed} inputs" if self.feed else ""
        return f"{self.name} on {self.label}{inputs}{', its own inputs' if self.own else ''}"

    @property
    def in_words(self) -> str:
        """What is done, with its verb: `run layer 3 conv on cpu fp32`."""
        return f"run {self}" if self.kind in ("layer", "network") else str(self)

    def progress(self, layers: int) -> str:
        """The step as a line of progress shows it, in a network of `layers` layers."""
        if self.kind != "layer" or self.layer is None:
            return str(self)
        return f"layer {self.layer + 1} of {layers}, {self._what()}"

    @property
    def loads(self) -> bool:
        """Whether a network is being made ready, rather than run."""
        return self.kind in ("setup", "files", "load")

    @property
    def runs(self) -> bool:
        """Whether a network that is ready is run, or what it gave is compared."""
        return self.kind in ("layer", "network", "compare")

    @property
    def of_files(self) -> bool:
        """Whether a failure concerns every network of these files, and not one setup alone."""
        return self.kind in ("setup", "files")

    @property
    def ends_alike(self) -> bool:
        """Whether the step ends the same way for every sample, because no value has entered it yet."""
        return self.kind in ("vulkan", "load") and not self.patched
