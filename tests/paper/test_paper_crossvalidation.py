"""The grid of figure 14."""

import pytest

from luxscale import plot, store
from luxscale.errors import InputError
from luxscale.paper import Study, crossvalidation


class Asked(Exception):
    """Stops a figure where its work would begin."""


def test_a_recipe_with_a_prior_of_its_own_has_no_omega(monkeypatch, tmp_path):
    monkeypatch.setattr(crossvalidation, "simulate_survey", lambda *_, **__: pytest.fail("begun"))
    study = Study(out=tmp_path, recipe="curved", pixels=400, progress=False)
    with pytest.raises(InputError, match="'curved' fits its prior, so there is no Omega"):
        crossvalidation.crossvalidation(study)


@pytest.mark.parametrize(
    ("fraction", "pixels", "size"),
    [(0.01, 100, (150, 100)), (0.04, 120, (200, 120)), (1, 8575, (1000, 1000))],
)
def test_the_grid_is_the_papers_and_its_size_is_limited(
    monkeypatch, tmp_path, fraction, pixels, size
):
    asked = {}

    def simulated(path, n, *, n_pixels, **_):
        asked["size"] = n, n_pixels

    def cross_validate(survey, out, **settings):
        asked.update(settings)
        raise Asked

    monkeypatch.setattr(crossvalidation, "simulate_survey", simulated)
    monkeypatch.setattr(crossvalidation, "cross_validate", cross_validate)
    with pytest.raises(Asked):
        crossvalidation.crossvalidation(
            Study(out=tmp_path, fraction=fraction, pixels=pixels, progress=False)
        )
    assert asked["size"] == size
    assert asked["latent_dims"] == (12, 24, 48, 96)
    assert asked["priors"] == pytest.approx([1, 1e-2, 1e-4, 1e-6])
    assert (asked["method"], asked["iterations"]) == ("alternating", 5)


@pytest.mark.slow
@pytest.mark.once
def test_what_is_done_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(crossvalidation, "LATENT_DIMS", (4, 8))
    monkeypatch.setattr(crossvalidation, "OMEGAS", (1.0, 1000.0))
    study = Study(out=tmp_path, fraction=0.01, pixels=100, progress=False)
    crossvalidation.crossvalidation(study)
    (kept,) = (tmp_path / "work").glob("crossvalidation-*.zarr")
    assert store.open_dataset(kept)["status"].values.all()
    seen = []
    draw = plot.crossval
    monkeypatch.setattr(
        plot, "crossval", lambda scores, *a, **k: seen.append(scores) or draw(scores, *a, **k)
    )
    monkeypatch.setattr(
        "luxscale.crossval.results.run_tasks", lambda *_: pytest.fail("a task was done twice")
    )
    crossvalidation.crossvalidation(study)
    assert seen[0]["label_chi2"].shape == (2, 2, 5, 2)
