"""How far a candidate may be from its reference: the tolerance, and its defaults with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.compare.number_formats import FP16_TINIEST


class Tolerance(Frozen):
    """An element agrees if |c - r| <= atol + rtol*|r| + scaled*max|r|.

    Where `scales` knows a better measure than max|r|, that is used. `cosine` (at least) and `sqnr_db`
    (at least, in dB) are further conditions on the whole array. `share` is the share of all elements
    that may exceed the tolerance, within bounds (see `edges`). `edges` is a further share that may do
    so on the steep edges of a map of probabilities, and `scattered` one behind int8 layers. `steps` is
    the share of int8 values that may be off by one step. `moves`: an output behind int8 layers may be
    off by so many times what it moves on the CPU itself (see `int8`). `headroom`: the factor by which a
    value must stay below 65504, where that is judged.
    """

    atol: float = 0.0
    rtol: float = 0.0
    scaled: float = 0.0
    cosine: float | None = None
    sqnr_db: float | None = None
    share: float = 0.0
    edges: float = 0.0
    scattered: float = 0.0
    steps: float = 0.0
    moves: float = 0.0
    headroom: float = 1.0

    def allowed(self, reference: Any, scale: Any) -> Any:
        """Return the error that is allowed at each element of `reference`, in its shape and unit.

        `scale`: max|r|, in a shape that goes together with that of `reference`.
        """
        return self.atol + self.rtol * abs(reference) + self.scaled * scale

    def updated(self, given: Mapping[str, float]) -> Tolerance:
        """This tolerance with the values of `given` in place of its own.

        If one of atol, rtol and scaled is given, all three are replaced: they are meant together, and a
        default that stayed beside the user's value would loosen it.
        """
        budget = {k: given[k] for k in ("atol", "rtol", "scaled") if k in given}
        further = {k: given[k] for k in ("cosine", "sqnr_db", "share", "headroom") if k in given}
        base = replace(self, **_NO_BUDGET) if budget else self
        return replace(base, **budget, **further)


_NO_BUDGET = dict.fromkeys(("atol", "rtol", "scaled", "edges", "scattered", "steps", "moves"), 0.0)


class Defaults(Frozen):
    """The tolerance of one layer fed with the reference's inputs, and that of a whole network."""

    layer: Tolerance
    output: Tolerance


# a comparison in fp32 with a model whose weights may be rounded to fp16, or rounded once more
ROUNDED_WEIGHTS = "fp16-weights"
# the same where it is known that nothing else differs: fp16 storage rounds weights so, and values too
ONLY_ROUNDED_WEIGHTS = "fp16-storage"
BRAIN_WEIGHTS = "bf16-weights"  # the same with bf16
INT8 = "int8"  # the precision of a comparison whose candidate's files compute in int8
# the share of a text detector's pixels; 0.0048 was seen
EDGES = 5e-3
# of an object detector's values where the model in int8 agrees as a whole, seen 3.4e-4: see `scattered`
SCATTERED = 1e-3
# the share of the int8 values between a detector's layers; 0.0017 was seen
STEPS = 1e-2
# root mean square of that detector's errors, as a multiple of that of its own moves; 1.27 was seen
MOVES = 1.5

# Measured as max|c - r| / max|r| on healthy trained networks, fed with noise and with pictures, on
# llvmpipe and in part on an NVIDIA H200: docs/tolerances.md has the tables. `scaled` has the largest
# part, because half precision loses a share of the largest term and not of each element; `atol` is the
# step of the format near zero. All but bf16's outputs stay below 0.1, so a layer that is 10 % wrong is
# red.
DEFAULTS: Mapping[str, Defaults] = MappingProxyType(
    {
        # worst seen: layer 2.2e-5, output 9.3e-5 (on flat images a layer 3.8e-5)
        "fp32": Defaults(
            Tolerance(atol=1e-7, scaled=2e-4, steps=STEPS),
            Tolerance(atol=1e-7, scaled=1e-3, moves=MOVES),
        ),
        # worst seen: layer 0.017, output 0.062
        "fp16": Defaults(
            Tolerance(atol=FP16_TINIEST, scaled=5e-2, steps=STEPS),
            Tolerance(atol=FP16_TINIEST, scaled=8e-2, edges=EDGES, moves=MOVES),
        ),
        # worst seen: layer 0.0043, output 0.0135
        "fp16-storage": Defaults(
            Tolerance(atol=FP16_TINIEST, scaled=2e-2, steps=STEPS),
            Tolerance(atol=FP16_TINIEST, scaled=5e-2, edges=EDGES, moves=MOVES),
        ),
        "fp16-packed": Defaults(
            Tolerance(atol=FP16_TINIEST, scaled=2e-2, steps=STEPS),
            Tolerance(atol=FP16_TINIEST, scaled=5e-2, edges=EDGES, moves=MOVES),
        ),
        # worst seen: layer 0.026, output 0.22: 8 bits of mantissa add up over 150 layers
        "bf16": Defaults(
            Tolerance(scaled=8e-2, steps=STEPS),
            Tolerance(scaled=4e-1, moves=MOVES),
        ),
        # Weights in fp16 are off by up to 4.9e-4 of themselves. Other layers have the tolerance of fp32.
        ROUNDED_WEIGHTS: Defaults(
            Tolerance(atol=1e-7, scaled=5e-3, steps=STEPS),
            Tolerance(atol=1e-7, scaled=1e-2, moves=MOVES),
        ),
        # Weights in bf16 are off by up to 2e-3 of themselves, or 3.9e-3 where they were cut off.
        BRAIN_WEIGHTS: Defaults(
            Tolerance(atol=1e-7, scaled=3e-2, steps=STEPS),
            Tolerance(atol=1e-7, scaled=6e-2, moves=MOVES),
        ),
        # For a model in int8 against one in floats. Its layers in floats may have weights in fp16, as
        # ncnn2int8 writes them; those in int8 have QUANTIZED. Worst output of healthy networks: 15.4 dB
        INT8: Defaults(
            Tolerance(atol=1e-7, scaled=1e-2),
            Tolerance(scaled=4e-1, sqnr_db=12.0, scattered=SCATTERED),
        ),
        # For an output against the framework it was converted from: 7.5e-6 with fp32 weights, 0.0047
        # with weights rounded to fp16, as pnnx does by default. Layers are not judged.
        "golden": Defaults(
            Tolerance(atol=1e-7, scaled=1e-2),
            Tolerance(atol=1e-7, scaled=1e-2, moves=MOVES),
        ),
    }
)

# For a layer that computes in int8 against the same layer in floats, fed with the same values. Rounding
# to nearest leaves 24 dB and more (the worst of 140 healthy layers, with 6 bits of weights as ncnn2table
# gives 3x3 kernels), thresholds by KL divergence mostly 17 dB and more; a scale that is wrong by a
# factor of 4 leaves 12 dB or less.
QUANTIZED = Tolerance(scaled=1.0, sqnr_db=15.0)

# A layer with weights of 4 bits. Of 191 trained layers, rounded to nearest in blocks of 128, the worst
# has 11.0 dB, and the fifth worst in a hundred 15.4; with 6 bits, 16.3 and 28.
OF_FOUR_BITS = Tolerance(scaled=1.0, sqnr_db=10.0)

# For winograd's transforms in fp16, as on ARM (convolution_arm_asimdhp.cpp), whose terms cancel: healthy
# layers are off by 0.05 to 0.093 there, a kernel that was wrong by 0.25 and more.
WINOGRAD = Tolerance(atol=FP16_TINIEST, scaled=1.2e-1)

# Operators that the device computes by another formula.
OPERATORS: Mapping[tuple[str, str], Tolerance] = MappingProxyType(
    {
        # the shader uses tanh whatever the .param says (src/layer/vulkan/shader/gelu.comp): up to 4.8e-4
        # off erf
        ("fp32", "GELU"): Tolerance(atol=5e-4, scaled=1e-4),
        # A shader may round to fp16 as it likes, ncnn's CPU rounds to nearest: they differ by a unit in
        # the last place, seen 3.5e-4 of the largest value
        # (src/layer/vulkan/shader/cast_fp32_to_fp16.comp).
        ("fp32", "Cast"): Tolerance(atol=FP16_TINIEST, rtol=2.0**-10, scaled=2e-4),
        # x / (1 + exp(-x)): below -11.09 the power is inf in fp16, and 1.7e-4 becomes 0
        ("fp16", "Swish"): Tolerance(atol=2e-4, scaled=5e-2),
        ("fp16", "winograd Convolution"): WINOGRAD,
        # Before 1.0.20261020, x86 computes reciprocal roots to 12 bits (_mm_rsqrt_ps in unaryop_x86.cpp,
        # layernorm_x86.cpp, rmsnorm_x86.cpp): each value is off by up to 3.7e-4 of itself, seen 3.2e-4.
        # A norm is off by that before its beta is added, which may cancel the value.
        ("fp32", "UnaryOp rsqrt"): Tolerance(atol=1e-7, rtol=4e-4, scaled=2e-4),
        # What Vulkan allows itself (Vulkan specification, "Precision of GLSL.std.450 Instructions"): an
        # angle may be off by 4096 units in the last place, llvmpipe's is off by 2700; a sine by 2^-11
        ("fp32", "arcus"): Tolerance(atol=1e-7, rtol=2.0**-11, scaled=2e-4),
        ("fp32", "UnaryOp sin or cos"): Tolerance(atol=2.0**-11, scaled=2e-4),
        ("fp32", "RMSNorm"): Tolerance(atol=1e-7, rtol=4e-4, scaled=2e-4),
        ("fp32", "LayerNorm"): Tolerance(atol=1e-7, scaled=8e-4),
        # On x86 the reciprocal of the scales has 12 bits (_mm_rcp_ps in convolutiondepthwise_x86.cpp),
        # so sums are off by up to 3.7e-4 of themselves; seen 2.7e-4 of the largest output.
        ("fp32", "int8 ConvolutionDepthWise"): Tolerance(atol=1e-7, scaled=8e-4, steps=STEPS),
    }
)


_DEFAULTS = frozenset(
    (*OPERATORS.values(), *(t for one in DEFAULTS.values() for t in (one.layer, one.output)))
)


def is_default(tolerance: Tolerance) -> bool:
    """Whether no user asked for exactly this tolerance; only then may a noise floor soften it.

    A `headroom` is no tolerance: it says how far values stay below 65504.
    """
    return replace(tolerance, headroom=1.0) in _DEFAULTS
