"""The paper's samples: cuts, sizes, disjoint training and test samples, and what is refused."""

import numpy as np
import pytest
import xarray as xr

from luxscale.errors import InputError
from luxscale.examples.simulate import simulate
from luxscale.paper import samples
from luxscale.paper.samples import (
    CLUSTERS,
    SAMPLES,
    count_stars,
    find_largest_fraction,
    find_passing,
    select,
)

N = 8000


@pytest.fixture(scope="module")
def survey():
    """Stars all over the cuts: some in clusters, some in GALAH, some without a temperature."""
    rng = np.random.default_rng(3)
    labels = np.column_stack(
        [rng.uniform(-1, 1, N), rng.uniform(2500, 7000, N), rng.uniform(-0.5, 6.5, N)]
    )
    labels[rng.random(N) < 0.05, 1] = np.nan
    names = np.array(["", "NGC 188", "NGC 6791", "IC 166"], object)
    return xr.Dataset(
        {
            "flux": (("star", "wavelength"), np.ones((N, 3))),
            "label_value": (("star", "label"), labels),
            "snr": ("star", rng.uniform(0, 400, N)),
            "cluster": ("star", names[rng.integers(0, 4, N) * (rng.random(N) < 0.6)]),
            "galah": ("star", rng.random(N) < 0.5),
        },
        {"star": [f"s{i}" for i in range(N)], "label": ["fe_h", "teff", "logg"]},
    )


def expected(survey, letter):
    """The cuts, written out as in section 2.2."""
    _, teff, logg = survey["label_value"].values.T
    snr, cluster, galah = (survey[v].values for v in ("snr", "cluster", "galah"))
    field = cluster == ""
    giant = (teff > 3500) & (teff < 5500) & (logg > 0) & (logg < 3.5)
    everyone = (teff > 3000) & (teff < 6500) & (logg > 0) & (logg < 6)
    both = (teff > 3800) & (teff < 6000) & (logg > 0) & (logg < 3.5) & (snr > 50) & galah & field
    return {
        "A": giant & (snr > 100) & field,
        "B": giant & (snr > 100) & field,
        "C": giant & (snr > 30) & (snr < 60) & field,
        "D": giant & (snr > 100) & ((cluster == "NGC 188") | (cluster == "IC 166")),
        "E": everyone & (snr > 100) & field,
        "F": everyone & (snr > 100) & field,
        "G": both,
        "H": both,
    }[letter]


def test_sizes_are_the_papers():
    assert {k: s.stars for k, s in SAMPLES.items()} == {
        "A": 5000, "B": 10_000, "C": 5000, "D": 790, "E": 4000, "F": 1000, "G": 4000, "H": 1000
    }  # fmt: skip
    assert len(CLUSTERS) == 9
    assert count_stars("B", 0.2) == 2000
    assert count_stars("D", 0.01) == samples.LEAST


@pytest.mark.parametrize("letter", SAMPLES)
def test_cuts_are_those_of_the_paper(survey, letter):
    good = expected(survey, letter)
    np.testing.assert_array_equal(find_passing(survey, letter), good)
    drawn = select(survey, letter, 0.01)
    assert drawn.sizes["star"] == count_stars(letter, 0.01)
    rows = [int(name[1:]) for name in drawn["star"].values]
    assert good[rows].all()
    assert rows == sorted(rows)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("train", "test"), [("A", "B"), ("E", "F"), ("G", "H")])
def test_training_and_test_samples_share_no_star(survey, train, test, seed):
    fraction = min(find_largest_fraction(survey, test), 0.02)
    first, second = (
        set(select(survey, k, fraction, seed=seed)["star"].values) for k in (train, test)
    )
    assert not first & second
    assert len(first | second) == count_stars(train, fraction) + count_stars(test, fraction)


def test_the_same_stars_are_drawn_again_and_others_with_another_seed(survey):
    first, again, other = (
        select(survey, "A", 0.01, seed=s)["star"].values.tolist() for s in (0, 0, 1)
    )
    assert first == again != other


def test_the_largest_fraction_is_used_up(survey):
    fraction = find_largest_fraction(survey, "F")
    assert (
        0
        <= int(find_passing(survey, "F").sum())
        - count_stars("E", fraction)
        - count_stars("F", fraction)
        < 3
    )
    with pytest.raises(InputError, match="sample F .* needs .* beside the .* of sample E"):
        select(survey, "F", 1.05 * fraction)


def test_a_survey_without_clusters_is_all_field(survey):
    giants = survey.drop_vars("cluster")
    assert find_passing(giants, "A").sum() > find_passing(survey, "A").sum()
    with pytest.raises(
        InputError, match=r"no variable 'cluster' \(star,\), in which sample D is cut"
    ):
        select(giants, "D")


def test_a_lazy_survey_stays_lazy(survey):
    drawn = select(survey.chunk(star=500), "A", 0.01)
    assert drawn["flux"].chunks is not None
    xr.testing.assert_equal(drawn.compute(), select(survey, "A", 0.01))


def test_what_cannot_be_selected(survey):
    with pytest.raises(InputError, match="no sample 'Z'; there are A, B, C"):
        select(survey, "Z")
    with pytest.raises(
        InputError, match="no label 'logg', in which sample C is cut; it has fe_h, teff"
    ):
        select(survey.isel(label=[0, 1]), "C")
    with pytest.raises(InputError, match="it has no labels"):
        select(survey.drop_vars("label_value"), "C")
    with pytest.raises(InputError, match=r"no variable 'snr' \(star,\)"):
        select(survey.drop_vars("snr"), "C")
    with pytest.raises(InputError, match="no variable 'galah'"):
        select(survey.drop_vars("galah"), "G")
    with pytest.raises(InputError, match=r"sample A .* needs 5,000 stars, but \d+ of 8,000 pass"):
        select(survey, "A")


def test_samples_of_a_simulated_survey():
    drawn = select(simulate(200, n_pixels=100, seed=4), "A", 0.01)
    assert drawn.sizes["star"] == 50
    assert float(drawn["snr"].min()) > 100
