"""The services of object storage: how each is reached, and what its answers mean.

Endpoint and credentials come from where every program of a service takes them: the environment, and
the files of ``~/.aws`` or of gcloud, on each machine its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from collections.abc import Callable
from typing import Any

from luxscale.errors import InputError

_YES = ("1", "true", "yes", "on")

#: Time after which credentials are asked for again: below the 15 minutes before their end at which
#: boto3 renews them.
_CREDENTIALS_TTL = datetime.timedelta(minutes=10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """A service of object storage.

    Parameters
    ----------
    bucket : str
        What it calls what holds objects.
    store : str
        Name of its class in obstore.
    variables : tuple of str
        How the names of its environment variables begin.
    settings : str
        What to set, as advice.
    endpoint : str
        The variable that names another server than the service's own.
    refused : tuple of str
        What it answers when it does not accept credentials, as opposed to what they may do.
    read_access : callable
        Returns endpoint and credentials, as far as obstore does not find them itself.
    """

    bucket: str
    store: str
    variables: tuple[str, ...]
    settings: str
    endpoint: str
    refused: tuple[str, ...]
    read_access: Callable[[], dict[str, Any]]


def read_s3_access() -> dict[str, Any]:
    """Return endpoint, region and credentials, as the environment and ``~/.aws`` give them.

    Raises
    ------
    InputError
        If there are none, or they cannot be had.
    """
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
            raise InputError(f"there are no credentials for object storage; {_S3_SETTINGS}")
        provider = Boto3CredentialProvider(
            boto3.Session(botocore_session=profile), ttl=_CREDENTIALS_TTL
        )
        provider()
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise InputError(
            f"credentials for object storage cannot be had ({type(error).__name__}); {_S3_SETTINGS}"
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


def read_azure_access() -> dict[str, Any]:
    """Return nothing, for obstore reads ``AZURE_...`` itself, after a look at the account's name.

    Raises
    ------
    InputError
        If there is none: a URL names the container alone.
    """
    names = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME")
    if not any(os.environ.get(name) for name in names):
        raise InputError(f"there is no account of Azure's storage; {_AZURE_SETTINGS}")
    return {}


_S3_SETTINGS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where there is "
    "one), or AWS_PROFILE for a "
    "profile in ~/.aws, on every machine that works; AWS_SKIP_SIGNATURE=true for a public bucket"
)

_AZURE_SETTINGS = (
    "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or another credential "
    "(AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_ID and its secret and tenant), on every machine that "
    "works; AZURE_SKIP_SIGNATURE=true for a public container"
)

S3 = Service(
    bucket="bucket",
    store="S3Store",
    variables=("AWS_",),
    settings=_S3_SETTINGS,
    endpoint="AWS_ENDPOINT_URL",
    refused=(
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
        "InvalidClientTokenId",
        "RequestTimeTooSkewed",
    ),
    read_access=read_s3_access,
)

GOOGLE = Service(
    bucket="bucket",
    store="GCSStore",
    variables=("GOOGLE_",),
    settings=(
        "set GOOGLE_APPLICATION_CREDENTIALS to a file of credentials, or log in with gcloud, on "
        "every machine that works; GOOGLE_SKIP_SIGNATURE=true for a public bucket"
    ),
    endpoint="GOOGLE_SERVICE_ACCOUNT",
    refused=("AuthenticationRequired", "InvalidAccessKeyId", "ExpiredToken"),
    read_access=dict,
)

AZURE = Service(
    bucket="container",
    store="AzureStore",
    variables=("AZURE_",),
    settings=_AZURE_SETTINGS,
    endpoint="AZURE_STORAGE_ENDPOINT",
    refused=(
        "AuthenticationFailed",
        "AuthorizationFailure",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
    ),
    read_access=read_azure_access,
)

#: By the scheme of a URL.
SERVICES = {"s3": S3, "gs": GOOGLE, "az": AZURE}
