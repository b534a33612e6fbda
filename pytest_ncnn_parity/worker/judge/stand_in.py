"""Which network's fp32 stands in for the device's own, which is slower than the CPU's."""

from __future__ import annotations

from dataclasses import replace

from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.judge.sample import Sample
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.execution import Net


def stand_in(sample: Sample, case: CaseSpec, candidate: Net) -> Net | None:
    """The trajectory, if it may stand in for the reference of `case`; None: ask the reference.

    A Vulkan device that is the CPU itself (llvmpipe) computes fp32 many times slower than the kernels
    that ncnn has for the CPU. A 16-bit candidate that agrees with those is right, whatever the device
    makes of fp32, which has cases of its own. What it disagrees with, the device's fp32 is asked about.
    On a GPU fp32 costs less than on the CPU: there the reference is always asked. So it is about an
    output where each network's own run is followed, for it is to have that run's error, and about other
    files, whose own run always is.
    """
    reference, trajectory = sample.job.nets[case.reference], sample.trajectory
    followed = sample.job.accumulated and case.output is not None
    if followed or case.half is None:
        return None
    if not (reference.setup.on_vulkan and candidate.setup.on_vulkan):
        return None
    if replace(reference, device=trajectory.spec.device) != trajectory.spec:
        return None
    if candidate.spec.worker or candidate.spec.other:
        return None
    return trajectory if vulkan.is_software(reference.setup.device_index) else None
