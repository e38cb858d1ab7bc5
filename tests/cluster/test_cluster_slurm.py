import os
import shutil
import subprocess
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from test_cluster import poll

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.cluster import SlurmJobs, job_script, slurm, slurm_cluster, worker_environment
from luxscale.errors import InputError


def test_job_script():
    jobs = SlurmJobs(
        least=1,
        most=4,
        workers=3,
        cores=7,
        memory="9GB",
        walltime="2-00:00:00",
        queue="long",
        account="stars",
        directives=("--constraint=haswell",),
        interface="lo",
        folder=Path("logs"),
    )
    lines = job_script(jobs).splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"-p long", "-A stars", "-n 1", "--cpus-per-task=7", "--mem=9G", "-t 2-00:00:00"} <= set(
        asked
    )
    assert asked[-1] == "--constraint=haswell"
    assert f"-e {Path('logs').absolute()}/luxscale-%J.err" in asked
    exports = [f"export {k}={v}" for k, v in worker_environment(2).items()]
    command = next(i for i, line in enumerate(lines) if "dask_worker" in line)
    assert lines[command - len(exports) : command] == exports
    for option in (
        "--nthreads 1",
        "--nworkers 3",
        "--nanny",
        "--interface lo",
        "--lifetime 171900s",
        "--lifetime-stagger 300s",
        "--tls-ca-file <authority>",
        "tls://<scheduler>",
    ):
        assert option in lines[command], option


def test_settings_not_given_come_from_the_configuration_of_dask():
    jobs = SlurmJobs(least=1, most=1)
    with dask.config.set(
        {"jobqueue.slurm.queue": "mine", "jobqueue.slurm.job-script-prologue": ["module load x"]}
    ):
        script = job_script(jobs)
    assert "#SBATCH -p mine" in script
    assert (
        script.index("module load x") < script.index("export NPROC=1") < script.index("dask_worker")
    )


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("01:00:01", 3601),
        ("2-3", 183600),
        ("1-0:5", 86700),
        ("1-00:00:09", 86409),
    ],
)
def test_wall_times_as_slurm_writes_them(walltime, seconds):
    lifetime, stagger = slurm._choose_lifetime(SlurmJobs(least=1, most=1, walltime=walltime))
    assert slurm._read_walltime(walltime) == seconds
    assert 0 < stagger < lifetime + stagger < seconds
    assert lifetime == pytest.approx(max(0.85 * seconds, seconds - 900))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"walltime": "an hour"}, "wall time: 'an hour'"),
        ({"walltime": "1:2:3:4"}, "wall time: '1:2:3:4'"),
        ({"walltime": "0"}, "wall time: '0'"),
        ({"lifetime": "2h"}, "a lifetime of 2h does not end before the wall time, 1:00:00"),
        ({"lifetime": "soon"}, "lifetime: 'soon'"),
        ({"memory": "much"}, "memory of a job: 'much'"),
        ({"workers": 4, "cores": 2}, "4 workers need as many processors, but a job has 2"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        job_script(SlurmJobs(least=1, most=1, **settings))


def luxscale(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_show_job_script_does_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey = [
        "label",
        "no.zarr",
        "--model",
        "no.zarr",
        "--out",
        "c.zarr",
        "--slurm",
        "--show-job-script",
    ]
    shown = luxscale(*survey, "--workers", 2, "--job-memory", "4GB")
    assert shown.exit_code == 0
    assert "#SBATCH --mem=4G" in shown.stdout
    assert luxscale(*survey).exit_code == 2  # how many workers?


def test_a_machine_without_slurm_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(InputError, match="no sbatch on this machine"),
        slurm_cluster(SlurmJobs(least=1, most=1)),
    ):
        pass


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match=r"pip install 'luxscale\[slurm\]'"):
        job_script(SlurmJobs(least=1, most=1))


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    """A real SLURM of one node, on this machine."""
    if os.geteuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))):
        pytest.skip("needs root and SLURM: apt-get install slurmctld slurmd slurm-client munge")
    folder = tmp_path_factory.mktemp("slurm")
    script = str(Path(__file__).parents[1].joinpath("slurm.sh"))
    subprocess.run([script, "start", str(folder)], check=True, stdout=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
        subprocess.run([script, "stop", str(folder)], check=True)


def queue():
    return subprocess.run(
        ["squeue", "--noheader"], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, small_model):
    folder = tmp_path_factory.mktemp("stores")
    store.write_dataset(_small_survey.isel(star=slice(0, 200)), folder / "survey.zarr", chunk=5)
    small_model.save(folder / "model.zarr")
    lux.label_survey(
        folder / "survey.zarr", folder / "model.zarr", folder / "alone.zarr", progress=False
    )
    return folder


def label(stores, out, *options):
    survey = [
        "label",
        stores / "survey.zarr",
        "--model",
        stores / "model.zarr",
        "--out",
        out,
        "--region-stars",
        5,
    ]
    jobs = [
        "--slurm",
        "--interface",
        "lo",
        "--job-memory",
        "1GB",
        "--job-folder",
        out.parent / "jobs",
    ]
    return luxscale(*survey, *jobs, *options)


@pytest.mark.slow
def test_label_on_slurm(controller, stores, tmp_path):
    result = label(stores, tmp_path / "c.zarr", "--adapt", "1:2", "--walltime", "5:00")
    assert result.exit_code == 0, result.output
    ours, alone = (
        xr.open_zarr(p, consolidated=False) for p in (tmp_path / "c.zarr", stores / "alone.zarr")
    )
    np.testing.assert_allclose(ours["label_value"], alone["label_value"], rtol=1e-5)
    poll(lambda: not queue())  # no job is left behind
    assert not list((tmp_path / "jobs").glob("*cert*"))  # and no key


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_that_reach_their_lifetime_are_replaced(controller, tmp_path, workers):
    jobs = SlurmJobs(
        least=workers,
        most=workers,
        workers=workers,
        memory="1GB",
        interface="lo",
        walltime="2:00",
        lifetime="20s",
        folder=tmp_path,
    )
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}),
        slurm_cluster(jobs, progress=False) as client,
    ):
        first = set(client.run(os.getenv, "SLURM_JOB_ID").values())
        assert client.run(os.getenv, "NPROC").popitem()[1] == "1"
        poll(lambda: not first & set(client.run(os.getenv, "SLURM_JOB_ID").values()), 90)
        poll(lambda: len(client.nthreads()) == workers, 90)
        assert set(client.nthreads().values()) == {1}
    poll(lambda: not queue())


@pytest.mark.slow
def test_what_slurm_refuses(controller, stores, tmp_path):
    result = label(stores, tmp_path / "c.zarr", "--workers", 1, "--queue", "nowhere")
    assert result.exit_code == 1
    assert "SLURM refuses the job" in result.stderr and "partition" in result.stderr
    result = label(stores, tmp_path / "c.zarr", "--workers", 1, "--interface", "nowhere0")
    assert result.exit_code == 1
    assert "'nowhere0' is not a valid network interface" in result.stderr


@pytest.mark.slow
def test_jobs_that_end_before_a_worker_comes(controller, stores, tmp_path):
    with dask.config.set({"jobqueue.slurm.job-script-prologue": ["exit 3"]}):
        result = label(stores, tmp_path / "c.zarr", "--workers", 1)
    assert result.exit_code == 1
    assert "ended before a worker reached the scheduler" in result.stderr
    assert str(tmp_path / "jobs") in result.stderr
