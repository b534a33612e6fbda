"""Writes .param and .bin files for the example networks. Knows no more of ncnn than they need."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FP32_WEIGHTS = np.zeros(1, np.uint32)  # the flag in front of weights that may be quantised


class Network:
    """Layers in running order, and their weights."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._weights: list[np.ndarray] = []
        self._blobs = 0

    def layer(
        self,
        kind: str,
        name: str,
        inputs: list[str] = (),
        outputs: list[str] | None = None,
        params: str = "",
        weights: list[np.ndarray] = (),
        flagged: bool = True,
    ) -> str:
        """Add a layer; returns its first output. The first weights are `flagged` in most layers."""
        outputs = [name] if outputs is None else outputs
        self._blobs += len(outputs)
        words = [f"{kind:<16} {name:<16} {len(inputs)} {len(outputs)}", *inputs, *outputs]
        self._lines.append(" ".join([*words, params]).rstrip())
        if weights and flagged:
            self._weights.append(FP32_WEIGHTS)
        self._weights += [np.asarray(w, np.float32) for w in weights]
        return outputs[0]

    def split(self, blob: str, count: int) -> list[str]:
        """`count` copies of `blob`, for as many readers."""
        copies = [f"{blob}_{i}" for i in range(count)]
        self.layer("Split", f"split_{blob}", [blob], copies)
        return copies

    def write(self, stem: Path) -> None:
        head = f"7767517\n{len(self._lines)} {self._blobs}\n"
        stem.with_suffix(".param").write_text(head + "\n".join(self._lines) + "\n")
        stem.with_suffix(".bin").write_bytes(b"".join(w.tobytes() for w in self._weights))
