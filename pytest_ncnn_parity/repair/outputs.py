"""The errors of a network's outputs before and after a fix, and whether the fix helps them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pytest_ncnn_parity.base.frozen import Frozen
from pytest_ncnn_parity.engine.protocol import Result
from pytest_ncnn_parity.plan.cases import Case

# Any mask changes which roundings add up, and with them an error that is only rounding. An output has
# become better if its error is halved and has shrunk by at least this share of its tolerance.
BEYOND_NOISE = 0.1
# An output whose whole error shrinks, though its largest may not, has become better if the root mean
# square is halved. Above 40 dB an error is rounding, and varies less than that between two runs.
HALVED_DB = 6.0
ROUNDING_DB = 40.0


class OutputError(Frozen):
    """The largest error of an output in any sample.

    `scaled`: as a share of the output's largest value. `used`: as a share of an element's tolerance.
    `failed`: the output was out of tolerance in at least one sample. `sqnr_db`: the smallest ratio of
    signal to error in any sample, in dB.
    """

    scaled: float
    used: float
    failed: bool
    sqnr_db: float = math.inf

    def joined(self, other: OutputError) -> OutputError:
        return OutputError(
            max(self.scaled, other.scaled),
            max(self.used, other.used),
            self.failed or other.failed,
            min(self.sqnr_db, other.sqnr_db),
        )


OutputErrors = Mapping[str, OutputError]

DIED = OutputError(math.inf, math.inf, True, -math.inf)


def output_errors(judged: Iterable[tuple[Case, Result]]) -> dict[str, OutputError]:
    """By output, the errors of the outputs among the `judged` cases that were not skipped."""
    errors: dict[str, OutputError] = {}
    for case, result in judged:
        if case.output is None or result.outcome == "skipped":
            continue
        metrics = result.metrics
        error = DIED
        if metrics is not None:
            red = result.outcome == "failed"
            error = OutputError(metrics.scaled, metrics.used, red, metrics.sqnr_db)
        errors[case.output] = errors.get(case.output, error).joined(error)
    return errors


def worst(errors: OutputErrors) -> float | None:
    """The largest error of any output, as a share of its largest value; None without outputs."""
    return max((error.scaled for error in errors.values()), default=None)


def better(before: OutputError, after: OutputError) -> bool:
    """Whether an output has improved by more than rounding does at random."""
    if before.failed or after.failed:
        return before.failed and not after.failed
    if after.used <= before.used / 2 and before.used - after.used > BEYOND_NOISE:
        return True
    return before.sqnr_db < ROUNDING_DB and after.sqnr_db >= before.sqnr_db + HALVED_DB


def helps(before: OutputErrors, after: OutputErrors) -> bool:
    """Whether any output has improved, or the errors before are unknown."""
    both = before.keys() & after.keys()
    return not both or any(better(before[output], after[output]) for output in both)


def changes(before: OutputErrors, after: OutputErrors) -> str:
    """The errors before and after of every output, in words."""
    return "; ".join(
        f"{output} {after[output].scaled:.3g}, before {before[output].scaled:.3g}"
        for output in before
        if output in after
    )
