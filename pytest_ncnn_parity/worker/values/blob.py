"""The value of one blob, and how it is rounded to fp16 or bf16."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from hashlib import sha1
from typing import Any

import ncnn
import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.compare.number_formats import FP16_NORMAL, FP16_OVERFLOW, FP16_TINIEST
from pytest_ncnn_parity.worker.values.stats import Stats, stats_of

_ONE_THREAD = ncnn.Option()  # starting threads would take longer than a cast
_ONE_THREAD.num_threads = 1

Made = dict[str, "Blob"]  # the values that a layer or a network has computed, by blob name


class Blob:
    """One value in host memory; what is derived from it is computed once, on first use.

    Its elements are fp32, int32 where integers are read, or int8 where a network holds them in int8.
    Inside a network it may be a batch, as of windows of a map: an array of one more axis, the first.
    """

    def __init__(self, mat: Any, array: Array | None = None) -> None:
        self._mat = mat
        self.batch = getattr(mat, "n", 1) > 1  # older versions of ncnn have no batches
        self._array: Array
        if array is not None:
            self._array = array
        else:
            self._array = mat.numpy(batch_index=0) if self.batch else np.asarray(mat)
        self._rounded: dict[str, Blob] = {}
        self._stats: Stats | None = None
        self._digest: bytes | None = None

    @staticmethod
    def of(array: Array) -> Blob:
        # Mat(array) neither copies the array nor keeps it alive, so the Mat is cloned while `array`
        # is still referenced here
        return Blob(ncnn.Mat(array).clone(), array)

    def with_elements(self, array: Array) -> Blob:
        """Return `array`, whose shape is that of this value, as a batch if this value is one."""
        return Blob(ncnn.Mat(array, batch_index=0), array) if self.batch else Blob.of(array)

    @staticmethod
    def of_int8(packed: Any) -> Blob:
        """Return the value of an int8 Mat, however it is packed."""
        return Blob(ncnn.convert_packing(packed, 1, _ONE_THREAD))

    @staticmethod
    def of_integers(mat: Any) -> Blob:
        """Return the value of a Mat of 32-bit integers, whose bits ncnn hands out as floats."""
        return Blob(mat, np.ascontiguousarray(Blob(mat).array).view(np.int32))

    @staticmethod
    def of_nothing() -> Blob:
        """Return the output of a detector that detects nothing: fp32 of shape (0, 6)."""
        return Blob(ncnn.Mat(), np.zeros((0, 6), np.float32))

    @property
    def mat(self) -> Any:
        return self._mat

    @property
    def array(self) -> Array:
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def picture_shape(self) -> tuple[int, ...]:
        """The shape of what a layer computes with, which runs on each picture of a batch by itself."""
        return self.shape[1:] if self.batch else self.shape

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def digest(self) -> bytes:
        """A 20-byte digest, equal for values of equal shape, dtype and bits.

        It is SHA-1, which most processors have instructions for; nobody would forge one.
        """
        if self._digest is None:
            digest = sha1(f"{self.dtype}{self.shape}".encode(), usedforsecurity=False)
            digest.update(np.ascontiguousarray(self.array).data)
            self._digest = digest.digest()
        return self._digest

    def derived(self, name: str, sources: Iterable[Blob]) -> None:
        """Set the digest, without a look at the values, to one of `name` and what they derive from.

        A run of the same layer on the same values then gives the same digest.
        """
        digest = sha1(name.encode(), usedforsecurity=False)
        for source in sources:
            digest.update(source.digest)
        self._digest = digest.digest()

    def _made(self, name: str, made: Blob) -> Blob:
        """Return `made`, which was computed of this value alone, with a digest if this value has one."""
        if self._digest is not None:
            made.derived(name, [self])
        return made

    @property
    def floating(self) -> bool:
        return self.dtype == np.float32

    @property
    def int8(self) -> bool:
        return self.dtype == np.int8

    def dequantized(self, scale: float) -> Blob:
        """Return the fp32 values that `scale` quantizes to exactly these int8 values."""
        return self.with_elements(np.ascontiguousarray(self.array / np.float32(scale), np.float32))

    def measured(self) -> Stats:
        """Return the statistics of this value, as the properties below give them one by one."""
        if self._stats is None:
            self._stats = stats_of(self.array) if self.floating and self.size else Stats()
        return self._stats

    @property
    def absmax(self) -> float:
        """The largest finite absolute value; 0 if there is none, or the value is not fp32."""
        return self.measured().absmax

    @property
    def nan(self) -> int:
        """The number of elements that are NaN."""
        return self.measured().nan

    @property
    def inf(self) -> int:
        """The number of elements that are inf. -inf, which attention masks use, does not count."""
        return self.measured().inf

    @property
    def infinite(self) -> int:
        """The number of elements that are inf or -inf."""
        return self.measured().inf + self.measured().minus_inf

    @property
    def one_value(self) -> float | None:
        """The value that all elements have in common, or None."""
        if not self.size:
            return None
        first = self.array.flat[0]
        return float(first) if bool((self.array == first).all()) else None

    @property
    def tiny(self) -> int:
        """The number of nonzero elements that fp16 rounds to zero."""
        return self.measured().tiny

    @property
    def subnormal(self) -> bool:
        """Whether all elements are finite floats below the smallest normal number of fp16."""
        return self.floating and not (self.nan or self.infinite) and self.absmax < FP16_NORMAL

    def overflows(self, half: str | None) -> bool:
        return half == "fp16" and self.absmax >= FP16_OVERFLOW

    def in_shape(self, shape: tuple[int, ...]) -> Blob:
        """Return this value in `shape`, if its own differs from that by dimensions of 1 alone."""
        own, its = ([size for size in one if size != 1] for one in (self.shape, shape))
        if self.shape == shape or own != its or not self.floating or self.batch:
            return self
        return Blob.of(np.ascontiguousarray(self.array.reshape(shape)))

    def stored(self) -> Blob:
        """Return this value as a kernel stores it in fp16, subnormals included (IEEE 754), in fp32.

        An upload differs: ncnn's cast flushes subnormals to 0 in the scalar code after its SIMD loop.
        """
        if not self.size:
            return self
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(self.array.astype(np.float16), np.float32)
        return self._made("stored", self.with_elements(values))

    def with_tiny_stored(self) -> Blob:
        """Return this value with what is subnormal in fp16 as a kernel stores it: 0, or with few digits.

        All else is kept: what its rounding does is no underflow.
        """
        if not self.tiny:
            return self
        if self._digest is None:
            return self._with_tiny_stored()
        stored = Deferred(self.shape, self.dtype, self.batch, self._with_tiny_stored)
        return self._made("tiny stored", stored)

    def _with_tiny_stored(self) -> Blob:
        values = self.array.copy()
        small = np.abs(values) < FP16_NORMAL
        # to the nearest subnormal of fp16, of two to the even one. numpy's cast gives the same, but it
        # takes some 70 ns for each of them
        values[small] = np.rint(values[small] / FP16_TINIEST) * FP16_TINIEST
        return self.with_elements(values)

    @property
    def flushed(self) -> bool:
        """Whether ncnn's cast to fp16 makes elements 0 that fp16 holds; of a Blob of fp32."""
        return bool(((self.rounded("fp16").array == 0.0) & (self.stored().array != 0.0)).any())

    def stored_as_floats(self, half: str) -> Blob:
        """Return these integers with their bits rounded to `half` as if they were floats."""
        return Blob.of_integers(Blob(self.mat).rounded(half).mat)

    def rounded(self, half: str | None) -> Blob:
        """Return this value rounded to `half` ("fp16", "bf16" or None) by ncnn's casts, back in fp32.

        Values that are not fp32 are returned as they are.
        """
        if half is None or not self.floating or not self.size:
            return self
        if half not in self._rounded:
            there, back = (
                (ncnn.cast_float32_to_float16, ncnn.cast_float16_to_float32)
                if half == "fp16"
                else (ncnn.cast_float32_to_bfloat16, ncnn.cast_bfloat16_to_float32)
            )
            rounded = Blob(back(there(self.mat, _ONE_THREAD), _ONE_THREAD))
            self._rounded[half] = self._made(half, rounded)
        return self._rounded[half]


class Deferred(Blob):
    """A value whose elements `make` returns when they are first read."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], batch: bool, make: Callable[[], Blob]
    ) -> None:
        self._shape = shape
        self._dtype = dtype
        self._make = make
        self.batch = batch
        self._stats = None
        self._digest = None
        self._rounded = {}

    @cached_property
    def _elements(self) -> Blob:
        return self._make()

    @property
    def mat(self) -> Any:
        return self._elements.mat

    @property
    def array(self) -> Array:
        return self._elements.array

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype
