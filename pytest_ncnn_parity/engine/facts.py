"""What workers report about themselves: versions, Vulkan devices, declared workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pytest_ncnn_parity.engine.stderr import Stderr


class Facts:
    """What the workers of one engine have reported so far.

    `versions`: ncnn, numpy, python, machine and system, or empty. `devices`: the Vulkan devices found:
    index, name, fp16, and driver and api if ncnn knows them. `workers`: what each declared worker
    reported, by name.
    """

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.devices: list[dict[str, str]] = []
        self.workers: dict[str, dict[str, str]] = {}
        # what ncnn reports about each device's driver, by the device's index
        self._drivers: dict[str, dict[str, str]] = {}

    @property
    def size(self) -> tuple[int, int, int]:
        """A value that grows whenever more becomes known."""
        return len(self.versions), len(self.devices), sum(map(len, self.workers.values()))

    def take(self, message: Mapping[str, Any]) -> bool:
        """Take a message in which a worker reports such facts; return False for any other message."""
        if "worker" in message:
            facts = dict(message["worker"])
            self.workers[facts.pop("name")] = facts
        elif "gpus" in message:
            self._drivers = message["gpus"]
        else:
            return False
        return True

    def read_devices(self, stderr: Stderr, has_ended: bool = False) -> None:
        """Read the devices that ncnn found from stderr, where alone their fp16 flags are printed.

        A device is read once the worker has reported its driver, because stderr may be ahead of the
        result in hand, or once the worker `has_ended`.
        """
        for index, (name, flags) in list(stderr.devices.items()):  # which is still being read
            if index in self._drivers or has_ended:
                self._add({"index": index, "name": name, "fp16": flags, **self._drivers.get(index, {})})

    def learn(
        self,
        versions: Mapping[str, str],
        devices: Iterable[Mapping[str, str]],
        workers: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        """Take over what a worker of another engine or process reported."""
        self.versions = self.versions or dict(versions)
        for device in devices:
            self._add(dict(device))
        self.workers.update({name: dict(facts) for name, facts in workers.items()})

    def _add(self, device: dict[str, str]) -> None:
        """Add `device`, replacing what was known about it before."""
        if any(device.items() <= known.items() for known in self.devices):
            return
        self.devices = [known for known in self.devices if not known.items() <= device.items()]
        self.devices.append(device)
