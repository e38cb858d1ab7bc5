"""What repeats tell, for people and programs: aligned text, records."""

from __future__ import annotations

from typing import Any

import xarray as xr

from luxscale.analysis.label_arrays import label_units
from luxscale.analysis.repeats import FEWEST, FORMAL
from luxscale.analysis.tables import align_rows, count_decimals, round_to


def format_repeats(measured: xr.Dataset) -> str:
    """Return what `measure_repeats` found as text: a line a label, and a table for each quantity.

    Parameters
    ----------
    measured : Dataset
        From `measure_repeats`.

    Returns
    -------
    str
    """
    counts = measured.attrs
    drawn = ""
    if counts["drawn"] < counts["repeated"]:
        drawn = f", of which {counts['drawn']:,} are drawn"
    head = (
        f"{counts['repeated']:,} stars have two visits or more by {counts['by']!r}{drawn}; "
        f"{counts['most_visits']:,} are the most, {counts['once']:,} stars have one; "
        f"{counts['not_done']:,} rows are not done, "
        f"{counts['without_star']:,} have no {counts['by']!r}"
    )
    if measured["ratio"].isnull().any():
        head += f"; of fewer than {FEWEST} pairs no ratio is given"
    parts = [head, _format_all(measured.isel(bin=0))]
    for name in dict.fromkeys(measured["quantity"].values[1:].tolist()):
        parts.append(_format_bins(measured.isel(bin=measured["quantity"].values == name), name))
    return "\n\n".join(parts)


def _format_all(whole: xr.Dataset) -> str:
    heading = [
        "label",
        "unit",
        "stars",
        "visits",
        "missing",
        "scatter",
        "median err",
        "ratio",
        "+-",
    ]
    has_formal = "formal_ratio" in whole
    rows = [heading + ["formal", "+-"] * has_formal]
    for label, unit in label_units(whole).items():
        found = {name: array.item() for name, array in whole.sel(label=label).data_vars.items()}
        places = count_decimals(found["scatter"], found["median_err"])
        row = [label, unit or "-"]
        row += [f"{found[name]:,}" for name in ("n_stars", "n_visits", "n_missing")]
        row += [round_to(found[name], places) for name in ("scatter", "median_err")]
        row += [round_to(found[name], 2) for name in ("ratio", "ratio_err")]
        row += [round_to(found[name], 2) for name in FORMAL if has_formal]
        rows.append(row)
    return align_rows(rows, n_words=2)


def _format_bins(bins: xr.Dataset, name: str) -> str:
    """Return the ratios in bins of a quantity, over formal errors where they are known."""
    ratio, ratio_err = FORMAL if "formal_ratio" in bins else ("ratio", "ratio_err")
    spans = [
        f"{a:.4g}-{b:.4g}" for a, b in zip(bins.least.values, bins.greatest.values, strict=True)
    ]
    rows = [[f"{ratio.replace('_', ' ')} by {name}", *spans]]
    for label in label_units(bins):
        of_label = bins.sel(label=label)
        pairs = zip(of_label[ratio].values, of_label[ratio_err].values, strict=True)
        cells = (f"{round_to(a, 2)} +- {round_to(b, 2)}" if a == a else "-" for a, b in pairs)
        rows.append([label, *cells])
    return align_rows(rows, n_words=1)


def to_records(measured: xr.Dataset) -> list[dict[str, Any]]:
    """Return what `measure_repeats` found as a list of dicts that JSON can hold; None for NaN."""
    records = []
    for i, quantity in enumerate(measured["quantity"].values.tolist()):
        of_bin = measured.isel(bin=i)
        edges = {name: float(of_bin[name]) for name in ("least", "greatest")}
        for m, (label, unit) in enumerate(label_units(measured).items()):
            found = {str(name): array[m].item() for name, array in of_bin.data_vars.items()}
            record: dict[str, Any] = {
                "quantity": quantity,
                **edges,
                "label": label,
                "unit": unit,
                **found,
            }
            records.append({k: None if v != v else v for k, v in record.items()})
    return records
