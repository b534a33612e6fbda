"""One sample as all parts that judge its cases are given it: job, network, inputs, loaded networks."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ncnn_parity.engine.protocol import Judge
from pytest_ncnn_parity.network.graph import Graph, Layer
from pytest_ncnn_parity.worker.networks.execution import Net
from pytest_ncnn_parity.worker.networks.job_nets import JobNets
from pytest_ncnn_parity.worker.values.blob import Made


@dataclass(frozen=True)
class Sample:
    """The job, the network under the masks it is judged with, what it is fed, and what runs it."""

    job: Judge
    graph: Graph
    inputs: Made
    nets: JobNets

    @property
    def trajectory(self) -> Net:
        """The network whose values are the reference; raises StepFailed if it cannot be loaded."""
        return self.nets[self.job.trajectory]

    def run_reference(self, layer: Layer, values: Made) -> Made:
        """What `layer` alone makes of `values` in the trajectory."""
        return self.trajectory.run_layer(layer, values)
