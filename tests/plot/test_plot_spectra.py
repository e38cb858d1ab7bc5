"""Figures of spectra of several stars or catalogues, of chi2, and of windows."""

import io

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import luxscale as lux
from luxscale import plot
from luxscale.errors import InputError
from luxscale.model.predict import predict
from luxscale.plot.style import make_axes


@pytest.fixture
def world_drawn(small_survey, small_model):
    """A survey of 30 stars, a model, and catalogues from spectra and from labels."""
    few = small_survey.isel(star=slice(0, 30))
    return (
        few,
        small_model,
        *(lux.infer(few, small_model, given) for given in ("flux", "label_value")),
    )


def save(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_reconstructions_draw_data_and_each_catalogue(world_drawn):
    survey, model, by_flux, by_labels = world_drawn
    stars = survey["star"].values[[3, 1]]
    axes = plot.reconstructions(
        survey, {"a": by_flux, "b": by_labels}, model, stars, [(15100, 15160), (15120, 15130)]
    )
    assert axes.shape == (2, 2, 2)
    x = survey["wavelength"].values
    inside = (x >= 15120) & (x <= 15130)
    for row, i in zip(axes, (3, 1), strict=True):
        data, first, second = row[1, 0].lines
        good = survey["flux_ivar"].values[i, inside] > 0
        np.testing.assert_array_equal(
            data.get_ydata()[good], survey["flux"].values[i, inside][good]
        )
        for line, catalog in ((first, by_flux), (second, by_labels)):
            np.testing.assert_allclose(line.get_ydata(), predict(catalog, model).values[i, inside])
        sigma = np.hypot(
            1 / np.sqrt(survey["flux_ivar"].values[i, inside][good]),
            model["flux"].scatter[inside][good],
        )
        pull = (survey["flux"].values[i, inside][good] - second.get_ydata()[good]) / sigma
        np.testing.assert_allclose(row[1, 1].lines[1].get_ydata()[good], pull, rtol=1e-4)
    assert axes[0, 0, 0].get_title(loc="left") == stars[0]
    save(axes[0, 0, 0].figure)


def test_what_cannot_be_reconstructed(world_drawn):
    survey, model, by_flux, _ = world_drawn
    with pytest.raises(InputError, match=r"no pixel lies in \(1, 2\); the grid is 15100 to"):
        plot.reconstructions(survey, {"a": by_flux}, model, survey["star"].values[:1], [(1, 2)])
    with pytest.raises(InputError, match="'label_value' has names, not a grid"):
        plot.reconstructions(
            survey, {"a": by_flux}, model, survey["star"].values[0], [(1, 2)], output="label_value"
        )


def test_doppelgangers_draw_two_models_and_their_data(world_drawn):
    survey, model, by_flux, _ = world_drawn
    pair = survey["star"].values[[5, 2]]
    ax = plot.doppelgangers(
        survey, by_flux, model, pair, "mg_fe", (15110, 15150), windows=[(15120, 15124)]
    )
    x = survey["wavelength"].values
    inside = (x >= 15110) & (x <= 15150)
    for i, (points, line) in zip((5, 2), np.reshape(ax.lines, (2, 2)), strict=True):
        good = survey["flux_ivar"].values[i, inside] > 0
        np.testing.assert_array_equal(np.isfinite(points.get_ydata()), good)
        np.testing.assert_allclose(line.get_ydata(), predict(by_flux, model).values[i, inside])
        value = f"{float(by_flux['label_value'].sel(label='mg_fe')[i]):.2f}".replace(
            "-", "\N{MINUS SIGN}"
        )
        assert line.get_label() == f"[Mg/Fe] = {value}"
    assert ax.get_legend().get_texts()[-1].get_text() == "data"
    assert len(ax.patches) == 1
    save(ax.figure)


def test_what_are_no_doppelgangers(world_drawn):
    survey, model, by_flux, _ = world_drawn
    names = survey["star"].values
    with pytest.raises(InputError, match="3 stars; give two"):
        plot.doppelgangers(survey, by_flux, model, names[:3], "mg_fe", (15110, 15150))
    with pytest.raises(InputError, match="no label 'x'; there are teff"):
        plot.doppelgangers(survey, by_flux, model, names[:2], "x", (15110, 15150))
    with pytest.raises(InputError, match="no pixel lies in"):
        plot.doppelgangers(survey, by_flux, model, names[:2], "mg_fe", (1, 2))


def test_windows_are_shaded_where_the_axes_show_them():
    ax = make_axes(3, 2)
    ax.set_xlim(10, 20)
    plot.mark_windows(ax, [(1, 2), (9, 11), (14, 15), (30, 40)], "Fe I")
    assert [tuple(np.round([p.get_x(), p.get_x() + p.get_width()], 6)) for p in ax.patches] == [
        (10, 11),
        (14, 15),
    ]
    assert [t.get_text() for t in ax.texts] == ["Fe I"]
    plot.mark_windows(ax, [(1, 2)], "Na I")
    assert len(ax.texts) == 1


def chi2_of(n, freedom, seed=0):
    values = np.random.default_rng(seed).chisquare(freedom, n) / freedom
    return xr.DataArray(values, dims="star"), xr.DataArray(np.full(n, float(freedom)), dims="star")


def test_chi2_of_a_right_model_is_as_by_chance():
    values, freedom = chi2_of(20_000, 400)
    ax = plot.chi2(values, freedom=freedom)
    bars = np.array([p.get_height() for p in ax.patches if hasattr(p, "get_height")])
    stairs = next(p for p in ax.patches if hasattr(p, "get_data"))
    chance, edges, _ = stairs.get_data()
    np.testing.assert_allclose(chance, np.diff(stats.chi2.cdf(400 * edges, 400)), atol=1e-9)
    assert np.abs(bars - chance).max() < 4 * np.sqrt(chance.max() / 20_000)
    text = ax.get_legend().get_title().get_text()
    assert f"median = {float(np.median(values)):.3f}" in text
    outside = int(((values < edges[0]) | (values > edges[-1])).sum())
    assert f"{outside:,} outside" in text
    assert 0 < outside < 60
    save(ax.figure)


def test_chi2_over_a_wide_range_is_on_a_logarithmic_scale():
    rng = np.random.default_rng(1)
    values = xr.DataArray(np.exp(rng.normal(2, 1, 500)), dims="star")
    values[3] = np.nan
    ax = plot.chi2(values, expected=values + 1)
    assert ax.get_xscale() == "log"
    assert "n = 499" in ax.get_legend().get_title().get_text()
    save(ax.figure)
    with pytest.raises(InputError, match="no star has a reduced chi2"):
        plot.chi2(values * np.nan)


def test_chi2_reaches_to_the_limit_and_counts_what_lies_outside():
    ratio = xr.DataArray(
        np.r_[np.random.default_rng(0).chisquare(100, 5000) / 100, 1e9, np.nan], dims="star"
    )
    ax = plot.chi2(ratio, limit=2.5)
    assert ax.get_xlim()[1] > 2.5 > ax.get_xlim()[1] / 1.2
    assert [line.get_xdata()[0] for line in ax.lines] == [1, 2.5] and ax.get_yscale() == "log"
    heights = np.array([patch.get_height() for patch in ax.patches])
    outside = round(5001 * (1 - heights.sum()))
    assert outside >= 1 and f"{outside} outside" in ax.get_legend().get_title().get_text()
    assert len(plot.chi2(ratio, limit=np.inf).lines) == 1
    ax.figure.draw_without_rendering()
    legend, line = ax.get_legend().get_window_extent(), ax.lines[1].get_window_extent()
    assert line.x1 < legend.x0 and legend.x1 < ax.figure.bbox.x1


def test_spectra_and_derivatives_of_a_curved_model(curved_model, curved_survey):
    catalog = lux.infer(curved_survey, curved_model)
    stars = curved_survey["star"].values[:2]
    z = catalog["latent"].isel(star=0)
    ivar = curved_survey["flux_ivar"].isel(star=0)
    drawn = [
        plot.spectra(curved_survey, catalog, curved_model, stars),
        plot.spectrum(curved_survey, stars[0], catalog, curved_model),
        plot.derivative_spectra(curved_model, ivar=ivar, latent=z),
        plot.derivative_spectra(curved_model),
        plot.information(curved_model, ivar, latent=z),
    ]
    for axes in drawn:
        axes[0].figure.canvas.draw()
