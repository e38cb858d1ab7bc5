"""Surveys open lazily and validated, and are laid out in chunks of stars."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from luxscale import store
from luxscale.errors import InputError
from luxscale.schema.stars import StarIndex
from luxscale.store import open_survey, write_dataset


@pytest.fixture
def path(small_survey, tmp_path):
    write_dataset(small_survey, tmp_path / "survey.zarr", chunk=100)
    return tmp_path / "survey.zarr"


def spoil(path, star, name="flux_ivar", value=-1.0):
    """Write one bad value into a survey on disk."""
    zarr.open_group(path, mode="r+")[name][star, 2] = value


def test_round_trip_is_exact(path, small_survey):
    survey = open_survey(path)
    marked = small_survey.assign_attrs(format="luxscale-survey")
    xr.testing.assert_identical(survey.load().drop_indexes("star"), marked.drop_indexes("star"))
    for name, variable in small_survey.variables.items():
        assert survey[name].dtype == variable.dtype or variable.dtype == object


def test_without_dask_a_survey_is_the_same_and_knows_its_chunks(path):
    plain, lazy = open_survey(path, dask=False), open_survey(path)
    assert not plain.chunks and lazy.chunks
    assert store.get_star_chunk(plain) == store.get_star_chunk(lazy) == 100
    few = plain.isel(star=slice(30))
    assert store.get_star_chunk(few) == store.get_star_chunk(lazy.isel(star=slice(30))) == 30
    xr.testing.assert_identical(plain.load(), lazy.load())


def test_values_that_are_converted_stay_lazy_without_dask_too(small_survey, tmp_path):
    plain = small_survey.drop_encoding().drop_indexes(list(small_survey.indexes))
    plain["label_value"] = plain["label_value"].fillna(0).astype("i4")
    plain.to_zarr(tmp_path / "survey.zarr", consolidated=False)
    survey = open_survey(tmp_path / "survey.zarr", dask=False, check="structure")
    assert survey["label_value"].chunks
    assert survey["label_value"].dtype.kind == "f"


def test_on_disk_it_is_chunked_by_star_only(path):
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == 3
    assert group["flux"].chunks == group["flux_ivar"].chunks == (100, 40)
    assert group["label_value"].chunks == (100, 4)
    assert group["snr"].chunks == group["star"].chunks == (100,)


def test_names_are_written_with_variable_length(path):
    group = zarr.open_group(path, mode="r")
    for name in ("star", "label", "label_units"):
        assert group[name].dtype.kind in "OT"
        assert not group[name].dtype.str.startswith("<U")


def test_fixed_length_names_are_written_with_variable_length(small_survey, tmp_path):
    """NumPy's own text has no Zarr specification: zarr warns, and other readers may fail."""
    fixed = small_survey.assign_coords(
        star=small_survey["star"].values.astype(str),
        label_units=("label", small_survey["label_units"].values.astype(str)),
    )
    write_dataset(fixed.assign(field=("star", np.full(300, "M67"))), tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert all(group[k].dtype.kind in "OT" for k in ("star", "label_units", "field"))
    assert open_survey(tmp_path / "a.zarr")["field"].values[7] == "M67"


def test_plain_xarray_opens_what_is_written(path, small_survey):
    plain = xr.open_zarr(path, consolidated=False)  # any warning is an error
    xr.testing.assert_equal(plain.load(), small_survey)


def test_opening_reads_nothing_of_the_stars(path, small_survey):
    per_star = [name for name, v in small_survey.variables.items() if v.dims[0] == "star"]
    for name in per_star:  # whoever reads a chunk now fails
        for chunk in (path / name / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(b"not to be read")
    survey = open_survey(path, check="structure")
    assert survey["flux"].chunks == ((100, 100, 100), (40,))
    assert isinstance(survey.xindexes["star"], StarIndex)
    assert "when asked for" in repr(survey.xindexes["star"])
    assert survey["label"].values.tolist() == ["teff", "logg", "fe_h", "mg_fe"]
    assert survey.isel(star=slice(50, 250)).sizes["star"] == 200
    for name in per_star:
        with pytest.raises(Exception, match=".+"):
            survey[name].compute()


def test_selecting_by_name_after_opening(path, small_survey):
    survey = open_survey(path, check="structure")
    np.testing.assert_array_equal(survey.sel(star="s1-00123")["flux"], small_survey["flux"][123])


@pytest.mark.parametrize("check", ["sample", "all"])
@pytest.mark.parametrize("star", [0, 150, 299])
def test_a_bad_value_of_a_small_survey_is_found(path, check, star):
    spoil(path, star)
    with pytest.raises(
        InputError, match=rf"survey.zarr: 'flux_ivar' = -1.0 .* star 's1-00{star:03d}'"
    ):
        open_survey(path, check=check)
    open_survey(path, check="structure")


def test_a_sample_is_bounded_and_all_is_all(path, monkeypatch):
    spoil(path, 299)
    monkeypatch.setattr(store, "SAMPLE_BYTES", 1)
    open_survey(path, check="sample")  # reads one chunk of three
    with pytest.raises(InputError, match="s1-00299"):
        open_survey(path, check="all")


def test_a_star_named_twice_is_found(small_survey, tmp_path):
    stars = small_survey["star"].values.copy()
    stars[200] = stars[10]
    twice = small_survey.drop_indexes("star").assign_coords(star=("star", stars))
    with pytest.raises(InputError, match="'star' repeats 's1-00010'"):
        write_dataset(twice, tmp_path / "a.zarr")
    store.write_arrays(twice, tmp_path / "a.zarr")
    with pytest.raises(InputError, match="'star' repeats 's1-00010'"):
        open_survey(tmp_path / "a.zarr")


def test_a_structure_that_breaks_the_contract_names_the_file(small_survey, tmp_path):
    write_dataset(small_survey.drop_vars("flux_ivar"), tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"a.zarr: no variable 'flux_ivar'"):
        open_survey(tmp_path / "a.zarr")


def make_nothing(path):
    pass


def make_array(path):
    zarr.save_array(path, np.arange(3))


def make_directory(path):
    path.mkdir()
    (path / "notes.txt").write_text("hello")


def make_file(path):
    path.write_text("hello")


@pytest.mark.parametrize("make", [make_nothing, make_array, make_directory, make_file])
def test_what_is_no_survey_is_refused(tmp_path, make):
    make(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"a\.zarr: .*; give the path of a survey"):
        open_survey(tmp_path / "a.zarr")


def test_a_path_may_be_text(path):
    assert open_survey(str(path)).sizes["star"] == 300


def test_writing_from_dask_gives_the_same(path, small_survey, tmp_path):
    write_dataset(open_survey(path, check="structure"), tmp_path / "b.zarr", chunk=128)
    xr.testing.assert_equal(open_survey(tmp_path / "b.zarr").load(), open_survey(path).load())
    assert zarr.open_group(tmp_path / "b.zarr", mode="r")["flux"].chunks == (128, 40)


def test_writing_what_is_chunked_unevenly(small_survey, tmp_path):
    """Arrays of one survey may come in different chunks, e.g. in a file that others wrote."""
    survey = small_survey.chunk(star=100)
    survey["snr"] = survey["snr"].chunk(star=70)
    write_dataset(survey, tmp_path / "a.zarr", chunk=128)
    xr.testing.assert_equal(open_survey(tmp_path / "a.zarr").load(), small_survey)


def test_writing_replaces_what_was_there_when_told_to(path, small_survey):
    few = small_survey.isel(star=slice(5))[["flux", "flux_ivar"]]
    with pytest.raises(InputError, match="a survey is there already; choose another"):
        write_dataset(few, path)
    assert open_survey(path).sizes["star"] == 300
    write_dataset(few, path, overwrite=True)
    survey = open_survey(path)
    assert survey.sizes["star"] == 5
    assert "label_value" not in survey


def test_a_survey_may_be_replaced_by_a_part_of_itself(path, small_survey):
    write_dataset(open_survey(path).isel(star=slice(7, 20)), path, overwrite=True)
    left = open_survey(path)
    np.testing.assert_array_equal(left["flux"], small_survey["flux"][7:20])
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_writing_that_fails_leaves_what_was_there(path, small_survey):
    def fail(block):
        raise ValueError("no data")

    lazy = open_survey(path).isel(star=slice(5))
    broken = lazy.assign(flux=lazy.flux.copy(data=lazy.flux.data.map_blocks(fail, dtype="f4")))
    with pytest.raises(ValueError, match="no data"):
        write_dataset(broken, path, overwrite=True)
    assert open_survey(path).sizes["star"] == 300
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_opening_a_large_survey_reads_no_identifiers(small_survey, tmp_path, monkeypatch):
    """Junk in the chunks of `star` shows any reading of them."""
    write_dataset(small_survey, tmp_path / "s.zarr", chunk=50)
    for chunk in (tmp_path / "s.zarr" / "star" / "c").iterdir():
        chunk.write_bytes(b"junk")
    monkeypatch.setattr(store, "SAMPLE_BYTES", 1000)  # as if the survey were large
    assert open_survey(tmp_path / "s.zarr").sizes["star"] == 300


def test_what_is_no_survey_is_said_to_be_what_it_is(path, small_model, tmp_path):
    small_model.save(tmp_path / "model.zarr")
    with pytest.raises(InputError, match="model.zarr: a model, not a survey; give the path of one"):
        open_survey(tmp_path / "model.zarr")
    with pytest.raises(InputError, match="check='al': choose one of structure, sample, all"):
        open_survey(path, check="al")


def test_no_stars_are_not_written(path, small_survey, tmp_path):
    with pytest.raises(InputError, match=r"e.zarr: the dataset holds no stars, and there is"):
        write_dataset(small_survey.isel(star=[]), tmp_path / "e.zarr")


def test_columns_of_pandas_are_written_as_numpy_has_them(small_survey, tmp_path):
    few = small_survey.isel(star=slice(0, 3))
    names = pd.Categorical([str(name) for name in few.star.values])
    columns = {
        "kind": (pd.Categorical(["giant", None, "dwarf"]), ["giant", "", "dwarf"]),
        "visits": (pd.array([1, None, 3], "Int64"), [1, np.nan, 3]),
        "source": (pd.array([2**60 + 1, 2, 3], "Int64"), [2**60 + 1, 2, 3]),
        "is_good": (pd.array([True, False, None], "boolean"), [1, 0, np.nan]),
        "rank": (pd.Categorical([2, None, 1]), [2, np.nan, 1]),
    }
    survey = few.assign({name: ("star", column) for name, (column, _) in columns.items()})
    store.write_dataset(survey.assign_coords(star=names), tmp_path / "s.zarr")
    opened = open_survey(tmp_path / "s.zarr")
    assert opened.star.values.tolist() == names.tolist()
    for name, (_, expected) in columns.items():
        np.testing.assert_array_equal(opened[name].values.tolist(), expected)
    long = survey.assign(source=("star", pd.array([2**60 + 1, None, 3], "Int64")))
    with pytest.raises(InputError, match="'source' has missing values among whole numbers"):
        store.write_dataset(long, tmp_path / "t.zarr")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.assign_attrs(x=object()), "Invalid attribute"),
        (lambda s: s.assign({"..": s.star == ""}), "'..' is invalid"),
        (lambda s: s.assign(c=("star", np.array([1, "a", None], object))), "mixed native types"),
    ],
)
def test_what_no_store_holds_is_refused_with_its_path(change, said, small_survey, tmp_path):
    with pytest.raises(InputError, match=rf"s.zarr: cannot be written \(.*{said}.*; change what"):
        store.write_dataset(change(small_survey.isel(star=slice(0, 3))), tmp_path / "s.zarr")
    assert not list(tmp_path.iterdir())
