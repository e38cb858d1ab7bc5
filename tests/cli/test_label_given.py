"""What labels are inferred from, where a model knows more than one spectrum."""

import dataclasses
import json

import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.examples.simulate import simulate
from luxscale.model.calibration import PartErrors, make_constants


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A survey of two spectrographs, and a model of both."""
    folder = tmp_path_factory.mktemp("given")
    survey = simulate(200, n_pixels=60, missing_labels=0).sel(label=["teff", "m_h"])
    red = survey[["flux", "flux_ivar"]].isel(wavelength=slice(30, None))
    names = {"wavelength": "wavelength_red", "flux": "flux_red", "flux_ivar": "flux_red_ivar"}
    both = survey.isel(wavelength=slice(30)).merge(red.rename(names))
    both["flux_ivar"][0] = 0  # which is in the red alone
    store.write_dataset(both, folder / "survey.zarr")
    lux.train(both, latent_dim=5, iterations=3, folds=1, progress=False).save(folder / "model.zarr")
    return folder


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [
        ([], ["flux"], True),
        (["--given", "flux"], ["flux"], False),
        (["--given", "flux", "--given", "flux_red"], ["flux", "flux_red"], False),
    ],
    ids=["default", "one", "both"],
)
def test_what_the_model_knows_beside_the_default_is_named(options, given, said, folder, tmp_path):
    paths = [folder / "survey.zarr", "--model", folder / "model.zarr", "--out", tmp_path / "c.zarr"]
    arguments = ["label", *map(str, paths), *options]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    missed = [line.split("  ") for line in done.stdout.splitlines() if "no_data" in line]
    assert all(line[-1].startswith("nothing to infer from: labels are") for line in missed)
    assert len(missed) == (given == ["flux"])
    hint = "labels are of flux alone; with what the survey has beside it: --given flux --given flux"
    assert (hint in done.stderr) == said
    doubt = "errors were measured on labels of flux, flux_red together; labels of flux alone may"
    assert (doubt in done.stderr) == (given == ["flux"])
    facts = CliRunner().invoke(main, ["info", str(tmp_path / "c.zarr"), "--json"])
    assert json.loads(facts.stdout)["given"] == given
    said_by_info = CliRunner().invoke(main, ["info", str(tmp_path / "c.zarr")]).stdout
    assert ("nothing to infer from: labels are" in said_by_info) == (given == ["flux"])


def test_errors_that_were_measured_of_what_is_given_are_not_doubted(folder, tmp_path):
    model = lux.load_model(folder / "model.zarr")
    label, *spectra = model.outputs
    ones, zeros = make_constants([1.0, 1.0]), make_constants([0.0, 0.0])
    blue = PartErrors(outputs=("flux",), scale=ones, floor=zeros)
    label = dataclasses.replace(label, part_errors=(blue,))
    dataclasses.replace(model, outputs=(label, *spectra)).save(tmp_path / "model.zarr")
    paths = [
        folder / "survey.zarr",
        "--model",
        tmp_path / "model.zarr",
        "--out",
        tmp_path / "c.zarr",
    ]
    for given, doubted in (("flux", False), ("flux_red", True)):
        arguments = ["label", *map(str, paths), "--given", given, "--dry-run"]
        said = CliRunner().invoke(main, arguments).stderr
        assert ("errors were measured on labels of flux, flux_red together" in said) == doubted
