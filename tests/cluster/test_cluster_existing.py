"""Against schedulers and workers that run in processes of their own, as on a cluster."""

import contextlib
import gc
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from distributed import Client, Security

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.cluster import (
    check_workers,
    checked_workers,
    existing,
    existing_cluster,
    worker_environment,
)
from luxscale.errors import InputError


@contextlib.contextmanager
def processes(folder, *workers, tls=()):
    """A scheduler and workers, each a (arguments, environment); yields the scheduler's address."""
    at = folder / "scheduler.json"
    here = ["--host", "127.0.0.1", "--scheduler-file", str(at), *tls]
    started = [
        _start(
            "dask_scheduler",
            "--port",
            "0",
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
            *here,
        )
    ]
    try:
        address = _address(at)
        for arguments, env in workers:
            started.append(
                _start(
                    "dask_worker",
                    "--no-dashboard",
                    "--death-timeout",
                    "60",
                    *here,
                    *arguments,
                    **env,
                )
            )
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def _start(command, *arguments, **env):
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{command}", *arguments],
        env={**os.environ, **env},
        stderr=subprocess.DEVNULL,
    )


def _address(path):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(path.read_text())["address"]
        time.sleep(0.05)
    raise AssertionError("the scheduler did not start")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Authority, certificate and key, as files."""
    folder, made = tmp_path_factory.mktemp("tls"), Security.temporary()
    texts = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in texts.items():
        (folder / f"{name}.pem").write_text(text)
    return {name: folder / f"{name}.pem" for name in texts}


@pytest.fixture(scope="module")
def secure(certificates, tmp_path_factory):
    """Address of a scheduler that speaks TLS alone, with one good worker."""
    tls = [
        x
        for name, path in certificates.items()
        for x in (f"--tls-{name}{'-file' * (name == 'ca')}", str(path))
    ]
    worker = (["--nthreads", "1"], worker_environment(1))
    with processes(
        tmp_path_factory.mktemp("secure"), worker, tls=[*tls, "--protocol", "tls"]
    ) as address:
        assert address.startswith("tls://127.0.0.1:")
        with Client(address, security=_security(certificates)) as client:
            client.wait_for_workers(1, timeout=60)
        yield address


def _security(certificates):
    return Security(
        tls_ca_file=str(certificates["ca"]),
        tls_client_cert=str(certificates["cert"]),
        tls_client_key=str(certificates["key"]),
        require_encryption=True,
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, small_model):
    folder = tmp_path_factory.mktemp("existing")
    store.write_dataset(_small_survey.isel(star=slice(0, 100)), folder / "survey.zarr", chunk=20)
    small_model.save(folder / "model.zarr")
    lux.label_survey(
        folder / "survey.zarr", folder / "model.zarr", folder / "alone.zarr", progress=False
    )
    return folder


def label(stores, out, *options):
    arguments = [
        "label",
        stores / "survey.zarr",
        "--model",
        stores / "model.zarr",
        "--out",
        out,
        "--quiet",
        *options,
    ]
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.slow
def test_label_over_tls(secure, certificates, stores, tmp_path):
    options = [x for name, path in certificates.items() for x in (f"--tls-{name}", path)]
    result = label(
        stores, tmp_path / "c.zarr", "--region-stars", 20, "--scheduler", secure, *options
    )
    assert result.exit_code == 0, result.output
    assert result.stderr == ""  # no remark on the worker
    ours, alone = (
        xr.open_zarr(p, consolidated=False) for p in (tmp_path / "c.zarr", stores / "alone.zarr")
    )
    np.testing.assert_allclose(ours["label_value"], alone["label_value"], rtol=1e-5)


def test_certificates_from_the_configuration_of_dask(secure, certificates):
    names = {"ca-file": "ca", "client.cert": "cert", "client.key": "key"}
    tls = {f"distributed.comm.tls.{name}": str(certificates[of]) for name, of in names.items()}
    with dask.config.set(tls), existing_cluster(secure) as client:
        assert check_workers(client) == []


def test_what_a_tls_scheduler_refuses(secure, certificates, tmp_path):
    tls = {f"tls_{name}": path for name, path in certificates.items()}
    stranger = tmp_path / "ca.pem"
    stranger.write_text(Security.temporary().tls_ca_file)
    for address, files, message in (
        (secure, {}, "check the address and, for tls://"),
        (secure, {**tls, "tls_ca": stranger}, "check the address and, for tls://"),
        (secure, {**tls, "tls_key": tmp_path / "none.pem"}, "none.pem: there is no such"),
        (secure.replace("tls://", "tcp://"), tls, "write tls://"),
    ):
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(InputError, match=message),
            existing_cluster(address, **files),
        ):
            pass


def test_a_client_without_certificates_is_closed_at_once(secure):
    def loops():
        return [t for t in threading.enumerate() if t.name == "IO loop"]

    before = loops()
    gc.disable()
    try:
        with pytest.raises(InputError, match="cannot reach"), existing_cluster(secure):
            pass
        assert loops() == before
    finally:
        gc.enable()


def test_an_address_where_nobody_listens_is_one_line(stores, tmp_path):
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        result = label(stores, tmp_path / "c.zarr", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: tcp://127.0.0.1:1: cannot reach a Dask scheduler")
    assert result.stderr.count("\n") == 1


def test_workers_that_will_not_do(tmp_path):
    """First no worker, then one with many threads and no limit, then one with another version."""
    other = tmp_path / "site" / "luxscale-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: luxscale\nVersion: 9.9\n")
    with processes(tmp_path) as address, existing_cluster(address) as client:
        (remark,) = check_workers(client)
        assert "no workers yet" in remark
        start = ["--nthreads", "4", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1", address]
        worker = _start("dask_worker", *start, NPROC="", PJRT_NPROC="")
        older = _start("dask_worker", *start, PYTHONPATH=str(other.parent), PYTHONSAFEPATH="1")
        try:
            client.wait_for_workers(2, timeout=60)
            with pytest.raises(
                InputError, match=r"luxscale 9.9, here it is .* \(1 of 2 workers differ\); install"
            ):
                check_workers(client)
            older.terminate()
            older.wait()
            while len(client.nthreads()) > 1:
                time.sleep(0.05)
            unlimited, many = check_workers(client)
            assert "1 of 1 workers" in unlimited and "set NPROC and PJRT_NPROC" in unlimited
            assert "up to 4 tasks at a time" in many
        finally:
            for process in (worker, older):
                process.terminate()
                process.wait()


@pytest.mark.slow
def test_workers_that_join_later(tmp_path, monkeypatch):
    """A good one with two threads is remarked on once, one of another version is sent away."""
    other = tmp_path / "site" / "luxscale-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: luxscale\nVersion: 9.9\n")
    monkeypatch.setattr(existing, "_LOOK", 0.1)
    said = []
    with (
        processes(tmp_path) as address,
        existing_cluster(address) as client,
        checked_workers(client, said.append),
    ):
        assert len(said) == 1 and "no workers yet" in said.pop()
        start = ["--no-dashboard", "--host", "127.0.0.1", address]
        two = _start(
            "dask_worker", "--nthreads", "2", "--no-nanny", *start, **worker_environment(1)
        )
        older = None
        try:
            poll(lambda: said)
            assert (
                len(said) == 1
                and "1 of 1 workers" in said[0]
                and "run up to 2 tasks at a time" in said.pop()
            )
            older = _start(
                "dask_worker",
                "--nthreads",
                "1",
                *start,
                PYTHONPATH=str(other.parent),
                PYTHONSAFEPATH="1",
            )
            poll(lambda: said)
            assert re.search(r"luxscale 9.9, here it is .*; it was sent away", said[0])
            older.wait(timeout=60)  # its nanny does not start it again
            assert len(client.nthreads()) == 1 and len(said) == 1
        finally:
            for process in filter(None, (two, older)):
                process.terminate()
                process.wait()


def test_a_scheduler_that_stands_still_does_not_hold_up_the_end(monkeypatch):
    silent, asked = threading.Event(), threading.Event()
    monkeypatch.setattr(existing, "_LOOK", 0.01)
    monkeypatch.setattr(existing, "_PATIENCE", 0.1)

    def nthreads():
        if threading.current_thread() is not threading.main_thread():
            asked.set()
            assert silent.wait(60)
        return {}

    with checked_workers(SimpleNamespace(nthreads=nthreads), lambda remark: None):
        assert asked.wait(60)
    silent.set()


def poll(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_without_luxscale():
    missing = importlib.metadata.PackageNotFoundError("luxscale")
    client = SimpleNamespace(
        nthreads=lambda: {"tcp://a:1": 1}, run=lambda *a, **k: {"tcp://a:1": missing}
    )
    with pytest.raises(InputError, match="worker tcp://a:1 has no luxscale"):
        check_workers(client)
