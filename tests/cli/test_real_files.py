"""Real files of every survey go through the command line: ingest, info, a figure."""

import pytest
from click.testing import CliRunner
from fitsfiles import READABLE, find_real

import luxscale as lux
from luxscale.cli import main

#: Format, file, further arguments; stars that are kept, and what is said of others.
CASES = {
    "apvisit": ("apvisit", "apVisit-r13-9518-57729-104.fits", [], 1, []),
    "spec": ("spec", "spec-3586-55181-0500.fits", [], 1, []),
    "gaia-xp": ("gaia-xp", "XP_SAMPLED_RAW_dr3int6.fits", [], 2, []),
    "gaia-xp-continuous": ("gaia-xp-continuous", "XP_CONTINUOUS_RAW.csv", [], 2, []),
    "gaia-xp-coefficients": ("gaia-xp-coefficients", "XP_CONTINUOUS_RAW.fits", [], 2, []),
    "lamost-lrs": ("lamost-lrs", "spec-58575-sp03-002.fits", [], 1, []),
    "lamost-mrs": ("lamost-mrs", "med-58625-TD192102N424113K01_sp12-076.fits.gz", [], 1, []),
    "desi": (
        "desi",
        "spectra-5-169-thru20210419.fits",
        ["--option", "targets=all"],
        1,
        [
            "thru20210419.fits, row 0: no target: the fibre was on none",
            "star 39633297352951412: no good pixel: 25 SOMEBADPIX, 7756 BADFIBER",
        ],
    ),
}


def luxscale(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result.output


@pytest.mark.parametrize("name", CASES)
def test_ingest_info_and_plot(name, tmp_path):
    if name not in READABLE:
        pytest.skip("GaiaXPy is not installed")
    fmt, file, more, n_stars, said = CASES[name]
    path, out = find_real(file), tmp_path / "survey.zarr"
    shown = luxscale("ingest", fmt, path, *more, "--out", out)
    assert f"{n_stars} star" in shown and ("\nquarantined\n" in shown) == bool(said)
    assert lux.open_survey(out).sizes["star"] == n_stars
    assert fmt in luxscale("info", out)
    listed = luxscale("info", out, "--quarantine")
    for line in said:
        assert line in shown and line in listed
    luxscale("plot", out, "--row", 0, "--out", tmp_path / "star.png")
    assert (tmp_path / "star.png").stat().st_size


def test_of_desi_what_is_no_star_is_said_with_what_to_do(tmp_path):
    path, out = find_real("spectra-5-169-thru20210419.fits"), tmp_path / "survey.zarr"
    shown = luxscale("ingest", "desi", path, "--out", out, expect=1)
    assert "no star of the files could be used, and nothing is written" in shown
    assert "row 1: no star: chosen neither for the Milky Way Survey" in shown
    assert "--option targets=all reads it" in shown
    more = ["--option", "targets=all", "--rest-frame"]
    shown = luxscale("ingest", "desi", path, *more, "--out", out, expect=1)
    assert "no velocity, which the rest frame needs; --as-observed leaves" in shown


def test_a_directory_of_files_of_another_format_is_named(tmp_path):
    path = find_real("apVisit-r13-9518-57729-104.fits")
    (tmp_path / path.name).write_bytes(path.read_bytes())
    shown = luxscale("ingest", "apstar", tmp_path, "--out", tmp_path / "s.zarr", expect=1)
    assert f"({tmp_path / path.name} is named as those of apvisit are)" in shown
    other = find_real("spec-58575-sp03-002.fits")
    (tmp_path / path.name).unlink()
    (tmp_path / other.name).write_bytes(other.read_bytes())
    shown = luxscale("ingest", "apstar", tmp_path, "--out", tmp_path / "s.zarr", expect=1)
    assert "is named as those of spec or lamost-lrs are)" in shown
