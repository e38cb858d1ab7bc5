"""Figure 11: clusters, whose stars share one composition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.examples.drawing import REPORTED, Settings, draw_measured, draw_spectra
from luxscale.examples.giants import LABELS, TRENDS, draw_labels, load_emulator, render
from luxscale.examples.simulate import FIELDS, make_frame
from luxscale.paper import giants, samples
from luxscale.paper.base import Study, register_figure
from luxscale.paper.panels import make_panels

CLUSTERS, SEED = 9, 4
#: Real giants whose (teff, logg) make the branch of a cluster: those nearest to it in composition.
NEIGHBOURS = 200
#: How far stars lie off their branch, in K.
SPREAD = 30.0
#: Metallicities that a cluster may have, in dex: about those of open clusters.
METALLICITIES = (-0.6, 0.35)
#: Where the labels that a catalogue reports stand among those of the emulator.
REPORTED_AT = [LABELS.index(name) for name in REPORTED]


def draw_branch(
    sample: np.ndarray, m_h: float, alpha: float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw (teff, logg) of ``n`` stars on a giant branch of some composition.

    The branch is a parabola through the real giants that are nearest to it in composition.

    Parameters
    ----------
    sample : array, (giant, 4)
        teff, logg, m_h and alpha of real giants.
    m_h, alpha : float
        Composition, in dex.
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    array, (n, 2)
    """
    distance = np.hypot(sample[:, 2] - m_h, sample[:, 3] - alpha)
    nearest = np.argsort(distance)[:NEIGHBOURS]
    near_teff, near_logg = sample[nearest, :2].T
    parabola = np.polynomial.Polynomial.fit(near_logg, near_teff, 2)
    logg = rng.choice(near_logg, n)
    spread = SPREAD * rng.standard_normal(n)
    teff = parabola(logg) + spread
    return np.column_stack([teff, logg])


def draw_stars(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the labels of the stars of all clusters.

    Returns
    -------
    labels : array, (star, label)
    cluster : array of int, (star,)
        Numbers of the clusters, from 1.
    """
    sample = load_emulator()["sample"].astype(float)
    low, high = METALLICITIES
    m_h = sample[:, 2]
    likely = sample[(m_h > low) & (m_h < high)]
    compositions = draw_labels(CLUSTERS, likely, rng)
    cluster = np.sort(np.arange(n) % CLUSTERS)
    labels = compositions[cluster]
    # [Mg/M] follows [alpha/M] with this slope
    slope = TRENDS["mg_m"][1]
    for k, composition in enumerate(compositions):
        metallicity = composition[LABELS.index("m_h")]
        alpha = composition[LABELS.index("mg_m")] / slope
        at = cluster == k
        labels[at, :2] = draw_branch(sample, metallicity, alpha, int(at.sum()), rng)
    return labels, cluster + 1


def observe_stars(
    study: Study, labels: np.ndarray, names: Sequence[str], *, snr: tuple[float, float], seed: int
) -> xr.Dataset:
    """Return a survey of giants of these labels (star, `luxscale.examples.giants.LABELS`)."""
    settings = Settings(
        n_stars=len(labels),
        snr=snr,
        n_pixels=study.pixels,
        missing_labels=0.1,
        bad_pixels=0.03,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    ratio = rng.uniform(*snr, len(labels)).astype("f4")
    flux = render(labels, load_emulator(study.pixels))
    fields = {
        "star": np.array(names, object),
        "snr": ratio,
        **draw_measured(labels[:, REPORTED_AT], settings.missing_labels, rng),
        **draw_spectra(flux, ratio, settings.bad_pixels, rng),
    }
    columns = {}
    for name, values in fields.items():
        dims, _, long_name = FIELDS[name]
        columns[name] = (dims, values, {"long_name": long_name})
    return make_frame(settings).assign(columns)


def make_survey(study: Study) -> xr.Dataset:
    """Return the spectra of the stars of nine clusters.

    ``cluster`` (star,) is the number of each star's.
    """
    n = samples.count_stars("D", study.fraction)

    def make() -> xr.Dataset:
        rng = np.random.default_rng(SEED)
        labels, cluster = draw_stars(n, rng)
        names = [f"cluster-{k}-{i:03d}" for i, k in enumerate(cluster.tolist())]
        made = observe_stars(study, labels, names, snr=(100.0, 200.0), seed=SEED)
        attrs = {"long_name": "number of the cluster"}
        return made.assign(cluster=("star", cluster, attrs))

    return study.keep("clusters", make, stars=n, seed=SEED)


@register_figure("11", "stars of nine clusters, labelled by the model of field giants")
def clusters(study: Study) -> Figure:
    """Draw labels of cluster stars against the truth, and their scatter against their errors.

    The paper takes 790 stars of nine open clusters and compares with ASPCAP. Here the clusters are
    simulated: each has the composition of one giant drawn from the packaged sample, all its
    elements the same in every star, and stars along a giant branch; so the truth is known, and all
    scatter within a cluster is the method's. Real dredge-up, which makes C and N differ along a
    branch, is left out. [M/H] and [Mg/M] stand for [Fe/H] and [Mg/Fe], and in place of the paper's
    Tinsley-Wallerstein diagram the last panel says how honest the errors are. Ratios below 1 have
    two reasons: part of an error is of the composition, which the stars of a cluster share, and
    shows in the offset of the cluster, not in its scatter; and errors of the catalogue hold the
    misfit that is measured over all field giants, metal-poor ones among them, which may be more
    than that of stars like these.
    """
    truth = make_survey(study).compute()
    model = giants.train_model(study)

    def infer() -> xr.Dataset:
        return lux.infer(truth, model).compute()

    catalog = study.keep("clusters-catalog", infer, model=model.fingerprint).compute()
    cluster = truth["cluster"].values
    drawing, axes = make_panels(6, 3)
    for ax, label in zip(axes[:2], ("teff", "logg"), strict=True):
        plot.one_to_one(catalog, truth, label, ax)
    plot.kiel_groups(catalog, cluster, axes[2], title="cluster")
    for ax, label in zip(axes[3:5], ("m_h", "mg_m"), strict=True):
        plot.clusters(catalog, truth, cluster, label, ax)
    plot.cluster_scatter(catalog, cluster, ("m_h", "mg_m"), axes[5])
    return drawing
