"""Labels, errors and latents in float32 are those of float64, on real spectra and at high S/N."""

import json

import numpy as np
import pytest

import luxscale as lux
from luxscale.examples.samples import xp_giants
from luxscale.examples.simulate import simulate

pytestmark = pytest.mark.slow

SHARE = 0.999


def real():
    giants = xp_giants()
    return lux.train(giants.isel(star=slice(0, 2000)), 32, folds=2, progress=False), giants.isel(
        star=slice(2000, None)
    )


def high_signal():
    """Spectra with a S/N of 300 to 1,000: where float32 would lose first."""
    training, stars = (
        simulate(n, n_pixels=700, seed=s, snr=(300, 1000)) for n, s in ((1000, 1), (2000, 2))
    )
    return lux.train(training, 24, folds=2, progress=False), stars


@pytest.fixture(scope="module", params=[real, high_signal], ids=["real giants", "high S/N"])
def case(request):
    """Model, stars left out of training, their catalogue, and their posterior in float64."""
    model, stars = request.param()
    return model, stars, lux.infer(stars, model), posterior(model, stars)


def posterior(model, stars):
    """Equation 10 for all stars at once, written out in float64 from the model's file."""
    file = model.to_dataset()
    get = {
        k: file[k].values.astype(float)
        for k in (
            f"{o}_{a}"
            for o in ("flux", "label_value")
            for a in ("weights", "offset", "scatter", "floor")
        )
    }
    used = file["flux_used"].values
    y, ivar = (stars[k].values.astype(float)[:, used] for k in ("flux", "flux_ivar"))
    b, a = get["flux_weights"][used], get["label_value_weights"]
    good = ivar > 0
    weight = good / (1 / np.where(good, ivar, 1) + get["flux_scatter"][used] ** 2)
    residual = np.where(good, y - get["flux_offset"][used], 0)
    p = b.shape[1]
    products = (b[:, :, None] * b[:, None, :]).reshape(len(b), p * p)
    precision = (weight @ products).reshape(-1, p, p) + file.attrs[
        "latent_prior_precision"
    ] * np.eye(p)
    z = np.linalg.solve(precision, ((weight * residual) @ b)[..., None])[..., 0]
    variance = np.einsum(
        "lp,npl->nl", a, np.linalg.solve(precision, np.broadcast_to(a.T, (len(z), *a.T.shape)))
    )
    # a factor on the formal error, which does not raise it beyond that without data
    raised = np.clip((a**2).sum(1) / variance, 1, find_factors(file, variance) ** 2) * variance
    return {
        "latent": z,
        "latent_err": np.sqrt(np.diagonal(np.linalg.inv(precision), axis1=1, axis2=2)),
        "label_value": get["label_value_offset"] + z @ a.T,
        "label_err": np.sqrt(raised + get["label_value_floor"] ** 2),
        "formal": np.sqrt(variance),
        "chi2": np.sum(weight * (residual - z @ b.T) ** 2, 1),
        "n_pixels": good.sum(1),
    }


def find_factors(file, variance):
    """Factors on formal errors: numbers, or as a power of these between two knots."""
    entries = {entry["name"]: entry for entry in json.loads(file.attrs["outputs"])}
    curves = entries["label_value"].get("inflation")
    if curves is None:
        return file["label_value_inflation"].values if "label_value_inflation" in file else 1.0
    columns = [
        np.exp(np.interp(np.log(v) / 2, np.log(at), np.log(value)))
        for v, (at, value) in zip(variance.T, curves, strict=True)
    ]
    return np.stack(columns, 1)


def share(within):
    """Share of the stars of which every value is within bounds."""
    return within.reshape(len(within), -1).all(1).mean()


def test_labels_are_within_a_hundredth_of_their_error(case):
    _, _, catalog, expected = case
    off = np.abs(catalog["label_value"].values - expected["label_value"])
    assert share(off < 0.01 * expected["label_err"]) >= SHARE
    assert (off < 0.05 * expected["label_err"]).all()


def test_labels_are_within_a_few_hundredths_of_their_formal_error(case):
    """Which leaves out the misfit, and is the stricter."""
    _, _, catalog, expected = case
    off = np.abs(catalog["label_value"].values - expected["label_value"]) / expected["formal"]
    assert share(off < 0.03) >= SHARE


def test_errors_are_within_a_hundredth(case):
    _, _, catalog, expected = case
    assert share(np.abs(catalog["label_err"].values / expected["label_err"] - 1) < 0.01) >= SHARE


def test_latents_are_within_a_few_hundredths_of_their_error(case):
    _, _, catalog, expected = case
    assert (
        share(np.abs(catalog["latent"].values - expected["latent"]) < 0.05 * expected["latent_err"])
        >= SHARE
    )


def test_chi2_and_numbers_of_pixels_agree(case):
    _, _, catalog, expected = case
    np.testing.assert_array_equal(catalog["n_pixels"], expected["n_pixels"])
    assert share(np.abs(catalog["chi2"].values / expected["chi2"] - 1) < 0.01) >= SHARE


def test_the_comparison_can_fail(case):
    """A hundredth of an error is small against what the labels of stars do, and against noise."""
    _, stars, catalog, expected = case
    spread = np.nanstd(stars["label_value"].values, axis=0)
    assert (np.median(expected["label_err"], axis=0) < spread).all()
    half = (catalog["label_value"].astype("f2").values - expected["label_value"]) / expected[
        "label_err"
    ]
    assert share(np.abs(half) < 0.01) < SHARE
