import builtins
import gc
import json
import tracemalloc

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest
import xarray as xr
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy_healpix import HEALPix
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.export import export_catalog, layout, parquet
from luxscale.schema import flags

LABELS = ("teff", "fe_h", "a_k")
UNITS = ("K", "dex", "mag")


def make_catalog(n=250, labels=LABELS, units=UNITS, chunk=32, latents=4, star=None):
    """A catalogue of random numbers, on Dask, in the contract's layout; every third has a flag."""
    rng = np.random.default_rng(5)
    shapes = {"label_value": ("label",), "label_err": ("label",), "latent": ("latent",), "chi2": ()}
    sizes = {"label": len(labels), "latent": latents}
    catalog = xr.Dataset(
        {
            name: (("star", *dims), rng.normal(size=(n, *(sizes[d] for d in dims))))
            for name, dims in shapes.items()
        }
        | {
            "n_pixels": ("star", np.arange(n, dtype="i4")),
            "flags": ("star", np.where(np.arange(n) % 3, 0, 40).astype("u2")),
            "status": ("star", np.ones(n, "u1")),
        },
        {
            "star": np.array([f"star {i}" for i in range(n)], object) if star is None else star,
            "label": np.array(labels, object),
            "label_units": ("label", np.array(units, object)),
        },
        {
            "model_fingerprint": "f" * 64,
            "luxscale_version": "0.1.0",
            "identity": {"survey": "a" * 64, "given": "flux"},
        },
    )
    catalog["latent"], catalog["chi2"] = (
        catalog["latent"].astype("f4"),
        catalog["chi2"].astype("f4"),
    )
    catalog["flags"].attrs = flags.ATTRS
    catalog["label_value"][3, 1] = np.nan
    return catalog.chunk(star=chunk)


@pytest.fixture
def catalog():
    return make_catalog()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of one chunk, and parts of three blocks."""
    monkeypatch.setattr(layout, "BLOCK_BYTES", 1)
    monkeypatch.setattr(parquet, "PART_STARS", 96)


def export(catalog, out, **options):
    return export_catalog(catalog, out, progress=False, **options)


def read_fits(path):
    # dex is no unit of the FITS standard
    return Table.read(path, unit_parse_strict="silent", mask_invalid=False)


def same(column, variable):
    np.testing.assert_array_equal(np.asarray(column), variable.values)


def test_fits_holds_the_catalogue(catalog, tmp_path, small_blocks):
    made = export(catalog, tmp_path / "c.fits")
    table = read_fits(tmp_path / "c.fits")
    assert made.columns == tuple(table.colnames)
    assert table.colnames[:5] == ["STAR", "TEFF", "TEFF_ERR", "FE_H", "FE_H_ERR"]
    assert (
        (made.rows, made.bytes)
        == (len(table), (tmp_path / "c.fits").stat().st_size)
        == (250, made.bytes)
    )
    assert table["STAR"].astype(str).tolist() == catalog["star"].values.tolist()
    for name in ("chi2", "n_pixels", "flags", "status", "latent"):
        same(table[name.upper()], catalog[name])
        assert table[name.upper()].dtype.newbyteorder("=") == catalog[name].dtype
    for i, label in enumerate(LABELS):
        same(table[label.upper()], catalog["label_value"][:, i])
        same(table[f"{label.upper()}_ERR"], catalog["label_err"][:, i])
        assert str(table[f"{label.upper()}_ERR"].unit) == UNITS[i]
    assert np.isnan(table["FE_H"][3])


def test_fits_header_explains_the_columns(catalog, tmp_path):
    export(catalog, tmp_path / "c.fits")
    header = fits.getheader(tmp_path / "c.fits", 1)
    number = next(i for i in range(1, 20) if header[f"TTYPE{i}"] == "FE_H_ERR")
    assert header[f"TUNIT{number}"] == "dex"
    assert header[f"TCOMM{number}"] == "fe_h: one-sigma error"
    assert [header[f"FLAG{i}"] for i in range(len(flags.FLAGS))] == list(flags.BIT)
    assert "FLAGS bit 1, no_data: nothing to infer from" in " ".join(header["COMMENT"])
    assert header["LUXMODEL"] == "f" * 64
    assert f"run_survey: {'a' * 64}" in "".join(header["HISTORY"])


def test_fits_checksums_are_valid_and_tell_a_changed_byte(catalog, tmp_path):
    path = tmp_path / "c.fits"
    export(catalog, path)
    with fits.open(path, checksum=True) as hdus:  # a wrong checksum warns, and warnings are errors
        hdus.verify("exception")
        assert (
            [hdu.verify_checksum() for hdu in hdus]
            == [hdu.verify_datasum() for hdu in hdus]
            == [1, 1]
        )
    with path.open("r+b") as stream:
        stream.seek(-3000, 2)
        stream.write(b"!")
    with fits.open(path) as hdus:
        assert (hdus[0].verify_datasum(), hdus[1].verify_datasum()) == (1, 0)


def test_parquet_holds_the_catalogue(catalog, tmp_path, small_blocks):
    made = export(catalog, tmp_path / "c.parquet")
    parts = sorted(p.name for p in (tmp_path / "c.parquet").iterdir())
    assert parts == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    frame = pd.read_parquet(tmp_path / "c.parquet")
    assert made.columns == tuple(frame.columns)
    assert frame["star"].tolist() == catalog["star"].values.tolist()
    for name in ("chi2", "n_pixels", "flags", "status"):
        same(frame[name], catalog[name])
        assert frame[name].dtype == catalog[name].dtype
    same(np.stack(frame["latent"]), catalog["latent"])
    for i, label in enumerate(LABELS):
        same(frame[label], catalog["label_value"][:, i])
        same(frame[f"{label}_err"], catalog["label_err"][:, i])
    same(
        pyarrow.parquet.read_table(tmp_path / "c.parquet" / parts[1])["teff"],
        catalog["label_value"][96:192, 0],
    )


def test_parquet_schema_explains_the_columns(catalog, tmp_path):
    export(catalog, tmp_path / "c.parquet")
    schema = pyarrow.dataset.dataset(tmp_path / "c.parquet").schema
    assert (
        schema.field("fe_h_err").metadata | {b"unit": b"dex", b"label": b"fe_h"}
        == schema.field("fe_h_err").metadata
    )
    bits = json.loads(schema.field("flags").metadata[b"flags"])
    assert [(b["bit"], b["name"]) for b in bits] == list(enumerate(flags.BIT))
    assert schema.metadata[b"luxscale.model_fingerprint"] == b"f" * 64
    assert schema.metadata[b"luxscale.run_survey"] == b"a" * 64
    part = pyarrow.parquet.ParquetFile(tmp_path / "c.parquet" / "part-00000.parquet")
    assert part.metadata.row_group(0).column(1).compression == "ZSTD"


def test_integer_identifiers(tmp_path):
    star = 2**60 + np.arange(250)
    catalog = make_catalog(star=star)
    export(catalog, tmp_path / "c.fits")
    export(catalog, tmp_path / "c.parquet")
    assert read_fits(tmp_path / "c.fits")["STAR"].tolist() == star.tolist()
    assert pd.read_parquet(tmp_path / "c.parquet")["star"].tolist() == star.tolist()


def test_labels_with_names_that_columns_cannot_have(tmp_path):
    labels = ("[Fe/H]", "fe h", "chi2", "3d", "Å", "teff", "teff_err", "x" * 99)
    made = export(make_catalog(labels=labels, units=("",) * 8), tmp_path / "c.fits")
    expected = (
        "FE_H FE_H_ERR FE_H_2 FE_H_ERR_2 CHI2_2 CHI2_ERR C_3D C_3D_ERR C C_ERR TEFF TEFF_ERR "
        "TEFF_ERR_2 TEFF_ERR_ERR"
    )
    assert list(made.columns[1:15]) == expected.split()
    assert made.columns[16] == "X" * 48 + "_ERR"
    header = fits.getheader(tmp_path / "c.fits", 1)
    assert [header[f"TCOMM{i}"] for i in (2, 4, 10)] == [
        "[Fe/H]: inferred label",
        "fe h: inferred label",
        "\\xc5: inferred label",
    ]
    export(make_catalog(labels=labels, units=("",) * 8), tmp_path / "c.parquet")
    schema = pyarrow.dataset.dataset(tmp_path / "c.parquet").schema
    assert schema.field("c").metadata[b"label"].decode() == "Å"


def test_covariance_on_request(catalog, tmp_path):
    with pytest.raises(lux.InputError, match="--covariance"):
        export(catalog, tmp_path / "c.fits", covariance=True)
    cov = np.random.default_rng(0).normal(size=(250, 3, 3))
    catalog["label_cov"] = ("star", "label", "label_other"), cov
    assert "LABEL_COV" not in export(catalog, tmp_path / "c.fits").columns
    export(catalog, tmp_path / "c.fits", covariance=True, overwrite=True)
    export(catalog, tmp_path / "c.parquet", covariance=True)
    same(read_fits(tmp_path / "c.fits")["LABEL_COV"], catalog["label_cov"])
    read = np.stack(pd.read_parquet(tmp_path / "c.parquet")["label_cov"])
    same(read.reshape(cov.shape), catalog["label_cov"])


COLUMNS = {
    "ra": np.linspace(0, 360, 250),
    "snr": np.linspace(0, 9, 250, dtype="f2"),
    "good": np.arange(250) % 2 == 0,
    "visits": np.arange(250).astype("i1"),
    "source_id": np.uint64(2**64 - 1) - np.arange(250, dtype="u8"),
    "targeting": np.arange(500, dtype="u4").reshape(250, 2),
    "status": np.arange(250, dtype="i8"),
    "field": np.array([f"field {i}" for i in range(250)], object),
}


@pytest.fixture
def survey(catalog):
    """A survey of the same stars with a column of every type."""
    survey = xr.Dataset(
        {k: (("star", "bit")[: v.ndim], v) for k, v in COLUMNS.items()},
        {"star": catalog["star"].values},
    )
    survey["ra"].attrs = {"units": "deg", "long_name": "right ascension"}
    return survey.chunk(star=50)


def test_columns_of_the_survey(catalog, survey, tmp_path, small_blocks):
    export(catalog, tmp_path / "c.fits", survey=survey, columns=list(COLUMNS))
    export(catalog, tmp_path / "c.parquet", survey=survey, columns=list(COLUMNS))
    table, frame = read_fits(tmp_path / "c.fits"), pd.read_parquet(tmp_path / "c.parquet")
    for name, values in COLUMNS.items():
        read = "status_2" if name == "status" else name
        ours = table[read.upper()]
        assert (ours.astype(str) if name == "field" else ours).tolist() == values.tolist()
        assert np.array(frame[read].tolist()).tolist() == values.tolist()
    assert table["SOURCE_ID"].dtype == np.uint64 and table["GOOD"].dtype == bool
    assert str(table["RA"].unit) == "deg"
    assert "ra: right ascension" in fits.getheader(tmp_path / "c.fits", 1).values()


def test_missing_text(catalog, survey, tmp_path):
    survey["field"] = survey["field"].astype(object).where(np.arange(250) != 7, None)
    export(catalog, tmp_path / "c.fits", survey=survey, columns=["field"])
    export(catalog, tmp_path / "c.parquet", survey=survey, columns=["field"])
    table, frame = read_fits(tmp_path / "c.fits"), pd.read_parquet(tmp_path / "c.parquet")
    assert table["FIELD"][7] == "" and pd.isna(frame["field"][7])
    assert np.flatnonzero(frame["field"].isna()).tolist() == [7]


@pytest.mark.parametrize("reorder", [slice(None, None, -1), slice(0, 100)])
def test_survey_of_other_stars_is_refused(catalog, survey, tmp_path, small_blocks, reorder):
    with pytest.raises(
        lux.InputError, match=r"survey: its star 0 is 'star 249'|survey: it names 100 stars"
    ):
        export(catalog, tmp_path / "c.fits", survey=survey.isel(star=reorder), columns=["ra"])


def test_columns_that_cannot_be_are_refused(catalog, survey, tmp_path):
    with pytest.raises(lux.InputError, match=r"no column 'dec'.*it has: .*ra"):
        export(catalog, tmp_path / "c.fits", survey=survey, columns=["dec"])
    with pytest.raises(lux.InputError, match="name the survey"):
        export(catalog, tmp_path / "c.fits", columns=["ra"])
    survey["when"] = "star", np.full(250, "2020-01-01", "M8[ns]")
    with pytest.raises(lux.InputError, match=r"'when' has dtype datetime64.*make it"):
        export(catalog, tmp_path / "c.fits", survey=survey, columns=["when"])
    with pytest.raises(lux.InputError, match="no variable 'latent'"):
        export(catalog.drop_vars("latent"), tmp_path / "c.fits")


def test_text_beyond_ascii_goes_to_parquet_alone(tmp_path):
    star = np.array([f"étoile {i}" for i in range(250)], object)
    catalog = make_catalog(star=star)
    with pytest.raises(lux.InputError, match=r"'star' holds 'étoile 0'.*\.parquet"):
        export(catalog, tmp_path / "c.fits")
    assert not list(tmp_path.iterdir())
    export(catalog, tmp_path / "c.parquet")
    assert pd.read_parquet(tmp_path / "c.parquet")["star"].tolist() == star.tolist()


@pytest.mark.parametrize("suffix", ["fits", "parquet"])
def test_unfinished_catalogues(catalog, tmp_path, suffix, small_blocks):
    catalog["status"] = "star", np.where(np.arange(250) < 40, 1, 0).astype("u1")
    with pytest.raises(lux.InputError, match="210 of 250 stars are not done"):
        export(catalog, tmp_path / f"c.{suffix}")
    made = export(catalog, tmp_path / f"c.{suffix}", unfinished=True)
    assert (made.rows, made.not_done) == (250, 210)
    table = (
        read_fits(tmp_path / "c.fits")
        if suffix == "fits"
        else pd.read_parquet(tmp_path / "c.parquet")
    )
    table = {k.lower(): np.stack(table[k]) for k in made.columns}
    for name in ("teff", "fe_h_err", "chi2", "latent"):
        assert np.isnan(table[name][40:]).all() and np.isfinite(table[name][:3]).all()
    assert not table["flags"][40:].any() and not table["n_pixels"][40:].any()
    same(table["status"], catalog["status"])
    assert str(np.asarray(table["star"][249]).astype(str)) == "star 249"


@pytest.fixture
def prompt_collection():
    """Have garbage collected as soon as in a program, which is not as late as in tests."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.mark.slow
@pytest.mark.usefixtures("prompt_collection")
@pytest.mark.parametrize("suffix", ["fits", "parquet"])
def test_memory_does_not_grow_with_the_catalogue(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(layout, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(parquet, "PART_STARS", 5_000)

    def peak(n):
        catalog = make_catalog(10, chunk=10, latents=64)
        many = xr.Dataset(
            {
                name: (
                    v.dims,
                    da.ones((n, *v.shape[1:]), dtype=v.dtype, chunks=(400, *v.shape[1:])),
                    v.attrs,
                )
                for name, v in catalog.variables.items()
                if v.dims[:1] == ("star",) and name != "star"
            },
            {"star": da.arange(n, chunks=2_000), "label": list(LABELS)},
        )
        tracemalloc.start()
        export(many, tmp_path / f"{n}.{suffix}")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(400)  # imports
    assert peak(12_000) < 2e6 < 12_000 * 64 * 4  # bytes; the latents alone are 3.1 MB


@pytest.mark.parametrize("suffix", ["fits", "parquet"])
def test_an_interrupted_export_leaves_what_was_there(
    catalog, tmp_path, monkeypatch, suffix, small_blocks
):
    blocks, path = layout.Table.read_blocks, tmp_path / f"c.{suffix}"

    def interrupted(table):
        for i, block in enumerate(blocks(table)):
            if i == 5:
                assert not path.exists() or read_first(path) == 0
                raise KeyboardInterrupt
            yield block

    def read_first(path):
        return int(
            (
                read_fits(path)["N_PIXELS"]
                if suffix == "fits"
                else pd.read_parquet(path)["n_pixels"]
            )[0]
        )

    with monkeypatch.context() as patched:
        patched.setattr(layout.Table, "read_blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(catalog, path)
    assert not list(tmp_path.iterdir())
    export(catalog, path)
    other = catalog.assign(n_pixels=catalog["n_pixels"] + 1)
    with monkeypatch.context() as patched:
        patched.setattr(layout.Table, "read_blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(other, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and read_first(path) == 0
    with pytest.raises(lux.InputError, match="--overwrite"):
        export(other, path)
    export(other, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and read_first(path) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("c.txt", "name it .fits"),
        ("c.fits.gz", "compress the .fits afterwards"),
        ("nowhere/c.fits", "there is no directory"),
        ("taken.fits", "something other"),
        ("taken.parquet", "something other"),
        ("collected.parquet", "something other"),
    ],
)
def test_paths_that_are_refused(catalog, tmp_path, name, message):
    (tmp_path / "taken.fits").mkdir()
    (tmp_path / "taken.parquet").mkdir()
    (tmp_path / "taken.parquet" / "zarr.json").write_text("{}")
    (tmp_path / "collected.parquet").mkdir()
    for file in ("collection.properties", "notes"):
        (tmp_path / "collected.parquet" / file).write_text("of another")
    with pytest.raises(lux.InputError, match=message):
        export(catalog, tmp_path / name, overwrite=True)
    with pytest.raises(lux.InputError, match="local"):
        export(catalog, f"s3://bucket/{name}")


@pytest.mark.parametrize(("package", "suffix"), [("astropy", "fits"), ("pyarrow", "parquet")])
def test_a_missing_package_is_named(catalog, tmp_path, monkeypatch, package, suffix):
    there = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return there(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(lux.InputError, match=rf"{package}: pip install 'luxscale\[export\]'"):
        export(catalog, tmp_path / f"c.{suffix}")


def test_parquet_by_sky_position_is_a_hats_catalogue(catalog, survey, tmp_path, small_blocks):
    survey["dec"] = "star", np.linspace(-90, 90, 250)
    path = tmp_path / "by sky.parquet"
    made = export(catalog, path, survey=survey, columns=["ra", "dec"], healpix_order=1)
    assert made.columns[:2] == ("_healpix_29", "star")
    info = pd.read_csv(path / "partition_info.csv")
    files = [path / "dataset" / "Norder=1" / "Dir=0" / f"Npix={i}.parquet" for i in info["Npix"]]
    assert sorted(p for p in path.rglob("*.parquet")) == sorted(files) and len(files) > 9
    frames = [pyarrow.parquet.read_table(f, partitioning=None).to_pandas() for f in files]
    sky = HEALPix(nside=2, order="nested")
    for pixel, frame in zip(info["Npix"], frames, strict=True):
        assert frame["_healpix_29"].is_monotonic_increasing
        assert (frame["_healpix_29"].values >> 56 == pixel).all()
        assert (
            sky.lonlat_to_healpix(frame["ra"].values * u.deg, frame["dec"].values * u.deg) == pixel
        ).all()
    everything = pd.concat(frames).set_index("star").loc[catalog["star"].values]
    same(everything["teff"], catalog["label_value"][:, 0])
    common = pyarrow.parquet.read_schema(path / "dataset" / "_common_metadata")
    assert common.equals(pyarrow.parquet.read_schema(files[0]), check_metadata=True)
    assert common.names == list(made.columns)
    assert len(pd.read_parquet(path / "dataset")) == 250  # as the guide says
    facts = dict(line.split("=") for line in (path / "hats.properties").read_text().splitlines())
    assert (
        facts["hats_nrows"] == "250"
        and facts["obs_collection"] == "by sky"
        and facts["hats_order"] == "1"
    )
    export(catalog, path, overwrite=True)
    assert sorted(p.name for p in path.iterdir()) == [
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ]


def test_sky_positions_that_cannot_be_are_refused(catalog, survey, tmp_path):
    with pytest.raises(lux.InputError, match="columns ra and dec"):
        export(catalog, tmp_path / "c.parquet", healpix_order=1)
    with pytest.raises(lux.InputError, match=r"name it \.parquet"):
        export(catalog, tmp_path / "c.fits", healpix_order=1)
    survey["dec"] = "star", np.where(np.arange(250) == 7, np.nan, 0)
    asked = {"survey": survey, "columns": ["ra", "dec"]}
    with pytest.raises(lux.InputError, match=r"star 'star 7' has no position \(ra 10.*, dec nan\)"):
        export(catalog, tmp_path / "c.parquet", healpix_order=1, **asked)
    with pytest.raises(lux.InputError, match="healpix_order=6: choose 0 to 5"):
        export(catalog, tmp_path / "c.parquet", healpix_order=6, **asked)
    with pytest.raises(lux.InputError, match="healpix_margin=101: give a width in arcsec above 0"):
        export(catalog, tmp_path / "c.parquet", healpix_order=1, healpix_margin=101, **asked)
    with pytest.raises(lux.InputError, match="give their order, too"):
        export(catalog, tmp_path / "c.parquet", healpix_margin=10, **asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [{}, {"healpix_order": 1}, {"healpix_order": 1, "healpix_margin": 10.0}]
)
def test_no_stars_at_all(catalog, survey, tmp_path, options):
    survey["dec"] = survey["ra"] * 0
    asked = {"survey": survey.isel(star=[]), "columns": ["ra", "dec"]}
    made = export(catalog.isel(star=[]), tmp_path / "c.parquet", **asked, **options)
    assert (
        (made.rows, len(pd.read_parquet(tmp_path / "c.parquet"))) == (0, 0)
        if not options
        else made.rows == 0
    )
    export(catalog.isel(star=[]), tmp_path / "c.fits", **asked)
    assert len(read_fits(tmp_path / "c.fits")) == 0


def run(*arguments, expect=0):
    result = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert result.exit_code == expect, result.output
    return result


def test_command_line_on_a_labelled_survey(held_out, small_model, tmp_path):
    held_out["ra"] = "star", np.linspace(0, 360, 600)
    store.write_dataset(held_out, tmp_path / "survey.zarr", chunk=200)
    small_model.save(tmp_path / "model.zarr")
    lux.label_survey(
        *(tmp_path / f"{n}.zarr" for n in ("survey", "model", "catalog")), progress=False
    )
    more = ("--survey", tmp_path / "survey.zarr", "--column", "ra")
    made = json.loads(
        run(tmp_path / "catalog.zarr", "--out", tmp_path / "c.fits", *more, "--json").stdout
    )
    assert (made["rows"], made["not_done"]) == (600, 0) and made["columns"][-1] == "RA"
    made = run(tmp_path / "catalog.zarr", "--out", tmp_path / "c.parquet", *more)
    assert "600 stars, " in made.stdout and "exporting: done" in made.stderr
    catalog = store.open_dataset(tmp_path / "catalog.zarr")
    table, frame = read_fits(tmp_path / "c.fits"), pd.read_parquet(tmp_path / "c.parquet")
    first = str(catalog["label"].values[0])
    same(table[first.upper()], catalog["label_value"][:, 0])
    same(frame[first], catalog["label_value"][:, 0])
    same(frame["ra"], held_out["ra"])
    assert fits.getheader(tmp_path / "c.fits", 1)["LUXMODEL"] == small_model.fingerprint
    selected = export(
        catalog.isel(star=catalog["label_value"][:, 0].values > 0), tmp_path / "some.fits"
    )
    assert selected.rows == (catalog["label_value"][:, 0] > 0).sum()


def test_command_line_refuses(catalog, tmp_path):
    run(tmp_path, "--out", tmp_path / "c.fits", "--column", "ra", expect=2)
    assert (
        "no Zarr group there"
        in run(tmp_path / "no.zarr", "--out", tmp_path / "c.fits", expect=1).stderr
    )


def test_stars_whose_data_could_not_be_read_are_counted(catalog, tmp_path):
    catalog["status"] = "star", np.where(np.arange(250) < 40, 2, 1).astype("u1")
    made = export(catalog, tmp_path / "c.fits")
    assert (made.not_done, made.unreadable) == (0, 40)
    catalog.compute().to_zarr(tmp_path / "c.zarr", consolidated=False)
    said = run(tmp_path / "c.zarr", "--out", tmp_path / "c.parquet").stdout
    assert said.startswith(
        f"{tmp_path}/c.parquet: 250 stars, 40 of them whose data could not be read, 12 columns, "
    )
