"""Stores in object storage, at ``s3://BUCKET/KEY``, ``gs://...`` or ``az://...``.

A store is known by its URL alone, so nothing secret is ever in a task, an attribute or a message.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import zarr.storage
from zarr.abc.store import Store

from luxscale.errors import InputError
from luxscale.store.services import SERVICES, Service

_URL = re.compile(
    r"(?P<scheme>s3|gs|az)://(?P<bucket>[a-z0-9][a-z0-9._-]{1,253}[a-z0-9])/(?P<key>[^?#]*[^?#/])/*"
)

#: For the first request of a process, which tells whether the storage answers at all: a few
#: seconds.
_QUICK = {"connect_timeout": "3s", "timeout": "10s"}
_QUICK_RETRIES = 1

#: For all others: a chunk takes its time on a slow line, and busy storage is asked again for about
#: a minute.
_PATIENT = {"connect_timeout": "5s", "timeout": "5min"}

#: What services answer where there is no bucket or container.
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


class ObjectError(InputError):
    """Object storage that cannot be used as asked; names the URL, and says what to do."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is meant as a URL, if only as `pathlib` has merged its slashes."""
    merged = tuple(f"{scheme}:/" for scheme in SERVICES)
    return "://" in str(path) or str(path).startswith(merged)


def parse(url: str) -> tuple[str, str]:
    """Return bucket and key of a URL.

    Raises
    ------
    InputError
        If it is not ``s3://BUCKET/KEY``, or of another service alike; the message does not repeat
        it, for it may hold credentials.
    """
    found = _URL.fullmatch(url)
    if found and not {"", ".", ".."} & set(found["key"].split("/")):
        return found["bucket"], found["key"]
    scheme = url.split(":")[0]
    raise InputError(
        f"{scheme}:...: luxscale reads and writes local paths and s3://BUCKET/KEY, gs://BUCKET/KEY "
        "and az://CONTAINER/KEY, written as text and without credentials, '?' or '#'; credentials "
        "come from the environment"
    )


def find_scheme(url: str) -> str:
    """Return the scheme of a URL of object storage: ``s3``, ``gs`` or ``az``."""
    parse(url)
    return url.split(":", 1)[0]


def find_service(url: str) -> Service:
    """Return the service of a URL.

    Raises
    ------
    InputError
        See `parse`.
    """
    return SERVICES[find_scheme(url)]


class Objects(zarr.storage.ObjectStore):
    """A Zarr store in object storage, known by its URL alone.

    A process connects when it first asks for something, with its own credentials: opening, copying
    and sending this needs none.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/KEY``, or of another service.
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
    url = "{}://{}/{}".format(find_scheme(url), *parse(url))
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
    variables = find_service(url).variables
    settings = [item for item in os.environ.items() if item[0].startswith(variables)]
    return _connect_once(url, os.getpid(), hash(tuple(sorted(settings))))


def open_bucket(url: str) -> tuple[Any, str]:
    """Return the obstore store of a URL's whole bucket, and the key of the URL in it.

    Raises
    ------
    InputError
        See `connect`.
    """
    connect(url)
    _, key = parse(url)
    return _make_store(import_obstore(os.getpid()), url, _PATIENT, prefix=None), key


@functools.lru_cache(maxsize=64)
def _connect_once(url: str, process: int, environment: int) -> Any:
    _, key = parse(url)
    obstore = import_obstore(process)
    retries = {"max_retries": _QUICK_RETRIES}
    quick = _make_store(obstore, url, _QUICK, prefix=key, retry_config=retries)
    with explain_errors(url):
        # nothing is there: the answer is short
        next(iter(obstore.list(quick, "zarr.json.partial/")), None)
    return _make_store(obstore, url, _PATIENT, prefix=key)


def _make_store(obstore: Any, url: str, options: dict[str, str], **more: Any) -> Any:
    """Return a store of obstore for a URL's service and bucket."""
    service, (bucket, _) = find_service(url), parse(url)
    make = getattr(obstore.store, service.store)
    with explain_errors(url):
        return make(
            bucket, client_options={**options, "allow_http": True}, **service.read_access(), **more
        )


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
            "object storage (s3://, gs://, az://) needs an extra: pip install 'luxscale[s3]'"
        ) from None
    if _user not in (None, process):
        raise InputError(
            "this process was forked from one that had used object storage, which does not work; "
            "start processes with multiprocessing's 'spawn' (Dask's clusters do)"
        )
    _user = process
    return obstore


@contextlib.contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn what obstore raises into an `ObjectError`.

    The server's words are left out: they may quote a request.
    """
    obstore = import_obstore(os.getpid())
    try:
        yield
    except (obstore.exceptions.BaseError, FileNotFoundError) as error:
        if isinstance(error, FileNotFoundError) and _find_code(str(error)) not in _NO_BUCKET:
            raise
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
    answer, service = _find_code(message), find_service(url)
    if answer in _NO_BUCKET:
        bucket, _ = parse(url)
        return (
            f"there is no {service.bucket} {bucket!r}; make it, or correct the URL or "
            f"{service.endpoint}"
        )
    if answer in service.refused:
        return f"the credentials are not accepted ({answer}); {service.settings}"
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
        f"{server} cannot do what is asked ({answer}); check that it is up, and "
        f"{service.endpoint}, then run the same again"
    )


def is_occupied(url: str) -> bool:
    """Return whether any object lies under a URL."""
    store = connect(url)
    with explain_errors(url):
        return any(import_obstore(os.getpid()).list(store))
