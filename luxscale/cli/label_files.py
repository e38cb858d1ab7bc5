"""Labels of a few survey files, printed: the command `label` without a catalogue."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luxscale.cli.base import show
from luxscale.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from luxscale.ingest.memory import FewStars
    from luxscale.model.lux import LuxModel


def label_files(
    files: Sequence[str],
    model_path: str,
    *,
    given: tuple[str, ...],
    file_format: str | None,
    options: Mapping[str, str],
    as_json: bool,
) -> None:
    """Print labels of the stars of a few files; exit with 1 if a file or star cannot be used.

    Parameters
    ----------
    files : sequence of str
        Files, patterns and directories.
    model_path : str
    given : tuple of str
        Outputs to infer from.
    file_format : str, optional
        Recognised if not given.
    options : mapping of str to str
        Options of the format.
    as_json : bool

    Raises
    ------
    InputError
    """
    from luxscale.ingest.memory import format_refused, read_few, require_stars
    from luxscale.model.file import load_model
    from luxscale.model.infer import infer

    model = load_model(model_path)
    few = read_few(files, file_format, like=model, options=options)
    survey = require_stars(few)
    _refuse_other_kind(survey, model, given)
    catalog = infer(survey, model, given=given).compute()
    records = list(_describe_stars(survey, catalog, model))
    refused = [dict(zip(("file", "star", "reason"), row, strict=True)) for row in few.refused]
    _warn_unknown(few)
    show({"stars": records, "refused": refused}, format_stars(records), as_json)
    for row in few.refused:
        click.echo(format_refused(row), err=True)
    if few.refused:
        sys.exit(1)


def _refuse_other_kind(survey: xr.Dataset, model: LuxModel, given: Sequence[str]) -> None:
    """Refuse spectra of another kind than the model's, with the name of the first file.

    Raises
    ------
    InputError
    """
    from luxscale.ingest.layout import SOURCE
    from luxscale.schema.preparation import PREPARATION, list_differences

    if "flux" not in given or "flux" not in model:
        return
    how = survey["flux"].attrs.get(PREPARATION)
    differences = list_differences(how, model["flux"].preparation)
    if differences:
        raise InputError(
            f"{survey[SOURCE].values[0]}: its flux is not like that of the model's training stars: "
            f"{'; '.join(differences)}. Say how to read it (--format, --option), or take a model "
            "that was trained on such spectra"
        )


def _warn_unknown(few: FewStars) -> None:
    """Say how spectra were read otherwise, and that they may differ from those of the model."""
    for note in few.notes:
        click.echo(f"label: {note}", err=True)
    if not few.is_prepared_as_known:
        click.echo(
            "label: the model does not say how its spectra were prepared; these are as "
            f"`luxscale ingest {few.format}` prepares them without options",
            err=True,
        )


def _describe_stars(
    survey: xr.Dataset, catalog: xr.Dataset, model: LuxModel
) -> Iterator[dict[str, Any]]:
    """Yield what is known of each star, ready for JSON."""
    from luxscale.analysis.goodness import reduced_chi2
    from luxscale.schema import flags

    chi2_per_dof = reduced_chi2(catalog, model).values.tolist()
    for i, star in enumerate(catalog["star"].values.tolist()):
        yield {
            "star": star,
            "file": str(survey["source_file"].values[i]),
            "snr": _replace_nan(float(survey["snr"].values[i])),
            "labels": _describe_labels(catalog.isel(star=i), model),
            "n_pixels": int(catalog["n_pixels"].values[i]),
            "chi2_per_dof": _replace_nan(chi2_per_dof[i]),
            "flags": flags.explain(int(catalog["flags"].values[i])),
        }


def _describe_labels(star: xr.Dataset, model: LuxModel) -> list[dict[str, Any]]:
    records = []
    for output in model.labels:
        values, errors = (
            star[name].values.tolist() for name in (output.spec.name, output.spec.noise)
        )
        for name, unit, value, error in zip(
            output.coord, output.units, values, errors, strict=True
        ):
            record = {"value": _replace_nan(value), "error": _replace_nan(error)}
            records.append({"label": name, "unit": unit, **record})
    return records


def _replace_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def format_stars(records: Sequence[Mapping[str, Any]]) -> str:
    """Return stars as text: labels of one below each other, several stars a row each."""
    lines = _format_one(records[0]) if len(records) == 1 else _format_rows(records)
    raised = {name: meaning for record in records for name, meaning in record["flags"].items()}
    legend = [f"{name}: {meaning}" for name, meaning in raised.items()]
    return "\n".join([*lines, *([""] if legend else []), *legend])


def _format_one(record: Mapping[str, Any]) -> list[str]:
    about = [Path(record["file"]).name]
    if record["snr"] is not None:
        about.append(f"S/N {record['snr']:.0f}")
    rows = [("label", "value", "unit")]
    rows += [(found["label"], _format_value(found), found["unit"]) for found in record["labels"]]
    fit = f"{_format_chi2(record)}, {record['n_pixels']:,} pixels"
    rows += [("chi2/dof", fit, ""), ("flags", _format_flags(record), "")]
    return [f"{record['star']} ({', '.join(about)})", *_align(rows)]


def _format_rows(records: Sequence[Mapping[str, Any]]) -> list[str]:
    labels = records[0]["labels"]
    headings = [
        f"{found['label']}, {found['unit']}" if found["unit"] else found["label"]
        for found in labels
    ]
    rows: list[Sequence[str]] = [("star", *headings, "chi2/dof", "flags")]
    for record in records:
        values = map(_format_value, record["labels"])
        rows.append((str(record["star"]), *values, _format_chi2(record), _format_flags(record)))
    return _align(rows)


def _format_value(found: Mapping[str, Any]) -> str:
    """Return a label with its error, in decimals that the error calls for."""
    from luxscale.analysis.tables import count_decimals, round_to

    places = count_decimals(None, found["error"])
    return f"{round_to(found['value'], places)} ± {round_to(found['error'], places)}"


def _format_chi2(record: Mapping[str, Any]) -> str:
    value = record["chi2_per_dof"]
    return "-" if value is None else f"{value:.2f}"


def _format_flags(record: Mapping[str, Any]) -> str:
    return ", ".join(record["flags"]) or "none"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = map(str.ljust, row, widths)
        lines.append("  ".join(cells).rstrip())
    return lines
