"""A sample's sources -> arrays, in the worker.

Shapes are numpy's: (w,), (h, w), (c, h, w) or (c, d, h, w).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class InputError(Exception):
    """An input that cannot be fed; the text names the source, `blob` the input."""

    blob: str | None = None


def array(blob: str, source: Mapping[str, Any], volumes: bool) -> Array:
    """The C-contiguous float32 array (int32 for integer files) a source describes.

    `volumes`: the network computes with (c, d, h, w), so that c may be 1; elsewhere a leading 1 of
    four dimensions is a batch, which ncnn would take for something else.
    """
    kind = next(k for k in ("random", "constant", "file", "image") if k in source)
    try:
        read = {"random": _random, "constant": _constant, "file": recorded, "image": _image}[kind]
        made = read(source)
        if made.ndim == 4 and made.shape[0] == 1 and not volumes:
            raise InputError(
                f"{source[kind]}: shape {made.shape} starts with a batch of 1; ncnn has no batch "
                f"dimension and would compute garbage. Save it as {made.shape[1:]} (c, h, w)"
            )
    except InputError as error:
        error.blob = blob
        raise
    dtype = np.int32 if np.issubdtype(made.dtype, np.integer) else np.float32
    return np.ascontiguousarray(made, dtype)


def _random(source: Mapping[str, Any]) -> Array:
    # RandomState's stream is frozen for good (NEP 19): a sample is the same in every numpy
    state = np.random.RandomState(source["seed"])
    shape = source["shape"]
    if source["random"] == "normal":
        drawn: Array = state.normal(source["mean"], source["std"], shape)
        low, high = source["low"], source["high"]
        return drawn if low is None and high is None else np.clip(drawn, low, high)
    return np.asarray(state.uniform(source["low"], source["high"], shape))


def _constant(source: Mapping[str, Any]) -> Array:
    return np.full(source["shape"], source["constant"], np.float32)


def recorded(source: Mapping[str, Any]) -> Array:
    """The array in a .npy, or under the key in an .npz, as it is."""
    path, key = source["file"], source.get("key")
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as .npy or .npz without pickles: {error}") from None
    if isinstance(loaded, np.lib.npyio.NpzFile):
        with loaded:
            if key is None and len(loaded.files) == 1:
                key = loaded.files[0]
            if key not in loaded.files:
                raise InputError(
                    f"{path}: holds the arrays {', '.join(loaded.files)}; name one with 'key:'"
                    + (f" (not {key!r})" if key is not None else "")
                )
            return _checked(loaded[key], path)
    return _checked(loaded, path)


def _checked(loaded: Array, path: str) -> Array:
    if loaded.dtype.kind not in "fiub":
        raise InputError(f"{path}: dtype {loaded.dtype}; expected floats or integers")
    if not 1 <= loaded.ndim <= 4 or not loaded.size:
        raise InputError(f"{path}: shape {loaded.shape}; expected 1 to 4 dimensions, none empty")
    return loaded


def _image(source: Mapping[str, Any]) -> Array:
    """Pixels as ncnn's Mat::from_pixels and substract_mean_normalize make them: (x - mean) * norm."""
    path = source["image"]
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "an image source needs Pillow: pip install 'pytest-ncnn-parity[image]'"
        ) from None
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if source["color"] == "gray" else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: cannot be read as an image: {error}") from None
    if source["size"] is not None:
        image = image.resize(tuple(source["size"]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if source["color"] == "bgr":
        planes = planes[::-1]
    for name in ("mean", "norm"):
        if source[name] is not None and len(source[name]) != len(planes):
            raise InputError(
                f"{path}: {name} has {len(source[name])} values, the image {len(planes)} channels"
            )
    mean = np.array(source["mean"] or [0.0] * len(planes), np.float32).reshape(-1, 1, 1)
    norm = np.array(source["norm"] or [1.0] * len(planes), np.float32).reshape(-1, 1, 1)
    return np.asarray((planes - mean) * norm)
