"""A fix: the masks for one comparison, what they change and cost, and how they were verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ncnn_parity.plan.cases import Plan
from pytest_ncnn_parity.repair.alternatives import Alternative
from pytest_ncnn_parity.repair.cost import Cost
from pytest_ncnn_parity.repair.outputs import OutputErrors
from pytest_ncnn_parity.repair.patch import NO_PATCH, Patch, write_patch


@dataclass(frozen=True)
class FixSettings:
    """What the command line says about fixes.

    `write`: put patches into `folder`; their paths are relative to `root`, or to the repository that the
    model lies in. A search may take so many `runs` of a network on one sample, and `seconds`.
    """

    write: bool
    folder: Path
    root: Path
    runs: int
    seconds: float


@dataclass(frozen=True)
class Effort:
    """What a search took: `runs` of a network on a sample, and seconds. `start`: the set it shrank."""

    runs: int
    seconds: float
    start: str


NO_EFFORT = Effort(0, 0.0, "nothing")


@dataclass(frozen=True)
class Fix:
    """Masks for one comparison, and whether a run of the patched network proved them.

    `masks` are by layer name and include the bits that the layer had before; there are none where no
    masks help, and then `how` says why. Otherwise `how` says what was run to verify them, or why nothing
    was. `minimal`: no layer can be given up, nor can a mask be replaced by a cheaper one. The errors of
    outputs are those without the masks, and with them. `in_float`: where the candidate's files compute
    in int8, the layers of theirs that are to be left in floats; there are no masks then. `param`: the
    file that the masks are for, as the spec names it, where it is not the spec's own model.
    """

    comparison: str
    masks: Mapping[str, int]
    verified: bool
    minimal: bool
    how: str
    notes: tuple[str, ...]
    effort: Effort
    outputs_before: OutputErrors
    outputs_after: OutputErrors = field(default_factory=dict)
    patch: Patch = NO_PATCH
    cost: Cost | None = None
    alternatives: tuple[Alternative, ...] = ()
    in_float: tuple[str, ...] = ()
    param: str = ""

    def written(self, plan: Plan, settings: FixSettings) -> Fix:
        """Itself; if it is verified and wanted, with its patch in files or a note why it is not."""
        if not (settings.write and self.verified):
            return self
        try:
            patch = write_patch(self.patch, plan, self.comparison, settings.folder, settings.root)
        except OSError as error:
            return replace(self, notes=(*self.notes, f"the patch could not be written: {error}"))
        return replace(self, patch=patch)
