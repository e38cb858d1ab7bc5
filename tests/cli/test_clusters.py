"""Where a command works by default: in this process or on workers, whichever is sooner."""

import contextlib

import numpy as np
import pytest

from luxscale import cluster as library
from luxscale import crossval as cv
from luxscale.cli import workplace
from luxscale.cli.ingest import _guess_saving
from luxscale.cli.workplace import Cluster
from luxscale.errors import InputError
from luxscale.schema.selection import Selection
from luxscale.training.recipes import Recipe


@pytest.fixture
def started(monkeypatch):
    """Clusters of workers that would have been started, on a machine of four processors."""
    asked = []

    @contextlib.contextmanager
    def pretend(workers, **options):
        asked.append(workers)
        yield "client"

    monkeypatch.setattr(library, "local_cluster", pretend)
    monkeypatch.setattr(library, "cpu_count", lambda: 4)
    monkeypatch.setattr(library, "gpus", lambda: [])
    return asked


def choose(cluster, seconds, **options):
    with cluster.client(saving=lambda workers: seconds, **options) as client:
        return client


def test_a_small_job_is_done_in_this_process(started, capsys):
    assert choose(Cluster(), workplace.WORKERS_COST - 0.1) is None
    assert started == []
    assert capsys.readouterr().err == "working in this process, which is sooner than with workers\n"


def test_a_large_job_is_done_by_workers(started, capsys):
    assert choose(Cluster(), workplace.WORKERS_COST + 0.1) == "client"
    assert started == [4]
    assert capsys.readouterr().err == "starting 4 workers\n"


def test_the_saving_is_that_of_all_processors(started):
    asked = []
    with Cluster().client(saving=lambda workers: asked.append(workers) or 0.0):
        assert asked == [4]


def test_workers_that_were_asked_for_are_started(started, capsys):
    assert choose(Cluster(given=("--workers",), workers=1), 0.0) == "client"
    assert choose(Cluster(given=("--adapt",), adapt=(1, 3)), 0.0) == "client"
    assert choose(Cluster(given=("--performance-report",), workers=2), 0.0) == "client"
    assert started == [1, 4, 2]
    assert capsys.readouterr().err.splitlines() == [
        "starting 1 worker",
        "starting 1 worker",
        "starting 2 workers",
    ]


def test_work_of_unknown_length_is_done_by_workers(started):
    with Cluster().client() as client:
        assert client == "client"


def test_gpus_work_through_their_workers(started, monkeypatch):
    monkeypatch.setattr(library, "gpus", lambda: ["0", "1"])
    assert choose(Cluster(), 0.0) == "client"
    assert started == [2]


def test_nothing_is_said_when_quiet(started, capsys):
    choose(Cluster(), 0.0, progress=False)
    choose(Cluster(), 1e3, progress=False)
    assert capsys.readouterr().err == ""


def test_saving_of_an_ingest_follows_number_and_size_of_files(tmp_path):
    small, large = tmp_path / "small.fits", tmp_path / "large.fits"
    small.write_bytes(b"x" * 1000)
    with large.open("wb") as file:
        file.truncate(20 * 10**9)  # a file with a hole, which takes no room on the disk
    assert _guess_saving([str(small)] * 100, 2) < workplace.WORKERS_COST
    assert _guess_saving([str(small)] * 10_000, 2) > workplace.WORKERS_COST
    assert _guess_saving([str(large)], 2) > workplace.WORKERS_COST
    assert _guess_saving([str(large)], 1) == 0
    assert _guess_saving([str(tmp_path / "none.fits")], 2) < workplace.WORKERS_COST


def guess_crossval(survey, latent_dims, folds=5, workers=2):
    """Saving of a cross-validation of the marginal method that has not begun."""
    axes = (("latent_dim", latent_dims), ("prior", (1.0,)))
    tasks = cv.list_tasks(axes, folds)
    grid = cv.Grid(
        survey="s.zarr",
        out="c.zarr",
        axes=axes,
        folds=folds,
        recipes=(Recipe(name="marginal", method="marginal", latent_dim=48),),
        settings=(),
        outputs=("flux", "label_value"),
        selection=Selection(),
        n_stars=survey.sizes["star"],
        identity=(),
    )
    return cv.guess_saving(grid, survey, tasks, workers)


def test_saving_of_a_crossval_follows_stars_pixels_and_latents(small_survey):
    """Measured: P = 4 and 8 end 9 s sooner in one process, 8, 16 and 32 together 3 s later."""
    stars = np.arange(3000) % small_survey.sizes["star"]
    pixels = np.arange(400) % small_survey.sizes["wavelength"]
    survey = small_survey.isel(star=stars, wavelength=pixels)
    assert guess_crossval(survey, (4, 8)) < workplace.WORKERS_COST
    assert guess_crossval(survey, (8, 16, 32, 48)) > workplace.WORKERS_COST
    assert guess_crossval(survey, (8, 16, 32, 48), workers=1) < 0


def test_a_report_without_a_place_is_refused_before_work_begins(started, tmp_path):
    report = tmp_path / "missing" / "report.html"
    with (
        pytest.raises(InputError, match=rf"there is no directory {report.parent}"),
        Cluster(performance_report=str(report), workers=2).client(),
    ):
        pass
    assert started == []
