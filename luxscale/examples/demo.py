"""The main job in small, on real data: survey, training, labelling, comparison, figures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from luxscale import plot, store
from luxscale.analysis.evaluate import compare
from luxscale.cluster import local_cluster
from luxscale.errors import InputError
from luxscale.examples.samples import xp_giants
from luxscale.labelling.layout import FORMAT as CATALOG_FORMAT
from luxscale.labelling.run import Summary, label_survey
from luxscale.model.file import FORMAT as MODEL_FORMAT
from luxscale.model.lux import LuxModel
from luxscale.schema.variables import STAR
from luxscale.training import train

_MARK = "luxscale-demo.json"

#: What the demo writes beside its figures, and the kind of each.
_STORES = {
    "survey": store.SURVEY_FORMAT,
    "unlabelled": store.SURVEY_FORMAT,
    "model": MODEL_FORMAT,
    "catalog": CATALOG_FORMAT,
}
_FIGURES = ("labels.png", "kiel.png", "spectra.png")

#: Stars per chunk and a task: small, so that a small survey has regions to share out.
_CHUNK = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo made: paths, the comparison of labels, and how the run went."""

    survey: Path
    unlabelled: Path
    model: Path
    catalog: Path
    figures: tuple[Path, ...]
    comparison: xr.Dataset
    summary: Summary


def run_demo(
    out: str | Path, *, workers: int | None = None, recipe: str | None = None, progress: bool = True
) -> Demo:
    """Label 3,000 real giants from Gaia XP spectra, and compare with APOGEE.

    The model is trained on 3,000 others.

    Parameters
    ----------
    out : str or Path
        Directory to make; an earlier demo's is replaced.
    workers : int, optional
        Worker processes; one per CPU core if not given.
    recipe : str, optional
        As for `luxscale.train`: the best on stars left out if not given.
    progress : bool

    Returns
    -------
    Demo

    Raises
    ------
    InputError
        If ``out`` holds something else, or something else has the name of what the demo writes.
    """
    folder = _claim_folder(Path(out))
    survey_path, unlabelled_path, model_path, catalog_path = (
        folder / f"{name}.zarr" for name in _STORES
    )
    store.write_dataset(xp_giants(), survey_path, chunk=_CHUNK, overwrite=True)
    survey = store.open_survey(survey_path)
    half = survey.sizes[STAR] // 2
    known = survey.isel({STAR: slice(0, half)})
    others = survey.isel({STAR: slice(half, None)})
    unlabelled = others.drop_vars(["label_value", "label_err", "label", "label_units"])
    store.write_dataset(unlabelled, unlabelled_path, chunk=_CHUNK, overwrite=True)
    model = train(known, recipe=recipe, progress=progress, where=str(survey_path))
    model.save(model_path, overwrite=True)
    if catalog_path.exists():  # of an earlier demo; a catalogue is not written over
        shutil.rmtree(catalog_path)
    with local_cluster(workers) as client:
        summary = label_survey(
            unlabelled_path,
            model_path,
            catalog_path,
            client=client,
            region_stars=_CHUNK,
            progress=progress,
        )
    catalog = store.open_dataset(catalog_path).load()
    truth = others.load()
    return Demo(
        survey=survey_path,
        unlabelled=unlabelled_path,
        model=model_path,
        catalog=catalog_path,
        figures=_draw_figures(folder, catalog, truth, model),
        comparison=compare(catalog, truth),
        summary=summary,
    )


def _claim_folder(out: Path) -> Path:
    """Make the folder of a demo, or take up that of an earlier one; what is not ours stays.

    Raises
    ------
    InputError
        If something else lies there, or where the demo writes in it.
    """
    is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not is_free and not (out / _MARK).is_file():
        raise InputError(
            f"{out}: something other than a demo is there; choose another directory with --out"
        )
    for name, kind in _STORES.items():
        store.claim_place(out / f"{name}.zarr", kind, overwrite=True)
    for name in _FIGURES:
        store.claim_figure_in(out, name, overwrite=True)
    out.mkdir(parents=True, exist_ok=True)
    mark = json.dumps({"made_by": "luxscale demo"})
    (out / _MARK).write_text(mark + "\n")
    return out.absolute()


def _draw_figures(
    folder: Path, catalog: xr.Dataset, truth: xr.Dataset, model: LuxModel
) -> tuple[Path, ...]:
    """Draw the figures of the demo: labels against the truth, a Kiel diagram, three spectra."""
    teff = truth["label_value"].sel(label="teff").values
    by_teff = np.argsort(teff)
    tenth = teff.size // 10
    typical = by_teff[[tenth, teff.size // 2, teff.size - tenth]]
    stars = truth[STAR].values[typical].tolist()
    spectra = np.ravel(plot.spectra(truth, catalog, model, stars))
    drawn = [
        plot.labels_figure(catalog, truth),
        plot.kiel(catalog).figure,
        spectra[0].figure,
    ]
    paths = tuple(folder / name for name in _FIGURES)
    for path, figure in zip(paths, drawn, strict=True):
        store.save_figure(figure, path)
    return paths
