"""Blocks are small whatever an array's shape; sharing them among threads changes only the time."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from pytest_ncnn_parity.compare.blocks import (
    BLOCK,
    THREADS,
    each,
    each_in_threads,
    scratch,
    use_threads,
)
from pytest_ncnn_parity.compare.metrics import compare
from pytest_ncnn_parity.compare.tolerance import Tolerance


@pytest.fixture
def threads() -> Iterator[None]:
    use_threads(THREADS)
    yield
    use_threads(1)


def told(shape: tuple[int, ...], step: int, tolerance: Tolerance) -> str:
    """Metrics of seeded arrays with inf and nan at some places, as text, where nan equals nan."""
    rng = np.random.default_rng(1)
    reference = rng.normal(size=shape).astype(np.float32)
    candidate = reference + rng.normal(scale=1e-3, size=shape).astype(np.float32)
    candidate.flat[::step], reference.flat[:: step + 1] = np.inf, np.nan
    return repr(compare(candidate, reference, tolerance))


@pytest.mark.parametrize("shape", [(9 * BLOCK + 5,), (7, BLOCK + 3), (3, 5, 300, 211)])
@pytest.mark.parametrize("step", [10**9, 70_001])
@pytest.mark.parametrize("rtol", [0.0, 1e-3])
def test_threads_change_no_metric(shape: tuple[int, ...], step: int, rtol: float) -> None:
    tolerance = Tolerance(atol=1e-3, rtol=rtol)
    alone = told(shape, step, tolerance)
    use_threads(THREADS)
    try:
        assert told(shape, step, tolerance) == alone
    finally:
        use_threads(1)


@pytest.mark.parametrize(
    "shape",
    [
        (2 * BLOCK + 1,),
        (1, 2 * BLOCK),
        (2, BLOCK + 3),
        (1, 300, 400),
        (2, 3, 5, BLOCK // 4),
        (1, 2, 1, BLOCK + 1),
        (BLOCK // 2 + 1, 2, 2),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_are_small_and_in_order_in_every_shape(shape: tuple[int, ...], transposed: bool) -> None:
    """Work arrays of a block's size are kept, so a blob of one channel must not be one block."""
    array = np.arange(np.prod(shape)).reshape(shape)
    if transposed:
        array = array.T
    starts, blocks = zip(*each(lambda *block: block, array), strict=True)
    sizes = [block.size for block in blocks]
    assert max(sizes) <= BLOCK
    assert starts == (0, *np.cumsum(sizes)[:-1])
    assert np.array_equal(np.concatenate(blocks), array.ravel())


@pytest.mark.usefixtures("threads")
def test_blocks_are_shared_among_threads_and_come_back_in_order() -> None:
    """Each of the first blocks waits until as many threads are at work."""
    meeting = threading.Barrier(THREADS, timeout=60.0)

    def work(start: int, block: np.ndarray) -> tuple[int, int]:
        if start % (2 * BLOCK) == 0:
            meeting.wait()
        return start, block.size

    found = list(each_in_threads(work, np.zeros(2 * THREADS * BLOCK, np.float32)))
    assert found == [(n * BLOCK, BLOCK) for n in range(2 * THREADS)]


@pytest.mark.usefixtures("threads")
def test_threads_work_in_memory_of_their_own() -> None:
    meeting = threading.Barrier(THREADS, timeout=60.0)

    def work(_: int, block: np.ndarray) -> bool:
        (own,) = scratch("int64", 1000, 1)
        own[:] = mark = threading.get_ident()
        meeting.wait()
        return bool((own == mark).all()) and bool(block.size)

    assert all(each_in_threads(work, np.zeros(THREADS * BLOCK, np.float32)))


@pytest.mark.usefixtures("threads")
def test_what_fails_in_a_thread_is_raised_to_the_caller() -> None:
    def work(start: int, _: np.ndarray) -> None:
        if start:
            raise MemoryError

    with pytest.raises(MemoryError):
        list(each_in_threads(work, np.zeros(THREADS * BLOCK, np.float32)))
