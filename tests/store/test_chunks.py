import os

import numpy as np
import pytest
import zarr

from luxscale.store import chunks


@pytest.fixture
def group(tmp_path):
    """Arrays of 50 stars: chunks of 20, shards of 20 with chunks of 5, narrow chunks of 8."""
    group = zarr.create_group(tmp_path / "s.zarr")
    rng = np.random.default_rng(0)
    for name, width, layout in [
        ("flux", 30, {"chunks": (20, 30)}),
        ("sharded", 30, {"chunks": (5, 30), "shards": (20, 30)}),
        ("label_value", 4, {"chunks": (8, 4)}),
        ("snr", None, {"chunks": (20,)}),
    ]:
        shape = (50,) if width is None else (50, width)
        group.create_array(name, data=rng.standard_normal(shape), **layout)
    return group


def on_disk(group, name, number):
    folder = os.path.join(str(group.store.root), name, "c", str(number))
    return os.path.getsize(folder if os.path.isfile(folder) else os.path.join(folder, "0"))


@pytest.mark.parametrize(
    ("name", "rows"), [("flux", 20), ("sharded", 20), ("label_value", 8), ("snr", 20)]
)
def test_sizes_are_those_on_disk(group, name, rows):
    assert chunks.get_chunk_rows(group[name]) == rows
    sizes = chunks.read_sizes(group, name, 0, 50)
    assert sizes.dtype == np.int64
    assert sizes.tolist() == [on_disk(group, name, i) for i in range(-(-50 // rows))]


def test_sizes_of_the_chunks_that_hold_some_of_the_stars(group):
    everything = chunks.read_sizes(group, "label_value", 0, 50).tolist()
    assert chunks.read_sizes(group, "label_value", 20, 40).tolist() == everything[2:5]
    assert (
        chunks.read_sizes(group, "flux", 20, 40).tolist()
        == chunks.read_sizes(group, "flux", 0, 50).tolist()[1:2]
    )


def test_missing(group):
    os.unlink(os.path.join(str(group.store.root), "flux", "c", "1", "0"))
    assert (chunks.read_sizes(group, "flux", 0, 50) == chunks.MISSING).tolist() == [
        False,
        True,
        False,
    ]
    strict = zarr.open_group(chunks.open_strict(str(group.store.root)), mode="r")
    for name in ("flux", "sharded", "label_value", "snr"):
        np.testing.assert_array_equal(strict[name][0:20], group[name][0:20])
    np.testing.assert_array_equal(strict["flux"][40:], group["flux"][40:])
    with pytest.raises(FileNotFoundError, match="chunk 'flux/c/1/0' is missing"):
        strict["flux"][:]


def test_a_missing_shard(group):
    os.unlink(os.path.join(str(group.store.root), "sharded", "c", "2", "0"))
    with pytest.raises(FileNotFoundError, match="chunk 'sharded/c/2/0' is missing"):
        zarr.open_group(chunks.open_strict(str(group.store.root)), mode="r")["sharded"][40:50]


def test_an_array_in_a_group_inside(tmp_path):
    inner = zarr.create_group(tmp_path / "s.zarr").create_group("inner")
    inner.create_array("flux", data=np.ones((4, 3)), chunks=(2, 3))
    assert (chunks.read_sizes(inner, "flux", 0, 4) > 0).all()


@pytest.mark.parametrize("name", ["flux", "sharded", "label_value", "snr"])
def test_marks_are_sizes_and_last_bytes(group, name):
    marks = chunks.read_marks(group, name, 0, 50)
    assert marks.dtype == np.int64
    assert marks[:, 0].tolist() == chunks.read_sizes(group, name, 0, 50).tolist()
    for i, (_, tail) in enumerate(marks.tolist()):
        file = [name, "c", str(i)] + ["0"] * (group[name].ndim - 1)
        with open(os.path.join(str(group.store.root), *file), "rb") as chunk:
            assert tail.to_bytes(8, "little", signed=True) == chunk.read()[-8:]


def test_marks_of_chunks_that_are_missing_or_short(group):
    folder = os.path.join(str(group.store.root), "flux", "c")
    os.unlink(os.path.join(folder, "0", "0"))
    os.truncate(os.path.join(folder, "1", "0"), 0)
    with open(os.path.join(folder, "2", "0"), "wb") as chunk:
        chunk.write(b"\x01\x02")
    assert chunks.read_marks(group, "flux", 0, 50).tolist() == [
        [chunks.MISSING, 0],
        [0, 0],
        [2, 0x0201],
    ]


@pytest.fixture
def tiled(tmp_path):
    """An array of 50 stars whose features are in chunks too: 3 chunks of stars, 4 of features."""
    group = zarr.create_group(tmp_path / "t.zarr")
    values = np.random.default_rng(0).standard_normal((50, 30))
    group.create_array("flux", data=values, chunks=(20, 8))
    return group


def tile_of(group, star, feature):
    return os.path.join(str(group.store.root), "flux", "c", str(star), str(feature))


def test_sizes_where_features_are_in_chunks_too(tiled):
    sizes = [
        sum(os.path.getsize(tile_of(tiled, star, feature)) for feature in range(4))
        for star in range(3)
    ]
    assert chunks.read_sizes(tiled, "flux", 0, 50).tolist() == sizes
    assert chunks.read_sizes(tiled, "flux", 20, 50).tolist() == sizes[1:]
    os.unlink(tile_of(tiled, 1, 2))
    os.truncate(tile_of(tiled, 2, 3), 0)
    assert chunks.read_sizes(tiled, "flux", 0, 50).tolist() == [sizes[0], chunks.MISSING, 0]


def test_a_change_in_any_chunk_of_features_changes_the_marks_of_its_stars(tiled):
    before = chunks.read_marks(tiled, "flux", 0, 50).reshape(3, 4, 2)
    tiled["flux"][45, 17] = 7.0
    after = chunks.read_marks(tiled, "flux", 0, 50).reshape(3, 4, 2)
    changed = (before != after).any(axis=2)
    assert np.argwhere(changed).tolist() == [[2, 2]]


def test_chunks_of_features_are_flushed(tiled, monkeypatch):
    flushed = []
    monkeypatch.setattr(chunks, "_fsync", lambda path: flushed.append(str(path)))
    chunks.flush_chunks([tiled["flux"]], 20, 40)
    assert sorted(flushed) == [tile_of(tiled, 1, feature) for feature in range(4)]
