"""What a method needs and can be told is written once, and whoever asks gets it from there."""

import inspect

import pytest
from click.testing import CliRunner

from luxscale import crossval as cv
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.training.alternating import train_alternating
from luxscale.training.cannon import train_cannon
from luxscale.training.curved import train_curved
from luxscale.training.marginal import train_marginal
from luxscale.training.methods import (
    METHODS,
    complete_settings,
    list_methods_with_free_latents,
    pick_method,
)

TRAINERS = {
    "marginal": train_marginal,
    "alternating": train_alternating,
    "curved": train_curved,
    "cannon": train_cannon,
}


#: What every trainer is called with beside its settings.
GIVEN = {"data", "latent_dim", "report", "start"}


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_what_the_trainer_takes(name):
    taken = set(inspect.signature(TRAINERS[name]).parameters) - GIVEN
    assert set(METHODS[name].settings) == taken


@pytest.mark.parametrize("name", METHODS)
def test_defaults_pass_their_own_check(name):
    defaults = complete_settings(name, {})
    assert complete_settings(name, defaults) == defaults
    assert set(defaults) == set(METHODS[name].settings)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("iterations", 0, "iterations is 0; it must be a whole number of at least 1"),
        ("tolerance", -1e-9, "tolerance is -1e-09; it must be 0 or above"),
        ("latent_precision", 0, "latent_precision is 0; it must be a positive number"),
        ("solver", "newton", "solver 'newton' is unknown; choose exact or jaxopt"),
        ("ridge", 1, "'alternating' has no setting 'ridge'; it has iterations, tolerance"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(setting, value, message):
    with pytest.raises(InputError, match=message):
        complete_settings("alternating", {setting: value})
    assert complete_settings("alternating", {"tolerance": 0})["tolerance"] == 0


def test_components_of_independent_noise_are_refused():
    with pytest.raises(InputError, match="components=40 with independent noise"):
        complete_settings("curved", {"components": 40, "noise": "independent"})


def test_a_prior_of_its_own_is_not_free():
    assert pick_method("marginal").choose_prior(None) == 1.0
    assert pick_method("marginal").choose_prior(3) == 3.0
    assert pick_method("cannon").choose_prior(None) == 1e-2
    with pytest.raises(InputError, match="The Cannon has a prior of its own"):
        pick_method("cannon").choose_prior(1.0)


def test_the_command_line_offers_the_methods_there_are():
    train, crossval = (
        CliRunner().invoke(main, [command, "--help"]).stdout for command in ("train", "crossval")
    )
    assert f"[{'|'.join(METHODS)}]" in train
    assert f"[{'|'.join(list_methods_with_free_latents())}]" in crossval


def test_cross_validation_takes_methods_with_a_free_number_of_latents(tmp_path):
    assert list_methods_with_free_latents() == ("marginal", "alternating", "curved")
    with pytest.raises(InputError, match="'cannon' has no number of latents to choose"):
        cv.make_grid(tmp_path / "s.zarr", tmp_path / "cv.zarr", latent_dims=[2], method="cannon")
