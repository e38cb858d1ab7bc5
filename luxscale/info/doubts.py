"""What in a survey is allowed and yet looks like a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: A lower median of S/N, and a larger share of pixels with huge errors, are worth a look: an
#: ``ivar`` that holds errors, or is in another unit than the flux, shows so.
_LEAST_SNR, _MOST_HUGE = 3.0, 0.1

#: So is a share of pixels that float32 does not hold, beyond a few damaged ones.
_MOST_BEYOND = 0.005

#: Wavelengths of spectra of stars that end below, or begin above, are worth a look: nm or um may be
#: given as Angstrom, or Angstrom as nm.
_LEAST_ANGSTROM, _MOST_NM, _MOST_UM = 1500.0, 2500.0, 30.0


def find_doubts(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that looks like a mistake.

    Parameters
    ----------
    facts : mapping
        With ``snr``, ``ingest`` and ``outputs`` where they are known, as
        `luxscale.info.survey.describe_survey` returns them.
    """
    median = facts.get("snr", {}).get("median")
    if median is not None and median < _LEAST_SNR:
        yield (
            f"the median S/N is {median:.2g}: if spectra are not that faint, check that ivar is "
            "1 / error**2, in the unit of the flux"
        )
    for name, output in facts.get("outputs", {}).items():
        unit = output.get("units")
        is_short = unit == "Angstrom" and output["greatest"] < _LEAST_ANGSTROM
        is_long = unit == "nm" and output["least"] > _MOST_NM
        if is_short or is_long:
            other = "Angstrom" if is_long else "um" if output["greatest"] < _MOST_UM else "nm"
            yield (
                f"{name} is from {output['least']:g} to {output['greatest']:g} {unit}: check the "
                f"unit, which may be {other} (of arrays --option units=)"
            )
    reasons = facts.get("ingest", {}).get("masked", {}).get("reasons", {})
    beyond = reasons.get("beyond float32", 0.0)
    if beyond > _MOST_BEYOND:
        yield (
            f"{beyond:.0%} of the pixels are masked as flux or ivar do not fit "
            "float32: bring the flux near 1, by --continuum median or another unit"
        )
    huge = reasons.get("huge error", 0.0)
    if huge > _MOST_HUGE:
        yield (
            f"{huge:.0%} of the pixels have huge errors and are masked: check that ivar is "
            "1 / error**2, in the unit of the flux"
        )
