"""The main job in small, on real data: survey, training, labelling on a cluster, comparison, figures."""

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
from luxscale.labelling.run import Summary, label_survey
from luxscale.model.lux import LuxModel
from luxscale.schema.variables import STAR
from luxscale.training import train

_MARK = "luxscale-demo.json"
_STORES = ("survey", "unlabelled", "model", "catalog")
_FIGURES = ("labels.png", "kiel.png", "spectra.png")

#: Stars a chunk and a task: small, so that a small survey has regions to share out.
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
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
    out: str | Path, *, workers: int | None = None, latent_dim: int = 48, progress: bool = True
) -> Demo:
    """Label 3,000 real giants from Gaia XP spectra with a model trained on 3,000 others, and compare with APOGEE.

    Parameters
    ----------
    out : str or Path
        Directory to make; an earlier demo's is replaced.
    workers : int, optional
        Worker processes; one a processor if not given.
    latent_dim : int
    progress : bool

    Returns
    -------
    Demo

    Raises
    ------
    InputError
        If ``out`` holds something else.
    """
    out = _directory(Path(out))
    paths = [out / f"{name}.zarr" for name in _STORES]
    store.write_dataset(xp_giants(), paths[0], chunk=_CHUNK)
    survey = store.open_survey(paths[0], check="all")
    half = survey.sizes[STAR] // 2
    hidden = survey.isel({STAR: slice(half, None)}).drop_vars(
        ["label_value", "label_err", "label", "label_units"]
    )
    store.write_dataset(hidden, paths[1], chunk=_CHUNK)
    model = train(
        survey.isel({STAR: slice(0, half)}), latent_dim, progress=progress, where=str(paths[0])
    )
    model.save(paths[2])
    with local_cluster(workers) as client:
        summary = label_survey(*paths[1:], client=client, region_stars=_CHUNK, progress=progress)
    catalog = store.open_dataset(paths[3]).load()
    truth = survey.isel({STAR: slice(half, None)}).load()
    figures = _draw(out, catalog, truth, model)
    return Demo(paths[0], paths[1], paths[2], paths[3], figures, compare(catalog, truth), summary)


def _directory(out: Path) -> Path:
    if out.exists():
        if not (out / _MARK).exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(
                f"{out}: holds something other than an earlier demo; choose another directory "
                "with --out"
            )
        for name in (
            *_FIGURES,
            *(f"{store}.zarr" for store in _STORES),
        ):  # what else lies there is the user's
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink(
                missing_ok=True
            )
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).write_text(json.dumps({"made_by": "luxscale demo"}) + "\n")
    return out.absolute()


def _draw(out: Path, catalog: xr.Dataset, truth: xr.Dataset, model: LuxModel) -> tuple[Path, ...]:
    teff = truth["label_value"].sel(label="teff").values
    typical = np.argsort(teff)[[teff.size // 10, teff.size // 2, teff.size - teff.size // 10]]
    drawn = [
        plot.labels_figure(catalog, truth),
        plot.kiel(catalog).figure,
        np.ravel(plot.spectra(truth, catalog, model, truth[STAR].values[typical].tolist()))[
            0
        ].figure,
    ]
    for name, figure in zip(_FIGURES, drawn, strict=True):
        figure.savefig(out / name, dpi=150)
    return tuple(out / name for name in _FIGURES)
