"""How nuisances are written, what is refused, and that a model's file holds them."""

import io

import numpy as np
import pytest
from distorted import GRID, N_PIXELS, make_model

import luxscale as lux
from luxscale.errors import InputError
from luxscale.info.describe import describe
from luxscale.model.nuisances import CONTINUUM_WIDTH, Nuisances, read_nuisances

PATTERN = np.cos(np.arange(N_PIXELS) / 9)


@pytest.fixture
def write(tmp_path):
    """Return what writes a file of templates, and its path."""

    def write_arrays(**arrays):
        path = tmp_path / "templates.npz"
        np.savez(path, **arrays)
        return path

    return write_arrays


def test_all_are_read(write):
    path = write(wavelength=GRID, sky=PATTERN, dib=np.roll(PATTERN, 3).astype(np.float32))
    text = f"continuum:2,velocity:5km/s, resolution:0.1:22500 ,{path}"
    found = read_nuisances(text, GRID)
    assert found.names == (
        *("velocity", "resolution", "continuum_0", "continuum_1", "continuum_2"),
        *("sky", "dib"),
    )
    width = CONTINUUM_WIDTH
    assert found.widths.tolist() == [5, 0.1, width, width, width, 1, 1]
    assert found.units == ("km/s", "", "", "", "", "", "")
    np.testing.assert_array_equal(found.patterns[0], PATTERN)
    several = ["velocity:5", path, "continuum:2", "resolution:0.1:22500"]
    assert found == read_nuisances(several, GRID)
    assert found.describe().startswith("velocity within 5 km/s; resolution within 0.1 of R = 22500")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nuisance is empty"),
        ("speed:5", "nuisance 'speed:5' is unknown; write continuum"),
        ("velocity", "is not written as any of"),
        ("velocity:fast", "is not written as any of"),
        ("velocity:0km/s", "above 0"),
        ("velocity:nan", "is not written as any of"),
        ("velocity:5,velocity:6", "velocity comes twice"),
        ("continuum:1.5", "whole number from 0 to 10"),
        ("continuum:11", "whole number from 0 to 10"),
        ("continuum:2:0", "above 0"),
        ("resolution:0.1", "is not written as any of"),
        ("resolution:2:22500", "up to 0.5"),
        ("nowhere.npz", "nowhere.npz: no such file of templates"),
    ],
)
def test_what_is_written_otherwise_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_nuisances(text, GRID)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sky": PATTERN}, "needs an array 'wavelength'"),
        ({"wavelength": GRID}, "templates on it; it has no other"),
        ({"wavelength": GRID[1:], "sky": PATTERN[1:]}, "the templates sky are on another grid"),
        ({"wavelength": GRID + 0.1, "sky": PATTERN}, "the templates sky are on another grid"),
        (
            {"wavelength": np.where(PATTERN > 0.99, np.nan, GRID), "sky": PATTERN},
            "the templates sky are on another grid",
        ),
        (
            {"wavelength": GRID, "sky": np.where(PATTERN > 0.99, np.nan, PATTERN)},
            "template 'sky' has .* not finite, the first at pixel 0",
        ),
        ({"wavelength": GRID, "sky": PATTERN[1:]}, r"template 'sky' is float64 of shape \(499,\)"),
        ({"wavelength": GRID, "sky": 0 * PATTERN}, "template 'sky' is 0 everywhere"),
        ({"wavelength": GRID, "sky 1": PATTERN}, "template 'sky 1': call it by letters"),
        ({"wavelength": GRID, "chi2": PATTERN}, "template 'chi2' has the name of another"),
        (
            {"wavelength": GRID, "sky": PATTERN, "sky_err": PATTERN},
            "template 'sky_err' has the name of another",
        ),
        ({"wavelength": GRID, "sky": np.array([{}] * N_PIXELS)}, "no templates can be read"),
    ],
)
def test_templates_that_are_none_are_named(write, arrays, message):
    with pytest.raises(InputError, match=message):
        read_nuisances(write(**arrays), GRID)


def pack_array(array):
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def write_damaged(path):
    np.savez_compressed(path, wavelength=GRID, sky=np.random.default_rng(0).random(N_PIXELS))
    raw = bytearray(path.read_bytes())
    data = raw.index(b"sky.npy") + 40
    raw[data : data + 60] = b"\x07" * 60
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "write_file",
    [
        lambda path: path.write_text("sky"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pack_array(PATTERN)),
        write_damaged,
    ],
)
def test_a_file_that_is_no_npz_is_named(write_file, tmp_path):
    path = tmp_path / "t.npz"
    write_file(path)
    with pytest.raises(InputError, match=r"t\.npz: no templates can be read"):
        read_nuisances(path, GRID)


def test_a_template_that_has_the_name_of_a_nuisance_error(write):
    path = write(wavelength=GRID, velocity_err=PATTERN)
    assert read_nuisances(path, GRID).names == ("velocity_err",)
    with pytest.raises(InputError, match="template 'velocity_err' has the name of another"):
        read_nuisances([path, "velocity:5"], GRID)


def test_a_model_keeps_them(tmp_path):
    nuisances = Nuisances(
        velocity=5.0, continuum=(1, 0.02), templates=("sky",), patterns=PATTERN[None]
    )
    model = make_model(nuisances)
    model.save(tmp_path / "m.zarr")
    loaded = lux.load_model(tmp_path / "m.zarr")
    assert loaded == model
    assert loaded["flux"].nuisances == nuisances
    np.testing.assert_array_equal(loaded["flux"].nuisances.patterns, PATTERN[None])
    assert model.to_dataset().attrs["format_version"] == 3
    others = Nuisances(**{**vars(nuisances), "patterns": 2 * PATTERN[None]})
    assert make_model(others) != model != make_model()
    assert make_model().to_dataset().attrs["format_version"] == 1
    facts = describe(tmp_path / "m.zarr")
    assert facts["flux"]["nuisances"] == nuisances.describe()
    assert "nuisances" not in facts["label_value"]
