"""A network that grows block by block, each scaled to what the one before makes. Plants no fault.

Every convolution measures its input on a sample, in fp32 on the CPU, and draws weights that give
its output a wanted size: however deep, values stay far from fp16's limits unless asked otherwise.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import ncnn
import numpy as np
import numpy.typing as npt

sys.path += [str(Path(__file__).parents[n] / folder) for n, folder in ((2, "example_models"), (1, ""))]
from quantized import QuantizedNetwork

Array = npt.NDArray[np.float64]

LARGE = 30.0  # from this size on values are brought down in steps: fp16 holds weights below 6e-5 badly
SMALL_SIDE, LARGE_SIDE = 6, 20  # beyond these a block makes the picture larger or smaller


class Trunk(QuantizedNetwork):
    """A network, and the blob it grows from: `x`, of `channels` x `height` x `width`."""

    def __init__(self, rng: np.random.RandomState) -> None:
        super().__init__()
        self.rng = rng
        self.channels = int(rng.randint(3, 7))
        self.height, self.width = (int(side) for side in rng.randint(10, 21, 2))
        self._sample = rng.normal(0, 1, (self.channels, self.height, self.width)).astype(np.float32)
        size = f"0={self.width} 1={self.height} 2={self.channels}"
        self.x = self.layer("Input", "in0", params=size)
        self.count = 1
        self.words_source = ""  # of a spec's sample, beside in0
        self._words = np.zeros(0, np.int32)

    def add(
        self,
        kind: str,
        word: str,
        params: str = "",
        weights: Iterable[Array] = (),
        inputs: list[str] | None = None,
        flagged: bool = True,
    ) -> str:
        """Add a layer on `inputs` (default: x), named `word` and its number; its output becomes x."""
        self.count += 1
        read = [self.x] if inputs is None else inputs
        name = f"{word}_{self.count}"
        self.x = self.layer(kind, name, read, params=params, weights=list(weights), flagged=flagged)
        return self.x

    def fork(self, readers: int) -> list[str]:
        """Copies of x for several readers."""
        self.count += 1
        return self.split(self.x, readers)

    def rms(self) -> float:
        """The size of x: its root mean square on one sample."""
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder) / "grown")
            net = ncnn.Net()
            net.opt.num_threads = 1
            net.load_param(f"{folder}/grown.param")
            net.load_model(f"{folder}/grown.bin")
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(self._sample).clone())
        if self._words.size:
            extractor.input("ids", ncnn.Mat(self._words.view(np.float32)).clone())
        code, output = extractor.extract(self.x)
        assert code == 0, f"{self.x}: extract returned {code}"
        return float(np.sqrt(np.mean(np.square(np.array(output, np.float64)))))

    # -- layers with weights -----------------------------------------------------------------------

    def _gain(self, size: float | None) -> tuple[float, float]:
        """The size wanted of the output (default: near 1), and by how much x is scaled for it."""
        rms = self.rms()
        wanted = size or (1.0 if rms < LARGE else rms**0.5)
        return wanted, wanted / rms

    def conv(
        self,
        channels: int | None = None,
        kernel: int = 3,
        size: float | None = None,
        bias: Array | None = None,
        stride: int = 1,
        rectified: bool = False,
    ) -> str:
        """A convolution whose output is of `size` about `bias` (default: near 1, about 0)."""
        out = channels or self.channels
        wanted, gain = self._gain(size)
        shape = (out, self.channels, kernel, kernel)
        weight = self.rng.normal(0, gain / np.sqrt(self.channels * kernel**2), shape)
        offset = self.rng.normal(0, 0.1 * wanted, out) if bias is None else bias
        params = f"0={out} 1={kernel} 3={stride} 4={kernel // 2} 5=1 6={weight.size}"
        self.channels = out
        self.height, self.width = -(-self.height // stride), -(-self.width // stride)
        return self.add("Convolution", "conv", params + (" 9=1" if rectified else ""), [weight, offset])

    def depthwise(self, size: float | None = None) -> str:
        n = self.channels
        wanted, gain = self._gain(size)
        weights = [self.rng.normal(0, gain / 3, (n, 9)), self.rng.normal(0, 0.1 * wanted, n)]
        params = f"0={n} 1=3 4=1 5=1 6={9 * n} 7={n}"
        return self.add("ConvolutionDepthWise", "depthwise", params, weights)

    def inner(self, out: int, size: float | None = None, bias: Array | None = None) -> str:
        """An inner product over all of x, or over a vector that x is."""
        inputs = self.channels * self.height * self.width
        wanted, gain = self._gain(size)
        offset = self.rng.normal(0, 0.1 * wanted, out) if bias is None else bias
        weight = self.rng.normal(0, gain / np.sqrt(inputs), (out, inputs))
        self.channels, self.height, self.width = out, 1, 1
        return self.add("InnerProduct", "inner", f"0={out} 1=1 2={weight.size}", [weight, offset])

    def in_int8(self, layers: int) -> list[str]:
        """Convolutions in int8, each with int8 for the next; the last gives floats of a size near 1."""
        scale, gain, inner = 127.0 / (4.0 * self.rms()), 1.0 / self.rms(), 127.0 / 4.0
        names = []
        for left in reversed(range(layers)):
            self.count += 1
            depthwise = bool(names) and self.rng.rand() < 0.5
            out, read = (
                (self.channels, 1) if depthwise else (int(self.rng.randint(6, 17)), self.channels)
            )
            kernel = 3 if depthwise else int(self.rng.choice([1, 3]))
            weights = self.rng.normal(0, gain / np.sqrt(read * kernel**2), (out, read, kernel, kernel))
            groups = f" 7={out}" if depthwise else ""
            names.append(f"int8_{self.count}")
            self.x = self.int8(
                "ConvolutionDepthWise" if depthwise else "Convolution",
                names[-1],
                self.x,
                weights,
                f"1={kernel} 4={kernel // 2}{groups}",
                scale,
                inner if left else None,
                1 if depthwise else 2,
            )
            self.channels, scale, gain = out, inner, 1.0
        return names

    # -- layers without ----------------------------------------------------------------------------

    def activation(self) -> str:
        kinds = (
            ("ReLU", "relu", ""),
            ("ReLU", "leaky", "0=0.1"),
            ("HardSwish", "hardswish", "0=0.1666667 1=0.5"),
            ("Swish", "swish", ""),
        )
        return self.add(*kinds[self.rng.randint(len(kinds))])

    def resize(self, height: int, width: int) -> str:
        """The nearest pixels, or between them."""
        self.height, self.width = height, width
        return self.add("Interp", "interp", f"0={self.rng.randint(1, 3)} 3={height} 4={width}")

    def at_least(self, side: int) -> None:
        """Enlarge the picture where it is smaller."""
        if min(self.height, self.width) < side:
            self.resize(max(side, self.height), max(side, self.width))

    def shrink(self) -> str:
        """Half the picture: the largest or the mean of four pixels, or by a stride."""
        if self.rng.rand() < 0.4:
            return self.conv(stride=2)
        self.height, self.width = self.height // 2, self.width // 2
        return self.add("Pooling", "pool", f"0={self.rng.randint(2)} 1=2 2=2 5=1")

    # -- blocks ------------------------------------------------------------------------------------

    def plain(self) -> None:
        self.conv(int(self.rng.randint(6, 17)), self.rng.choice([1, 3]))
        self.activation()

    def separable(self) -> None:
        self.depthwise()
        self.activation()
        self.conv(int(self.rng.randint(6, 17)), 1)

    def residual(self) -> None:
        around, self.x = self.fork(2)
        self.conv()
        self.activation()
        self.conv()
        self.add("BinaryOp", "add", "0=0", inputs=[self.x, around])

    def parallel(self) -> None:
        """Two convolutions of x side by side."""
        total, sides = 0, []
        before = self.channels
        for copy in self.fork(2):
            self.x, self.channels = copy, before
            sides.append(self.conv(int(self.rng.randint(4, 9)), self.rng.choice([1, 3])))
            total += self.channels
        self.channels = total
        self.add("Concat", "concat", "0=0", inputs=sides)

    def squeeze(self) -> None:
        """Channels weighed by their means."""
        n, height, width = self.channels, self.height, self.width
        kept, self.x = self.fork(2)
        self.latent(n)
        self.add("Sigmoid", "sigmoid")
        self.channels, self.height, self.width = n, height, width
        row = self.add("Reshape", "planes", f"0=1 1=1 2={n}")
        self.add("BinaryOp", "weigh", "0=2", inputs=[kept, row])

    def latent(self, length: int) -> str:
        """A vector: an inner product of the channels' means."""
        self.add("Pooling", "global", "0=1 4=1")
        self.height = self.width = 1
        return self.inner(length)

    def feed_words(self, count: int, size: int) -> None:
        """An input of `count` words of a vocabulary of `size`; it becomes x."""
        self.x = self.layer("Input", "ids", params=f"0={count}")
        self._words = self.rng.randint(0, size, count).astype(np.int32)
        self.words_source = f", ids: {{random: integers, low: 0, high: {size - 1}, shape: [{count}]}}"

    def embed(self, word: str, blob: str, size: int) -> str:
        """The mean of a table's rows for the words of `blob`: a value for each channel."""
        n = self.channels
        table = self.rng.normal(1, 0.5, (size, n))
        self.add("Embed", f"{word}_table", f"0={n} 1={size} 2=0 3={table.size}", [table], [blob])
        return self.add("Reduction", f"{word}_mean", "0=3 1=0 -23303=1,0 4=0 5=1")

    def modulated(self, latent: str, length: int, out: int, strength: float) -> str:
        """A convolution whose weights a style of about `strength` scales, normalised by their size.

        The style is an inner product of `latent`. Returns the blob of the sums of squares.
        """
        n, height, width, x = self.channels, self.height, self.width, self.x
        self.x, self.channels, self.height, self.width = latent, length, 1, 1
        style = self.inner(n, size=0.1 * strength, bias=np.full(n, strength))
        for_weight, for_x = self.split(style, 2)
        row = self.add("Reshape", "row", f"0=1 1={n} 2=1", inputs=[for_weight])
        weight = self.rng.uniform(-1, 1, (out, n, 9))
        size = f"0=9 1={n} 2={out}"
        memory = self.add("MemoryData", "weight", size, [weight], [], flagged=False)
        self.add("BinaryOp", "modulate", "0=2", inputs=[memory, row])
        self.add("UnaryOp", "square", "0=4")
        total = self.add("Reduction", "sum", "0=0 1=0 -23303=2,1,2 4=0 5=1")
        self.add("BinaryOp", "eps", "0=0 1=1 2=1e-08")
        self.add("UnaryOp", "rsqrt", "0=6")
        column = self.add("Reshape", "column", f"0=1 1=1 2={out}")
        planes = self.add("Reshape", "planes", f"0=1 1=1 2={n}", inputs=[for_x])
        self.add("BinaryOp", "style_x", "0=2", inputs=[x, planes])
        params = f"0={out} 1=3 4=1 5=0 6={weight.size}"
        filtered = self.add("Convolution", "conv", params, [weight])
        self.channels, self.height, self.width = out, height, width
        self.add("BinaryOp", "demodulate", "0=2", inputs=[filtered, column])
        return total

    def grow(self, blocks: int) -> None:
        """Add random blocks; the picture stays of a middling size."""
        for _ in range(blocks):
            kinds = (self.plain, self.separable, self.residual, self.parallel, self.squeeze)
            kinds[self.rng.randint(len(kinds))]()
            while max(self.height, self.width) > LARGE_SIDE:
                self.shrink()
            self.at_least(SMALL_SIDE)

    def head(self) -> None:
        """What a network ends in: an inner product, a map, or a picture."""
        end = self.rng.randint(3)
        if end == 0:
            self.latent(int(self.rng.randint(4, 11)))
        elif end == 1:
            self.conv(int(self.rng.randint(1, 5)), 1)
        else:
            self.conv(3)
            self.add("Interp", "interp", "0=2 1=2.0 2=2.0")
