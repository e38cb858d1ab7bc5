"""Figure 12: giants and dwarfs in one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.examples.giants import LABELS, draw_labels, load_emulator
from luxscale.paper import samples
from luxscale.paper.base import Study, register_figure
from luxscale.paper.panels import make_panels

EMULATOR = "apogee_nn5.npz"
SEEDS = {"E": 5, "F": 6}
NAMES, UNITS = (
    ("teff", "logg", "fe_h", "mg_fe", "vmacro"),
    ("K", "dex(cm s-2)", "dex", "dex", "km/s"),
)
#: Errors of the labels, about ASPCAP's.
ERRORS = np.array([20.0, 0.05, 0.02, 0.03, 0.5])
#: Giants have less, dex(cm s-2).
GIANTS = 3.5
#: Mean (teff, logg) of dwarfs of types M5 to F5, from textbook masses and radii.
MAIN_SEQUENCE = np.array([
    (3030, 5.06), (3200, 4.92), (3550, 4.78), (3850, 4.66), (4440, 4.58), (5270, 4.56), (5770, 4.44), (6550, 4.23),
]).T  # fmt: skip
#: Ends of the subgiant branch.
SUBGIANTS = np.array([(5000, 3.4), (5900, 4.1)])
#: Shares of giants, dwarfs and subgiants.
SHARES = (0.5, 0.4, 0.1)


def draw_all_labels(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw labels (star, NAMES) of giants, dwarfs and subgiants, mixed.

    Giants are like those of the packaged sample. Dwarfs follow `MAIN_SEQUENCE`, with 0.05 dex of
    spread and, where they are warm enough to have evolved, up to 0.3 dex less. Compositions are
    those of giants. Giants broaden as ASPCAP has it; the others, which rotate, by 4 km/s with 0.3
    dex of spread.
    """
    giants = draw_labels(n, load_emulator()["sample"], rng)
    teff, logg, m_h, mg = (giants[:, LABELS.index(k)] for k in ("teff", "logg", "m_h", "mg_m"))
    kind = rng.choice(3, n, p=SHARES)
    cool = rng.uniform(3000, 6500, n)
    evolved = 0.3 * rng.random(n) * np.clip((cool - 5000) / 1000, 0, 1)
    dwarf = np.interp(cool, *MAIN_SEQUENCE) - evolved + 0.05 * rng.standard_normal(n)
    along = (
        SUBGIANTS[0]
        + rng.random((n, 1)) * (SUBGIANTS[1] - SUBGIANTS[0])
        + rng.normal(size=(n, 2)) * (100, 0.1)
    )
    vmacro = 10 ** (0.741 - 0.0998 * logg - 0.225 * m_h)  # km/s, the relation of ASPCAP
    rotating = 4 * 10 ** (0.3 * rng.standard_normal(n))
    return np.column_stack([
        np.choose(kind, [teff, cool, along[:, 0]]),
        np.choose(kind, [logg, dwarf, along[:, 1]]),
        m_h,
        mg,
        np.where(kind == 0, vmacro, rotating),
    ])  # fmt: skip


def load_networks(path: Path, pixels: int) -> dict[str, np.ndarray]:
    """Return the per-pixel networks of the published emulator, of evenly spaced pixels if fewer are wanted."""
    with np.load(path, allow_pickle=False) as file:
        net = {k: file[k] for k in file.files if k != "label_names"}
    size = net["wavelength_A"].size
    at = np.linspace(0, size - 1, min(pixels, size)).round().astype(int)
    return {k: v[at] if v.shape[:1] == (size,) else v for k, v in net.items()}


def render(labels: np.ndarray, net: dict[str, np.ndarray]) -> np.ndarray:
    """Return noiseless continuum-normalised flux (star, pixel), float32, of labels (star, NAMES)."""
    x = ((labels - net["x_min"]) / (net["x_max"] - net["x_min"]) - 0.5).astype("f4")
    flux = np.repeat(net["b_array_1"][None].astype("f4"), len(x), 0)
    for k in range(
        net["w_array_0"].shape[1]
    ):  # a neuron of all pixels at a time: all at once would fill the memory
        inner = x @ net["w_array_0"][:, k].T + net["b_array_0"][:, k]
        flux += net["w_array_1"][:, k] / (1 + np.exp(-inner))
    return flux


def draw_stars(
    n: int, which: str, net: dict[str, np.ndarray], rng: np.random.Generator
) -> xr.Dataset:
    """Return ``label_value``, without errors, and ``snr`` of stars that pass a sample's cuts, in the emulator's range."""
    drawn = draw_all_labels(5 * n, rng)
    drawn = drawn[((drawn > net["x_min"]) & (drawn < net["x_max"])).all(1)]
    stars = xr.Dataset(
        {
            "label_value": (("star", "label"), drawn),
            "snr": ("star", rng.uniform(100, 200, len(drawn)).astype("f4")),
        },
        {"label": np.array(NAMES, object)},
    )
    return stars.isel(star=np.flatnonzero(samples.find_passing(stars, which))[:n])


def make_survey(n: int, which: str, net: dict[str, np.ndarray]) -> xr.Dataset:
    """Return spectra of S/N 100 to 200 and labels with errors, of stars of the paper's sample E or F."""
    seed = SEEDS[which]
    rng = np.random.default_rng(seed)
    stars = draw_stars(n, which, net, rng)
    true, snr = stars["label_value"].values, stars["snr"].values
    flux = render(true, net)
    error = np.sqrt(np.maximum(flux, 0.05)) / snr[:, None]
    table = ("star", "label")
    return xr.Dataset(
        {
            "flux": (
                ("star", "wavelength"),
                flux + error * rng.standard_normal(flux.shape, dtype="f4"),
            ),
            "flux_ivar": (("star", "wavelength"), error**-2),
            "label_value": (table, true + ERRORS * rng.standard_normal(true.shape)),
            "label_err": (table, np.broadcast_to(ERRORS, true.shape)),
            "label_true": (table, true),
            "snr": ("star", snr),
        },
        {
            "star": np.array([f"all-{seed}-{i:05d}" for i in range(len(true))], object),
            "wavelength": (
                "wavelength",
                net["wavelength_A"],
                {"units": "Angstrom", "medium": "vacuum"},
            ),
            "label": np.array(NAMES, object),
            "label_units": ("label", np.array(UNITS, object)),
        },
        {
            "title": "Simulated giants, subgiants and dwarfs",
            "source": f"{EMULATOR}, of tingyuansen/binspec_plus",
        },
    )


def make_sample(study: Study, which: str) -> xr.Dataset:
    """Return stars of all kinds, as many as in the paper's sample E or F."""
    n = samples.count_stars(which, study.fraction)
    net = load_networks(study.find_file(EMULATOR), study.pixels)
    return study.keep(
        f"all-{which}", lambda: make_survey(n, which, net), stars=n, seed=SEEDS[which]
    )


@register_figure("12", "giants, subgiants and dwarfs in one model", EMULATOR)
def dwarfs(study: Study) -> Figure:
    """Draw labels of 1,000 stars of all kinds, inferred by a model of 4,000, against the truth, and their Kiel diagram.

    The paper's are real spectra, with v_micro and v sin i as further labels. Here spectra come from
    an emulator that was fitted to real APOGEE spectra of giants and dwarfs: per-pixel networks of
    five labels, the last of them v_macro, which takes the place of the other two. It reaches from
    3,884 K, from log g of 1.24 to 4.71 and from [Fe/H] of -0.90 to 0.39, so the coolest dwarfs, the
    most luminous giants and all metal-poor stars of the paper are missing. Where real dwarfs lie is
    not in any file: (teff, logg) follow a mean main sequence, a straight subgiant branch and the
    giants of the packaged sample, and all compositions are those of giants. P is the paper's four
    times the labels.
    """
    train, test = make_sample(study, "E"), make_sample(study, "F")
    model = study.keep_model(
        "all-model", lambda: lux.train(train, 4 * len(NAMES), progress=study.progress)
    )
    catalog = study.keep(
        "all-catalog", lambda: lux.infer(test, model).compute(), model=model.fingerprint
    )
    drawing, axes = make_panels(len(NAMES) + 1, 3)
    for label, ax in zip(NAMES, axes, strict=False):
        plot.one_to_one(catalog, test, label, ax)
    giant = test["label_value"].sel(label="logg").values < GIANTS
    plot.kiel_groups(catalog, np.where(giant, "giants", "dwarfs and subgiants"), axes[-1])
    return drawing
