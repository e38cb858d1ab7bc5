"""The best recipe on stars left out is taken."""

import numpy as np

from luxscale.training import trials
from luxscale.training.recipes import Recipe


def make_trial(name, loss):
    recipe = Recipe(name=name, method="marginal", latent_dim=3)
    return trials.Trial(
        recipe=recipe, loss=np.asarray(loss), scatter={"teff": 50.0}, misfit=1.0, seconds=2.0
    )


def test_the_simplest_within_one_standard_error_is_chosen():
    rng = np.random.default_rng(0)
    base = rng.random(400)
    simple = make_trial("linear", base)
    same = make_trial("curved", base + 0.5 * rng.standard_normal(400) * 0.01 - 1e-5)
    better = make_trial("cubic", base - 0.2)
    assert trials.choose([simple, same]) is simple
    assert trials.choose([simple, same, better]) is better


def test_the_table_says_what_was_chosen():
    tried = [make_trial("linear", [1.0, 2.0]), make_trial("curved", [0.5, 0.5])]
    head, linear, curved, *notes = trials.format_trials(tried, tried[1]).splitlines()
    assert head.split() == ["recipe", "loss", "teff", "spectra", "seconds"]
    assert linear.split() == ["linear", "1.500", "50", "1", "2"]
    assert curved.split()[-1] == "chosen"
    assert notes[0].startswith("labels: robust scatter, in their units; spectra: chi2 per pixel")
    assert notes[1].startswith("loss, which decides: ") and "scatter by linear" in notes[1]
    assert notes[2] == "linear: linear, 3 latents, independent noise"
    *table, said = trials.format_trials(tried, tried[1], step=5).splitlines()
    assert table == [head, linear, curved, *notes]
    assert said == "compared on one pixel in 5; the one chosen is trained on all"
