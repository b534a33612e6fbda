"""A fix: the masks for one comparison, what they change and cost, and how they were verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import partial
from pathlib import Path

from pytest_ncnn_parity.base.digests import of_texts
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.client import EngineError
from pytest_ncnn_parity.engine.spec_run import SpecRun
from pytest_ncnn_parity.repair.alternatives import Alternative
from pytest_ncnn_parity.repair.cost import Cost
from pytest_ncnn_parity.repair.outputs import OutputErrors
from pytest_ncnn_parity.repair.patch import NO_PATCH, Patch, path_of_patch, stem_of_files, write_patch


class FixSettings(Frozen):
    """What the options say about fixes.

    `write`: write patches to `folder`; their paths are relative to `root`, or to the repository that
    contains the model. A search may take at most `runs` runs of a network on one sample, and `seconds`.
    """

    write: bool
    folder: Path
    root: Path
    runs: int
    seconds: float


class Effort(Frozen):
    """What a search took: `runs` of a network on a sample, and seconds. `start`: the set it shrank."""

    runs: int
    seconds: float
    start: str


NO_EFFORT = Effort(0, 0.0, "nothing")


class Fix(Frozen):
    """Masks for one comparison, and whether a run of the patched network proved them.

    `masks` are by layer name and include the bits that the layer had before. They are empty if no masks
    help; `how` then says why. Otherwise `how` says what was run to verify them, or why nothing was.
    `minimal`: no layer can be left out, and no mask replaced by a cheaper one. The errors of the
    outputs are those without and those with the masks. `in_float`: if the candidate's files compute in
    int8, their layers that are to be left in floats, in place of masks. `param`: the file that the
    masks are for, as the spec names it, if it is not the spec's own model. `unwritten`: why the files
    that were asked for could not be written.
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
    unwritten: str = ""

    def written(self, run: SpecRun, settings: FixSettings) -> Fix:
        """The fix; if it is verified and files are wanted, with its patch or a note why not.

        Comparisons with the same fix share the files of the one that had it first, so that `git apply`,
        which refuses to make a change twice, takes all patches of the folder.
        """
        if not (settings.write and self.verified):
            return self
        stem = stem_of_files(run.plan, self.comparison, settings.folder, settings.root)
        change = of_texts((self.patch.diff, self.patch.patched))
        write = partial(write_patch, self.patch, stem)
        try:
            # None: it failed when another comparison tried, and now tells this one why
            patch = run.once("patch", change, Patch, write) or write()
            if str(path_of_patch(stem)) not in patch.written:
                path_of_patch(stem).unlink(missing_ok=True)  # of an earlier run
        except (EngineError, OSError) as error:
            why = f"the patch could not be written: {error}"
            return replace(self, notes=(*self.notes, why), unwritten=why)
        return replace(self, patch=patch)
