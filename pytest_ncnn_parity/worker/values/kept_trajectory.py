"""The values of a trajectory, kept from one job for the next, if that steps through the same one."""

from __future__ import annotations

from collections.abc import Callable

from pytest_ncnn_parity.engine.protocol import Job, Judge
from pytest_ncnn_parity.network.graph import Layer
from pytest_ncnn_parity.worker.values.blob import Made


class KeptTrajectory:
    """The outputs of each layer in the trajectory, where a job asked to keep them for the next one."""

    def __init__(self) -> None:
        self._of: object = None  # what the values depend on
        self._keeps = False
        self._known: dict[int, Made] = {}  # of the job before, by layer number
        self._kept: dict[int, Made] = {}  # for the next job

    def prepare(self, job: Job) -> None:
        """Begin `job`: if its trajectory is that of the job before, the values kept by that serve it."""
        of, self._keeps = None, False
        if isinstance(job, Judge):
            of, self._keeps = (job.models[0], job.nets[job.trajectory], job.inputs), job.keeps_trajectory
        self._known = self._kept if of == self._of else {}
        self._of, self._kept = of, {}

    def get(self, layer: Layer, run: Callable[[], Made]) -> Made:
        """Return the outputs of `layer`: the kept ones, which are then dropped, or else those of `run`.

        Raises StepFailed if `run` does.
        """
        outputs = self._known.pop(layer.number, None)
        if outputs is None:
            outputs = run()
        if self._keeps:
            self._kept[layer.number] = outputs
        return outputs
