"""What is asked of a value in host memory."""

from __future__ import annotations

import numpy as np

from pytest_ncnn_parity.base.arrays import Array
from pytest_ncnn_parity.worker.values.blob import Blob


def test_what_fp16_makes_zero_is_counted_to_the_last_bit() -> None:
    half = np.float32(2.0**-25)  # between 0 and the least subnormal: to the even one, which is 0
    near = np.array([half, np.nextafter(half, np.float32(0)), np.nextafter(half, np.float32(1))])
    drawn = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    edges = np.array([0.0, -0.0, np.nan, np.inf, 2.0**-24, 2.0**-149, 1.0], np.float32)
    values = np.concatenate([near, -near, edges, drawn * np.float32(2.0**-24)]).astype(np.float32)
    with np.errstate(over="ignore"):
        lost = (values.astype(np.float16) == 0.0) & (values != 0.0)
    assert Blob.of(values).tiny == np.count_nonzero(lost) > 10_000


def test_what_is_subnormal_in_fp16_is_stored_as_its_cast_gives_it_and_all_else_is_kept() -> None:
    drawn = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    ties = np.arange(0, 2050, 0.5, dtype=np.float32) * np.float32(2.0**-24)
    near = np.nextafter(ties, np.float32(1)), np.nextafter(ties, np.float32(-1))
    edges = np.array([-0.0, np.nan, np.inf, -np.inf, 2.0**-149, 2.0**-14, 1e30], np.float32)
    some = np.concatenate([ties, -ties, *near, edges, drawn, drawn * np.float32(2.0**-15)])
    with np.errstate(over="ignore"):
        cast = some.astype(np.float16).astype(np.float32)
    expected = np.where(np.abs(some) < 2.0**-14, cast, some)
    stored = Blob.of(some).with_tiny_stored().array
    assert np.array_equal(stored.view(np.uint32), expected.view(np.uint32))
    assert np.count_nonzero(stored != some) > 10_000


def test_a_derived_digest_tells_how_a_value_was_made_and_not_what_it_is() -> None:
    one, other = (Blob.of(np.full(4, value, np.float32)) for value in (1.0, 2.0))

    def digest(name: str, *sources: Blob) -> bytes:
        made = Blob.of(np.zeros(4, np.float32))
        made.derived(name, sources)
        return made.digest

    assert digest("out", one, other) == digest("out", one, other)
    plain = Blob.of(np.zeros(4, np.float32)).digest
    different = {digest("out", one, other), digest("out", other, one), digest("out", one)}
    assert len({*different, digest("x", one, other), one.digest, plain}) == 6


def test_what_is_made_of_a_value_with_a_digest_has_one_without_a_look() -> None:
    """A trial of a search asks for the digests of values whose elements nobody has looked at."""

    def digests(elements: float, name: str = "") -> list[bytes]:
        value = Blob.of(np.array([1e-8, elements], np.float32))
        if name:
            value.derived(name, [])
        made = (value.rounded("fp16"), value.rounded("bf16"), value.stored(), value.with_tiny_stored())
        return [value.digest, *(one.digest for one in made)]

    known = digests(1.5, "a")
    assert known == digests(2.5, "a")
    assert not set(known) & set(digests(1.5, "b"))
    assert len(set(known)) == 5
    assert not set(digests(1.5)) & set(digests(2.5)), "without one, the elements are looked at"


def test_what_fp16_stores_of_a_value_with_a_digest_is_computed_once_and_when_it_is_read() -> None:
    read = []

    class Watched(Blob):
        @property
        def array(self) -> Array:
            read.append(self)
            return super().array

    value = Watched(None, np.array([[1e-8, 4e-6, 1.0]], np.float32))
    assert value.tiny == 1
    value.derived("a", [])
    read.clear()
    stored = value.with_tiny_stored()
    assert (stored.shape, stored.dtype, stored.batch) == ((1, 3), np.float32, False)
    assert stored.digest != value.digest
    asked = len(read)  # for the shape and the type
    assert stored.tiny == 0
    assert stored.array.tolist() == stored.array.tolist() == [[0.0, 67 * 2.0**-24, 1.0]]
    assert len(read) == asked + 1
