"""Fixtures that several test modules share: small worlds in which the truth is known."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import dask
import hypothesis
import jax
import numpy as np
import pytest
import scipy.linalg.cython_lapack  # noqa: F401 - loads the BLAS that is limited below
import xarray as xr
from curved import CurvedWorld
from lapack_order import Watch
from threadpoolctl import threadpool_limits

import luxscale as lux
from luxscale.model import jit
from luxscale.model.decoders import LinearMap
from luxscale.model.output import ARRAYS, Output
from luxscale.model.priors import GaussianPrior
from luxscale.schema.outputs import OutputSpec

LABELS = ("teff", "logg", "fe_h", "mg_fe")
UNITS = ("K", "dex(cm s-2)", "dex", "dex")

#: Flags of XLA: code is not optimized, and products are of one thread, as every core has a process.
#: By the last, compiling takes a third of the time with jaxlib 0.10; jaxlib 0.12 ignores it.
QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false "
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)

# Tests are not timed: beside others an example may take any time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

#: Objects that are made before the collector looks for garbage among them: Python looks at 700.
GARBAGE = 100_000

#: Modules that take longest, some by what is slow in them.
LONGEST = {
    "test_benchmarks.py",
    "test_curved.py",
    "test_demo.py",
    "test_docs.py",
    "test_faults.py",
    "test_hung.py",
    "test_ingest.py",
    "test_interrupt.py",
    "test_kernel.py",
    "test_notebooks.py",
    "test_recipes.py",
    "test_run.py",
    "test_train.py",
}


async def run_here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Stand in for `asyncio.to_thread`, by which Zarr reads and writes files.

    Of small ones the threads take longer to find each other than the work takes.
    """
    return function(*args, **kwargs)


def pytest_configure(config: pytest.Config) -> None:
    """Make compiling cheap, which is most of what the tests of small models cost.

    What JAX compiles is kept, for the other processes of this run and for later runs. Machine code
    of the default run is made without optimization, as it works on little data, and files are left
    to the system to put on its disk; slow tests have the code that users have.
    """
    settings: dict[str, object] = {}
    if config.getoption("markexpr") == "not slow":
        os.environ.setdefault("XLA_FLAGS", QUICK_TO_COMPILE)
        os.fsync = lambda descriptor: None  # the power does not fail, and a disk is waited for
        asyncio.to_thread = run_here
    if config.pluginmanager.hasplugin("cacheprovider"):
        settings = {
            "jax_compilation_cache_dir": str(config.cache.mkdir("jax")),
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    if hasattr(config, "workerinput"):
        # every core has a process: threads of BLAS would wait for each other
        threadpool_limits(limits=1, user_api="blas")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Import what is tested without a collection of garbage, and leave it out of those to come.

    All of it stays, and to look through a million objects again and again takes seconds.
    """
    # not gc.disable(): what Dask finds as it is imported it goes back to after each slice
    gc.set_threshold(0)
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(GARBAGE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest, lest a process is left with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@dataclasses.dataclass(frozen=True)
class World:
    """A linear-Gaussian universe: stars are z ~ N(0, I), spectra and labels are linear in z.

    ``bend`` adds a term quadratic in z to the spectra, which no linear model can follow.
    """

    flux_weights: np.ndarray
    flux_offset: np.ndarray
    flux_scatter: np.ndarray
    label_weights: np.ndarray
    label_offset: np.ndarray
    bend: np.ndarray

    @classmethod
    def make(cls, p: int = 4, d: int = 40, bend: float = 0.0, seed: int = 11) -> World:
        rng = np.random.default_rng(seed)
        scatter = np.where(np.arange(d) % 2, 0.0, np.linspace(0.02, 0.06, d))
        unit = np.array([300.0, 0.6, 0.4, 0.2])
        return cls(
            0.08 * rng.standard_normal((d, p)),
            1 + 0.1 * rng.standard_normal(d),
            scatter,
            unit[:, None] * rng.standard_normal((4, p)),
            np.array([4800.0, 2.5, -0.3, 0.1]),
            bend * rng.standard_normal((d, p)),
        )

    @property
    def latent_dim(self) -> int:
        return self.flux_weights.shape[1]

    def survey(
        self,
        n: int,
        seed: int,
        *,
        missing_labels: float = 0.1,
        missing_pixels: float = 0.05,
        label_noise: float = 1.0,
    ) -> xr.Dataset:
        rng = np.random.default_rng(seed)
        d, m = self.flux_offset.size, self.label_offset.size
        z = rng.standard_normal((n, self.latent_dim))
        err = 0.02 * rng.uniform(0.7, 1.5, (n, 1)) * np.ones(d)
        flux = self.flux_offset + z @ self.flux_weights.T + (z**2 - 1) @ self.bend.T
        flux += np.hypot(err, self.flux_scatter) * rng.standard_normal((n, d))
        ivar = np.where(rng.random((n, d)) < missing_pixels, 0, err**-2)
        true = self.label_offset + z @ self.label_weights.T
        label_err = label_noise * np.array([40.0, 0.08, 0.05, 0.04]) * rng.uniform(0.7, 1.5, (n, m))
        label = true + label_err * rng.standard_normal((n, m))
        gap = rng.random((n, m)) < missing_labels
        flux = np.where(ivar > 0, flux, np.nan)
        return xr.Dataset(
            {
                "flux": (("star", "wavelength"), flux.astype("f4")),
                "flux_ivar": (("star", "wavelength"), ivar.astype("f4")),
                "label_value": (("star", "label"), np.where(gap, np.nan, label)),
                "label_err": (("star", "label"), np.where(gap, np.nan, label_err)),
                "label_true": (("star", "label"), true),
                "snr": ("star", (1 / err[:, 0]).astype("f4")),
            },
            {
                "star": ("star", np.array([f"s{seed}-{i:05d}" for i in range(n)], object)),
                "wavelength": (
                    "wavelength",
                    15100 + 2.0 * np.arange(d),
                    {"units": "Angstrom", "medium": "vacuum"},
                ),
                "label": ("label", np.array(LABELS[:m], object)),
                "label_units": ("label", np.array(UNITS[:m], object)),
            },
        )

    def oracle(self, survey: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return the best possible labels from the spectra, and their errors.

        They are the posterior under the true parameters.
        """
        value, err = [], []
        for y, ivar in zip(
            survey["flux"].values.astype(float),
            survey["flux_ivar"].values.astype(float),
            strict=True,
        ):
            good = ivar > 0
            x = self.flux_weights[good]
            w = 1 / (1 / ivar[good] + self.flux_scatter[good] ** 2)
            cov = np.linalg.inv(x.T @ (w[:, None] * x) + np.eye(self.latent_dim))
            z = cov @ (x.T @ (w * (y[good] - self.flux_offset[good])))
            value.append(self.label_offset + self.label_weights @ z)
            err.append(np.sqrt(np.diag(self.label_weights @ cov @ self.label_weights.T)))
        return np.array(value), np.array(err)


def reference(
    model: lux.LuxModel, name: str, values: np.ndarray, ivars: np.ndarray, prior: float = 1.0
) -> dict[str, np.ndarray]:
    """Posterior of latents and labels in float64, star by star, straight from the equations."""
    given, label = model[name], model["label_value"]
    out: dict[str, list] = {
        k: [] for k in ("latent", "cov", "value", "err", "label_cov", "chi2", "n_pixels")
    }
    for y, ivar in zip(np.asarray(values, float), np.asarray(ivars, float), strict=True):
        good = (ivar > 0) & np.asarray(given.used)
        x = np.asarray(given.map.weights)[good]
        w = 1 / (1 / ivar[good] + np.asarray(given.scatter)[good] ** 2)
        r = y[good] - np.asarray(given.map.offset)[good]
        cov = np.linalg.inv(x.T @ (w[:, None] * x) + prior * np.eye(model.latent_dim))
        z = cov @ (x.T @ (w * r))
        a = np.asarray(label.map.weights)
        label_cov = a @ cov @ a.T + np.diag(np.asarray(label.floor) ** 2)
        row = (
            z,
            cov,
            label.map.offset + a @ z,
            np.sqrt(np.diag(label_cov)),
            label_cov,
            np.sum(w * (r - x @ z) ** 2),
            good.sum(),
        )
        for key, value in zip(out, row, strict=True):
            out[key].append(value)
    return {k: np.array(v) for k, v in out.items()}


def join_outputs(
    model: lux.LuxModel, survey: xr.Dataset
) -> tuple[lux.LuxModel, np.ndarray, np.ndarray]:
    """Return spectra and labels as one output, for `reference`.

    That is a model that has it as ``flux``, its values and ivars.
    """
    flux, label = model["flux"], model["label_value"]
    linear = LinearMap(
        *(np.concatenate([getattr(o.map, k) for o in (flux, label)]) for k in ("weights", "offset"))
    )
    joined = dataclasses.replace(
        flux,
        map=linear,
        scatter=np.r_[flux.scatter, label.scatter],
        used=np.r_[flux.used, label.used],
    )
    err = survey["label_err"].values
    ivar = np.where(np.isfinite(err), 1 / err**2, 0)
    return (
        dataclasses.replace(model, outputs=(label, joined)),
        np.concatenate([survey["flux"], survey["label_value"]], 1),
        np.concatenate([survey["flux_ivar"], ivar], 1),
    )


def cut_survey(survey: xr.Dataset) -> xr.Dataset:
    """Return a survey whose spectra are two outputs: ``flux``, and ``flux_red`` of the rest."""
    half = survey.sizes["wavelength"] // 2
    red = survey[["flux", "flux_ivar"]].isel(wavelength=slice(half, None))
    names = {"wavelength": "wavelength_red", "flux": "flux_red", "flux_ivar": "flux_red_ivar"}
    return survey.isel(wavelength=slice(half)).merge(red.rename(names))


def cut_model(model: lux.LuxModel) -> lux.LuxModel:
    """Return a linear model whose spectra are the two outputs of `cut_survey`."""
    label, flux = model.outputs
    half = len(flux.coord) // 2

    def take(pixels: slice, spec: OutputSpec) -> Output:
        arrays = {name: getattr(flux, name)[pixels] for name in (*ARRAYS, "bounds", "coord")}
        decoder = LinearMap(flux.map.weights[pixels], flux.map.offset[pixels])
        return dataclasses.replace(flux, spec=spec, map=decoder, **arrays)

    red = OutputSpec("flux_red", "wavelength_red", "flux_red_ivar", flux.spec.role)
    halves = take(slice(half), flux.spec), take(slice(half, None), red)
    return dataclasses.replace(model, outputs=(label, *halves))


class Computed(AssertionError):
    """Something computed where it should not."""


def _refuse_to_compute(*args: Any, **kwargs: Any) -> None:
    raise Computed("a Dask computation was started")


@pytest.fixture(scope="session", autouse=True)
def calls_of_lapack_in_order() -> Iterator[None]:
    """Fail the test that first runs a program of which two calls of LAPACK could run at once."""
    watch = Watch()
    run_to_end = jit.run_to_end

    def check_and_run(compiled: Any, args: Any, kwargs: Any) -> Any:
        watch.check(compiled, args, kwargs)
        return run_to_end(compiled, args, kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "run_to_end", check_and_run)
        yield


@pytest.fixture(scope="session")
def world() -> World:
    return World.make()


@pytest.fixture(scope="session")
def curved_world() -> CurvedWorld:
    return CurvedWorld.make()


@pytest.fixture(scope="session", params=[0, 2], ids=["quadratic", "cubic"])
def polynomial_world(request):
    return CurvedWorld.make(cubic=request.param)


@pytest.fixture(scope="session")
def polynomial_model(polynomial_world):
    return polynomial_world.model


@pytest.fixture(scope="session")
def curved_model(curved_world):
    """A model that is not linear, of correlated and heavy-tailed noise, and its prior a mixture."""
    return curved_world.model


@pytest.fixture(scope="session")
def gaussian_curved_model(curved_model):
    """The same, but its noise and its prior are Gaussian."""
    label, flux = curved_model.outputs
    plain = dataclasses.replace(flux, dof=float("inf"))
    return dataclasses.replace(curved_model, outputs=(label, plain), prior=GaussianPrior())


@pytest.fixture
def curved_survey(curved_world):
    """200 stars of that model, without gaps but for a pixel that takes no part."""
    return curved_world.survey(200, seed=3)


@pytest.fixture(scope="session")
def make_world():
    return World.make


@pytest.fixture(scope="session")
def float64_reference():
    return reference


@pytest.fixture(scope="session")
def joined_outputs():
    return join_outputs


@pytest.fixture(scope="session")
def _small_survey(world):
    return world.survey(300, seed=1)


@pytest.fixture
def small_survey(_small_survey):
    """300 stars, 40 pixels, 4 labels with gaps; a test may change it."""
    return _small_survey.copy(deep=True)


@pytest.fixture(scope="session")
def _held_out(world):
    return world.survey(600, seed=2)


@pytest.fixture
def held_out(_held_out):
    """Stars of the same world that no model was trained on."""
    return _held_out.copy(deep=True)


@pytest.fixture(scope="session")
def small_model(world, _small_survey):
    return lux.train(_small_survey, latent_dim=world.latent_dim, progress=False)


@pytest.fixture(scope="session")
def cut():
    """What cuts the spectra of a survey into two outputs."""
    return cut_survey


@pytest.fixture(scope="session")
def model_of_two(small_model):
    """A model of two spectra, ``flux`` and ``flux_red``, as `cut` makes them."""
    return cut_model(small_model)


@pytest.fixture
def no_compute():
    """Context manager inside which any Dask computation raises `Computed`."""

    @contextlib.contextmanager
    def inside():
        with dask.config.set(scheduler=_refuse_to_compute):
            yield

    inside.error = Computed
    return inside
