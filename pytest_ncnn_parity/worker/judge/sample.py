"""One sample, as every module that judges its cases gets it: job, network, inputs, loaded networks."""

from __future__ import annotations

import math

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.protocol import CaseSpec, Judge
from pytest_ncnn_parity.engine.steps import RunOn
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.failures import StepFailed
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.networks.unsuppressed import unsuppressed
from pytest_ncnn_parity.worker.values.blob import Made

LOAD_TYPE, IN_FP32 = "21", "1"  # a parameter of MemoryData, and its default (src/layer/memorydata.cpp)


class SampleRun(Frozen):
    """The job, the network with the masks it is judged under, its inputs, the loaded networks."""

    job: Judge
    graph: Graph
    inputs: Made
    nets: JobNets

    @property
    def trajectory(self) -> Net:
        """The network whose values are the reference; raises StepFailed if it cannot be loaded."""
        return self.nets[self.job.trajectory]

    def reference(self, case: CaseSpec) -> Net:
        """The reference of `case`. Raises StepFailed or Unavailable if it cannot be loaded."""
        return self.nets.needed(case.reference)

    def all_boxes(self, detector: Layer) -> Array:
        """The boxes that `detector` finds, including those that overlap a better one: (n, 6)."""
        # in running order: an earlier value is dropped once a later one is made
        read = [blob for blob in self.graph.producer if blob in detector.inputs]
        made = self.trajectory.run(self.inputs, [blob for blob in read if blob not in self.inputs])
        return unsuppressed(detector, {**self.inputs, **made})

    def largest(self, constant: Layer) -> float:
        """The largest absolute value of a MemoryData; inf if the file does not tell."""
        in_fp32 = constant.params.get(LOAD_TYPE, IN_FP32) == IN_FP32
        try:
            return self.nets.weights.largest(constant) if in_fp32 else math.inf
        except StepFailed:  # the cases of the network that cannot be loaded report it
            return math.inf

    def run_reference(self, layer: Layer, values: Made, on: RunOn = "changed") -> Made:
        """What `layer` alone computes in the trajectory's network from `values`.

        `on`: what they are. In a trial of a search, the outputs tell how they were made.
        """
        made = self.trajectory.run_layer(layer, values, on=on)
        if self.job.remember:
            for blob, value in made.items():
                value.derived(f"reference {blob}", [values[name] for name in layer.inputs])
        return made
