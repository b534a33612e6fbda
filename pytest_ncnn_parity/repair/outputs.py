"""The errors of a network's outputs before and after a fix, and whether the fix helps them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

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
    signal to error in any sample, in dB. `forgiven`: in at least one sample it passed out of tolerance,
    because something other than its layers explains the error, and it is not behind int8 layers, where
    that is the rule. `silent`: in no sample was it beyond the error allowed, so that it shows nothing.
    """

    scaled: float
    used: float
    failed: bool
    sqnr_db: float = math.inf
    forgiven: bool = False
    silent: bool = False

    def joined(self, other: OutputError) -> OutputError:
        return OutputError(
            max(self.scaled, other.scaled),
            max(self.used, other.used),
            self.failed or other.failed,
            min(self.sqnr_db, other.sqnr_db),
            self.forgiven or other.forgiven,
            self.silent and other.silent,
        )


OutputErrors = Mapping[str, OutputError]

DIED = OutputError(math.inf, math.inf, True, -math.inf)


def output_errors(judged: Iterable[tuple[Case, Result]]) -> dict[str, OutputError]:
    """By output, the errors of the outputs among the `judged` cases that were not skipped."""
    errors: dict[str, OutputError] = {}
    for case, result in judged:
        if case.output is None or result.outcome == "skipped":
            continue
        error = _error(result)
        errors[case.output] = errors.get(case.output, error).joined(error)
    return errors


def _error(result: Result) -> OutputError:
    metrics = result.metrics
    if metrics is None:
        return DIED
    red = result.outcome == "failed"
    forgiven = not red and metrics.mismatched > 0 and not result.evidence.behind_int8
    silent = not red and metrics.tells_nothing
    return OutputError(metrics.scaled, metrics.used, red, metrics.sqnr_db, forgiven, silent)


def worst(errors: OutputErrors) -> float | None:
    """The largest error of any output, as a share of its largest value; None without outputs.

    Silent ones count only if there is no other: of an output that holds nothing, any error is large.
    """
    told = [error for error in errors.values() if not error.silent] or errors.values()
    return max((error.scaled for error in told), default=None)


def better(before: OutputError, after: OutputError) -> bool:
    """Whether an output has improved by more than rounding does at random."""
    if after.failed:
        return False
    if before.failed:
        return not after.forgiven or _is_halved(before, after)
    if after.used <= before.used / 2 and before.used - after.used > BEYOND_NOISE:
        return True
    return before.sqnr_db < ROUNDING_DB and after.sqnr_db >= before.sqnr_db + HALVED_DB


def _is_halved(before: OutputError, after: OutputError) -> bool:
    return after.scaled <= before.scaled / 2 or after.sqnr_db >= before.sqnr_db + HALVED_DB


def not_mended(
    before: OutputErrors, judged: Iterable[tuple[Case, Result]]
) -> Iterator[tuple[str, OutputError]]:
    """The outputs among the `judged` cases that failed before and are hardly better, with their errors.

    They pass by what forgives their errors, which masks can bring about without any use.
    """
    for output, after in output_errors(judged).items():
        if output in before and before[output].failed and not better(before[output], after):
            yield output, after


def still_wrong(before: OutputErrors, after: OutputErrors) -> Iterator[str]:
    """A line about each output that a fix makes better, but not right by its tolerance."""
    for output, error in after.items():
        if error.forgiven and output in before and before[output].failed:
            was = before[output].sqnr_db
            yield (
                f"output {output} is out of tolerance with this fix too, which is forgiven: its sqnr is "
                f"{error.sqnr_db:.1f} dB, before {was:.1f} dB"
            )


def helps(before: OutputErrors, after: OutputErrors) -> bool:
    """Whether any output has improved, or none shows whether it has."""
    both = {output for output in before.keys() & after.keys() if not before[output].silent}
    return not both or any(better(before[output], after[output]) for output in both)


def changes(before: OutputErrors, after: OutputErrors) -> str:
    """The errors before and after of every output, in words."""
    return "; ".join(
        f"{output} {after[output].scaled:.3g}, before {before[output].scaled:.3g}"
        for output in before
        if output in after
    )
