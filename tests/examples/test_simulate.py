"""Simulated surveys: the contract, reproducibility, the noise claimed, the physics of lines."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
import zarr

from luxscale.errors import InputError
from luxscale.examples.drawing import BAD_RUN, BLOCK, REPORTED
from luxscale.examples.giants import LABELS, load_emulator, render, run_networks
from luxscale.examples.simulate import simulate, simulate_survey

FEW = {"n_pixels": 120}  # enough where only the bookkeeping is tested


@pytest.fixture(scope="module")
def survey():
    return simulate(600, seed=3)


def open_zarr(path):
    return xr.open_zarr(path, consolidated=False, chunks=None)


def giant(**changes):
    """Labels (1, label) of a solar-metallicity giant, changed by name."""
    base = dict.fromkeys(LABELS, 0.0) | {"teff": 4500.0, "logg": 2.0} | changes
    return np.array([[base[name] for name in LABELS]])


def mean_flux(labels, low, high):
    emulator = load_emulator()
    inside = (emulator["wavelength_angstrom"] > low) & (emulator["wavelength_angstrom"] < high)
    return render(labels, emulator)[:, inside].mean(1)


# the contract


@pytest.mark.parametrize(
    ("name", "dims", "dtype"),
    [
        ("flux", ("star", "wavelength"), "f4"),
        ("flux_ivar", ("star", "wavelength"), "f4"),
        ("label_value", ("star", "label"), "f8"),
        ("label_err", ("star", "label"), "f8"),
        ("label_true", ("star", "label"), "f8"),
        ("snr", ("star",), "f4"),
        ("wavelength", ("wavelength",), "f8"),
    ],
)
def test_contract(survey, name, dims, dtype):
    assert survey[name].dims == dims
    assert survey[name].dtype == dtype


def test_coordinates(survey):
    assert dict(survey.sizes) == {"star": 600, "wavelength": 4288, "label": 12}
    assert survey["star"].values[[0, 599]].tolist() == ["sim-3-00000000", "sim-3-00000599"]
    assert survey.indexes["star"].is_unique
    assert tuple(survey["label"].values) == REPORTED
    assert survey["label_units"].values.tolist() == ["K", "dex(cm s-2)"] + ["dex"] * 10
    assert survey["wavelength"].attrs == {"units": "Angstrom", "medium": "air"}
    np.testing.assert_allclose(np.diff(survey["wavelength"]), 1, rtol=1e-9)


def test_labels_are_those_of_the_emulator():
    assert tuple(load_emulator()["label_names"]) == LABELS


# reproducibility


@pytest.mark.parametrize("chunk", [1, 100, BLOCK, 300, 1000])
def test_survey_on_disk_is_the_one_in_memory(tmp_path, chunk):
    n_stars = 3 if chunk == 1 else 530
    simulate_survey(tmp_path / "s.zarr", n_stars, chunk=chunk, seed=5, **FEW)
    expected = simulate(n_stars, seed=5, **FEW)
    with open_zarr(tmp_path / "s.zarr") as written:
        xr.testing.assert_identical(written.load(), expected)


def test_smaller_survey_begins_a_larger_one():
    large = simulate(2 * BLOCK + 7, **FEW)
    xr.testing.assert_identical(simulate(10, **FEW), large.isel(star=slice(10)))
    xr.testing.assert_identical(simulate(BLOCK + 1, **FEW), large.isel(star=slice(BLOCK + 1)))


def test_seeds_and_blocks_differ():
    one, two = simulate(2 * BLOCK, seed=1, **FEW), simulate(2 * BLOCK, seed=2, **FEW)
    assert not (one["flux"].values == two["flux"].values)[one["flux_ivar"].values > 0].any()
    assert len(np.unique(one["label_true"].sel(label="teff"))) == 2 * BLOCK
    assert set(one["star"].values).isdisjoint(two["star"].values)


def test_settings_of_one_thing_leave_the_stars_alone():
    base = simulate(50, **FEW)
    for changed in (
        simulate(50),
        simulate(50, snr=(5, 6)),
        simulate(50, missing_labels=0.5, bad_pixels=0.5),
    ):
        np.testing.assert_array_equal(changed["label_true"], base["label_true"])


# the store


def test_store_layout(tmp_path):
    simulate_survey(tmp_path / "s.zarr", 300, chunk=128, **FEW)
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")
    assert group.metadata.zarr_format == 3 and group.metadata.consolidated_metadata is None
    for name in ("flux", "flux_ivar"):
        assert group[name].chunks == (128, 120)
        assert group[name].metadata.dimension_names == ("star", "wavelength")
        codec, checksum = group[name].compressors
        assert checksum.to_dict()["name"] == "crc32c"
        settings = codec.to_dict()["configuration"]
        assert (settings["cname"], settings["shuffle"]) == ("lz4", "bitshuffle")


def test_progress_is_told(tmp_path):
    seen = []
    simulate_survey(tmp_path / "s.zarr", 250, chunk=100, progress=lambda *a: seen.append(a), **FEW)
    assert seen == [(100, 250), (200, 250), (250, 250)]


def test_interrupted_survey_is_not_at_its_path_and_can_be_repeated(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_survey(tmp_path / "s.zarr", 250, chunk=100, progress=stop, **FEW)
    assert not list(tmp_path.iterdir())
    simulate_survey(tmp_path / "s.zarr", 120, chunk=100, **FEW)
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]
    assert open_zarr(tmp_path / "s.zarr").sizes["star"] == 120


# pixels and noise


def test_bad_pixels_are_zero_and_come_in_runs(survey):
    bad = survey["flux_ivar"].values == 0
    assert abs(bad.mean() - 0.03) < 0.002
    assert (survey["flux"].values[bad] == 0).all()
    assert (survey["flux_ivar"].values[~bad] > 0).all()
    edges = np.diff(bad.astype("i1"), axis=1, prepend=0, append=0)
    for row in edges[:50]:
        starts, stops = np.flatnonzero(row == 1), np.flatnonzero(row == -1)
        inner = (starts > 0) & (stops < bad.shape[1])
        assert (stops - starts)[inner].min(initial=BAD_RUN) >= BAD_RUN


def test_noise_is_what_ivar_claims(survey):
    noiseless = simulate(600, seed=3, snr=(1e7, 1e7), bad_pixels=0)["flux"]
    ivar = survey["flux_ivar"]
    pull = ((survey["flux"] - noiseless) * np.sqrt(ivar)).values[ivar.values > 0]
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size)
    assert abs((pull**2).mean() - 1) < 5 * np.sqrt(2 / pull.size)
    snr = np.sqrt((noiseless * ivar).where(ivar > 0).median("wavelength"))
    np.testing.assert_allclose(snr, survey["snr"], rtol=1e-3)
    assert 30 <= survey["snr"].min() < 35 and 195 < survey["snr"].max() <= 200


def test_no_bad_pixels_and_no_gaps_on_request():
    clean = simulate(40, missing_labels=0, bad_pixels=0, **FEW)
    assert (clean["flux_ivar"] > 0).all() and np.isfinite(clean["label_value"]).all()


@pytest.mark.parametrize("n_pixels", [1, 500, 4288, 8575])
def test_any_number_of_pixels_is_the_same_spectrum(n_pixels):
    native, other = load_emulator(), load_emulator(n_pixels)
    flux, resampled = render(giant(), native)[0], render(giant(), other)[0]
    assert len(resampled) == n_pixels
    np.testing.assert_allclose(resampled.mean(), flux.mean(), atol=2e-4)
    if n_pixels > 1000:
        back = np.interp(native["wavelength_angstrom"], other["wavelength_angstrom"], resampled)
        assert (back - flux).std() < 0.02  # interpolation there and back smooths the sharpest lines


# labels


def test_label_errors_are_honest():
    stars = simulate(2000, n_pixels=1)
    present = stars["label_value"].notnull()
    np.testing.assert_array_equal(present, stars["label_err"].notnull())
    assert abs(float(present.mean()) - 0.9) < 0.01
    pull = (stars["label_value"] - stars["label_true"]) / stars["label_err"]
    np.testing.assert_allclose(pull.std("star"), 1, atol=0.06)
    np.testing.assert_allclose(stars["label_err"].mean("star"), [20, 0.05, 0.02] + [0.04] * 9)


def test_labels_follow_giants():
    true = simulate(3000, n_pixels=1)["label_true"].to_pandas()
    assert true["teff"].between(3500, 5600).all() and true["logg"].between(0, 3.5).all()
    assert true["teff"].corr(true["logg"]) > 0.8  # the giant branch
    assert true["mg_m"].corr(true["m_h"]) < -0.4  # alpha falls as metals rise
    assert true["mg_m"].corr(true["si_m"]) > 0.85
    assert true["mn_m"].corr(true["m_h"]) > 0.5
    assert (true["c_m"] - true["n_m"]).corr(true["logg"]) > 0.3  # dredge-up
    assert true.drop(columns=["teff", "logg", "m_h"]).abs().max().max() < 0.6


# spectra


def test_magnesium_deepens_its_triplet():
    poor, solar, rich = (mean_flux(giant(mg_m=x), 5160, 5190)[0] for x in (-0.3, 0, 0.3))
    assert poor > solar + 0.01 > rich + 0.02
    change = np.abs(render(giant(mg_m=0.3), load_emulator()) - render(giant(), load_emulator()))[0]
    # Mg is also the main electron donor: everything moves a little, its own lines by far the most.
    wavelength = load_emulator()["wavelength_angstrom"]
    assert change[(wavelength > 5160) & (wavelength < 5190)].mean() > 10 * np.median(change)


def test_lines_weaken_with_temperature_and_metal_poverty():
    by_teff = [mean_flux(giant(teff=t), 4500, 6500)[0] for t in (3800, 4300, 4700, 5200)]
    assert all(cool < hot for cool, hot in pairwise(by_teff))
    by_m_h = [mean_flux(giant(m_h=m), 4500, 6500)[0] for m in (0.3, -0.5, -1.5)]
    assert all(rich < poor for rich, poor in pairwise(by_m_h))


def test_lines_are_at_their_wavelengths_in_air():
    emulator = load_emulator()
    for line in (5183.6, 5889.95, 5895.92, 6562.8):
        near = np.abs(emulator["wavelength_angstrom"] - line) < 4
        deepest = emulator["wavelength_angstrom"][near][render(giant(), emulator)[0, near].argmin()]
        assert abs(deepest - line) < 0.8  # in vacuum they would be 1.4 to 1.8 Angstrom further


@pytest.mark.parametrize("boundary", [4050, 4100, 4150, 4900, 4950, 5000])
def test_no_jump_between_networks(boundary):
    step = 0.01
    below, above = (render(giant(teff=boundary + x), load_emulator()) for x in (-step, step))
    assert np.abs(above - below).max() < 1e-4


def test_spectra_change_steadily_across_the_blend():
    teff = np.arange(3900, 5200, 5.0)
    labels = np.repeat(giant(), len(teff), 0)
    labels[:, 0] = teff
    steps = np.sqrt((np.diff(render(labels, load_emulator()), axis=0) ** 2).mean(1))
    assert steps.max() < 5 * np.median(steps)


def test_spectra_are_normalised():
    flux = simulate(BLOCK, snr=(1e7, 1e7), bad_pixels=0)["flux"]
    assert flux.min() > -0.02 and flux.max() < 1.1
    assert (flux.quantile(0.95, "wavelength") > 0.7).all()


def test_networks_stay_finite_outside_their_range():
    assert np.isfinite(
        run_networks(np.concatenate([giant(teff=2000), giant(teff=9000)]), load_emulator())
    ).all()


# errors


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"n_stars": 0}, "n_stars"),
        ({"n_stars": 2.5}, "n_stars"),
        ({"snr": (0, 10)}, "snr"),
        ({"snr": (20, 10)}, "snr"),
        ({"snr": 100}, "snr"),
        ({"snr": (10, np.inf)}, "snr"),
        ({"missing_labels": 1}, "missing_labels"),
        ({"missing_labels": -0.1}, "missing_labels"),
        ({"bad_pixels": 1.0}, "bad_pixels"),
        ({"bad_pixels": np.nan}, "bad_pixels"),
        ({"n_pixels": 0}, "n_pixels"),
        ({"seed": -1}, "seed"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, arguments, advice):
    with pytest.raises(InputError, match=f"^{advice} .*: give"):
        simulate_survey(tmp_path / "s.zarr", **({"n_stars": 4} | arguments))
    assert not list(tmp_path.iterdir())
    if advice != "chunk":
        with pytest.raises(InputError, match=advice):
            simulate(**({"n_stars": 4} | arguments))


def test_existing_path_is_left_alone(tmp_path):
    (tmp_path / "s.zarr").write_text("mine")
    with pytest.raises(InputError, match="something other than a Zarr group is there"):
        simulate_survey(tmp_path / "s.zarr", 4)
    assert (tmp_path / "s.zarr").read_text() == "mine"


def test_visits_share_their_star_and_nothing_else(tmp_path):
    visits = simulate(300, n_pixels=30, visits=3, missing_labels=0, bad_pixels=0, seed=2)
    assert visits.sizes["star"] == 900 and len(set(visits.star.values)) == 900
    objects = visits.object.values.reshape(300, 3)
    assert (objects == objects[:, :1]).all() and len(set(objects[:, 0])) == 300
    true = visits.label_true.values.reshape(300, 3, -1)
    np.testing.assert_array_equal(true, np.repeat(true[:, :1], 3, axis=1))
    for name in ("flux", "snr", "label_value"):
        first, second = (visits[name].values.reshape(300, 3, -1)[:, i] for i in (0, 1))
        assert (first != second).all()
    pull = (visits.label_value - visits.label_true).values[:, 0] / 20
    assert abs(np.corrcoef(pull.reshape(300, 3).T)[0, 1]) < 0.2
    np.testing.assert_array_equal(true[:, 0], simulate(300, n_pixels=30, seed=2).label_true.values)
    simulate_survey(tmp_path / "visits.zarr", 300, n_pixels=30, visits=3, chunk=250, seed=2)
    stored = open_zarr(tmp_path / "visits.zarr")
    np.testing.assert_array_equal(stored.object.values, visits.object.values)
    np.testing.assert_array_equal(stored.label_true.values, visits.label_true.values)
    with pytest.raises(InputError, match="visits is 0"):
        simulate(3, visits=0)
