import json
import subprocess
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import xarray as xr

from luxscale.export import export_catalog, healpix

QUERIES = Path(__file__).with_name("open_with_lsdb.py")


def make_sky(n=2000, seed=1):
    """Return positions [deg]: half over the sky, half in a cluster where four base pixels meet."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    half = slice(0, n // 2)
    ra[half], dec[half] = 45 + rng.normal(0, 0.02, n // 2), rng.normal(0, 0.02, n // 2)
    ra[-20:], dec[-20:] = rng.uniform(0, 360, 20), 90 - rng.uniform(0, 0.002, 20)
    return ra, dec


def make_catalog(ra, dec):
    n = ra.size
    star = np.arange(n)
    catalog = xr.Dataset(
        {
            "label_value": (("star", "label"), star[:, None] * 1.0),
            "label_err": (("star", "label"), np.ones((n, 1))),
            "status": ("star", np.ones(n, "u1")),
            "ra": ("star", ra),
            "dec": ("star", dec),
        },
        {"star": star, "label": np.array(["teff"], object)},
        {"model_fingerprint": "f" * 64, "luxscale_version": "0.1.0"},
    )
    catalog.coords["label_units"] = "label", np.array(["K"], object)
    for name, dtype in (("chi2", "f4"), ("n_pixels", "i4"), ("flags", "u2")):
        catalog[name] = "star", np.ones(n, dtype)
    catalog["latent"] = ("star", "latent"), np.zeros((n, 2), "f4")
    return catalog


def measure_separations(ra, dec):
    """Return separations [arcsec] of all pairs, (star, star)."""
    ra, dec = np.radians(ra), np.radians(dec)
    place = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = np.linalg.norm(place[:, None] - place, axis=2)
    return np.degrees(2 * np.arcsin(chord / 2)) * 3600


def read_pixels(path):
    """Return the stars of each file of a catalogue, by order and pixel."""
    pixels = pd.read_csv(path / "partition_info.csv")
    return {
        (order, number): pyarrow.parquet.read_table(
            path / "dataset" / healpix.Pixel(order, number).path, partitioning=None
        ).to_pandas()
        for order, number in pixels.itertuples(index=False)
    }


def read_facts(path):
    return dict(line.split("=") for line in path.read_text().splitlines())


@pytest.fixture
def sky(tmp_path, monkeypatch):
    """A catalogue in the HATS layout with a margin of 10 arcsec, and its positions."""
    monkeypatch.setattr(healpix, "PIXEL_STARS", 100)
    ra, dec = make_sky()
    catalog = make_catalog(ra, dec)
    path = tmp_path / "giants.parquet"
    options = {"survey": catalog, "columns": ["ra", "dec"], "progress": False}
    export_catalog(catalog, path, healpix_order=1, healpix_margin=10.0, **options)
    return path, ra, dec


def test_dense_pixels_are_divided_and_hold_each_star_once(sky):
    path, ra, dec = sky
    files = read_pixels(path / "giants")
    assert min(order for order, _ in files) == 1
    assert max(order for order, _ in files) > 5
    index = healpix.find_index(ra, dec)
    for (order, number), frame in files.items():
        assert len(frame) <= 100 or order == healpix.FINEST_FILES
        assert (healpix.coarsen(index[frame["star"]], order) == number).all()
        assert frame["_healpix_29"].is_monotonic_increasing
    stars = np.concatenate([frame["star"] for frame in files.values()])
    assert np.sort(stars).tolist() == list(range(ra.size))
    facts = read_facts(path / "giants" / "hats.properties")
    assert facts["hats_order"] == str(max(order for order, _ in files))


def test_pixels_of_the_finest_order_are_not_divided(tmp_path, monkeypatch):
    monkeypatch.setattr(healpix, "PIXEL_STARS", 3)
    catalog = make_catalog(np.full(10, 10.0), np.full(10, 20.0))
    options = {"survey": catalog, "columns": ["ra", "dec"], "progress": False}
    export_catalog(catalog, tmp_path / "c.parquet", healpix_order=0, **options)
    ((order, _),) = read_pixels(tmp_path / "c.parquet")
    assert order == healpix.FINEST_FILES


def test_the_margin_holds_every_star_that_is_close_to_another_file(sky):
    path, ra, dec = sky
    own = np.empty(ra.size, int)
    files = read_pixels(path / "giants")
    for number, frame in enumerate(files.values()):
        own[frame["star"]] = number
    apart = measure_separations(ra, dec)
    near = (apart < 10) & (own[:, None] != own)
    margin = read_pixels(path / "giants_10arcs")
    held = {pixel: set(frame["star"]) for pixel, frame in margin.items()}
    for number, (pixel, frame) in enumerate(files.items()):
        there = held.pop(pixel, set())
        # a star that lies close to one of the pixel's stars lies close to the pixel
        wanted = set(np.flatnonzero(near[frame["star"]].any(axis=0)))
        assert wanted <= there
        assert not there & set(frame["star"])
        assert all(own[star] != number for star in there)
    assert not held
    assert sum(map(len, margin.values())) > 100
    facts = read_facts(path / "giants_10arcs" / "hats.properties")
    assert facts["hats_nrows"] == str(sum(map(len, margin.values())))
    assert facts["hats_margin_threshold"] == "10.0"


def test_a_margin_is_narrow(sky):
    path, *_ = sky
    files = read_pixels(path / "giants")
    for pixel, frame in read_pixels(path / "giants_10arcs").items():
        index = healpix.find_index(frame["ra"].values, frame["dec"].values)
        # within one pixel of order 13, 26 arcsec wide, of the file's
        around = healpix.find_neighbours(healpix.coarsen(index, 13), 13)
        inside = around >> 2 * (13 - pixel[0]) == pixel[1]
        assert inside.any(axis=0).all()
        assert pixel in files


def test_an_export_with_a_margin_is_replaced_and_nothing_else_is(sky):
    path, ra, dec = sky
    catalog = make_catalog(ra, dec)
    (path / "giants" / "notes.txt").write_text("mine")
    options = {"overwrite": True, "progress": False}
    with pytest.raises(ValueError, match="holds something else|is there"):
        export_catalog(catalog, path, **options)
    (path / "giants" / "notes.txt").unlink()
    export_catalog(catalog, path, **options)
    assert [p.name for p in path.iterdir()] == ["part-00000.parquet"]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.timeout(600)
def test_lsdb_searches_and_matches_it_as_all_pairs_do(sky, tmp_path):
    path, ra, dec = sky
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", with_pip=True)
    installed = subprocess.run([python, "-m", "pip", "install", "-q", "lsdb"], capture_output=True)
    if installed.returncode:
        pytest.skip("lsdb cannot be installed here")
    np.savez(tmp_path / "positions.npz", ra=ra, dec=dec - 2 / 3600)
    command = [python, QUERIES, path, tmp_path / "positions.npz"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    answer = json.loads(found.stdout.splitlines()[-1])
    apart = measure_separations(np.append(ra, 45), np.append(dec, 0))[-1, :-1]
    assert answer["cone"] == np.flatnonzero(apart < 60).tolist()
    n = ra.size
    both = measure_separations(np.append(ra, ra), np.append(dec, dec - 2 / 3600))[n:, :n]
    assert answer["matches"] == np.argwhere(both < 9).tolist()
    # without the margin, those across borders are missed
    assert len(answer["without margin"]) < len(answer["matches"])
