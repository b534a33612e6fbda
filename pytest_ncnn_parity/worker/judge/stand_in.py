"""Decides when fp32 on the CPU stands in for fp32 on a slow Vulkan device as the reference."""

from __future__ import annotations

from dataclasses import replace

from pytest_ncnn_parity.engine.protocol import CaseSpec
from pytest_ncnn_parity.worker.judge.sample import SampleRun
from pytest_ncnn_parity.worker.networks import vulkan
from pytest_ncnn_parity.worker.networks.execution import Net


def stand_in(sample: SampleRun, case: CaseSpec, candidate: Net) -> Net | None:
    """Return the trajectory if it may stand in for the reference of `case`, or None.

    A Vulkan device that is the CPU itself (llvmpipe) computes fp32 many times more slowly than ncnn's
    CPU kernels. A 16-bit candidate that agrees with these is right, whatever fp32 on the device gives,
    which is judged by cases of its own. If they disagree, fp32 on the device is run and decides.

    On a GPU, fp32 costs less than on the CPU, so the reference itself always runs. It also runs for
    outputs if each network's own run is followed, because the error of that run is wanted, and for
    other model files, whose own run is always followed.
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


def name_of(reference: Net, sample: SampleRun, case: CaseSpec) -> str | None:
    """Return the label of `reference` if it stands in for the one of `case`, otherwise None."""
    return None if reference.spec == sample.job.nets[case.reference] else reference.label
