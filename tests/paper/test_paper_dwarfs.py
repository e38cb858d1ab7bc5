"""Giants and dwarfs together: sensible labels, and the networks of the published emulator."""

import numpy as np
import pytest

from luxscale.paper.dwarfs import ERRORS, NAMES, draw_all_labels, load_networks, make_survey, render

PIXELS, NEURONS = 40, 3


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "net.npz"
    np.savez(
        path,
        wavelength_A=np.linspace(15000, 17000, PIXELS),
        label_names=np.array(NAMES),
        w_array_0=rng.normal(size=(PIXELS, NEURONS, 5)).astype("f4"),
        w_array_1=0.1 * rng.normal(size=(PIXELS, NEURONS)).astype("f4"),
        b_array_0=rng.normal(size=(PIXELS, NEURONS)).astype("f4"),
        b_array_1=np.ones(PIXELS, "f4"),
        x_min=np.array([3900, 1.2, -0.9, -0.25, 0.1]),
        x_max=np.array([7900, 4.7, 0.4, 0.45, 20]),
    )
    return path


def test_networks_are_evaluated_pixel_by_pixel(file):
    net = load_networks(file, 9999)
    labels = np.array([[5000, 2.5, -0.1, 0.1, 4.0], [6000, 4.4, 0.1, 0.0, 9.0]])
    x = (labels - net["x_min"]) / (net["x_max"] - net["x_min"]) - 0.5
    for star, flux in zip(x, render(labels, net), strict=True):
        expected = [
            sum(w / (1 + np.exp(-(v @ star + b))) for w, v, b in zip(w1, w0, b0, strict=True)) + b1
            for w0, w1, b0, b1 in zip(
                *(net[k] for k in ("w_array_0", "w_array_1", "b_array_0", "b_array_1")), strict=True
            )
        ]
        np.testing.assert_allclose(flux, expected, rtol=1e-5)


def test_fewer_pixels_are_spread_evenly(file):
    whole, some = load_networks(file, 9999), load_networks(file, 14)
    assert some["wavelength_A"].size == 14
    np.testing.assert_allclose(some["wavelength_A"], whole["wavelength_A"][np.arange(0, 40, 3)])
    labels = np.array([[5000, 2.5, -0.1, 0.1, 4.0]])
    np.testing.assert_array_equal(render(labels, some), render(labels, whole)[:, ::3])


def test_stars_of_all_kinds_lie_where_such_stars_do():
    teff, logg, *_, vmacro = draw_all_labels(4000, np.random.default_rng(0)).T
    dwarfs, giants = logg > 4.15, logg < 3.45
    assert 0.3 < dwarfs.mean() < 0.5 and 0.4 < giants.mean() < 0.6
    sun = dwarfs & (np.abs(teff - 5770) < 100)
    assert np.median(logg[sun]) == pytest.approx(4.4, abs=0.12)
    assert np.median(teff[giants]) < 5000
    assert (vmacro > 0).all()


def test_a_survey_is_inside_the_emulators_range_and_its_noise_is_as_said(file):
    net = load_networks(file, 9999)
    survey = make_survey(300, "E", net)
    true = survey["label_true"].values
    assert survey.sizes["star"] == 300
    assert ((true > net["x_min"]) & (true < net["x_max"])).all() and (true[:, 0] < 6500).all()
    pull = (survey["flux"].values - render(true, net)) * np.sqrt(survey["flux_ivar"].values)
    assert pull.std() == pytest.approx(1, abs=0.03)
    off = ((survey["label_value"].values - true) / ERRORS).std(0)
    np.testing.assert_allclose(off, 1, atol=0.15)
