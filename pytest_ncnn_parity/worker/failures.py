"""The two ways a network or a step of it comes to nothing: it cannot be had, or it failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Unavailable(Exception):
    """A setup this machine cannot give. `no_vulkan`: for want of the Vulkan device."""

    def __init__(self, reason: str, no_vulkan: bool = False) -> None:
        super().__init__(reason)
        self.no_vulkan = no_vulkan


class StepFailed(Exception):
    """A native step that gave no result: ncnn refused it, or it killed a former worker.

    `death` holds at least `kind` and `detail`. Of kind `files`, and of kind `raised` (by code of the
    project's own), `key` is where in the spec to look, and `lines` say more.
    """

    def __init__(self, step: str, death: Mapping[str, Any]) -> None:
        super().__init__(step)
        self.step = step
        self.death = dict(death)

    @property
    def of_files(self) -> bool:
        """Whether it is not one network that did not load but none of these files can be."""
        return self.step.startswith("load ") and not self.step.startswith("load on ")
