import dataclasses
import json

import numpy as np
import pytest

from luxscale.errors import InputError
from luxscale.prepare import check_recipe, default_recipe, prepare
from luxscale.readers import BadFile, get_format
from luxscale.readers.base import Format, Spectra
from luxscale.schema.outputs import OutputSpec, Role, find_invalid

FLUX = OutputSpec("flux", "wavelength", "flux_ivar", Role.SPECTRUM)
GRID = 10 ** (3.6 + 1e-4 * np.arange(400))
FORMAT = Format(
    name="test",
    doc="",
    reader=lambda path: iter(()),
    bits={"COSMIC": 0, "SKY": 5},
    bad=("COSMIC",),
    velocities=True,
)


def make(n: int = 3, grid: np.ndarray = GRID, seed: int = 0, **others) -> Spectra:
    rng = np.random.default_rng(seed)
    shape = (n, len(grid))
    err = rng.uniform(0.01, 0.02, shape)
    flux = 2 + 0.3 * np.sin(grid / 50) + err * rng.standard_normal(shape)
    return Spectra(
        star=np.arange(n), flux=flux.astype("f4"), ivar=err**-2, wavelength=grid, **others
    )


def check(prepared, n: int) -> None:
    """What holds for whatever comes in."""
    assert prepared.flux.dtype == prepared.flux_ivar.dtype == np.float32
    assert len(prepared.flux) == len(prepared.flux_ivar) == n
    assert not find_invalid(FLUX, prepared.flux, prepared.flux_ivar).any()
    assert np.isfinite(prepared.flux).all() and not prepared.flux[prepared.flux_ivar == 0].any()
    kept = np.setdiff1d(np.arange(n), list(prepared.refused))
    assert sum(prepared.masked.values()) == (prepared.flux_ivar[kept] == 0).sum()
    assert not prepared.flux_ivar[list(prepared.refused)].any()
    assert (prepared.flux_ivar[kept] > 0).any(1).all()


def test_a_format_gives_the_recipe_and_changes_are_named():
    apstar = get_format("apstar")
    recipe = default_recipe(apstar)
    assert (recipe.bad, recipe.continuum, recipe.order, recipe.rest_frame) == (
        apstar.bad,
        "chebyshev",
        4,
        True,
    )
    changed = default_recipe(
        apstar, continuum="sines", bad=["BADPIX"], continuum_pixels=[[15200, 15210]]
    )
    assert (changed.order, changed.bad, changed.continuum_pixels) == (
        3,
        ("BADPIX",),
        ((15200.0, 15210.0),),
    )


@pytest.mark.parametrize("continuum", ["none", "file", "scale", "median", "sines", "chebyshev"])
def test_a_recipe_comes_back_from_json(continuum):
    recipe = default_recipe(get_format("apstar"), continuum=continuum)
    assert (
        default_recipe(get_format("apstar"), **json.loads(json.dumps(dataclasses.asdict(recipe))))
        == recipe
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bad": ("COSMIC", "MOON")}, "'MOON'; it has: COSMIC, SKY"),
        ({"bad": ("SKY", "SKY")}, "twice"),
        ({"continuum": "mode"}, "'mode'; there are: none, file"),
        ({"colour": 1}, "no 'colour'; it has: bad"),
        ({"order": 3}, "order would have no effect with continuum = 'none'"),
        ({"chips": [(1, 2)]}, "chips would have no effect"),
        ({"continuum": "chebyshev", "length": 1000.0}, "length would have no effect"),
        (
            {"continuum": "file", "continuum_pixels": [(1, 2)]},
            "continuum_pixels would have no effect",
        ),
        ({"continuum": "sines", "order": 0}, "order = 0"),
        ({"continuum": "chebyshev", "order": 2.5}, "order = 2.5"),
        ({"continuum": "sines", "length": -1.0}, "length = -1.0"),
        ({"continuum": "sines", "length": None}, "length = None"),
        ({"most_error": float("nan")}, "most_error = nan"),
        ({"most_error": "10"}, "most_error = '10'"),
        ({"continuum": "sines", "chips": [(1, 5), (4, 8)]}, "overlap between 4 and 5"),
        ({"continuum": "sines", "chips": [(5, 1)]}, "5 to 1"),
        ({"continuum": "sines", "chips": [5, 1]}, "pairs of wavelengths"),
    ],
)
def test_settings_that_are_not_or_do_nothing_are_refused(changes, words):
    with pytest.raises(InputError) as error:
        default_recipe(FORMAT, **changes)
    assert words in str(error.value)


def test_a_recipe_is_held_against_a_grid_before_any_file():
    for continuum in ("none", "file", "scale", "median", "sines", "chebyshev"):
        check_recipe(default_recipe(FORMAT, continuum=continuum), FORMAT, GRID)
    for continuum, words in (
        ("scale", "no pixel of the grid"),
        ("chebyshev", "0 pixels to fit a continuum"),
    ):
        recipe = default_recipe(FORMAT, continuum=continuum, continuum_pixels=[(9000, 9100)])
        with pytest.raises(InputError, match=words):
            check_recipe(recipe, FORMAT, GRID)


def test_a_grid_that_matches_is_copied_exactly():
    spectra = make()
    prepared = prepare(spectra, FORMAT, default_recipe(FORMAT), GRID)
    check(prepared, 3)
    np.testing.assert_array_equal(prepared.flux, spectra.flux)
    np.testing.assert_array_equal(prepared.flux_ivar, spectra.ivar.astype("f4"))
    assert (prepared.resampled, prepared.refused) == (0, {}) and not any(prepared.masked.values())


def test_the_velocity_is_taken_out_of_each_star():
    # a line at 4200 in the rest frame, seen where each star's velocity puts it
    velocity = np.array([0.0, 120.0, -250.0])
    centre = 4200 * (1 + velocity / 299792.458)
    line = 1 - 0.5 * np.exp(-0.5 * ((GRID - centre[:, None]) / 3) ** 2)
    spectra = Spectra(
        star=np.arange(3),
        flux=line,
        ivar=np.full(line.shape, 1e4),
        wavelength=GRID,
        velocity=velocity,
    )
    prepared = prepare(spectra, FORMAT, default_recipe(FORMAT), GRID)
    check(prepared, 3)
    assert prepared.resampled == 2
    near = np.abs(GRID - 4200) < 15
    depth = 1 - prepared.flux[:, near]
    np.testing.assert_allclose(depth @ GRID[near] / depth.sum(1), 4200, atol=0.02)
    np.testing.assert_array_equal(prepared.flux[0], line[0].astype("f4"))
    left = prepare(spectra, FORMAT, default_recipe(FORMAT, rest_frame=False), GRID)
    assert left.resampled == 0
    np.testing.assert_array_equal(left.flux, line.astype("f4"))


def test_a_star_without_velocity_or_without_a_pixel_is_refused_and_no_other():
    spectra = make(4, velocity=np.array([0.0, np.nan, 30.0, 0.0]))
    spectra.flux[3] = np.nan
    prepared = prepare(spectra, FORMAT, default_recipe(FORMAT), GRID)
    check(prepared, 4)
    assert prepared.refused == {
        1: "no velocity, which the rest frame needs; --as-observed leaves spectra as they are",
        3: f"no good pixel: {GRID.size} not finite",
    }
    assert prepared.resampled == 1 and prepared.masked["not finite"] == 0
    assert list(
        prepare(spectra, FORMAT, default_recipe(FORMAT, rest_frame=False), GRID).refused
    ) == [3]


def test_a_spectrum_off_the_grid_is_refused():
    prepared = prepare(make(2), FORMAT, default_recipe(FORMAT), GRID * 3)
    check(prepared, 2)
    assert set(prepared.refused.values()) == {f"no good pixel: {GRID.size} outside file's range"}


@pytest.mark.parametrize("spoil", ["nan", "descending", "repeated", "one", "ragged", "many", "far"])
def test_wavelengths_that_are_none_are_refused(spoil):
    grid = {
        "nan": np.where(np.arange(GRID.size) == 7, np.nan, GRID),
        "descending": GRID[::-1],
        "repeated": np.repeat(GRID[::2], 2),
        "one": GRID[:1],
        "many": np.arange(1.0, 2**20 + 3),
        "far": GRID * 1e300,
        "ragged": np.cumsum(np.tile([1.0, 1.0, 50.0], 100)),
    }[spoil]
    flux = np.ones((1, grid.size), "f4")
    with pytest.raises(BadFile, match=r"wavelength|pixels are no spectrum"):
        prepare(
            Spectra(star=np.arange(1), flux=flux, ivar=flux, wavelength=grid),
            FORMAT,
            default_recipe(FORMAT),
            GRID,
        )


def test_the_continuum_of_the_file_is_divided_out():
    continuum = np.linspace(0.5, 3, 3 * GRID.size).reshape(3, -1)
    continuum[1, :5] = [0, -1, np.nan, np.inf, 1]
    spectra = make(continuum=continuum)
    recipe = default_recipe(FORMAT, continuum="file")
    prepared = prepare(spectra, FORMAT, recipe, GRID)
    check(prepared, 3)
    assert prepared.masked["no continuum"] == 4
    good = prepared.flux_ivar > 0
    np.testing.assert_allclose(prepared.flux[good], spectra.flux[good] / continuum[good], rtol=1e-6)
    np.testing.assert_allclose(
        prepared.flux_ivar[good], spectra.ivar[good] * continuum[good] ** 2, rtol=1e-6
    )
    with pytest.raises(BadFile, match="no continuum of its own"):
        prepare(make(), FORMAT, recipe, GRID)


@pytest.mark.parametrize(("continuum", "level"), [("scale", np.mean), ("median", np.median)])
def test_scaled_stars_have_a_level_of_one(continuum, level):
    spectra = make(3)
    spectra.flux[1] *= -1
    spectra.ivar[2, 100:200] = 0
    prepared = prepare(spectra, FORMAT, default_recipe(FORMAT, continuum=continuum), GRID)
    check(prepared, 3)
    assert prepared.refused == {1: f"no good pixel: {GRID.size} no continuum"}
    for i in (0, 2):
        good = prepared.flux_ivar[i] > 0
        assert level(prepared.flux[i][good]) == pytest.approx(1, abs=1e-6)
    snr = np.sqrt(prepared.flux_ivar[0]) * prepared.flux[0]
    np.testing.assert_allclose(snr, np.sqrt(spectra.ivar[0]) * spectra.flux[0], rtol=1e-5)
    part = default_recipe(FORMAT, continuum=continuum, continuum_pixels=[(4000, 4100)])
    within = (GRID >= 4000) & (GRID <= 4100)
    flux = prepare(spectra, FORMAT, part, GRID).flux[0, within]
    assert level(flux) == pytest.approx(1, abs=1e-6)


def test_stars_are_prepared_alike_alone_and_among_many():
    spectra = make(130, velocity=np.repeat([0.0, 33.0], 65))
    recipe = default_recipe(FORMAT, continuum="chebyshev")
    many = prepare(spectra, FORMAT, recipe, GRID)
    check(many, 130)
    for i in (0, 64, 129):
        one = {n: getattr(spectra, n)[i : i + 1] for n in ("star", "flux", "ivar", "velocity")}
        alone = prepare(dataclasses.replace(spectra, **one), FORMAT, recipe, GRID)
        np.testing.assert_allclose(alone.flux[0], many.flux[i], rtol=1e-5)
        np.testing.assert_allclose(alone.flux_ivar[0], many.flux_ivar[i], rtol=1e-5)


@pytest.mark.parametrize("continuum", ["none", "file", "scale", "median", "sines", "chebyshev"])
def test_whatever_is_in_a_file_comes_out_valid(continuum):
    rng = np.random.default_rng(5)
    odd = np.array(
        [0, 1, -1, np.nan, np.inf, -np.inf, 1e300, -1e300, 1e38, 1e-300, 1e-40, -9999, 9999]
    )
    shape = (70, GRID.size)
    share = rng.choice([0, 0.01, 0.5, 1], (70, 1))
    flux, ivar, level = (
        np.where(rng.random(shape) < share, rng.choice(odd, shape), rng.uniform(1, 2, shape))
        for _ in range(3)
    )
    velocity = rng.choice([0, np.nan, np.inf, 1e9, -299792.4, 100.0], 70)
    mask = rng.integers(-(2**31), 2**31, shape, np.int32)
    spectra = Spectra(
        star=np.arange(70),
        flux=flux,
        ivar=ivar,
        wavelength=GRID,
        mask=mask,
        continuum=level,
        velocity=velocity,
    )
    check(prepare(spectra, FORMAT, default_recipe(FORMAT, continuum=continuum), GRID), 70)
    tiny = Spectra(star=np.arange(70), flux=flux * 1e-35, ivar=ivar, wavelength=GRID)
    if continuum != "file":
        check(prepare(tiny, FORMAT, default_recipe(FORMAT, continuum=continuum), GRID), 70)


def test_fluxes_in_small_units_are_fitted_and_their_ivar_fits_float32_afterwards():
    spectra = make(2)
    small = dataclasses.replace(
        spectra, flux=spectra.flux.astype(float) * 1e-25, ivar=spectra.ivar * 1e50
    )
    recipe = default_recipe(FORMAT, continuum="chebyshev")
    ours, theirs = (prepare(s, FORMAT, recipe, GRID) for s in (small, spectra))
    np.testing.assert_allclose(ours.flux, theirs.flux, rtol=1e-5)
    np.testing.assert_allclose(ours.flux_ivar, theirs.flux_ivar, rtol=1e-5)
    remedy = "bring the flux near 1, by --continuum median or another unit"
    assert prepare(small, FORMAT, default_recipe(FORMAT), GRID).refused == dict.fromkeys(
        range(2), f"no good pixel: {GRID.size} beyond float32; {remedy}"
    )


def test_velocities_that_files_do_not_give_cannot_be_left_in():
    with pytest.raises(InputError, match="files of apstar give no velocities"):
        default_recipe(get_format("apstar"), rest_frame=False)
