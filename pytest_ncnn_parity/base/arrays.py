"""The type of numpy's arrays. The parent process imports numpy, and this, only to compare two models."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
