import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import click
import dask
import pytest
from click.testing import CliRunner
from distributed import Nanny, Scheduler

from luxscale.cli import workplace
from luxscale.cli.clusters import cluster_options
from luxscale.cli.workplace import Cluster
from luxscale.cluster import environment, gpus, local, local_cluster, worker_environment
from luxscale.cluster.environment import DASK_SETTINGS
from luxscale.errors import RunError

ASKED = (
    "NPROC",
    "PJRT_NPROC",
    "MALLOC_MMAP_MAX_",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "CUDA_VISIBLE_DEVICES",
)


def variables():
    return {name: os.environ.get(name) for name in ASKED}


def read_settings():
    return {name: dask.config.get(name) for name in DASK_SETTINGS}


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A machine whose `nvidia-smi` lists two GPUs, one divided, and a JAX that can use them."""
    command = tmp_path / "nvidia-smi"
    command.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)\n  MIG 1g Device 0: (UUID: "
        "MIG-1)\nGPU 1: x'\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(
        environment, "entry_points", lambda group: [SimpleNamespace(name="xla_cuda13")]
    )


def test_gpus_are_counted_without_jax(two_gpus, monkeypatch):
    assert gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-7")
    assert gpus() == ["1", "GPU-7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []


def test_gpus_that_jax_cannot_use_do_not_count(two_gpus, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert gpus() == []
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(environment, "entry_points", lambda group: [])
    assert gpus() == []


def test_a_machine_without_nvidia_smi_has_no_gpus(two_gpus, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert gpus() == []


def test_importing_luxscale_opens_no_device():
    """A worker's process may import it before the worker is told its GPU."""
    script = (
        "import luxscale.labelling.run, luxscale.cluster, jax\n"
        "try: jax.devices()\nexcept RuntimeError: print('none')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "JAX_PLATFORMS": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "none\n", done.stderr


def test_a_process_has_the_settings_of_dask_by_its_environment():
    names = list(DASK_SETTINGS)
    script = f"import dask, distributed; print({{n: dask.config.get(n) for n in {names}}})"
    env = {**os.environ, **worker_environment(1)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"{DASK_SETTINGS}\n"
    assert read_settings() != DASK_SETTINGS  # they are not Dask's own


@pytest.mark.slow
def test_one_worker_a_gpu(two_gpus):
    before = variables()
    with local_cluster() as client:
        found = list(client.run(variables).values())
        settings = client.run(read_settings).values()
    assert variables() == before
    assert list(settings) == [DASK_SETTINGS] * 2
    assert sorted(v.pop("CUDA_VISIBLE_DEVICES") for v in found) == ["0", "1"]
    expected = worker_environment(max(1, local.cpu_count() // 2))
    assert found == [{k: expected[k] for k in ASKED[:-1]}] * 2


def test_a_worker_gets_the_gpu_that_fewest_have():
    plain, workers = {"options": {"nthreads": 1}}, []
    for _ in range(5):
        workers.append(local.pin_to_free_gpu(plain, ["0", "1"], workers))
    devices = [w["options"]["env"]["CUDA_VISIBLE_DEVICES"] for w in workers]
    assert devices == ["0", "1", "0", "1", "0"]
    one_left = [w for w, device in zip(workers, devices, strict=True) if device == "0"]
    assert local.pin_to_free_gpu(plain, ["0", "1"], one_left)["options"] == {
        "nthreads": 1,
        "env": {"CUDA_VISIBLE_DEVICES": "1"},
    }


def poll(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_workers_come_as_there_is_work_and_go(tmp_path):
    with local_cluster(adapt=(1, 2)) as client:
        assert len(client.nthreads()) == 1
        futures = client.map(_wait_for, [str(tmp_path / "go")] * 40, pure=False)
        poll(lambda: len(client.nthreads()) == 2)
        (tmp_path / "go").touch()
        client.gather(futures)
        poll(lambda: len(client.nthreads()) == 1)


def _wait_for(path):
    poll(lambda: os.path.exists(path))


def fetch(address):
    try:
        return urllib.request.urlopen(address, timeout=30).status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.slow
def test_dashboard_on_request_only_and_on_this_machine():
    """Two clusters side by side: neither warns of the other's port."""
    with local_cluster(1) as plain, local_cluster(1, dashboard=free_port()) as shown:
        assert fetch(plain.dashboard_link) == 404
        assert fetch(shown.dashboard_link) == 200
        for client in (plain, shown):
            assert client.dashboard_link.startswith("http://127.0.0.1:")
            assert client.scheduler.address.startswith("tcp://127.0.0.1:")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@click.command()
@cluster_options
def asked(cluster):
    click.echo(repr(cluster))
    with cluster.client(
        needed=not cluster.scheduler and not cluster.jobs and not cluster.adapt
    ) as client:
        click.echo(f"client {client and client.submit(os.getpid).result() != os.getpid()}")


def invoke(*arguments, expect=0):
    result = CliRunner().invoke(asked, [str(a) for a in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result


def test_options_reach_the_cluster(tmp_path):
    assert "client None" in invoke("--workers", 0).stdout
    assert "adapt=(1, 4)" in invoke("--adapt", "1:4").stdout
    assert "dashboard=8787" in invoke("--dashboard", "--adapt", "1:2").stdout
    assert "dashboard=8790" in invoke("--dashboard", 8790, "--adapt", "1:2").stdout
    assert "given=('--scheduler',)" in invoke("--scheduler", "tcp://127.0.0.1:1").stdout
    jobs = invoke(
        "--slurm", "--workers", 3, "--directive=--gres=gpu:1", "--directive=-x n1", "--queue", "gpu"
    ).stdout
    assert "SlurmJobs(least=3, most=3, workers=1" in jobs
    assert "directives=('--gres=gpu:1', '-x n1')" in jobs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheduler", "tcp://h:1", "--workers", 2], "--scheduler: leave out --workers"),
        (["--scheduler", "tcp://h:1", "--dashboard"], "--scheduler: leave out --dashboard"),
        (["--tls-ca", __file__], "without --scheduler: leave out --tls-ca"),
        (["--queue", "x", "--walltime", "1:00"], "without --slurm: leave out --walltime, --queue"),
        (["--slurm"], "--workers N or --adapt"),
        (["--adapt", "0:2"], "at least 1"),
        (["--adapt", "3:2"], "LEAST:MOST"),
        (["--adapt", "1:2", "--workers", 2], "--adapt: leave out --workers"),
        (["--workers", 0, "--dashboard"], "--workers 0: leave out --dashboard"),
    ],
)
def test_options_that_do_not_go_together(arguments, message):
    assert message in " ".join(invoke(*arguments, expect=2).stderr.split())


@pytest.mark.slow
def test_performance_report(tmp_path):
    for _ in range(2):  # an earlier one is replaced
        done = invoke("--workers", 1, "--performance-report", tmp_path / "r.html")
        assert "client True" in done.stdout
    assert "getpid" in (tmp_path / "r.html").read_text()


def test_dashboard_without_bokeh_names_the_extra(monkeypatch):
    monkeypatch.setattr(workplace.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(workplace.InputError, match=r"pip install 'luxscale\[dashboard\]'"),
        Cluster(dashboard=8787).client(),
    ):
        pass


def test_no_report_of_nothing(tmp_path, capsys):
    with Cluster(performance_report=str(tmp_path / "r.html")).client(needed=False) as client:
        assert client is None
    assert (
        capsys.readouterr().err
        == f"nothing is left to do: no report {tmp_path}/r.html is written\n"
    )


def test_a_worker_that_ends_while_it_starts(monkeypatch):
    start = Nanny.instantiate

    async def dies(nanny):
        starting = asyncio.ensure_future(start(nanny))
        while not (nanny.process and nanny.process.pid):
            await asyncio.sleep(0.001)
        os.kill(nanny.process.pid, signal.SIGKILL)
        return await starting

    monkeypatch.setattr(Nanny, "instantiate", dies)
    with pytest.raises(
        RunError,
        match="a worker process ended while it started .* below `if __name__ == '__main__':`.* run "
        "the same command again",
    ):
        local_cluster(1).__enter__()


def test_a_worker_ends_after_its_last_heartbeat(caplog):
    """Dask's own cuts off a heartbeat that is under way, which then logs a traceback."""

    async def end_meanwhile():
        async with (
            Scheduler(host="127.0.0.1", dashboard_address="127.0.0.1:0") as scheduler,
            local._Worker(scheduler.address, host="127.0.0.1") as worker,
        ):
            answer, asked = scheduler.handlers["heartbeat_worker"], asyncio.Event()

            async def answer_late(**message):
                asked.set()
                await asyncio.sleep(0.2)
                return answer(**message)

            scheduler.handlers["heartbeat_worker"] = answer_late
            last = asyncio.create_task(worker.heartbeat())
            await asked.wait()
            await worker.close()
            await last

    asyncio.run(end_meanwhile())
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


def test_a_worker_that_the_scheduler_does_not_know_ends():
    async def be_forgotten():
        async with (
            Scheduler(host="127.0.0.1", dashboard_address="127.0.0.1:0") as scheduler,
            local._Worker(scheduler.address, host="127.0.0.1") as worker,
        ):
            scheduler.handlers["heartbeat_worker"] = lambda **message: {"status": "missing"}
            await asyncio.wait_for(worker.heartbeat(), 5)
            assert worker.status.name == "closed"

    asyncio.run(be_forgotten())


ENDS = """
import asyncio
import threading
import distributed.scheduler
from luxscale.cluster import local_cluster

# so often, and answered so late, that a worker which ends has one under way
distributed.scheduler.heartbeat_interval = lambda n: 0.01


def answer_late(handlers):
    answer, asked = handlers["heartbeat_worker"], threading.Event()

    async def answer_after(**message):
        asked.set()
        await asyncio.sleep(0.5)
        return answer(**message)

    handlers["heartbeat_worker"] = answer_after
    return asked


if __name__ == "__main__":
    with local_cluster(2) as client:
        assert answer_late(client.cluster.scheduler.handlers).wait(60)
"""


@pytest.mark.slow
def test_clusters_end_in_silence_under_a_heartbeat(tmp_path):
    (tmp_path / "ends.py").write_text(ENDS)
    done = subprocess.run(
        [sys.executable, tmp_path / "ends.py"], capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import signal
import time
from luxscale.cluster import local_cluster

# what runs in the background inherits that it is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

if __name__ == "__main__":
    try:
        print("starting", flush=True)
        with local_cluster(2) as client:
            future = client.submit(time.sleep, 1)
            print("working", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "working"])
def test_ctrl_c_ends_workers_in_silence(moment, tmp_path):
    (tmp_path / "work.py").write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "work.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of processes of its own, as a shell gives a command
    )
    while process.stdout.readline().strip() != moment:
        assert process.poll() is None
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (output.splitlines()[-1], errors) == ("interrupted", "")


TIDIED = """
from multiprocessing import resource_tracker
from luxscale.cluster.local import start_resource_tracker
start_resource_tracker()
resource_tracker.register("/luxscale-left-by-a-worker", "semaphore")
"""


def test_what_killed_workers_leave_is_tidied_up_in_silence():
    ended = subprocess.run([sys.executable, "-c", TIDIED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
