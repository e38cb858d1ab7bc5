"""Stores in object storage, at ``s3://BUCKET/KEY``: how they are reached, and what goes wrong.

Endpoint, region and credentials come from where every S3 program takes them: the environment and
the files of ``~/.aws``, on each machine its own. A store is known by its URL alone, so nothing
secret is ever in a task, an attribute or a message.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import zarr.storage
from zarr.abc.store import Store

from luxscale.errors import InputError

_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9._-]{1,253}[a-z0-9])/(?P<key>[^?#]*[^?#/])/*")

#: For the first request of a process, which tells whether the storage answers at all: a few
#: seconds.
_QUICK = {"connect_timeout": "3s", "timeout": "10s"}
_QUICK_RETRIES = 1

#: For all others: a chunk takes its time on a slow line, and busy storage is asked again for about
#: a minute.
_PATIENT = {"connect_timeout": "5s", "timeout": "5min"}

#: What S3 answers when it does not accept credentials, as opposed to what they may do.
_REFUSED = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "InvalidClientTokenId",
    "RequestTimeTooSkewed",
)

_YES = ("1", "true", "yes", "on")

#: Time after which credentials are asked for again: below the 15 minutes before their end at which
#: boto3 renews them.
_CREDENTIALS_TTL = datetime.timedelta(minutes=10)

_SETTINGS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where there is "
    "one), or AWS_PROFILE for a "
    "profile in ~/.aws, on every machine that works; AWS_SKIP_SIGNATURE=true for a public bucket"
)


class ObjectError(InputError):
    """Object storage that cannot be used as asked; names the URL, and says what to do."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is meant as a URL, if only as `pathlib` has merged its slashes."""
    return "://" in str(path) or str(path).startswith("s3:/")


def parse(url: str) -> tuple[str, str]:
    """Return bucket and key of a URL.

    Raises
    ------
    InputError
        If it is not ``s3://BUCKET/KEY``; the message does not repeat it, for it may hold
        credentials.
    """
    found = _URL.fullmatch(url)
    if found and not {"", ".", ".."} & set(found["key"].split("/")):
        return found["bucket"], found["key"]
    scheme = url.split(":")[0]
    raise InputError(
        f"{scheme}:...: luxscale reads and writes local paths and s3://BUCKET/KEY, written as text "
        "and without credentials, '?' or '#'; credentials come from the environment"
    )


class Objects(zarr.storage.ObjectStore):
    """A Zarr store in object storage, known by its URL alone.

    A process connects when it first asks for something, with its own credentials: opening, copying
    and sending this needs none.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/KEY``.
    read_only : bool
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        Store.__init__(self, read_only=read_only)
        self.url = url

    @property
    def store(self) -> Any:  # type: ignore[override]
        """The obstore store of this process."""
        return connect(self.url)

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return the same store for reading, or for writing too."""
        return type(self)(self.url, read_only=read_only)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Objects):
            return False
        return self.url == other.url and self.read_only == other.read_only

    def __reduce__(self) -> tuple[Any, ...]:
        make = functools.partial(type(self), read_only=self.read_only)
        return make, (self.url,)

    def __str__(self) -> str:
        return self.url


def _explain_method(name: str) -> Callable[..., Awaitable[Any]]:
    method = getattr(zarr.storage.ObjectStore, name)

    @functools.wraps(method)
    async def call(self: Objects, *args: Any, **kwargs: Any) -> Any:
        with explain_errors(self.url):
            return await method(self, *args, **kwargs)

    return call


def _explain_iterator(name: str) -> Callable[..., AsyncIterator[str]]:
    method = getattr(zarr.storage.ObjectStore, name)

    @functools.wraps(method)
    async def call(self: Objects, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        with explain_errors(self.url):
            async for key in method(self, *args, **kwargs):
                yield key

    return call


for _name in (
    "get",
    "get_partial_values",
    "exists",
    "set",
    "set_if_not_exists",
    "delete",
    "delete_dir",
    "getsize",
):
    setattr(Objects, _name, _explain_method(_name))
for _name in ("list", "list_prefix", "list_dir"):
    setattr(Objects, _name, _explain_iterator(_name))


def open_url(url: str) -> Objects:
    """Return the Zarr store at a URL, after a look at whether its bucket can be reached.

    Raises
    ------
    InputError
        See `connect`.
    """
    url = "s3://{}/{}".format(*parse(url))
    connect(url)
    return Objects(url)


def connect(url: str) -> Any:
    """Return the obstore store of a URL.

    It is made once in a process, as long as its environment stays the same.

    Raises
    ------
    InputError
        If the URL, the credentials or the endpoint cannot be used, or there is no such bucket:
        within seconds.
    """
    settings = [(name, value) for name, value in os.environ.items() if name.startswith("AWS_")]
    return _connect_once(url, os.getpid(), hash(tuple(sorted(settings))))


def open_bucket(url: str) -> tuple[Any, str]:
    """Return the obstore store of a URL's whole bucket, and the key of the URL in it.

    Raises
    ------
    InputError
        See `connect`.
    """
    connect(url)
    bucket, key = parse(url)
    options = {**_PATIENT, "allow_http": True}
    obstore = import_obstore(os.getpid())
    return obstore.store.S3Store(**_read_access(), bucket=bucket, client_options=options), key


@functools.lru_cache(maxsize=64)
def _connect_once(url: str, process: int, environment: int) -> Any:
    bucket, key = parse(url)
    obstore = import_obstore(process)
    settings = {**_read_access(), "bucket": bucket, "prefix": key}
    quick = obstore.store.S3Store(
        **settings,
        client_options={**_QUICK, "allow_http": True},
        retry_config={"max_retries": _QUICK_RETRIES},
    )
    with explain_errors(url):
        # nothing is there: the answer is short
        next(iter(obstore.list(quick, "zarr.json.partial/")), None)
    return obstore.store.S3Store(**settings, client_options={**_PATIENT, "allow_http": True})


_user: int | None = None  # the process in which obstore has run


def import_obstore(process: int) -> Any:
    """Import obstore, and refuse a process that was forked after its threads had started.

    It would hang there.
    """
    global _user
    try:
        import boto3  # noqa: F401
        import obstore.store
    except ImportError:
        raise InputError(
            "object storage (s3://...) needs an extra: pip install 'luxscale[s3]'"
        ) from None
    if _user not in (None, process):
        raise InputError(
            "this process was forked from one that had used object storage, which does not work; "
            "start processes with multiprocessing's 'spawn' (Dask's clusters do)"
        )
    _user = process
    return obstore


def _read_access() -> dict[str, Any]:
    """Return endpoint, region and credentials, as the environment and ``~/.aws`` give them."""
    import boto3
    import botocore.exceptions
    import botocore.session
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        profile = botocore.session.get_session()
        region = os.environ.get("AWS_REGION") or profile.get_config_variable("region")
        access = {"region": region or "us-east-1"}
        endpoint = _find_endpoint(profile.get_scoped_config())
        if endpoint:
            access["endpoint"] = endpoint
        if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in _YES:
            return {**access, "skip_signature": True}
        if profile.get_credentials() is None:
            raise InputError(f"there are no credentials for object storage; {_SETTINGS}")
        provider = Boto3CredentialProvider(
            boto3.Session(botocore_session=profile), ttl=_CREDENTIALS_TTL
        )
        provider()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise InputError(
            f"credentials for object storage cannot be had ({type(error).__name__}); {_SETTINGS}"
        ) from None
    return {**access, "credential_provider": provider}


def _find_endpoint(profile: dict[str, Any]) -> str | None:
    """Return the URL of the S3 server; None for Amazon's."""
    found = [
        os.environ.get("AWS_ENDPOINT_URL_S3"),
        os.environ.get("AWS_ENDPOINT_URL"),
        profile.get("endpoint_url"),
    ]
    endpoint = next(filter(None, found), None)
    if endpoint and not re.fullmatch(r"https?://[^/@?#\s]+/?", endpoint):
        raise InputError(
            "the endpoint of S3 (AWS_ENDPOINT_URL) is not http://HOST:PORT or "
            "https://HOST:PORT; correct it"
        )
    return endpoint


@contextlib.contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn what obstore raises into an `ObjectError`.

    The server's words are left out: they may quote a request.
    """
    obstore = import_obstore(os.getpid())
    try:
        yield
    except obstore.exceptions.BaseError as error:
        raise ObjectError(f"{url}: {_explain_answer(url, str(error))}") from None


def _find_code(message: str) -> str:
    """Return what the server answered, as an error of obstore quotes it."""
    code = re.search(r"<Code>(\w+)</Code>", message)
    if code:
        return code[1]
    status = re.search(r"status code: (\d+)", message)
    return f"status {status[1]}" if status else "no answer"


def _explain_answer(url: str, message: str) -> str:
    """Say what an error of obstore means, and what to do."""
    answer = _find_code(message)
    if answer == "NoSuchBucket":
        bucket, _ = parse(url)
        return f"there is no bucket {bucket!r}; make it, or correct the URL or AWS_ENDPOINT_URL"
    if answer in _REFUSED:
        return f"the credentials are not accepted ({answer}); {_SETTINGS}"
    if answer == "AccessDenied" or "403" in answer:
        return (
            f"access is denied ({answer}); these credentials need the right to list, read, write "
            "and delete there"
        )
    if "redirect" in message.lower() or answer == "AuthorizationHeaderMalformed":
        return f"the bucket is in another region ({answer}); set AWS_REGION to its region"
    found = re.search(r"https?://[^/\s]+", message)
    server = found[0] if found else "the server"
    return (
        f"{server} cannot do what is asked ({answer}); check that it is up, and AWS_ENDPOINT_URL, "
        "then run the same again"
    )


def is_occupied(url: str) -> bool:
    """Return whether any object lies under a URL."""
    store = connect(url)
    with explain_errors(url):
        return any(import_obstore(os.getpid()).list(store))
