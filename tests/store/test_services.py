"""Azure's storage, whose server for tests is a package of Node."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from email.utils import formatdate

import numpy as np
import pytest

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.store import services

ACCOUNT, KEY = "luxaccount", base64.b64encode(b"key of the tests").decode()


@pytest.fixture
def no_account(monkeypatch):
    for name in [n for n in os.environ if n.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_every_scheme_has_a_service_of_obstore():
    obstore = pytest.importorskip("obstore.store")
    for service in services.SERVICES.values():
        assert hasattr(obstore, service.store)


def test_a_missing_account_is_named(no_account):
    with pytest.raises(InputError, match=r"no account of Azure's storage; set AZURE_STORAGE_ACC"):
        store.open_survey("az://lux/survey.zarr")


@pytest.mark.parametrize("url", ["az://lux", "gs://lux/", "az://k:hidden@lux/survey.zarr"])
def test_urls_that_are_none(url):
    with pytest.raises(InputError, match="gs://BUCKET/KEY and az://CONTAINER/KEY") as refused:
        store.open_survey(url)
    assert "hidden" not in str(refused.value)


def make_container(endpoint, name):
    """Make a container, with a request that is signed as Azure's storage asks."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    canonical = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
    text = f"PUT{12 * chr(10)}{canonical}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    digest = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    url = f"{endpoint}/{name}?restype=container"
    request = urllib.request.Request(url, data=b"", headers=headers, method="PUT")
    request.add_header("Content-Type", "")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 201


def wait_for(port, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    pytest.fail("the server of Azure's storage does not start")


@pytest.fixture
def azure(tmp_path, no_account):
    """The URL of a container on a server of Azure's storage."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, whose azurite is the server")
    install = [npm, "install", "--no-audit", "--no-fund", "--prefix", tmp_path, "azurite"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("azurite cannot be installed here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = [tmp_path / "node_modules" / ".bin" / "azurite-blob", "--silent"]
    server += ["--location", tmp_path / "blobs", "--blobHost", "127.0.0.1"]
    server += ["--blobPort", str(port), "--skipApiVersionCheck", "--disableTelemetry"]
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    no_account.setenv("AZURITE_ACCOUNTS", f"{ACCOUNT}:{KEY}")
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        make_container(endpoint, "lux")
        no_account.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        no_account.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        no_account.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
        yield "az://lux/surveys"
    finally:
        process.kill()
        process.wait()


def test_a_connection_string_which_nothing_reads_is_no_account(no_account):
    no_account.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName={ACCOUNT};AccountKey={KEY}")
    with pytest.raises(InputError, match="set AZURE_STORAGE_ACCOUNT_NAME") as refused:
        store.open_survey("az://lux/s.zarr")
    assert KEY not in str(refused.value)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.timeout(600)
def test_azure_holds_surveys_models_and_catalogues(azure, small_survey, small_model, no_account):
    store.write_dataset(small_survey, f"{azure}/s.zarr", chunk=100)
    small_model.save(f"{azure}/m.zarr")
    opened = store.open_survey(f"{azure}/s.zarr")
    np.testing.assert_array_equal(opened["flux"], small_survey["flux"])
    paths = f"{azure}/s.zarr", f"{azure}/m.zarr", f"{azure}/c.zarr"
    summary = lux.label_survey(*paths, progress=False)
    assert summary.n_run == small_survey.sizes["star"]
    assert lux.label_survey(*paths, progress=False).n_run == 0
    inferred = lux.infer(small_survey, small_model)["label_value"]
    labelled = store.open_dataset(paths[2])["label_value"]
    np.testing.assert_allclose(labelled, inferred, rtol=1e-4)
    small_model.save(f"{azure}/m.zarr", overwrite=True)
    with pytest.raises(InputError, match="there is no container 'missing'"):
        store.open_survey("az://missing/s.zarr")
    no_account.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"other key").decode())
    with pytest.raises(InputError, match="credentials are not accepted .Auth") as refused:
        store.open_survey(f"{azure}/s.zarr")
    assert "b3RoZXI" not in str(refused.value)
    no_account.setenv("AZURE_STORAGE_ACCOUNT_KEY", "mistyped")
    with pytest.raises(InputError) as refused:
        store.open_survey(f"{azure}/s.zarr")
    assert "mistyped" not in str(refused.value)
