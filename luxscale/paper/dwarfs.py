"""Figure 12: giants and dwarfs in one model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import plot
from luxscale.examples.giants import LABELS, draw_labels, load_emulator
from luxscale.model.lux import LuxModel
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
    (3030, 5.06), (3200, 4.92), (3550, 4.78), (3850, 4.66),
    (4440, 4.58), (5270, 4.56), (5770, 4.44), (6550, 4.23),
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
    dwarf_teff = rng.uniform(3000, 6500, n)
    # dwarfs warmer than 5000 K may have evolved off the main sequence, by up to 0.3 dex
    warm = np.clip((dwarf_teff - 5000) / 1000, 0, 1)
    evolved = 0.3 * rng.random(n) * warm
    dwarf_logg = np.interp(dwarf_teff, *MAIN_SEQUENCE) - evolved
    dwarf_logg += 0.05 * rng.standard_normal(n)
    first, last = SUBGIANTS
    along = rng.random((n, 1))
    spread = rng.normal(size=(n, 2)) * (100, 0.1)
    subgiant_teff, subgiant_logg = (first + along * (last - first) + spread).T
    # km/s, the relation of ASPCAP
    vmacro = 10 ** (0.741 - 0.0998 * logg - 0.225 * m_h)
    rotating = 4 * 10 ** (0.3 * rng.standard_normal(n))
    columns = [
        np.choose(kind, [teff, dwarf_teff, subgiant_teff]),
        np.choose(kind, [logg, dwarf_logg, subgiant_logg]),
        m_h,
        mg,
        np.where(kind == 0, vmacro, rotating),
    ]
    return np.column_stack(columns)


def load_networks(path: Path, pixels: int) -> dict[str, np.ndarray]:
    """Return the per-pixel networks of the published emulator.

    If fewer pixels are wanted than there are, they are evenly spaced.
    """
    with np.load(path, allow_pickle=False) as file:
        net = {name: file[name] for name in file.files if name != "label_names"}
    size = net["wavelength_A"].size
    even = np.linspace(0, size - 1, min(pixels, size))
    at = even.round().astype(int)
    for name, values in net.items():
        if values.shape[:1] == (size,):
            net[name] = values[at]
    return net


def render(labels: np.ndarray, net: dict[str, np.ndarray]) -> np.ndarray:
    """Return noiseless continuum-normalised flux of labels (star, NAMES): (star, pixel) float32."""
    low, high = net["x_min"], net["x_max"]
    scaled = (labels - low) / (high - low) - 0.5
    x = scaled.astype("f4")
    offset = net["b_array_1"][None].astype("f4")
    flux = np.repeat(offset, len(x), axis=0)
    # a neuron of all pixels at a time: all at once would fill the memory
    for k in range(net["w_array_0"].shape[1]):
        weights = net["w_array_0"][:, k]
        inner = x @ weights.T + net["b_array_0"][:, k]
        activation = 1 + np.exp(-inner)
        flux += net["w_array_1"][:, k] / activation
    return flux


def draw_stars(
    n: int, which: str, net: dict[str, np.ndarray], rng: np.random.Generator
) -> xr.Dataset:
    """Return stars that pass a sample's cuts, in the emulator's range.

    They have ``label_value``, without errors, and ``snr``.
    """
    drawn = draw_all_labels(5 * n, rng)
    inside = (drawn > net["x_min"]) & (drawn < net["x_max"])
    drawn = drawn[inside.all(axis=1)]
    snr = rng.uniform(100, 200, len(drawn)).astype("f4")
    stars = xr.Dataset(
        {
            "label_value": (("star", "label"), drawn),
            "snr": ("star", snr),
        },
        {"label": np.array(NAMES, object)},
    )
    good = samples.find_passing(stars, which)
    return stars.isel(star=np.flatnonzero(good)[:n])


def make_survey(n: int, which: str, net: dict[str, np.ndarray]) -> xr.Dataset:
    """Return stars of the paper's sample E or F: spectra of S/N 100 to 200, labels with errors."""
    seed = SEEDS[which]
    rng = np.random.default_rng(seed)
    stars = draw_stars(n, which, net, rng)
    true = stars["label_value"].values
    snr = stars["snr"].values
    flux = render(true, net)
    error = np.sqrt(np.maximum(flux, 0.05)) / snr[:, None]
    noisy = flux + error * rng.standard_normal(flux.shape, dtype="f4")
    measured = true + ERRORS * rng.standard_normal(true.shape)
    names = [f"all-{seed}-{i:05d}" for i in range(len(true))]
    table = ("star", "label")
    spectrum = ("star", "wavelength")
    grid_attrs = {"units": "Angstrom", "medium": "vacuum"}
    return xr.Dataset(
        {
            "flux": (spectrum, noisy),
            "flux_ivar": (spectrum, error**-2),
            "label_value": (table, measured),
            "label_err": (table, np.broadcast_to(ERRORS, true.shape)),
            "label_true": (table, true),
            "snr": ("star", snr),
        },
        {
            "star": np.array(names, object),
            "wavelength": ("wavelength", net["wavelength_A"], grid_attrs),
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

    def make() -> xr.Dataset:
        return make_survey(n, which, net)

    return study.keep(f"all-{which}", make, stars=n, seed=SEEDS[which])


@register_figure("12", "giants, subgiants and dwarfs in one model", EMULATOR)
def dwarfs(study: Study) -> Figure:
    """Draw labels of stars of all kinds against the truth, and their Kiel diagram.

    1,000 stars are labelled by a model of 4,000.

    The paper's are real spectra, with v_micro and v sin i as further labels. Here spectra come from
    an emulator that was fitted to real APOGEE spectra of giants and dwarfs: per-pixel networks of
    five labels, the last of them v_macro, which takes the place of the other two. It reaches from
    3,884 K, from log g of 1.24 to 4.71 and from [Fe/H] of -0.90 to 0.39, so the coolest dwarfs, the
    most luminous giants and all metal-poor stars of the paper are missing. Where real dwarfs lie is
    not in any file: (teff, logg) follow a mean main sequence, a straight subgiant branch and the
    giants of the packaged sample, and all compositions are those of giants. P is the paper's four
    times the labels.
    """
    training = make_sample(study, "E")
    test = make_sample(study, "F")

    def train() -> LuxModel:
        return study.train(training, 4 * len(NAMES))

    model = study.keep_model("all-model", train, **study.training)

    def infer() -> xr.Dataset:
        return lux.infer(test, model).compute()

    catalog = study.keep("all-catalog", infer, model=model.fingerprint)
    drawing, axes = make_panels(len(NAMES) + 1, 3)
    for label, ax in zip(NAMES, axes, strict=False):
        plot.one_to_one(catalog, test, label, ax)
    giant = test["label_value"].sel(label="logg").values < GIANTS
    kinds = np.where(giant, "giants", "dwarfs and subgiants")
    plot.kiel_groups(catalog, kinds, axes[-1])
    return drawing
