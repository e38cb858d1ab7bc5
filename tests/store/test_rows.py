import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec

from luxscale import store
from luxscale.store.rows import Rows

N_STARS, CHUNK, PIXELS = 50, 16, 30
FASTEST = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle", typesize=4)
#: How arrays may be laid out, and whether they are decoded without xarray.
LAYOUTS = {
    "as luxscale writes": ({}, True),
    "another Blosc": ({"compressors": FASTEST}, True),
    "with its checksum": ({"compressors": (FASTEST, Crc32cCodec())}, True),
    "float64": ({"dtype": "f8"}, True),
    "chunks larger than all": ({"chunks": (64, PIXELS)}, True),
    "no compression": ({"compressors": None}, False),
    "gzip": ({"compressors": GzipCodec()}, False),
    "compressed twice": ({"compressors": (FASTEST, GzipCodec())}, False),
    "pixels in chunks": ({"chunks": (CHUNK, 10)}, False),
    "shards": ({"chunks": (8, PIXELS), "shards": (CHUNK, PIXELS)}, False),
    "the other end first": ({"serializer": zarr.codecs.BytesCodec(endian="big")}, False),
    "format 2": ({"zarr_format": 2, "compressors": "auto"}, False),
}


def write(path, dtype="f4", zarr_format=3, attributes=None, **layout):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    options = {"chunks": (CHUNK, PIXELS), "compressors": store.make_codecs(np.dtype(dtype))}
    names = {"dimension_names": ("star", "wavelength")} if zarr_format == 3 else {}
    attributes = attributes or {}
    if zarr_format == 2:
        attributes["_ARRAY_DIMENSIONS"] = ["star", "wavelength"]
    array = group.create_array(
        "flux",
        shape=(N_STARS, PIXELS),
        dtype=dtype,
        attributes=attributes,
        **{**options, **layout},
        **names,
    )
    values = np.random.default_rng(0).standard_normal((N_STARS, PIXELS)).astype(dtype)
    values[3, 4], values[5] = np.nan, 0
    array[:] = values
    return values


@pytest.fixture
def survey(tmp_path):
    """The path of a survey as luxscale writes it, and its flux."""
    return tmp_path / "s.zarr", write(tmp_path / "s.zarr")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_those_of_xarray_to_the_last_bit(tmp_path, monkeypatch, layout):
    options, is_plain = LAYOUTS[layout]
    values = write(tmp_path / "s.zarr", **options)
    opened = Rows(str(tmp_path / "s.zarr"))
    for start, stop in ((0, 50), (16, 32), (32, 50), (7, 9), (10, 40), (48, 50), (0, 0)):
        found = opened.read("flux", start, stop)
        assert found.dtype == values.dtype
        assert found.tobytes() == values[start:stop].tobytes()
    monkeypatch.setattr(opened, "_decoded", None)
    if is_plain:
        assert opened.read("flux", 0, 50).ctypes.data % 64 == 0  # XLA does not copy it
    else:
        with pytest.raises(TypeError):
            opened.read("flux", 0, 50)


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "scale_factor", "add_offset"])
def test_what_xarray_decodes_is_decoded(tmp_path, key):
    codecs = {"chunks": (CHUNK, PIXELS), "compressors": store.make_codecs(np.dtype("f4"))}
    two_stars = np.float32([[2], [1]]) * np.ones(PIXELS, "f4")
    dataset = xr.Dataset({"flux": (("star", "wavelength"), two_stars)})
    encoding = {"flux": {**codecs, key: np.float32(2), "dtype": "f4"}}
    dataset.to_zarr(tmp_path / "d.zarr", consolidated=False, zarr_format=3, encoding=encoding)
    decoded = xr.open_zarr(tmp_path / "d.zarr", consolidated=False)["flux"].values
    found = Rows(str(tmp_path / "d.zarr")).read("flux", 0, 2)
    np.testing.assert_array_equal(found, decoded)
    assert (found != zarr.open_group(tmp_path / "d.zarr", mode="r")["flux"][:]).any()


def test_a_survey_that_xarray_wrote_is_decoded_in_place(tmp_path, monkeypatch, small_survey):
    store.write_dataset(small_survey, tmp_path / "s.zarr", chunk=CHUNK)
    opened = Rows(str(tmp_path / "s.zarr"))
    opened.read("flux", 0, 1)
    monkeypatch.setattr(opened, "_decoded", None)
    expected = small_survey["flux"].values[:40].astype("f4")
    np.testing.assert_array_equal(opened.read("flux", 0, 40), expected)


def test_a_chunk_that_is_missing_raises(survey):
    path, _ = survey
    Path(path, "flux", "c", "1", "0").unlink()
    with pytest.raises(FileNotFoundError, match="chunk 'flux/c/1/0' is missing"):
        Rows(str(path)).read("flux", 0, 50)


@pytest.mark.parametrize("damage", ["a bit", "the end", "all of it", "another size"])
@pytest.mark.parametrize("compressors", [FASTEST, (FASTEST, Crc32cCodec())])
def test_a_damaged_chunk_is_refused_as_zarr_does(tmp_path, damage, compressors):
    path = tmp_path / "s.zarr"
    write(path, compressors=compressors)
    write(tmp_path / "other.zarr", compressors=compressors, chunks=(20, PIXELS))
    file = Path(path, "flux", "c", "1", "0")
    content = bytearray(file.read_bytes())
    content[2] ^= 0x0F  # a flag of Blosc
    changed = {"a bit": content, "the end": content[:-5], "all of it": b""}
    if damage == "another size":
        shutil.copy(tmp_path / "other.zarr/flux/c/1/0", file)
    else:
        file.write_bytes(changed[damage])
    with pytest.raises(Exception) as ours:  # noqa: PT011 - whatever Zarr's is
        Rows(str(path)).read("flux", 16, 32)
    with pytest.raises(type(ours.value)) as theirs:
        zarr.open_group(path, mode="r")["flux"][16:32]
    assert str(ours.value) == str(theirs.value)
