import os

import numpy as np
import pytest
import zarr

from luxscale.store import chunks


@pytest.fixture
def group(tmp_path):
    """Arrays of 50 stars: in chunks of 20, in shards of 20 with chunks of 5, and a narrow one in chunks of 8."""
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
