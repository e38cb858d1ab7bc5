"""The fast search for latents is for models of whose posteriors it finds the maxima."""

import dataclasses

import numpy as np
import pytest
from curved import CurvedWorld, P
from scipy.stats import multivariate_normal, multivariate_t

import luxscale as lux
from luxscale.examples.simulate import simulate
from luxscale.info.describe import describe
from luxscale.model import levels, maxima
from luxscale.model.blocks import Data
from luxscale.model.file import FORMAT_VERSION
from luxscale.model.inference import Inference
from luxscale.model.pose import pose_problem
from luxscale.schema import flags
from luxscale.training import fitting


def take_full_search(monkeypatch):
    monkeypatch.setattr(levels, "follow_leads", lambda _, ascent: np.ones(ascent.first.size, bool))


def pose(model):
    return pose_problem(model, [model["flux"]], ())


def infer_probabilities(model, stars):
    """Return ln p of the latents that catalogues have, and the catalogue."""
    inference = Inference.of(model)
    found = inference.infer(stars)
    data = [Data(stars["flux"], stars["flux_ivar"])]
    reduced = levels.reduce_spectra(inference.problem, data)
    return maxima.find_log_probability(inference.problem, reduced, found["latent"]), found


def take_spectra(survey):
    return {name: survey[name].values for name in ("flux", "flux_ivar")}


@pytest.fixture(scope="module")
def folded():
    """A world in which spectra tell little of the signs of latents."""
    world = CurvedWorld.make()
    label, flux = world.model.outputs
    weights = flux.map.weights * np.where(np.arange(flux.map.features.n_terms) < P, 0.2, 3.0)
    flux = dataclasses.replace(flux, map=dataclasses.replace(flux.map, weights=weights))
    return CurvedWorld(dataclasses.replace(world.model, outputs=(label, flux)))


@pytest.fixture(scope="module")
def chosen(folded):
    return fitting.choose_search(folded.model)


@pytest.mark.parametrize("every_term", [False, True])
def test_stars_end_at_maxima_where_the_search_is_chosen(folded, chosen, every_term, monkeypatch):
    stars = take_spectra(folded.survey(600, seed=1))
    assert chosen.every_term
    got, _ = infer_probabilities(dataclasses.replace(chosen, every_term=every_term), stars)
    take_full_search(monkeypatch)
    full, _ = infer_probabilities(folded.model, stars)
    missed = np.mean(full - got > maxima.WORSE)
    assert missed < 0.01 if every_term else missed > 0.02


def test_no_star_is_searched_for_again_where_all_have_the_full_search(folded, chosen):
    stars = take_spectra(folded.survey(60, seed=2))
    fast, again = Inference.of(folded.model).infer_and_count(stars)
    full, none = Inference.of(chosen).infer_and_count(stars)
    assert again > none == 0
    assert not ((fast["flags"] | full["flags"]) & flags.BIT["not_settled"]).any()


def test_models_of_which_it_finds_the_maxima_keep_the_fast_search(
    polynomial_model, gaussian_curved_model
):
    for model in (polynomial_model, gaussian_curved_model):
        assert maxima.measure_missed(pose(model)) <= maxima.MOST_MISSED
        assert not fitting.choose_search(model).every_term


def test_each_member_of_an_ensemble_has_its_own(folded, curved_model):
    ensemble = dataclasses.replace(curved_model, others=(folded.model,))
    members = fitting.choose_search(ensemble).members
    assert [member.every_term for member in members] == [False, True]


def test_spectra_are_drawn_as_the_model_has_them(folded, monkeypatch):
    """As stars that are made of their latents pixel by pixel, at one level of noise."""
    monkeypatch.setattr(maxima, "_LEVELS", (2 * np.log(0.3),) * 2)
    problem = pose(folded.model)
    drawn = maxima.draw_spectra(problem, np.random.default_rng(3))
    assert drawn.complete.all() and not drawn.wrong.any()
    np.testing.assert_allclose(drawn.level, 0.3**2, rtol=1e-6)
    stars = take_spectra(folded.survey(4000, seed=5, level=0.3))
    made = levels.reduce_spectra(problem, [Data(stars["flux"], stars["flux_ivar"])])
    middle, spread = made.components.mean(0), made.components.std(0)
    assert (abs(drawn.components.mean(0) - middle) < 0.1 * spread).all()
    np.testing.assert_allclose(drawn.components.std(0), spread, rtol=0.1)


@pytest.mark.parametrize("dof", [20.0, np.inf])
def test_log_probability_of_latents(folded, dof):
    label, flux = folded.model.outputs
    model = dataclasses.replace(folded.model, outputs=(label, dataclasses.replace(flux, dof=dof)))
    problem, prior = pose(model), folded.model.prior
    (design,) = problem.designs
    stars = take_spectra(folded.survey(3, seed=4))
    reduced = levels.reduce_spectra(problem, [Data(stars["flux"], stars["flux_ivar"])])
    z = np.random.default_rng(1).standard_normal((3, P))
    got = maxima.find_log_probability(problem, reduced, z)
    middle = np.asarray(flux.map.features(z)) @ np.asarray(design.reduced.weights).T
    expected = []
    for star in range(3):
        covariance = np.diag(reduced.level[star] + np.asarray(design.noise.level_variance))
        density = multivariate_normal(middle[star], covariance)
        if np.isfinite(dof):
            density = multivariate_t(middle[star], covariance, df=dof)
        norm = density.logpdf(middle[star])
        gaussians = zip(prior.weight, prior.mean, prior.covariance, strict=True)
        p = sum(w * multivariate_normal(m, c).pdf(z[star]) for w, m, c in gaussians)
        expected.append(density.logpdf(reduced.components[star]) - norm + np.log(p))
    np.testing.assert_allclose(np.diff(got), np.diff(expected), rtol=1e-4)


def test_the_file_and_info_say_it(folded, chosen, curved_model, tmp_path):
    ensemble = dataclasses.replace(curved_model, others=(chosen,))
    for name, model in (("chosen", chosen), ("ensemble", ensemble)):
        model.save(tmp_path / f"{name}.zarr")
        again = lux.load_model(tmp_path / f"{name}.zarr")
        assert again == model
        assert [m.every_term for m in again.members] == [m.every_term for m in model.members]
        assert model.to_dataset().attrs["format_version"] == 7 < FORMAT_VERSION
    assert "every likely term" in describe(tmp_path / "chosen.zarr")["search"]
    told = describe(tmp_path / "ensemble.zarr")
    assert "search" not in told and "every likely term" in told["member 2"]["search"]


def test_models_that_do_not_need_it_are_written_as_before(folded, chosen):
    assert chosen != folded.model
    held = folded.model.to_dataset().attrs
    assert "every_term" not in held and held["format_version"] == 2


@pytest.mark.slow
def test_stars_of_a_model_of_few_stars_end_at_maxima(monkeypatch, capsys):
    model = lux.train(simulate(600, n_pixels=100), recipe="curved")
    assert "labels come from the full search" in capsys.readouterr().err
    stars = take_spectra(simulate(1500, n_pixels=100, seed=7, bad_pixels=0.0))
    fast = dataclasses.replace(model, every_term=False)
    got, _ = infer_probabilities(model, stars)
    missed, _ = infer_probabilities(fast, stars)
    take_full_search(monkeypatch)
    full, _ = infer_probabilities(fast, stars)
    assert np.mean(full - got > maxima.WORSE) < 0.01 < np.mean(full - missed > maxima.WORSE)
