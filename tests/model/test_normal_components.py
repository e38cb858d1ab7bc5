"""Components of normal matrices, and how far the errors of labels that come of them are right."""

import jax.numpy as jnp
import numpy as np
import pytest

from luxscale.model import linalg
from luxscale.model.components import find_components
from luxscale.model.decoders import LinearMap
from luxscale.model.inference import Inference
from luxscale.model.lux import LuxModel, Output, Provenance
from luxscale.schema.outputs import OutputSpec, Role

PIXELS, LATENTS, LABELS = 3600, 48, 12


@pytest.fixture(scope="module")
def weights():
    """Of latents of which each changes a third of the pixels."""
    rng = np.random.default_rng(0)
    found = rng.standard_normal((PIXELS, LATENTS)) * (rng.random((PIXELS, 1)) < 0.3)
    return 0.01 * found.astype("f4")


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).standard_normal((LABELS, LATENTS))


@pytest.fixture(scope="module")
def products(weights):
    i, j, _ = linalg.packed_index(LATENTS)
    return weights.T[i] * weights.T[j]


@pytest.fixture(scope="module")
def components(weights, products, labels):
    return find_components(
        weights,
        products,
        offset=np.ones(PIXELS),
        scatter=np.full(PIXELS, 0.01),
        ivar_unit=np.ones(PIXELS),
        labels=labels,
    )


def find_error(h, labels):
    matrix = h[linalg.packed_index(LATENTS)[2]]
    return np.sqrt(np.einsum("lp,pq,lq->l", labels, np.linalg.inv(matrix), labels))


def find_angle(components, products, labels, w):
    """Return the angles that components give for a star of weights w, and its packed matrix."""
    i, j, _ = linalg.packed_index(LATENTS)
    prior = (i == j).astype(float)
    h = products.astype(float) @ w + prior
    error = find_error(h, labels)
    taken = w @ components.sums
    return np.asarray(components.find_angles(taken[None], prior[None], error[None]))[0], h


def test_angles_are_none_of_noise_that_sums_are_kept_for(components, products, labels):
    even = np.full(PIXELS, 1 / (2 * 0.01**2))  # noise as large as the scatter
    angle, _ = find_angle(components, products, labels, even)
    assert angle.shape == (LABELS,)
    assert angle.max() < 0.003
    odd = even * np.where(np.arange(PIXELS) < 1000, 0, 1)
    angle, _ = find_angle(components, products, labels, odd)
    assert (angle > 0.05).all()


def test_angles_are_those_between_solutions(components, products, labels):
    w = 5000 * 10 ** (0.3 * np.sin(np.arange(PIXELS) / 500))
    angle, h = find_angle(components, products, labels, w)
    i, j, table = linalg.packed_index(LATENTS)
    h_star = h[table]
    c = labels @ np.linalg.inv(h_star)
    sines = []
    for tilt in (-1.5, 0, 1.5):
        for level in 10.0 ** np.arange(-0.5, 2, 0.5):
            noise = 1e-4 * level**2 * 10 ** (tilt * np.linspace(-1, 1, PIXELS))
            kept = products.astype(float) @ (1 / (noise + 1e-4)) + (i == j)
            other = labels @ np.linalg.inv(kept[table])
            across = np.sum(c @ h_star * other, 1)
            lengths = np.sum(c @ h_star * c, 1) * np.sum(other @ h_star * other, 1)
            sines.append(np.sqrt(1 - across**2 / lengths))
    np.testing.assert_allclose(angle, np.min(sines, 0), atol=2e-3)


def test_sums_are_as_many_as_a_product_takes_at_a_time(components):
    assert components.sums.shape == (PIXELS, 224)
    assert components.matrices.shape == (224, LATENTS * (LATENTS + 1) // 2)


def make_output(names, role, coord, weights, scale):
    n = len(coord)
    return Output(
        spec=OutputSpec(*names.split(), role),
        coord=coord,
        units=("Angstrom" if role is Role.SPECTRUM else "",) * n,
        attrs=(("medium", "vacuum"),) if role is Role.SPECTRUM else (),
        map=LinearMap(weights, np.ones(n)),
        scatter=np.full(n, 1e-5),
        scale=np.full(n, scale),
        floor=np.zeros(n),
        used=np.ones(n, bool),
        bounds=np.outer(np.ones(n), [-np.inf, np.inf]),
    )


def test_where_sums_for_errors_are_right_no_star_falls_back(weights, labels, float64_reference):
    """Noise is the same in all pixels, and hardly any is the model's own; 3% of pixels are bad."""
    names = tuple(f"label_{i}" for i in range(LABELS))
    grid = tuple((4000.0 + np.arange(PIXELS)).tolist())
    model = LuxModel(
        outputs=(
            make_output("label_value label label_err", Role.LABELS, names, labels, 1.0),
            make_output("flux wavelength flux_ivar", Role.SPECTRUM, grid, weights, 0.01),
        ),
        objective=np.zeros(1),
        provenance=Provenance(
            method="none", settings="{}", n_stars=4, training_checksum="", version="0"
        ),
    )
    rng = np.random.default_rng(2)
    snr = rng.uniform(50, 200, (256, 1))
    flux = 1 + rng.standard_normal((256, LATENTS)) @ weights.T
    flux = (flux + rng.standard_normal(flux.shape) / snr).astype("f4")
    ivar = (snr**2 * (rng.random(flux.shape) > 0.03)).astype("f4")
    got, fell_back = Inference.of(model).infer_and_count({"flux": flux, "flux_ivar": ivar})
    expected = float64_reference(model, "flux", flux, ivar)
    assert fell_back == 0
    away = abs(got["label_value"] - expected["value"]) / expected["err"]
    assert np.quantile(away, 0.999) < 1e-3
    np.testing.assert_allclose(got["label_err"], expected["err"], rtol=0.01)
    np.testing.assert_allclose(got["chi2"], expected["chi2"], rtol=1e-3)


def test_matrices_are_those_of_rounded_sums(components, products):
    """Of weights that vary as expected they are exact, whatever their sums have lost."""
    sums = components.sums.astype(float)
    np.testing.assert_array_equal(components.sums.astype(jnp.bfloat16), components.sums)
    flat = np.ones(PIXELS)
    got, expected = (flat @ sums) @ components.matrices, products.astype(float) @ flat
    assert np.linalg.norm(got - expected) < 2e-4 * np.linalg.norm(expected)
