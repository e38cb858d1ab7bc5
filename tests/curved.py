"""A universe that is curved, with correlated noise and two kinds of stars, and its true model."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from luxscale.model.correlated import CorrelatedNoise
from luxscale.model.decoders import PolynomialMap
from luxscale.model.features import PolynomialFeatures
from luxscale.model.lux import LuxModel, Provenance
from luxscale.model.output import Output
from luxscale.model.priors import MixturePrior
from luxscale.schema.outputs import OutputSpec, Role

LABELS = ("teff", "logg", "fe_h")
UNITS = ("K", "dex(cm s-2)", "dex")
P, D, COMPONENTS, K = 3, 40, 8, 4


@dataclasses.dataclass(frozen=True)
class CurvedWorld:
    """Three latents in 40 pixels of eight components, and four kinds of stars.

    The first pixel takes no part. Products are of two latents, and of three of the first ``cubic``.
    """

    model: LuxModel

    @classmethod
    def make(cls, seed: int = 5, cubic: int = 0) -> CurvedWorld:
        features = PolynomialFeatures(P, P, cubic)
        # what is bent more than once is bent less
        bent = np.where(features.members[0, P:] > 0, 0.3, 1.0)
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.standard_normal((D, COMPONENTS)))[0]
        shapes = basis * np.linspace(3, 1, COMPONENTS)
        # errors as they are said to be
        shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
        unit = 0.01 * rng.uniform(0.7, 1.4, D)
        unit[0], shapes[0] = 0, 0
        noise = CorrelatedNoise(
            shapes=shapes, unit=unit, variance=np.linspace(0.05, 0.6, COMPONENTS)
        )
        used = unit > 0
        bend = 0.12 * bent * rng.standard_normal((COMPONENTS, bent.size))
        inner = 6 * np.c_[rng.standard_normal((COMPONENTS, P)), bend]
        flux = PolynomialMap(
            unit[:, None] * (shapes @ inner), np.where(used, 1.0, np.nan), features
        )
        slopes = rng.standard_normal((3, features.n_terms)) * np.r_[np.ones(P), 0.15 * bent]
        labels = PolynomialMap(
            np.array([300.0, 0.6, 0.4])[:, None] * slopes, np.array([4800.0, 2.5, -0.3]), features
        )
        mean = 0.8 * rng.standard_normal((K, P))
        spread = 0.4 * rng.standard_normal((K, P, P))
        prior = MixturePrior(
            weight=np.array([0.4, 0.3, 0.2, 0.1]),
            mean=mean - np.array([0.4, 0.3, 0.2, 0.1]) @ mean,
            covariance=0.15 * np.eye(P) + spread @ spread.swapaxes(1, 2),
        )
        return cls(
            LuxModel(
                outputs=(
                    Output(
                        spec=OutputSpec("label_value", "label", "label_err", Role.LABELS),
                        coord=LABELS,
                        units=UNITS,
                        attrs=(),
                        map=labels,
                        scatter=np.zeros(3),
                        scale=np.array([300.0, 0.6, 0.4]),
                        floor=np.array([5.0, 0.01, 0.01]),
                        used=np.ones(3, bool),
                        bounds=np.array([[2000.0, 9000.0], [-3.0, 8.0], [-4.0, 4.0]]),
                    ),
                    Output(
                        spec=OutputSpec("flux", "wavelength", "flux_ivar", Role.SPECTRUM),
                        coord=tuple((15100 + 2.0 * np.arange(D)).tolist()),
                        units=("Angstrom",),
                        attrs=(("medium", "vacuum"),),
                        map=flux,
                        scatter=noise.scatter,
                        scale=np.where(used, 0.1, 0.0),
                        floor=np.zeros(D),
                        used=used,
                        bounds=np.tile([-10.0, 10.0], (D, 1)),
                        correlation=noise,
                        dof=20.0,
                    ),
                ),
                objective=np.array([1.0]),
                provenance=Provenance(
                    method="by hand",
                    settings='{"latent_dim": 3}',
                    n_stars=500,
                    training_checksum="0" * 64,
                ),
                limits=(6.0, 40.0),
                prior=prior,
            )
        )

    def survey(self, n: int, seed: int, level: float = 1.0) -> xr.Dataset:
        """Return stars with errors ``level`` times the typical ones, and their true labels."""
        rng = np.random.default_rng(seed)
        prior, (label, flux) = self.model.prior, self.model.outputs
        kind = rng.choice(K, n, p=prior.weight)
        factor = np.linalg.cholesky(prior.covariance)
        z = prior.mean[kind] + np.einsum("npq,nq->np", factor[kind], rng.standard_normal((n, P)))
        t = level * rng.uniform(0.8, 1.25, (n, 1))
        noise = flux.correlation
        e = np.sqrt(t**2 + noise.variance) * rng.standard_normal((n, COMPONENTS))
        values = flux.map(z) + noise.unit * (e @ noise.shapes.T)
        unit = np.where(noise.unit > 0, noise.unit, 1)
        ivar = np.where(flux.used, 1 / (t * unit) ** 2, 0)
        true = label.map(z)
        label_err = np.array([30.0, 0.06, 0.04]) * rng.uniform(0.7, 1.5, (n, 3))
        return xr.Dataset(
            {
                "flux": (("star", "wavelength"), values.astype("f4")),
                "flux_ivar": (("star", "wavelength"), ivar.astype("f4")),
                "label_value": (
                    ("star", "label"),
                    true + label_err * rng.standard_normal((n, 3)),
                ),
                "label_err": (("star", "label"), label_err),
                "label_true": (("star", "label"), true),
                "latent_true": (("star", "latent"), z),
                "snr": ("star", (100 / t[:, 0]).astype("f4")),
            },
            {
                "star": ("star", np.array([f"c{seed}-{i:05d}" for i in range(n)], object)),
                "wavelength": (
                    "wavelength",
                    np.array(flux.coord),
                    {"units": "Angstrom", "medium": "vacuum"},
                ),
                "label": ("label", np.array(LABELS, object)),
                "label_units": ("label", np.array(UNITS, object)),
            },
        )
