"""Figures: what is drawn, on which axes, and that it can be saved."""

import dataclasses
import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from luxscale import plot
from luxscale.analysis.evaluate import compare
from luxscale.analysis.interpret import derivatives, information
from luxscale.crossval import Choice
from luxscale.errors import InputError
from luxscale.model.decoders import LinearMap
from luxscale.model.lux import LuxModel, Provenance
from luxscale.model.output import Output
from luxscale.schema.outputs import OutputSpec, Role

LABELS = ("teff", "logg", "fe_h", "alpha_m", "a_k")
UNITS = ("K", "dex(cm s-2)", "dex", "dex", "mag")
PIXELS, LATENTS = 60, 3


def save(ax):
    """Draw a figure, at a low resolution; every warning is an error."""
    (ax if isinstance(ax, Figure) else ax.figure).savefig(io.BytesIO(), format="png", dpi=30)


def labelled(value, err, labels=LABELS, units=UNITS, prefix="star"):
    return xr.Dataset(
        {
            "label_value": (("star", "label"), value),
            "label_err": (("star", "label"), np.full(value.shape, err)),
        },
        {
            "star": [f"{prefix}{i}" for i in range(len(value))],
            "label": list(labels),
            "label_units": ("label", list(units)),
        },
    )


def pair(n, labels=LABELS, units=UNITS):
    rng = np.random.default_rng(0)
    center = [4500, 2, *[0.0] * (len(labels) - 2)]
    spread = np.array([300, 0.7, *[0.2] * (len(labels) - 2)])
    true = rng.normal(center, spread, (n, len(labels)))
    truth = labelled(true, 0.1 * spread, labels, units)
    return labelled(
        true + 0.2 * spread * rng.normal(size=true.shape), 0.2 * spread, labels, units
    ), truth


@pytest.fixture(scope="module")
def few():
    return pair(200)


@pytest.fixture(scope="module")
def many():
    return pair(3000)


def texts(ax):
    return "\n".join(t.get_text() for t in ax.texts)


# names


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("teff", r"$T_{\rm eff}$"),
        ("logg", r"$\log g$"),
        ("fe_h", "[Fe/H]"),
        ("alpha_m", r"[$\alpha$/M]"),
        ("a_k", "$A_K$"),
        ("c_m", "[C/M]"),
        ("mg_fe", "[Mg/Fe]"),
        ("m_h", "[M/H]"),
        ("v_sin_i", "v_sin_i"),
        ("snr", "snr"),
    ],
)
def test_format_label(label, expected):
    assert plot.format_label(label) == expected


@pytest.mark.parametrize(
    ("label", "unit", "expected"),
    [
        ("fe_h", "dex", "[Fe/H] [dex]"),
        ("logg", "dex(cm s-2)", r"$\log g$"),
        ("a_k", "mag", "$A_K$ [mag]"),
        ("age", "", "age"),
    ],
)
def test_format_axis_label(label, unit, expected):
    assert plot.format_axis_label(label, unit) == expected


# one to one


def test_one_to_one_of_few_stars(few):
    ax = plot.one_to_one(*few, "teff")
    assert ax.get_xlabel() == r"Survey $T_{\rm eff}$ [K]"
    assert ax.get_ylabel() == r"Inferred $T_{\rm eff}$ [K]"
    points, line = ax.lines[:2]
    np.testing.assert_array_equal(points.get_xdata(), few[1]["label_value"][:, 0])
    np.testing.assert_array_equal(points.get_ydata(), few[0]["label_value"][:, 0])
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert ax.get_xlim() == ax.get_ylim() == tuple(line.get_xdata())
    save(ax)


def test_one_to_one_says_what_compare_finds(few):
    found = compare(*few).sel(label="teff")
    text = texts(plot.one_to_one(*few, "teff"))
    assert "n = 200" in text
    assert f"RMSE = {float(found['rmse']):.1f}" in text
    assert f"robust = {float(found['robust_scatter']):.1f}" in text
    assert f"bias = {float(found['bias']):.1f}".replace("-", "−") in text  # noqa: RUF001 - as typeset
    assert "median err = 60.0" in text


def test_one_to_one_of_many_stars_is_a_density(many):
    ax = plot.one_to_one(*many, "fe_h")
    (density,) = ax.collections[:1]
    low, high = ax.get_xlim()
    values = np.stack([d["label_value"].sel(label="fe_h") for d in many])
    assert density.get_array().sum() == ((values > low) & (values < high)).all(0).sum() > 2950
    assert density.norm.vmin == 1
    assert [a.get_ylabel() for a in ax.figure.axes[1:]] == ["stars per bin"]
    save(ax)


def test_one_to_one_on_given_axes_adds_no_others(many):
    ax = Figure().add_subplot()
    assert plot.one_to_one(*many, "fe_h", ax) is ax
    assert ax.figure.axes == [ax]


def test_one_to_one_against_true_labels(few):
    catalog, truth = few
    ax = plot.one_to_one(catalog, truth.assign(label_true=truth["label_value"]), "fe_h")
    assert ax.get_xlabel() == "True [Fe/H] [dex]"
    save(ax)


def test_one_to_one_without_any_known_label(few):
    catalog, truth = few
    ax = plot.one_to_one(catalog, truth.assign(label_value=truth["label_value"] * np.nan), "fe_h")
    assert "n = 0" in texts(ax)
    save(ax)


def test_one_to_one_names_a_missing_label(few):
    with pytest.raises(InputError, match="label 'mg_fe' is not in both"):
        plot.one_to_one(*few, "mg_fe")


# Kiel diagram


def test_kiel_decreases_both_ways(few):
    catalog = few[0]
    ax = plot.kiel(catalog)
    assert ax.xaxis_inverted()
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == r"$T_{\rm eff}$ [K]"
    assert ax.get_ylabel() == r"$\log g$"
    assert ax.figure.axes[1].get_ylabel() == "[Fe/H] [dex]"
    (stars,) = ax.collections
    drawn = np.column_stack([stars.get_offsets(), stars.get_array()])
    np.testing.assert_array_equal(
        drawn[drawn[:, 0].argsort()],
        catalog["label_value"].values[catalog["label_value"][:, 0].argsort(), :3],
    )
    save(ax)


def test_kiel_falls_back_on_other_metallicities(few):
    catalog = few[0]
    other = plot.kiel(catalog.assign_coords(label=["teff", "logg", "m_h", "x", "y"]))
    assert other.figure.axes[1].get_ylabel() == "[M/H] [dex]"
    none = plot.kiel(catalog.isel(label=[0, 1]))
    assert len(none.figure.axes) == 1
    assert none.collections[0].get_array() is None
    save(none)


def test_labels_figure_of_some_labels_with_a_plane(few):
    figure = plot.labels_figure(*few, ["fe_h", "teff"], plane=("fe_h", "alpha_m"))
    names = [ax.get_ylabel() for ax in figure.axes]
    assert names[0] == "Inferred [Fe/H] [dex]" and names[1].startswith("Inferred $T")
    assert names[2:4] == [r"$\log g$", r"[$\alpha$/M] [dex]"]
    assert len(plot.labels_figure(*few, kiel=False).axes) == 5
    save(figure)


def test_the_survey_error_is_the_mean_of_the_trusted_labels(few):
    catalog, truth = few
    truth = truth.copy(deep=True)
    truth["label_err"][:, 0] = np.where(np.arange(200) % 2, 10, 30)
    assert "survey err = 20.0" in texts(plot.one_to_one(catalog, truth, "teff"))
    assert "survey err" not in texts(plot.one_to_one(catalog, truth.drop_vars("label_err"), "teff"))


def test_kiel_draws_a_fixed_sample_of_done_stars(few, monkeypatch):
    monkeypatch.setattr(plot.kiel_diagram, "MOST_POINTS", 50)
    catalog = few[0].assign(status=("star", (np.arange(200) < 80).astype("u1")))
    drawn = [
        plot.kiel(c).collections[0].get_offsets() for c in (catalog, catalog, catalog.chunk(star=7))
    ]
    assert len(drawn[0]) == 50
    rows = [catalog["label_value"].values[:80, 0].tolist().index(x) for x in drawn[0][:, 0]]
    assert rows != sorted(rows)  # in order of the survey, the last field would hide the others
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_kiel_leaves_out_unknown_stars(few):
    catalog = few[0].copy(deep=True)
    catalog["label_value"][:10, 1] = np.nan
    assert len(plot.kiel(catalog).collections[0].get_offsets()) == 190


def test_kiel_names_a_missing_label(few):
    with pytest.raises(InputError, match="no label 'logg' for a Kiel diagram; it has teff, fe_h"):
        plot.kiel(few[0].isel(label=[0, 2]))


# spectra


def output(rng, spec, coord, units, attrs=()):
    n = len(coord)
    return Output(
        spec=spec,
        coord=coord,
        units=units,
        attrs=attrs,
        map=LinearMap(rng.normal(size=(n, LATENTS)) * 0.1, np.ones(n)),
        scatter=np.full(n, 0.03),
        scale=np.ones(n),
        floor=np.zeros(n),
        used=np.ones(n, bool),
        bounds=np.tile([-9.0, 9.0], (n, 1)),
    )


@pytest.fixture(scope="module")
def spectra():
    """A survey of 4 stars, one of them with masked pixels; its catalogue; and the model."""
    rng = np.random.default_rng(0)
    grid = np.linspace(400, 700, PIXELS)
    labels, flux = (
        OutputSpec("label_value", "label", "label_err", Role.LABELS),
        OutputSpec("flux", "wavelength", "flux_ivar", Role.SPECTRUM),
    )
    model = LuxModel(
        outputs=(
            output(rng, labels, LABELS, UNITS),
            output(rng, flux, tuple(grid.tolist()), ("nm",), (("medium", "air"),)),
        ),
        objective=np.zeros(1),
        provenance=Provenance(
            method="none", settings="{}", n_stars=4, training_checksum="", version="0"
        ),
    )
    latent = rng.normal(size=(4, LATENTS))
    catalog = labelled(
        np.tile([4567.8, 2.345, -0.5, 0.1, 0.02], (4, 1)), [45.0, 0.12, 0.05, 0.02, 0.01]
    ).assign(latent=(("star", "latent"), latent))
    flux = model["flux"].map(latent) + 0.04 * rng.normal(size=(4, PIXELS))
    ivar = np.full(flux.shape, 1 / 0.04**2)
    ivar[1, 20:30] = 0
    flux[1, 20:25] = 99
    flux[1, 25:30] = np.nan
    survey = xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux.astype("f4")),
            "flux_ivar": (("star", "wavelength"), ivar.astype("f4")),
        },
        {
            "star": catalog["star"].values,
            "wavelength": ("wavelength", grid, {"units": "nm", "medium": "air"}),
        },
    )
    return survey, catalog, model


def test_spectra_draws_data_and_model(spectra):
    survey, catalog, model = spectra
    axes = plot.spectra(survey.isel(star=[3, 1, 0, 2]), catalog, model, ["star2", "star0"])
    assert axes.shape == (4,)
    for ax, i in zip(axes[::2], (2, 0), strict=True):
        data, curve = ax.lines
        assert data.get_drawstyle() == "steps-mid"
        np.testing.assert_allclose(data.get_ydata(), survey["flux"][i])
        np.testing.assert_allclose(
            curve.get_ydata(), model["flux"].map(catalog["latent"].values[i])
        )
        assert ax.get_title(loc="left") == f"star{i}"
        assert ax.get_ylabel() == "Flux"
    assert (
        axes[0]
        .get_title(loc="right")
        .startswith(r"$T_{\rm eff}$ $4568 \pm 45$ K,  $\log g$ $2.35 \pm 0.12$,")
    )
    assert axes[-1].get_xlabel() == "Wavelength in air [nm]"
    assert [t.get_text() for t in axes[0].get_legend().get_texts()][1:] == ["data", "model"]
    save(axes[0])


def test_residuals_are_in_units_of_the_total_error(spectra):
    survey, catalog, model = spectra
    bottom = plot.spectra(survey, catalog, model, "star3")[1]
    expected = (survey["flux"][3] - model["flux"].map(catalog["latent"].values[3])) / 0.05
    np.testing.assert_allclose(bottom.lines[-1].get_ydata(), expected, rtol=1e-5, atol=1e-5)


def test_masked_pixels_break_the_line(spectra):
    top, bottom = plot.spectra(*spectra, "star1")
    for line in (top.lines[0], bottom.lines[-1]):
        np.testing.assert_array_equal(
            np.isnan(line.get_ydata()), (np.arange(PIXELS) >= 20) & (np.arange(PIXELS) < 30)
        )
    assert np.isfinite(top.lines[1].get_ydata()).all()
    assert top.get_ylim()[1] < 5  # a masked value does not stretch the axes
    save(top)


def test_a_spectrum_without_data_is_drawn(spectra):
    survey, catalog, model = spectra
    top, _ = plot.spectra(
        survey.assign(flux_ivar=survey["flux_ivar"] * 0).chunk(star=2), catalog, model, "star1"
    )
    assert np.isnan(top.lines[0].get_ydata()).all()
    save(top)


def test_spectra_on_given_axes(spectra):
    axes = Figure().subplots(2, 2)
    found = plot.spectra(*spectra, ["star0", "star1"], axes)
    assert found.tolist() == axes.ravel().tolist()
    with pytest.raises(InputError, match="4 axes for 1 stars"):
        plot.spectra(*spectra, ["star0"], axes)


def test_spectra_messages(spectra):
    with pytest.raises(
        InputError, match="survey: no star 'HD 1'; give identifiers, such as 'star0'"
    ):
        plot.spectra(*spectra, ["star0", "HD 1"])
    with pytest.raises(InputError, match="output 'label_value' has names, not a grid"):
        plot.spectra(*spectra, ["star0"], output="label_value")


# all labels


def legible(figure):
    return all(
        text.get_fontsize() >= 8 for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))
    )


def test_labels_figure_of_five(few):
    figure = plot.labels_figure(*few)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        r"Survey $T_{\rm eff}$ [K]",
        r"Survey $\log g$",
        "Survey [Fe/H] [dex]",
        r"Survey [$\alpha$/M] [dex]",
        "Survey $A_K$ [mag]",
        r"$T_{\rm eff}$ [K]",
    ]
    save(figure)
    assert legible(figure)


@pytest.fixture(scope="module")
def twelve():
    names = (
        "teff",
        "logg",
        *(f"{e}_h" for e in ("m", "c", "n", "o", "mg", "al", "si", "ca", "mn", "ni")),
    )
    figure = plot.labels_figure(*pair(2500, names, ("K", "", *["dex"] * 10)))
    figure.draw_without_rendering()
    return figure


@pytest.mark.slow
def test_labels_figure_of_twelve_shares_a_colour_scale(twelve):
    panels, bar = twelve.axes[:13], twelve.axes[13]
    assert bar.get_xlabel() == "stars per bin"
    norms = {ax.collections[0].norm for ax in panels[:12]}
    assert len(norms) == 1
    assert norms.pop().vmax == max(ax.collections[0].get_array().max() for ax in panels[:12])
    save(twelve)
    assert legible(twelve)


def test_panels_do_not_overlap(twelve):
    boxes = [ax.get_tightbbox() for ax in twelve.axes]
    for i, box in enumerate(boxes):
        others = [b for j, b in enumerate(boxes) if j != i]
        assert not box.padded(-2).count_overlaps(others), twelve.axes[i].get_xlabel()


def test_labels_figure_without_a_kiel_diagram(few):
    catalog, truth = few
    figure = plot.labels_figure(catalog.isel(label=[2]), truth)
    assert len(figure.axes) == 1
    save(figure)


# along the spectrum


def drawn_rows(axes):
    return np.array([ax.lines[-1].get_ydata() for ax in axes])


def test_derivative_spectra_lie_under_the_models_spectrum(spectra):
    model = spectra[2]
    axes = plot.derivative_spectra(model)
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), model["flux"].map.offset)
    np.testing.assert_allclose(drawn_rows(axes[1:]), derivatives(model))
    assert [texts(ax) for ax in axes[1:]] == [
        plot.format_axis_label(*pair) for pair in zip(LABELS, UNITS, strict=True)
    ]
    assert axes[-1].get_xlabel() == "Wavelength in air [nm]"
    save(axes[0])
    assert legible(axes[0].figure)


def test_derivative_spectra_of_some_labels_in_a_range(spectra):
    model = spectra[2]
    axes = plot.derivative_spectra(
        model, ["fe_h", "teff"], (500, 600), ivar=900.0, latent=np.ones(LATENTS)
    )
    expected = derivatives(model, ivar=900.0).sel(label=["fe_h", "teff"])
    np.testing.assert_allclose(drawn_rows(axes[1:]), expected)
    np.testing.assert_allclose(
        axes[0].lines[0].get_ydata(), model["flux"].map(np.ones((1, LATENTS)))[0]
    )
    low, high = axes[0].get_xlim()
    assert 500 <= low < 506 and 594 < high <= 600
    for ax, row in zip(axes[1:], expected.sel(wavelength=slice(500, 600)).values, strict=True):
        assert np.abs(row).max() < ax.get_ylim()[1] == -ax.get_ylim()[0] < 1.2 * np.abs(row).max()


def test_unused_pixels_break_derivative_spectra(spectra):
    model = spectra[2]
    used = np.arange(PIXELS) != 7
    flux = dataclasses.replace(model["flux"], used=used)
    axes = plot.derivative_spectra(dataclasses.replace(model, outputs=(model["label_value"], flux)))
    for ax in axes:
        np.testing.assert_array_equal(np.isnan(ax.lines[-1].get_ydata()), ~used)
    save(axes[0])


def test_derivative_spectra_on_given_axes(spectra):
    axes = Figure().subplots(3)
    assert (
        plot.derivative_spectra(spectra[2], ["teff", "logg"], axes=axes).tolist() == axes.tolist()
    )
    with pytest.raises(InputError, match="3 axes for 1 labels; give one for the spectrum"):
        plot.derivative_spectra(spectra[2], ["teff"], axes=axes)


@pytest.mark.parametrize("draw", [plot.derivative_spectra, plot.information])
def test_what_cannot_be_drawn_along_the_spectrum(spectra, draw):
    for options, message in (
        ({"labels": ["c_fe"]}, "no label 'c_fe'; there are teff, logg"),
        ({"span": (800, 900)}, r"no pixel lies in \(800, 900\); the grid is 400 to 700"),
        ({"output": "label_value", "of": "flux"}, "has names, not a grid"),
    ):
        with pytest.raises(InputError, match=message):
            draw(spectra[2], ivar=900.0, **options)


def test_information_is_a_map_of_shares(spectra):
    model = spectra[2]
    axes = plot.information(model, 900.0, ["logg", "teff"])
    shares = information(model, 900.0).sel(label=["logg", "teff"]).values
    np.testing.assert_allclose(
        axes[1].collections[0].get_array(), shares / shares.max(1, keepdims=True)
    )
    assert [t.get_text() for t in axes[1].get_yticklabels()] == [
        plot.format_label("logg"),
        plot.format_label("teff"),
    ]
    assert [t.get_text() for t in axes[1].texts] == [f"{100 * x:.0f}%" for x in shares.sum(1)]
    save(axes[0])
    assert legible(axes[0].figure)
    assert plot.information(model, 900.0, axes=Figure().subplots(2))[0].figure.axes[2:] == []
    with pytest.raises(InputError, match="3 axes; give two"):
        plot.information(model, 900.0, axes=Figure().subplots(3))


def test_information_of_many_pixels_is_summed(spectra, monkeypatch):
    monkeypatch.setattr(plot.pixels, "COLUMNS", 9)
    model = spectra[2]
    axes = plot.information(model, 900.0)
    shares = information(model, 900.0).values
    sums = np.array([shares[:, i : i + 7].sum(1) for i in range(0, PIXELS, 7)]).T
    np.testing.assert_allclose(
        axes[1].collections[0].get_array(), sums / sums.max(1, keepdims=True)
    )
    save(axes[0])


def test_information_at_one_pixel_or_at_none(spectra):
    model = spectra[2]
    grid = model["flux"].coord
    np.testing.assert_array_equal(
        plot.information(model, 900.0, span=(grid[3], grid[3]))[1].collections[0].get_array(),
        np.ones((5, 1)),
    )
    assert texts(plot.information(model, 0.0)[1]) == "\n".join(["0%"] * 5)


# numbers against settings


@pytest.fixture
def binned():
    """Precision of two labels in three bins, of which the last has no stars."""
    rng = np.random.default_rng(0)
    values = np.sort(rng.uniform(1, 2, (3, 3, 2, 3)), -1)
    values[:, 2] = np.nan
    coords = {
        "kind": ["draws", "noise", "posterior"],
        "snr_bin": [40.0, 60.0, 80.0],
        "label": ["teff", "fe_h"],
    }
    coords |= {"label_units": ("label", ["K", "dex"]), "quantile": [0.05, 0.5, 0.95]}
    return xr.Dataset({"precision": (("kind", "snr_bin", "label", "quantile"), values)}, coords)


def test_precision_by_draws_is_a_band_and_by_formula_a_line(binned):
    axes = plot.precision(binned)
    for i, ax in enumerate(axes):
        (band,) = ax.collections
        corners = band.get_paths()[0].vertices
        draws = binned["precision"].sel(kind="draws").isel(label=i, snr_bin=[0, 1])
        for q in (0.05, 0.95):
            assert set(draws.sel(quantile=q).values) <= set(corners[:, 1])
        middle = binned["precision"].sel(quantile=0.5).isel(label=i)
        np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], middle)
        assert ax.get_ylim()[0] == 0
    assert [ax.get_ylabel() for ax in axes] == [
        r"$\sigma$ $T_{\rm eff}$ [K]",
        r"$\sigma$ [Fe/H] [dex]",
    ]
    (legend,) = axes[0].figure.legends
    assert legend.get_texts()[0].get_text() == "draws of noise, 5-95% of stars"
    save(axes[0])
    assert legible(axes[0].figure)


def test_precision_of_one_label_on_given_axes(binned):
    ax = Figure().add_subplot()
    (found,) = plot.precision(binned, "fe_h", ax)
    assert found is ax and not ax.figure.legends
    save(ax)
    with pytest.raises(InputError, match="1 axes for 2 labels"):
        plot.precision(binned, axes=ax)
    with pytest.raises(InputError, match="no label 'c_fe'; there are teff, fe_h"):
        plot.precision(binned, ["c_fe"])


@pytest.fixture
def scores():
    """Three numbers of latents, two priors, three folds, of which one setting is not done."""
    rng = np.random.default_rng(0)
    dims, coords = (
        ("latent_dim", "prior", "fold", "given"),
        {"latent_dim": [4, 8, 16], "prior": [0.01, 1.0]},
    )
    values = rng.uniform(1, 2, (3, 2, 3, 2))
    values[2, 0, 1] = np.nan
    label = np.where(np.arange(2) == 1, values * [1000, 1], values)
    named = {
        "label_chi2": (dims, label),
        "spectrum_chi2": (dims, values),
        "total_chi2": (dims, 1e6 * values),
    }
    return xr.Dataset(named, {**coords, "given": ["spectra", "labels"]})


def test_crossval_draws_folds_and_medians(scores):
    axes = plot.crossval(
        scores,
        Choice(setting=(("latent_dim", 8), ("prior", 1.0)), score=0.1, best=(), best_score=0.1),
    )
    assert axes.shape == (2, 2)
    for row, name in zip(axes, ("label_chi2", "spectrum_chi2"), strict=True):
        for ax, given in zip(row, ("spectra", "labels"), strict=True):
            expected = scores[name].sel(given=given)
            for i in range(2):
                folds, middle = ax.lines[2 * i : 2 * i + 2]
                np.testing.assert_array_equal(
                    folds.get_ydata(), expected.isel(prior=i).values.ravel()
                )
                median = np.median(expected.isel(prior=i), axis=1)  # NaN where a fold is not done
                np.testing.assert_array_equal(middle.get_ydata(), median)
            assert ax.lines[-1].get_xdata() == [8]
            assert ax.lines[-1].get_ydata() == np.median(expected.sel(latent_dim=8, prior=1))
    assert [ax.get_title() for ax in axes[0]] == ["latents from spectra", "latents from labels"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == [r"$\chi^2$ per label", r"$\chi^2$ per pixel"]
    (legend,) = axes[0, 0].figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["prior 0.01", "prior 1", "chosen, P=8"]
    save(axes[0, 0])
    assert legible(axes[0, 0].figure)


def test_crossval_names_priors_as_the_paper_does(scores):
    axes = plot.crossval(scores.assign_coords(prior=[1.0, 1e-6]), omega=True)
    (legend,) = axes[0, 0].figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["Ω = 1", "Ω = 1000"]
    first, last = axes[0, 0].lines[1::2]
    assert (
        first.get_linewidth() > last.get_linewidth()
        and first.get_markersize() > last.get_markersize()
    )


def test_crossval_takes_a_logarithmic_axis_for_a_wide_range(scores):
    scores["label_chi2"][0] *= 1000
    axes = plot.crossval(scores, score=["label_chi2", "total_chi2"])
    assert [ax.get_yscale() for ax in axes.flat] == ["log", "log", "linear", "linear"]
    assert [t.get_text() for t in axes[1, 0].get_xticklabels()] == ["4", "8", "16"]
    save(axes[0, 0])


def test_crossval_on_given_axes_of_one_score(scores):
    axes = Figure().subplots(2)
    found = plot.crossval(scores.isel(prior=[0]), score="total_chi2", axes=axes)
    assert found.ravel().tolist() == axes.tolist() and not axes[0].figure.legends
    with pytest.raises(InputError, match="2 axes for 2 scores; give 2 for each"):
        plot.crossval(scores, axes=axes)
    with pytest.raises(InputError, match="'label_rmse' is no score to draw; take label_chi2"):
        plot.crossval(scores, score="label_rmse")


@pytest.mark.slow
def test_importing_and_drawing_leave_pyplot_alone():
    import subprocess
    import sys

    code = (
        "import sys; import luxscale.plot.style as p; p.make_axes(1, 1); "
        "assert 'matplotlib.pyplot' "
        "not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# one star


@pytest.fixture
def wide(spectra):
    """A star of 9,000 pixels in two detectors, the second with a hole off its middle."""
    good = np.ones(9000, bool)
    good[5800:6100] = False
    good[100] = False
    x = np.r_[15000 + 0.1 * np.arange(2000), 15500 + 0.1 * np.arange(7000)]
    flux = np.where(good, 1.0 + 0.01 * np.sin(np.arange(9000)), 0)
    flux[3000:3003], flux[8000:8003] = 0.3, -40
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), flux[None]),
            "flux_ivar": (("star", "wavelength"), np.where(good, 1e4, 0)[None]),
            "snr": ("star", [123.4]),
        },
        {"star": [7], "wavelength": ("wavelength", x, {"units": "Angstrom", "medium": "vacuum"})},
    )


def test_the_rows_of_a_spectrum_are_its_detectors_and_large_ones_are_cut_where_pixels_are_missing(
    wide,
):
    axes = plot.spectrum(wide, 7)
    assert axes.shape == (3,)
    x = wide["wavelength"].values
    bounds = [(0, 2000), (2000, 5949), (5949, 9000)]
    for ax, (a, b) in zip(axes, bounds, strict=True):
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_xdata(), x[a:b])
        np.testing.assert_array_equal(
            np.isnan(line.get_ydata()), wide["flux_ivar"].values[0, a:b] == 0
        )
        assert ax.get_xlim() == (x[a], x[b - 1])
    assert axes[0].get_title(loc="left") == "7   S/N 123"
    assert axes[-1].get_xlabel() == "Wavelength in vacuum [Å]"
    assert (
        axes[1].get_ylim()[0] < 0.3 and axes[2].get_ylim()[0] > 0.9
    )  # the line is shown, what is absurd is not
    save(axes[0])


def test_bad_pixels_are_marked_one_by_one(wide):
    axes = plot.spectrum(wide, 7)
    marks = [c for c in axes[0].collections if isinstance(c, LineCollection)]
    assert [s[0, 0] for s in marks[0].get_segments()] == [wide["wavelength"].values[100]]
    assert "bad pixels, 3.3%" in [t.get_text() for t in axes[0].get_legend().get_texts()]
    whole = plot.spectrum(wide.assign(flux_ivar=wide["flux_ivar"] * 0 + 1), 7)
    assert not any(isinstance(c, LineCollection) for ax in whole for c in ax.collections)


def test_a_range_of_a_spectrum(wide):
    (ax,) = plot.spectrum(wide, 7, span=(15000.05, 15050.01))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), wide["wavelength"].values[1:501])
    save(ax)
    (ax,) = plot.spectrum(wide, 7, span=(15000.05, 15000.15))
    save(ax)


def test_a_star_without_a_good_pixel_is_drawn(wide):
    axes = plot.spectrum(wide.assign(flux_ivar=wide["flux_ivar"] * 0), 7)
    assert all(np.isnan(ax.lines[0].get_ydata()).all() for ax in axes)
    save(axes[0])


def test_the_model_of_one_star(spectra):
    survey, catalog, model = spectra
    top, bottom = plot.spectrum(survey.isel(star=[3, 1]), "star1", catalog, model)
    decoded = model["flux"].map(catalog["latent"].values[1])
    np.testing.assert_allclose(top.lines[1].get_ydata(), decoded)
    pull = (survey["flux"].values[1] - decoded) / 0.05
    np.testing.assert_allclose(bottom.lines[-1].get_ydata()[:20], pull[:20], rtol=1e-5, atol=1e-5)
    assert np.isnan(bottom.lines[-1].get_ydata()[20:30]).all()
    assert top.get_title(loc="right").startswith(r"$T_{\rm eff}$ $4568 \pm 45$ K")
    save(top)


def test_labels_of_the_survey_stand_in_the_title(spectra):
    survey = spectra[0].assign(labelled(np.tile([4500.0, np.nan, -0.5, 0.1, 0.2], (4, 1)), 0.04))
    survey["label_err"][2, 2] = np.nan
    (ax,) = plot.spectrum(survey, "star2")
    title = ax.get_title(loc="right")
    assert (
        title
        == r"$T_{\rm eff}$ $4500.000 \pm 0.040$ K,  [Fe/H] $-0.500$,  [$\alpha$/M] $0.100 \pm "
        r"0.040$,  $A_K$ $0.200 \pm 0.040$ mag"
    )


def test_spectrum_messages(spectra, wide):
    survey, catalog, model = spectra
    with pytest.raises(InputError, match="survey: no star 'star9'; did you mean star"):
        plot.spectrum(survey, "star9")
    with pytest.raises(InputError, match="needs the model and a catalogue"):
        plot.spectrum(survey, "star0", catalog)
    with pytest.raises(InputError, match=r"no pixel lies in 1 to 2; the grid is 400 to 700"):
        plot.spectrum(survey, "star0", span=(1, 2))
    with pytest.raises(InputError, match="no variable 'flax'"):
        plot.spectrum(survey, "star0", output="flax")
    with pytest.raises(InputError, match="output 'label_value' has names, not a grid"):
        plot.spectrum(catalog, "star0", output="label_value")
    with pytest.raises(
        InputError, match=r"the model's wavelength is not the survey's \(60 pixels, the survey 59\)"
    ):
        plot.spectrum(survey.isel(wavelength=slice(1, None)), "star0", catalog, model)
    with pytest.raises(InputError, match="2 axes for 3 rows; give 3: 1 for each"):
        plot.spectrum(wide, 7, axes=Figure().subplots(2))
