"""The page of a report: what goes where, and the HTML that holds it all."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.resources import files

import jinja2
import numpy as np

from luxscale.errors import InputError
from luxscale.progress import Progress
from luxscale.report import figures, tables
from luxscale.report.facts import (
    Sample,
    State,
    compare_all,
    compare_by_snr,
    of_truth,
    read_state,
    take_compared,
    take_sample,
    worst,
)
from luxscale.report.inputs import Inputs
from luxscale.schema.variables import STAR

#: Stars in the table of the worst.
WORST = 20


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Parameters
    ----------
    id, title : str
    text : tuple of str
        Paragraphs before what it shows.
    shown : tuple
        Tables, figures, and lists of small figures that stand side by side.
    missing : tuple of str
        What is left out, and how to get it.
    """

    id: str
    title: str
    text: tuple[str, ...] = ()
    shown: tuple[tables.Table | figures.Figure | list[figures.Figure], ...] = ()
    missing: tuple[str, ...] = ()


def make_page(inputs: Inputs, stars: slice, shown: Progress) -> str:
    """Return the page.

    Parameters
    ----------
    inputs : Inputs
    stars : slice
        Stars that are compared, by position.
    shown : Progress
        Of 100 steps.

    Raises
    ------
    InputError
        As `luxscale.report.write_report`.
    """
    n = inputs.catalog.sizes[STAR]
    if (stars.stop or 0) > n or (stars.start or 0) >= (n if stars.stop is None else stars.stop):
        raise InputError(f"{inputs.where}: it holds stars 0:{n}; choose some of them (--stars)")
    shown.stage("reading the catalogue")
    state = read_state(inputs.catalog, inputs.where, lambda read: shown.update(20 * read // n))
    shown.stage("taking samples")
    sample = take_sample(inputs)
    compared = None if inputs.truth is None else take_compared(inputs, stars)
    parts: list[tuple[str, int, Callable[[], Section]]] = [
        ("counting", 22, lambda: _stars(state, sample)),
        ("comparing labels", 25, lambda: _agreement(inputs, stars, compared)),
        ("drawing labels", 55, lambda: _planes(sample)),
        ("drawing errors", 60, lambda: _errors(sample, compared)),
        ("counting flags", 70, lambda: _flags(state)),
        ("fits", 72, lambda: _fits(inputs, state, lambda k: shown.update(72, f"chunk {k}"))),
        ("worst stars", 85, lambda: _worst(inputs, state)),
        ("provenance", 99, lambda: _provenance(inputs)),
    ]
    sections = []
    for name, percent, make in parts:
        shown.stage(name)
        shown.update(percent)
        sections.append(make())
    return render(inputs, state, sections)


def render(inputs: Inputs, state: State, sections: list[Section]) -> str:
    """Return the HTML; all text is escaped, style and script are named by their hashes, and nothing else may load."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    css, script = _file("page.css"), _file("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src "
        f"'{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template("page.html").render(
        name=inputs.name,
        attributes=inputs.catalog.attrs,
        counts=state.counts,
        unfinished=state.counts["stars"] - state.counts["done"] - state.counts["unreadable"],
        sections=sections,
        missing=[(s.id, s.title, m) for s in sections for m in s.missing],
        kind=lambda thing: type(thing).__name__,
        css=css,
        script=script,
        policy=policy,
        version=version("luxscale"),
    )


def _file(name: str) -> str:
    return (files("luxscale.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _stars(state: State, sample: Sample) -> Section:
    return Section(
        "stars",
        "Stars and labels",
        shown=(tables.counts(state), tables.distributions(sample)),
    )


def _agreement(inputs: Inputs, stars: slice, compared: Sample | None) -> Section:
    title = "Agreement with trusted labels"
    if compared is None or inputs.truth is None:
        return Section(
            "agreement",
            title,
            missing=("It needs a survey with trusted labels: add --truth SURVEY.",),
        )
    n = inputs.catalog.sizes[STAR]
    chosen = range(n)[stars]
    # a selection would read all identifiers once more
    catalog = inputs.catalog if len(chosen) == n else inputs.catalog.isel({STAR: stars})
    with of_truth(inputs):
        found = compare_all(catalog, inputs.truth)
    some = (
        f"Compared are stars {chosen.start:,} to {chosen.stop:,} of the catalogue. "
        if len(chosen) < n
        else ""
    )
    text = (
        f"{some}With d = inferred - trusted: bias is the mean of d, RMSE its root mean square, "
        "robust scatter 1.4826 times "
        "the median absolute deviation of d about its median, median err the median error of "
        "the inferred label, and pull "
        "the robust scatter of d over the error of both, which is 1 where errors are right. "
        "Err / spread is the median "
        "error over the robust scatter of the trusted labels: far below 1 the spectrum "
        "determines the label; near 1 it says "
        "nothing of it, and what is inferred is about the mean of the training set (where the "
        "pull is above 1 errors, and "
        "with them this ratio, are too small). If stars of the training set "
        "are among those compared, agreement is better than it is for others.",
    )
    shown: list[tables.Table | figures.Figure | list[figures.Figure]] = [tables.comparison(found)]
    missing: tuple[str, ...] = ()
    if compared.snr is None:
        missing = ("Bins of S/N need a survey with a variable snr (star): add --survey SURVEY.",)
    else:
        shown.append(tables.by_snr(compare_by_snr(compared), compared))
    shown.append(figures.one_to_one(compared))
    drawn = (
        f"Figures are of {compared.said}: inferred against trusted label, the cross is of the "
        "median errors of both; where "
        "stars are many their number is drawn, on a logarithmic scale of its own in each "
        "panel, from dark to bright."
    )
    return Section("agreement", title, (*text, drawn), tuple(shown), missing)


def _planes(sample: Sample) -> Section:
    drawn = figures.planes(sample)
    text = f"Of {sample.said}."
    missing = (
        ()
        if drawn
        else ("The catalogue has neither teff and logg, nor fe_h or m_h and an alpha abundance.",)
    )
    return Section("planes", "Kiel diagram and abundances", (text,), (drawn,), missing)


def _errors(sample: Sample, compared: Sample | None) -> Section:
    shown: list[figures.Figure] = []
    missing: list[str] = []
    drawn = figures.errors(sample if compared is None else compared)
    if drawn is None:
        missing.append(
            "Errors against S/N need a survey with a variable snr (star): add --survey SURVEY."
        )
    else:
        shown.append(drawn)
    if compared is None:
        missing.append("The calibration of errors needs trusted labels: add --truth SURVEY.")
    else:
        shown.append(figures.pulls(compared))
    return Section("errors", "Errors and their calibration", (), tuple(shown), tuple(missing))


def _flags(state: State) -> Section:
    text = "The variable flags holds the sum of the values; a star without flags has 0."
    return Section("flags", "Flags", (text,), (tables.flag_counts(state),))


def _fits(inputs: Inputs, state: State, tell: Callable[[int], None]) -> Section:
    known = state.ratio[np.isfinite(state.ratio)]
    text = f"Of {known.size:,} stars that are done and had pixels"
    if known.size:
        low, middle, high = np.percentile(known, (5, 50, 95))
        text += (
            f", χ² per pixel has a median of {middle:.3g}; 90% lie between {low:.3g} and {high:.3g}"
        )
    shown = [figures.chi2(state.ratio, inputs)] if (known > 0).any() else []
    return Section(
        "fits",
        "Goodness of fit",
        (text + ".",),
        (*shown, *figures.fits(inputs, tell)),
        tuple(_no_spectra(inputs)),
    )


def _no_spectra(inputs: Inputs) -> Iterator[str]:
    """Say what spectra need that is not there."""
    yield from _changed(inputs)
    if inputs.survey is None or inputs.model is None:
        yield (
            "Fits by wavelength and spectra need what the catalogue was made of: add --survey "
            "SURVEY --model MODEL."
        )
    elif not inputs.spectra:
        yield "The catalogue was inferred from no spectrum: there are no fits by wavelength to show."


def _changed(inputs: Inputs) -> Iterator[str]:
    """Say what the log names that is another now."""
    for what in inputs.changed:
        yield (
            f"The {what} that the log names, {inputs.names[what]}, has changed since the catalogue "
            "was made of it."
        )


def _worst(inputs: Inputs, state: State) -> Section:
    rows = worst(state.ratio, WORST)
    if not rows.size:
        return Section("worst", "Worst fits", ("No star has a finite χ² and pixels.",))
    drawn = figures.spectra(inputs, rows[: figures.SPECTRA], state.ratio) if inputs.spectra else ()
    text = (
        "Spectrum with its one-sigma band, the model, and under it residuals over the expected "
        "noise, (data - model) / √(error² + scatter²)."
    )
    return Section(
        "worst",
        "Worst fits",
        (text,) if inputs.spectra else (),
        (tables.worst_stars(inputs, rows, state.ratio), *drawn),
        tuple(_no_spectra(inputs)),
    )


def _provenance(inputs: Inputs) -> Section:
    shown = [tables.made_of(inputs)]
    missing = list(_changed(inputs))
    runs = tables.runs(inputs.log)
    if runs is None:
        missing.append(
            "When, how long and with which versions labels were inferred stands in the log of "
            "the run: --log FILE."
        )
    else:
        shown.append(runs)
    if inputs.model is None:
        missing.append("How the model was trained: add --model MODEL.")
    else:
        model = {k: v for k, v in inputs.model_facts.items() if k not in ("path", "kind")}
        shown.append(tables.facts("The model.", model))
    held = {k: v for k, v in inputs.catalog.attrs.items() if k != "flag_counts"}
    shown.append(tables.facts("Attributes of the catalogue.", held))
    return Section("provenance", "Provenance", (), tuple(shown), tuple(missing))
