"""Models survive their file exactly, explain themselves in it, and refuse what is not theirs."""

import dataclasses
import json
import shutil
from importlib.metadata import version

import jax
import numpy as np
import pytest
import xarray as xr
import zarr

from luxscale import LuxModel, load_model
from luxscale.errors import InputError
from luxscale.model.file import FORMAT_VERSION, from_dataset
from luxscale.store import write_dataset

PER_OUTPUT = ("weights", "offset", "scatter", "scale", "floor", "used", "range")


@pytest.fixture
def path(small_model, tmp_path):
    small_model.save(tmp_path / "model.zarr")
    return tmp_path / "model.zarr"


def test_round_trip_is_exact(small_model, path):
    loaded = load_model(path)
    assert loaded.fingerprint == small_model.fingerprint
    ours, theirs = jax.tree.leaves(small_model), jax.tree.leaves(loaded)
    assert len(ours) == len(theirs) == 2 * 7 + 1
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert jax.tree.structure(loaded) == jax.tree.structure(
        small_model
    )  # specs, grids, units, provenance, limits
    assert np.isfinite(loaded.limits).all()


def test_round_trip_of_a_model_without_limits(small_model, tmp_path):
    model = dataclasses.replace(small_model, limits=(np.inf, np.inf))
    model.save(tmp_path / "m.zarr")
    assert load_model(tmp_path / "m.zarr").limits == (np.inf, np.inf)


def test_dataset_round_trip_in_memory(small_model):
    assert from_dataset(small_model.to_dataset()).fingerprint == small_model.fingerprint


def test_a_file_without_roles_holds_the_same_model(small_model):
    """As version 0.1.0 wrote it: what is not on a grid is labels."""
    dataset = small_model.to_dataset()
    outputs = json.loads(dataset.attrs["outputs"])
    assert [o.pop("role") for o in outputs] == ["labels", "spectrum"]
    dataset.attrs["outputs"] = json.dumps(outputs)
    model = from_dataset(dataset)
    assert model.fingerprint == small_model.fingerprint
    assert [o.spec for o in model.outputs] == [o.spec for o in small_model.outputs]


def test_plain_xarray_shows_what_the_model_is(path, small_survey):
    plain = xr.open_zarr(path, consolidated=False).load()
    assert plain["flux_weights"].dims == ("wavelength", "latent")
    assert plain["label_value_weights"].dims == ("label", "latent")
    for output in ("flux", "label_value"):
        for name in PER_OUTPUT:
            assert plain[f"{output}_{name}"].attrs["long_name"]
    assert plain["wavelength"].attrs == {"units": "Angstrom", "medium": "vacuum"}
    np.testing.assert_array_equal(plain["wavelength"], small_survey["wavelength"])
    assert dict(zip(plain["label"].values, plain["label_units"].values, strict=True)) == {
        "teff": "K",
        "logg": "dex(cm s-2)",
        "fe_h": "dex",
        "mg_fe": "dex",
    }
    assert plain.attrs["n_stars"] == 300
    assert plain.attrs["method"] == "marginal"
    assert json.loads(plain.attrs["settings"])["latent_dim"] == 4
    assert len(plain.attrs["training_checksum"]) == 64
    assert plain.attrs["version"] == version("luxscale")
    # no reader of an older version is shut out where it can read
    assert plain.attrs["format_version"] == 1 < FORMAT_VERSION
    assert {o["name"] for o in json.loads(plain.attrs["outputs"])} == {"flux", "label_value"}


def change(path, **attrs):
    zarr.open_group(path, mode="r+").attrs.update(attrs)


def drop_array(path):
    shutil.rmtree(path / "flux_offset")


def tamper(path):
    zarr.open_group(path, mode="r+")["label_value_weights"][0, 0] += 1e-9


def drop_attribute(path):
    attrs = zarr.open_group(path, mode="r+").attrs
    del attrs["n_stars"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda p: change(p, format="luxscale-catalog"),
            "not a luxscale model .*'luxscale-catalog'.*train one",
        ),
        (
            lambda p: change(p, format_version=FORMAT_VERSION + 1, version="9.9"),
            r"written by luxscale 9\.9; .*upgrade it",
        ),
        (lambda p: change(p, chi2_limit=0.5), "do not match the model's fingerprint"),
        (tamper, "do not match the model's fingerprint; it was changed or damaged"),
        (drop_array, "lacks .*flux_offset.*copy or train it again"),
        (drop_attribute, "lacks .*n_stars.*copy or train it again"),
    ],
    ids=[
        "another format",
        "later version",
        "limit changed",
        "array changed",
        "array missing",
        "attribute missing",
    ],
)
def test_what_is_no_sound_model_is_refused(path, spoil, message):
    spoil(path)
    with pytest.raises(InputError, match=r"model\.zarr: .*" + message):
        load_model(path)


@pytest.mark.parametrize("key", ["format_version", "version", "fingerprint"])
def test_a_missing_attribute_of_the_format_is_refused(small_model, key):
    dataset = small_model.to_dataset()
    dataset.attrs["format_version"] = FORMAT_VERSION + (key == "version")
    del dataset.attrs[key]
    with pytest.raises(InputError):
        from_dataset(dataset)


def test_a_map_of_a_kind_not_known_is_refused(small_model):
    dataset = small_model.to_dataset()
    outputs = json.loads(dataset.attrs["outputs"])
    outputs[0]["map"] = "neural"
    dataset.attrs["outputs"] = json.dumps(outputs)
    with pytest.raises(InputError, match="kind 'neural'.*upgrade"):
        from_dataset(dataset)


def test_a_survey_or_nothing_is_no_model(small_survey, tmp_path):
    write_dataset(small_survey, tmp_path / "survey.zarr")
    with pytest.raises(InputError, match=r"survey\.zarr: not a luxscale model"):
        load_model(tmp_path / "survey.zarr")
    with pytest.raises(InputError, match=r"nothing\.zarr: no Zarr group"):
        load_model(tmp_path / "nothing.zarr")


def test_saving_takes_no_path_in_use_unless_told(small_model, path):
    with pytest.raises(InputError, match=r"model\.zarr: a model is there already"):
        small_model.save(path)
    other = dataclasses.replace(small_model, limits=(1.0, 2.0))
    other.save(path, overwrite=True)
    assert load_model(path).limits == (1.0, 2.0)


def test_saving_never_replaces_what_is_not_a_model(small_model, small_survey, tmp_path):
    write_dataset(small_survey, tmp_path / "survey.zarr")
    (tmp_path / "file").write_text("hello")
    for name in ("survey.zarr", "file"):
        with pytest.raises(InputError, match=name):
            small_model.save(tmp_path / name, overwrite=True)
    assert xr.open_zarr(tmp_path / "survey.zarr", consolidated=False).sizes["star"] == 300
    assert (tmp_path / "file").read_text() == "hello"


def test_fingerprint_changes_with_everything_inference_depends_on(small_model):
    flux, label = small_model.outputs[1], small_model.outputs[0]
    changed = [
        dataclasses.replace(flux, **{k: np.asarray(getattr(flux, k)) * 2})
        for k in ("scatter", "scale", "bounds")
    ]
    changed += [
        dataclasses.replace(flux, used=~flux.used),
        dataclasses.replace(flux, units=("nm",)),
        dataclasses.replace(flux, attrs=(("medium", "air"),)),
        dataclasses.replace(flux, coord=flux.coord[::-1]),
    ]
    prints = {dataclasses.replace(small_model, outputs=(label, c)).fingerprint for c in changed}
    assert len(prints | {small_model.fingerprint}) == len(changed) + 1


def test_a_model_is_a_pytree(small_model):
    doubled = jax.tree.map(lambda x: 2 * x, small_model)
    assert isinstance(doubled, LuxModel)
    np.testing.assert_array_equal(doubled["flux"].map.weights, 2 * small_model["flux"].map.weights)
    assert doubled["flux"].spec == small_model["flux"].spec
    assert doubled.provenance == small_model.provenance
    value = jax.jit(lambda m: m["flux"].map.offset.sum())(small_model)  # static parts can be hashed
    assert float(value) == pytest.approx(float(small_model["flux"].map.offset.sum()), rel=1e-5)


def test_outputs_by_name(small_model):
    assert small_model["flux"].name == "flux"
    assert [o.name for o in small_model.labels] == ["label_value"]
    with pytest.raises(InputError, match="no output 'mag'; it has label_value, flux"):
        small_model["mag"]


def test_repr_says_what_it_holds(small_model):
    text = repr(small_model)
    for part in (
        "4 latents",
        "marginal",
        "300 training stars",
        "flux (wavelength: 40)",
        "label_value (label: 4)",
    ):
        assert part in text


def test_a_map_is_offset_plus_weights_times_latents(small_model):
    flux = small_model["flux"].map
    z = np.random.default_rng(0).standard_normal((3, 4))
    expected = np.array(
        [
            [
                o + sum(w * zi for w, zi in zip(row, zn, strict=True))
                for o, row in zip(flux.offset, flux.weights, strict=True)
            ]
            for zn in z
        ]
    )
    np.testing.assert_allclose(flux(z), expected)
