"""The limits of the formats that values are stored in: IEEE 754 binary16 and 32, and ncnn's int8.

This is a module of its own because diagnosis, reports and the worker need these numbers and nothing
else of `compare`.
"""

from __future__ import annotations

FP16_MAX = 65504.0
FP16_OVERFLOW = 65520.0  # from here on, rounding to nearest gives inf
FP16_NORMAL = 2.0**-14  # smaller values are subnormal: they lose bits, and some casts make them 0
FP16_TINIEST = 2.0**-24  # the smallest subnormal; half of it and less is rounded to 0
FP32_ROUNDING = 2.0**-20  # eight steps of fp32: what another order of the terms of a sum may change
INT8_MAX = 127  # ncnn rounds to -127 ... 127, never to -128 (src/layer/quantize.cpp)
