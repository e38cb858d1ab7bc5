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

from luxscale.analysis.trusted_errors import advise_on_truth
from luxscale.progress import Progress
from luxscale.report import figures, provenance, tables
from luxscale.report.cells import Table
from luxscale.report.measure import State, compare_all, compare_by_snr, find_worst, read_state
from luxscale.report.sample import Sample, explain_truth, take_compared_sample, take_sample
from luxscale.report.sources import Chosen, Inputs, choose_stars
from luxscale.schema.attributes import unpack_attribute
from luxscale.schema.selection import Selection, take_rows
from luxscale.schema.variables import STAR

#: What a section of the page shows; figures of a list are small and stand side by side.
Shown = Table | figures.Figure | list[figures.Figure]

#: Stars in the table of the worst.
WORST = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
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
    shown: tuple[Shown, ...] = ()
    missing: tuple[str, ...] = ()


def make_page(inputs: Inputs, selection: Selection, progress: Progress) -> tuple[str, int | None]:
    """Return the page, and how many stars are compared with trusted labels.

    Parameters
    ----------
    inputs : Inputs
    selection : Selection
        Stars that are compared.
    progress : Progress
        Of 100 steps.

    Raises
    ------
    InputError
        As `luxscale.report.write_report`.
    """
    n_stars = inputs.catalog.sizes[STAR]
    chosen = choose_stars(inputs, selection)
    progress.stage("reading the catalogue")
    state = read_state(
        inputs.catalog, inputs.where, lambda read: progress.update(20 * read // n_stars)
    )
    progress.stage("taking samples")
    sample = take_sample(inputs)
    compared = None
    if inputs.truth is not None:
        compared = take_compared_sample(inputs, chosen.rows)

    def show_chunk(number: int) -> None:
        progress.update(72, f"chunk {number}")

    parts: list[tuple[str, int, Callable[[], Section]]] = [
        ("counting", 22, lambda: _make_counts(state, sample)),
        ("comparing labels", 25, lambda: _make_agreement(inputs, chosen, compared)),
        ("drawing labels", 55, lambda: _make_planes(sample)),
        ("drawing errors", 60, lambda: _make_errors(sample, compared)),
        ("counting flags", 70, lambda: _make_flags(state)),
        ("fits", 72, lambda: _make_fits(inputs, state, show_chunk)),
        ("worst stars", 85, lambda: _make_worst(inputs, state)),
        ("provenance", 99, lambda: _make_provenance(inputs)),
    ]
    sections = []
    for name, percent, make_section in parts:
        progress.stage(name)
        progress.update(percent)
        sections.append(make_section())
    n_compared = None if compared is None else compared.of
    return render_page(inputs, state, sections), n_compared


def render_page(inputs: Inputs, state: State, sections: list[Section]) -> str:
    """Return the HTML.

    All text is escaped, style and script are named by their hashes, and nothing else may load.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css, script = _read_file("page.css"), _read_file("page.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash_text(css)}'; "
        f"script-src '{_hash_text(script)}'; base-uri 'none'; form-action 'none'"
    )
    counts = state.counts
    return environment.get_template("page.html").render(
        name=inputs.name,
        attributes=inputs.catalog.attrs,
        counts=counts,
        unfinished=counts["stars"] - counts["done"] - counts["unreadable"],
        sections=sections,
        missing=[(s.id, s.title, text) for s in sections for text in s.missing],
        kind=lambda thing: type(thing).__name__,
        css=css,
        script=script,
        policy=policy,
        version=version("luxscale"),
    )


def _read_file(name: str) -> str:
    """Return the text of a file of this folder."""
    return (files("luxscale.report") / name).read_text(encoding="utf-8")


def _hash_text(text: str) -> str:
    """Return a hash of style or script as a content security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _make_counts(state: State, sample: Sample) -> Section:
    return Section(
        id="stars",
        title="Stars and labels",
        shown=(tables.tabulate_counts(state), tables.tabulate_labels(sample)),
    )


_STATISTICS = (
    "With d = inferred - trusted: bias is the mean of d, RMSE its root mean square, robust scatter "
    "1.4826 times the median absolute deviation of d about its median, median err the median error "
    "of the inferred label, and pull the robust scatter of d over the error of both, which is 1 "
    "where errors are right. Err / spread is the median error over the robust scatter of the "
    "trusted labels: far below 1 the spectrum determines the label; near 1 it says nothing of it, "
    "and what is inferred is about the mean of the training set (where the pull is above 1 errors, "
    "and with them this ratio, are too small). If stars of the training set are among those "
    "compared, agreement is better than it is for others."
)


def _make_agreement(inputs: Inputs, chosen: Chosen, compared: Sample | None) -> Section:
    section = Section(id="agreement", title="Agreement with trusted labels")
    if compared is None or inputs.truth is None:
        advice = "It needs a survey with trusted labels: add --truth SURVEY."
        return dataclasses.replace(section, missing=(advice,))
    catalog, text = inputs.catalog, _STATISTICS
    # to select all of them would read all identifiers once more
    if chosen.text:
        catalog = take_rows(catalog, chosen.rows)
        text = f"{chosen.text} {_STATISTICS}"
    with explain_truth(inputs):
        comparison = compare_all(catalog, inputs.truth)
    shown: list[Shown] = [tables.tabulate_agreement(comparison)]
    missing = []
    if compared.snr is None:
        missing.append("Bins of S/N need a survey with a variable snr (star): add --survey SURVEY.")
    else:
        shown.append(tables.tabulate_by_snr(compare_by_snr(compared), compared))
    shown.append(figures.one_to_one(compared))
    about_figures = (
        f"Figures are of {compared.description}: inferred against trusted label, the cross is of "
        "the median errors of both; where stars are many their number is drawn, on a logarithmic "
        "scale of its own in each panel, from dark to bright."
    )
    return dataclasses.replace(
        section, text=(text, about_figures), shown=tuple(shown), missing=tuple(missing)
    )


def _make_planes(sample: Sample) -> Section:
    drawn = figures.planes(sample)
    missing = []
    if not drawn:
        missing.append(
            "The catalogue has neither teff and logg, nor fe_h or m_h and an alpha abundance."
        )
    return Section(
        id="planes",
        title="Kiel diagram and abundances",
        text=(f"Of {sample.description}.",),
        shown=(drawn,),
        missing=tuple(missing),
    )


def _make_errors(sample: Sample, compared: Sample | None) -> Section:
    shown: list[Shown] = []
    missing = []
    text: tuple[str, ...] = ()
    pairs = None if compared is None else compared.pairs
    if pairs is not None:
        text = tuple(f"{line[0].upper()}{line[1:]}." for line in advise_on_truth(pairs))
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
    return Section(
        id="errors",
        title="Errors and their calibration",
        text=text,
        shown=tuple(shown),
        missing=tuple(missing),
    )


def _make_flags(state: State) -> Section:
    text = "The variable flags holds the sum of the values; a star without flags has 0."
    return Section(id="flags", title="Flags", text=(text,), shown=(tables.tabulate_flags(state),))


def _make_fits(inputs: Inputs, state: State, tell: Callable[[int], None]) -> Section:
    known = state.ratio[np.isfinite(state.ratio)]
    text = f"Of {known.size:,} stars that are done and had pixels"
    if known.size:
        low, middle, high = np.percentile(known, (5, 50, 95))
        text += (
            f", χ² per pixel has a median of {middle:.3g}; 90% lie between {low:.3g} and {high:.3g}"
        )
    shown: list[Shown] = []
    if (known > 0).any():
        shown.append(figures.chi2(state.ratio, inputs))
    shown.extend(figures.fits(inputs, tell))
    return Section(
        id="fits",
        title="Goodness of fit",
        text=(f"{text}.",),
        shown=tuple(shown),
        missing=tuple(_explain_missing_spectra(inputs)),
    )


def _explain_missing_spectra(inputs: Inputs) -> Iterator[str]:
    """Say what spectra need that is not there."""
    yield from _list_changed(inputs)
    if inputs.survey is None or inputs.model is None:
        yield (
            "Fits by wavelength and spectra need what the catalogue was made of: add --survey "
            "SURVEY --model MODEL."
        )
    elif not inputs.spectra:
        yield (
            "The catalogue was inferred from no spectrum: there are no fits by wavelength to show."
        )


def _list_changed(inputs: Inputs) -> Iterator[str]:
    """Say which inputs that the log names have changed."""
    for what in inputs.changed:
        yield (
            f"The {what} that the log names, {inputs.names[what]}, has changed since the catalogue "
            "was made of it."
        )


def _make_worst(inputs: Inputs, state: State) -> Section:
    section = Section(id="worst", title="Worst fits")
    rows = find_worst(state.ratio, WORST)
    if not rows.size:
        return dataclasses.replace(section, text=("No star has a finite χ² and pixels.",))
    shown: list[Shown] = [tables.tabulate_worst(inputs, rows, state.ratio)]
    text = []
    if inputs.spectra:
        text.append(
            "Spectrum with its one-sigma band, the model, and under it residuals over the expected "
            "noise, (data - model) / √(error² + scatter²)."
        )
        shown.extend(figures.spectra(inputs, rows[: figures.SPECTRA], state.ratio))
    return dataclasses.replace(
        section,
        text=tuple(text),
        shown=tuple(shown),
        missing=tuple(_explain_missing_spectra(inputs)),
    )


def _make_provenance(inputs: Inputs) -> Section:
    shown: list[Shown] = [provenance.tabulate_inputs(inputs)]
    missing = list(_list_changed(inputs))
    runs = provenance.tabulate_runs(inputs.log)
    if runs is None:
        missing.append(
            "When, how long and with which versions labels were inferred is in the log of the "
            "run: add --log FILE."
        )
    else:
        shown.append(runs)
    if inputs.model is None:
        missing.append("How the model was trained: add --model MODEL.")
    else:
        model = {k: v for k, v in inputs.model_facts.items() if k not in ("path", "kind")}
        shown.append(provenance.tabulate_facts("The model.", model))
    attributes = {k: v for k, v in inputs.catalog.attrs.items() if k != "flag_counts"}
    for name in attributes.keys() & {"identity", "versions"}:
        attributes[name] = unpack_attribute(attributes[name])
    shown.append(provenance.tabulate_facts("Attributes of the catalogue.", attributes))
    return Section(id="provenance", title="Provenance", shown=tuple(shown), missing=tuple(missing))
