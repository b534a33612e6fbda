"""What two reports were made with: versions, devices, options, files; told where it differs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_ncnn_parity import options

Record = Mapping[str, Any]

VERSIONS = ("ncnn", "numpy", "python", "machine", "plugin", "pytest")
BESIDE = {option.key for option in options.TABLE.values() if not option.judges}
FILES = {"spec_sha256": "spec", "param_sha256": ".param", "bin_sha256": "weights"}


def context(old: Record, new: Record, models: Sequence[tuple[Record, Record]]) -> list[str]:
    """A text for each thing that differs."""
    then, now = old["environment"], new["environment"]
    return [
        *(f"{name} {_told(then, now, name)}" for name in VERSIONS if then.get(name) != now.get(name)),
        *_devices(then["devices"], now["devices"]),
        *_options(then.get("options", {}), now.get("options", {})),
        *(text for was, model in models for text in _files(was, model)),
    ]


def _told(then: Record, now: Record, name: str) -> str:
    return f"{then.get(name) or 'unknown'} -> {now.get(name) or 'unknown'}"


def _devices(then: Sequence[Record], now: Sequence[Record]) -> Iterator[str]:
    before, after = (", ".join(map(_device, devices)) or "none" for devices in (then, now))
    if before != after:
        yield f"device {before} -> {after}"


def _device(device: Record) -> str:
    facts = [f"{key} {value}" for key, value in sorted(device.items()) if key not in ("name", "index")]
    return f"{device['name']} ({', '.join(facts)})" if facts else str(device["name"])


def _options(then: Record, now: Record) -> Iterator[str]:
    for name in sorted({*then, *now} - BESIDE):
        if then.get(name) != now.get(name):
            yield f"option {name} {then.get(name)} -> {now.get(name)}"


def _files(was: Record, model: Record) -> Iterator[str]:
    changed = [kind for key, kind in FILES.items() if was.get(key) != model.get(key)]
    if was["spec"] != model["spec"]:
        yield f"{model['spec']} was {was['spec']}"
    if changed:
        *first, last = changed
        what = f"{', '.join(first)} and {last}" if first else last
        yield f"{model['spec']}: {what} changed"
