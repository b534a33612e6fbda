"""Makes the arrays of a job's inputs: constants, drawn values, recordings and images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import ncnn
import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.base.errors import cut, in_one_line
from pytest_ncnn_parity.base.printable import printable
from pytest_ncnn_parity.engine.inputs import ConstantInput, ImageInput, Input, Recording
from pytest_ncnn_parity.network.graph import Graph
from pytest_ncnn_parity.network.integers import computing_readers, integer_reader
from pytest_ncnn_parity.network.shapes.fed import misfit
from pytest_ncnn_parity.network.shapes.given import MOST_ELEMENTS, too_large
from pytest_ncnn_parity.worker.values.drawn import drawn

NPY = np.lib.format.MAGIC_PREFIX  # a file of a single array begins with it
PICTURES = re.compile(rb"\x89PNG|\xff\xd8\xff|BM|GIF8|RIFF....WEBP", re.DOTALL)  # the second is JPEG
# what numpy, mmap and zipfile say of a file that ends too early
CUT_OFF = re.compile("EOF|mmap length is greater than file size|File is not a zip file")


class InputError(Exception):
    """Raised if one input cannot be fed; the message names its source."""


class InputErrors(Exception):
    """Raised if inputs of a sample cannot be fed; `problems` says why, by blob."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(problems.values()))
        self.problems = dict(problems)


def arrays(inputs: Mapping[str, Input], graph: Graph) -> dict[str, Array]:
    """Return the arrays of all inputs by blob, C-contiguous and fp32 or int32.

    Raises InputErrors, which names every input that cannot be fed.
    """
    fed: dict[str, Array] = {}
    problems: dict[str, str] = {}
    for blob, given in inputs.items():
        try:
            fed[blob] = _fed(given, graph, blob)
        except InputError as error:
            problems[blob] = printable(str(error))
    if problems:
        raise InputErrors(problems)
    return fed


def _fed(given: Input, graph: Graph, blob: str) -> Array:
    """Return the C-contiguous array for `blob`: int32 where integers are fed as they are, or float32."""
    if isinstance(given, ConstantInput) and integer_reader(graph, blob) is not None:
        given = replace(given, constant=int(given.constant))
    values = _values(given)
    whole = np.issubdtype(values.dtype, np.integer)
    unfit = _beyond_32_bits(values) if whole else _infinite(values, minus=isinstance(given, Recording))
    problem = misfit(graph, blob, values.shape) or unfit
    if problem:
        raise InputError(f"{given}: {problem}")
    integers = whole and _takes_integers(graph, blob)
    return np.ascontiguousarray(values, np.int32 if integers else np.float32)


def _values(given: Input) -> Array:
    if isinstance(given, Recording):
        return recorded(given)
    if isinstance(given, ImageInput):
        return _image(given)
    return _constant(given) if isinstance(given, ConstantInput) else drawn(given)


def _takes_integers(graph: Graph, blob: str) -> bool:
    """Return whether integers are fed to `blob` as int32 rather than converted to floats.

    They are if a layer that computes with them reads integers or may do so, as a custom layer may, or
    if no layer computes with them, so that they come out unchanged.
    """
    readers = list(computing_readers(graph, blob))
    known = all(ncnn.layer_to_index(layer.type) != -1 for layer in readers)
    return not readers or not known or integer_reader(graph, blob) is not None


def _beyond_32_bits(values: Array) -> str:
    """Return the error for integers beyond 32 bits, which ncnn cannot hold, or an empty string."""
    limits = np.iinfo(np.int32)
    return _first(values, (values < limits.min) | (values > limits.max), "beyond 32 bits")


def _infinite(values: Array, minus: bool) -> str:
    """Return the error for values that are not finite in fp32, or an empty string.

    With `minus`, -inf is allowed, as in the attention masks that language models are fed with.
    """
    with np.errstate(over="ignore"):
        wrong = ~np.isfinite(np.asarray(values, np.float32))
    if minus:
        wrong &= ~np.isneginf(values)
    what = "fp32 has no finite value for it, so the reference would show nothing"
    return _first(values, wrong, what)


def _first(values: Array, wrong: Array, what: str) -> str:
    """Return the error `what` for the elements marked `wrong`, naming the first, or an empty string."""
    if not wrong.any():
        return ""
    place = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), values.shape))
    which = f"{int(wrong.sum())} of {values.size} values, the first at {list(place)}"
    return f"{which}: {values[place]}: {what}"


def _constant(given: ConstantInput) -> Array:
    value = given.constant
    return np.full(given.shape, value, np.int64 if isinstance(value, int) else np.float32)


def recorded(given: Recording, may_be_empty: bool = False) -> Array:
    """Return the array of a .npy file, or of an .npz file under its key, in its own shape and dtype.

    Raises InputError if it cannot be read, or has an unsuitable dtype or shape. `may_be_empty`: it may
    have no elements, as a list of no detections.
    """
    path, key = given.file, given.key
    start = b""
    try:
        with Path(path).open("rb") as file:
            start = file.read(12)
            packed = start.startswith(b"PK") or (key is not None and not start.startswith(NPY))
            file.seek(0)
            if key is not None and not packed:
                raise InputError(f"{path}: is a single array, which has no key; leave 'key: {key}' out")
            # memory-mapped, because the header may claim more than the file or memory holds
            loaded = _member(file, path, key) if packed else np.lib.format.open_memmap(path, mode="r")
    except InputError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds of errors for a damaged file
        if PICTURES.match(start):
            raise InputError(
                f"{path}: is a picture: 'file:' reads arrays, and 'image:' pictures"
            ) from None
        raise InputError(
            f"{path}: cannot be read as .npy or .npz without pickles: {in_one_line(error)}"
            f"{'; is it cut off?' if CUT_OFF.search(str(error)) else ''}"
        ) from None
    if loaded.dtype.kind not in "fiub":
        raise InputError(f"{path}: dtype {loaded.dtype}; expected floats or integers")
    if not 1 <= loaded.ndim <= 4 or not (loaded.size or may_be_empty):
        raise InputError(f"{path}: shape {loaded.shape}; expected 1 to 4 dimensions, none empty")
    if too_large(loaded.shape):
        raise InputError(f"{path}: {too_large(loaded.shape)}")
    return np.array(loaded)


def _member(file: IO[bytes], path: str, key: str | None) -> Array:
    """Return one array of the .npz archive in `file`: that of `key`, or the only one."""
    archive = np.load(file, allow_pickle=False)
    if key is None and len(archive.files) == 1:
        key = archive.files[0]
    if key not in archive.files:
        if not archive.files:
            raise InputError(f"{path}: holds no array; numpy.savez writes an archive of arrays")
        raise InputError(
            f"{path}: holds the arrays {cut(', '.join(archive.files), 200)}; name one with 'key:'"
            + (f" (not {key!r})" if key is not None else "")
        )
    largest = max(entry.file_size for entry in archive.zip.infolist())
    if largest > 8 * MOST_ELEMENTS:
        raise InputError(f"{path}: unpacks to {largest} bytes; expected at most {8 * MOST_ELEMENTS}")
    return np.asarray(archive[key])


def _resized(pixels: Array, width: int, height: int) -> Array:
    """Resize 8-bit `pixels`, (h, w) or (h, w, 3), to float32 of shape (channels, height, width).

    This is bilinear without averaging, in integers: what programs get that call ncnn to resize.
    """
    kind = ncnn.Mat.PixelType.PIXEL_GRAY if pixels.ndim == 2 else ncnn.Mat.PixelType.PIXEL_RGB
    for axis in (0, 1):
        if pixels.shape[axis] == 1:  # ncnn reads two neighbours, of which one would not exist
            pixels = pixels.repeat(2, axis)
    h, w = pixels.shape[:2]
    resized = ncnn.Mat.from_pixels_resize(np.ascontiguousarray(pixels), kind, w, h, width, height)
    return np.array(resized)


# modes of 16-bit and 32-bit pixels, which a conversion to 8 bits would clip
_DEEP = ("I", "F")
_TOO_DEEP = "pixels of more than 8 bits. Save it as .npy, or with 8 bits"
_PNG, _PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24  # its first bytes, and where its IHDR has the bit depth
_BITS_PER_SAMPLE = 258  # the tag of a TIFF
_EPS = (b"%!PS", b"\xc5\xd0\xd3\xc6")


def _refuse_by_head(path: str) -> None:
    """Refuse a PNG of 16 bits, of which Pillow keeps 8, and an EPS, which it has Ghostscript draw."""
    with Path(path).open("rb") as file:
        head = file.read(_PNG_DEPTH + 1)
    if head.startswith(_PNG) and head[_PNG_DEPTH:] == b"\x10":
        raise InputError(f"{path}: {_TOO_DEEP}")
    if head.startswith(_EPS):
        raise InputError(f"{path}: cannot be read as an image: an EPS is a program that draws one")


def _loses_bits(opened: Any) -> bool:
    """Whether the colors of a TIFF or PPM have more than the 8 bits that Pillow keeps of them."""
    bits = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
    given = [tile[3] for tile in opened.tile if tile[0].startswith("ppm")]
    largest = [one[1] for one in given if isinstance(one, tuple)]  # a bitmap states none
    return bool(np.max(bits) > 8 or max(largest, default=0) > 255)


def _image(given: ImageInput) -> Array:
    """Return (pixels - mean) * norm, as ncnn's Mat::from_pixels and substract_mean_normalize compute it.

    The image is turned upright, as cv2.imread does, and resized as ncnn's Mat::from_pixels_resize does.
    The result is float32 of shape (channels, height, width).
    """
    path = given.image
    try:
        from PIL import Image, ImageOps  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "an image source needs Pillow, in the environment that runs pytest: pip install pillow"
        ) from None
    try:
        _refuse_by_head(path)
        with Image.open(path) as opened:
            mode, size = opened.mode, (3, opened.height, opened.width)
            if mode.startswith(_DEEP) or _loses_bits(opened):
                raise InputError(f"{path}: {_TOO_DEEP}")
            if too_large(size):
                raise InputError(f"{path}: {too_large(size)}")
            upright = ImageOps.exif_transpose(opened)
            if mode == "LAB":  # which Pillow converts to RGB alone
                upright = upright.convert("RGB")
            pixels = np.asarray(upright.convert("L" if given.color == "gray" else "RGB"))
    except InputError:
        raise
    except Exception as error:  # Pillow and its decoders raise many kinds of errors for a damaged image
        raise InputError(f"{path}: cannot be read as an image: {in_one_line(error)}") from None
    if given.size is None or given.size == pixels.shape[1::-1]:
        planes = (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)).astype(np.float32)
    else:
        planes = _resized(pixels, *given.size)
    if given.color == "bgr":
        planes = planes[::-1]
    mean = np.array(given.mean or [0.0] * len(planes), np.float32).reshape(-1, 1, 1)
    norm = np.array(given.norm or [1.0] * len(planes), np.float32).reshape(-1, 1, 1)
    # the result is checked together with all other sources
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((planes - mean) * norm)
