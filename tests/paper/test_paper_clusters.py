"""Simulated clusters, and simulated observations of given labels."""

import numpy as np
import pytest

from luxscale.examples.giants import LABELS, load_emulator, render
from luxscale.paper import Study
from luxscale.paper.clusters import (
    CLUSTERS,
    METALLICITIES,
    REPORTED_AT,
    SPREAD,
    draw_branch,
    draw_stars,
    observe_stars,
)


@pytest.fixture(scope="module")
def drawn():
    return draw_stars(200, np.random.default_rng(3))


def test_stars_of_a_cluster_have_one_composition(drawn):
    labels, cluster = drawn
    sizes = np.unique(cluster, return_counts=True)[1]
    assert sizes.size == CLUSTERS
    assert np.ptp(sizes) <= 1
    compositions = np.unique(labels[:, 2:], axis=0)
    assert len(compositions) == CLUSTERS
    for k in range(1, CLUSTERS + 1):
        assert np.ptp(labels[cluster == k, 2:], axis=0).max() == 0
        assert np.ptp(labels[cluster == k, 1]) > 0.5  # along a branch
    jitter = 0.2
    assert (compositions[:, 0] > METALLICITIES[0] - jitter).all() and (
        compositions[:, 0] < METALLICITIES[1] + jitter
    ).all()


def test_a_branch_follows_the_giants_of_its_composition():
    rng = np.random.default_rng(0)
    logg = rng.uniform(0.5, 3.3, 4000)
    m_h = rng.choice([-0.5, 0.0], 4000)
    sample = np.column_stack([3600 + 500 * logg - 30 * logg**2 - 200 * m_h, logg, m_h, 0 * logg])
    teff, got = draw_branch(sample, 0.0, 0.0, 3000, rng).T
    off = teff - (3600 + 500 * got - 30 * got**2)
    assert abs(off.mean()) < 3 * SPREAD / 3000**0.5
    assert off.std() == pytest.approx(SPREAD, rel=0.05)


def test_observations_are_the_spectra_of_their_labels_with_noise(drawn, tmp_path):
    labels, _ = drawn
    study = Study(out=tmp_path, pixels=150, progress=False)
    survey = observe_stars(study, labels, [f"s{i}" for i in range(200)], snr=(50.0, 60.0), seed=1)
    np.testing.assert_allclose(survey["label_true"].values, labels[:, REPORTED_AT])
    assert [LABELS[i] for i in REPORTED_AT] == survey["label"].values.tolist()
    clean, ivar = render(labels, load_emulator(150)), survey["flux_ivar"].values
    pull = ((survey["flux"].values - clean) * np.sqrt(ivar))[ivar > 0]
    assert pull.std() == pytest.approx(1, abs=0.02) and abs(pull.mean()) < 0.02
    assert 0 < (ivar == 0).mean() < 0.06
    assert ((survey["snr"] > 50) & (survey["snr"] < 60)).all()
