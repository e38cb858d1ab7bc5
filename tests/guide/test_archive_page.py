"""The commands of the page on archives run on files as the archives have them."""

from __future__ import annotations

import gzip
import re
import shlex

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from click.testing import CliRunner
from fitsfiles import APOGEE_PIXELS, READABLE, write_mwm
from surveyfiles import build_lrs, build_xp_continuous, xp_coefficients

import luxscale as lux
from luxscale import guide, store
from luxscale.cli import main

N_STARS = 100
FIRST = 99560000
PIPELINE = "sas/dr19/spectro/astra/0.6.0"


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(3)
    return {
        "teff": rng.uniform(4000, 5500, N_STARS),
        "logg": rng.uniform(1, 4, N_STARS),
        "fe_h": rng.uniform(-1, 0.3, N_STARS),
    }


def draw_lines(labels, n_pixels):
    """Return spectra about 1 that are linear in the labels, with a little noise."""
    rng = np.random.default_rng(4)
    z = np.stack([(v - v.mean()) / v.std() for v in labels.values()], axis=1)
    lines = 0.02 * rng.normal(size=(z.shape[1], n_pixels))
    return 1 + z @ lines + 0.005 * rng.normal(size=(N_STARS, n_pixels))


def make_apogee(folder, labels):
    spectra = folder / PIPELINE / "spectra" / "star" / "00" / "00"
    spectra.mkdir(parents=True)
    flux = draw_lines(labels, APOGEE_PIXELS)
    for i in range(N_STARS):
        given = {
            "flux": 80 * flux[i : i + 1],
            "ivar": np.full((1, APOGEE_PIXELS), (80 * 0.005) ** -2.0),
            "continuum": np.full((1, APOGEE_PIXELS), 80.0),
            "pixel_flags": np.zeros((1, APOGEE_PIXELS)),
            "sdss_id": [FIRST + i],
        }
        path = spectra / f"mwmStar-0.6.0-{FIRST + i}.fits"
        write_mwm(path, "mwmStar", {"APOGEE/APO": 1}, given={"APOGEE/APO": given})
    columns = [fits.Column("sdss_id", "K", array=FIRST + np.arange(N_STARS))]
    for name, values in labels.items():
        columns.append(fits.Column(name, "E", array=values))
        columns.append(fits.Column(f"e_{name}", "E", array=np.full(N_STARS, 0.02 * values.std())))
        columns.append(fits.Column(f"raw_{name}", "E", array=values))
        columns.append(fits.Column(f"raw_e_{name}", "E", array=values))
    flags = ["fe_h_flags", "mg_h_flags", "result_flags", "spectrum_flags"]
    columns += [fits.Column(name, "K", array=np.zeros(N_STARS, int)) for name in flags]
    columns += [fits.Column(name, "E", array=np.ones(N_STARS)) for name in ("mg_h", "e_mg_h")]
    columns.append(fits.Column("flag_bad", "L", array=np.zeros(N_STARS, bool)))
    columns.append(fits.Column("snr", "E", array=np.full(N_STARS, 200.0)))
    tables = [fits.BinTableHDU.from_columns(columns, nrows=n) for n in (0, N_STARS)]
    tables[1] = fits.BinTableHDU.from_columns(columns)
    summary = folder / PIPELINE / "summary"
    summary.mkdir()
    path = summary / "astraAllStarASPCAP-0.6.0.fits"
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def make_table(path, key, names, labels):
    table = pd.DataFrame({key: names})
    for name, values in labels.items():
        table[name], table[f"{name}_err"] = values, 0.02 * values.std()
    table.to_csv(path, index=False)


def make_gaia(folder, labels):
    (folder / "xp").mkdir()
    columns = xp_coefficients(N_STARS)
    level = 1e6 * 10 ** np.random.default_rng(5).uniform(-1, 1, (N_STARS, 1))
    for band in ("bp", "rp"):
        columns[f"{band}_coefficients"] = level * draw_lines(labels, 55) / (1 + np.arange(55)) ** 2
        errors = 1e-3 * level / (1 + np.arange(55)) ** 2
        columns[f"{band}_coefficient_errors"] = errors.astype("f4")
    build_xp_continuous(folder / "xp" / "XP_CONTINUOUS_RAW.fits", columns)
    make_table(folder / "xp-labels.csv", "source_id", columns["source_id"], labels)


def make_lamost(folder, labels):
    (folder / "lamost").mkdir()
    flux = draw_lines(labels, 3909)
    for i in range(N_STARS):
        path = build_lrs(folder / "lamost" / f"spec-58575-sp03-{i:03d}.fits", OBSID=1000 + i)
        with fits.open(path) as hdus:
            rows = hdus[1].data
            rows["FLUX"], rows["IVAR"] = 1000 * flux[i], (1000 * 0.005) ** -2.0
            rows["ANDMASK"] = rows["ORMASK"] = 0
            hdus.writeto(path, overwrite=True)
    make_table(folder / "lamost-labels.csv", "obsid", 1000 + np.arange(N_STARS), labels)


MAKERS = {"apogee": make_apogee, "xp": make_gaia, "lamost": make_lamost}


def list_commands():
    blocks = re.findall(r"```bash\n(.*?)```", guide.page("archive"), re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


def test_every_command_of_the_page_is_run_below():
    _, *lines = list_commands()  # the first lists formats
    named = [
        [f"{section}.zarr" in line or f"{section}-" in line for section in MAKERS] for line in lines
    ]
    assert len(lines) == 16 and all(any(found) for found in named)


@pytest.mark.slow
@pytest.mark.parametrize("section", MAKERS)
def test_commands_of_the_page_run(section, labels, tmp_path, monkeypatch):
    if section == "xp" and "gaia-xp-continuous" not in READABLE:
        pytest.skip("GaiaXPy is not installed")
    monkeypatch.chdir(tmp_path)
    MAKERS[section](tmp_path, labels)
    for _ in range(2):  # as who repeats them
        for line in list_commands():
            if f"{section}.zarr" not in line and f"{section}-catalog" not in line:
                continue
            result = CliRunner().invoke(main, shlex.split(line)[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}"
    survey = lux.open_survey(f"{section}.zarr")
    catalog = store.open_dataset(f"{section}-catalog.zarr")
    assert dict(catalog.sizes)["star"] == N_STARS == survey.sizes["star"]
    rows = slice(80, None)
    for name in ("teff", "logg"):
        found = catalog.label_value.sel(label=name)[rows].values
        true = survey.label_value.sel(label=name)[rows].values
        assert np.std(found - true) < 0.3 * np.std(true), name
