"""Files, directories and stores that take the place of others, or appear when they are complete."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import tempfile
from pathlib import Path

from luxscale.store import objects

#: Of ``renameat2``: paths are relative to the working directory; the two places are exchanged.
_AT_FDCWD, _EXCHANGE = -100, 2

#: Errors of a system, or a file system, that cannot exchange two places.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

#: The root metadata of a store that is being made: without ``zarr.json`` it is no Zarr group yet.
_ROOT, _HELD_BACK = "zarr.json", "zarr.json.partial"


def move_over(made: Path, target: Path) -> None:
    """Move a file or directory to its target, on one file system, in place of what is there.

    If that fails, what is there stays. Of two directories the places are exchanged at once where
    the file system can (ext4, xfs, btrfs and tmpfs of Linux; not NFS); elsewhere nothing is at the
    target between two renames.
    """
    if not target.exists() or not (target.is_dir() or made.is_dir()):
        os.replace(made, target)
        return
    # only a file can be replaced, and by a file: what was there goes with the scratch
    prefix = f".{target.name}.old-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as scratch:
        old = Path(scratch) / "old"
        if _exchange(made, target):
            os.replace(made, old)
            return
        os.replace(target, old)
        try:
            os.replace(made, target)
        except BaseException:
            os.replace(old, target)
            raise


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two places at once; return whether that can be done here."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another system than Linux
        return False
    places = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, places[0], _AT_FDCWD, places[1], _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


def move_store(made: str, target: str, *, keep: str) -> None:
    """Move a complete Zarr store to the place of another.

    On this machine as `move_over` does. Objects cannot be renamed together: what is at the target
    is removed, its root metadata first, all is copied there, the root metadata last, and what was
    copied is removed. Between, no Zarr group is at the target; cut off anywhere, the same call goes
    on, and one of the two is whole.

    Parameters
    ----------
    made, target : str
        Paths on one file system, or URLs in one bucket.
    keep : str
        Part of the target under a URL that stays, with a slash at its end: where its lock is.
    """
    if not objects.is_url(target):
        move_over(Path(made), Path(target))
        return
    _delete_objects(target, keep=keep, root_first=True)
    _copy_objects(made, target)
    _delete_objects(made, keep="", root_first=False)


def _copy_objects(source: str, target: str) -> None:
    bucket, start = objects.open_bucket(source)
    _, end = objects.open_bucket(target)
    obstore = objects.import_obstore(os.getpid())
    with objects.explain_errors(target):
        for key in _list_keys(source, root_first=False):
            obstore.copy(bucket, f"{start}/{key}", f"{end}/{key}")


def _delete_objects(url: str, *, keep: str, root_first: bool) -> None:
    store, obstore = objects.connect(url), objects.import_obstore(os.getpid())
    with objects.explain_errors(url):
        for key in _list_keys(url, root_first=root_first):
            if not keep or not key.startswith(keep):
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(store, key)


def _list_keys(url: str, *, root_first: bool) -> list[str]:
    """Return the keys of all objects under a URL; the root metadata of a store first, or last."""
    store = objects.connect(url)
    with objects.explain_errors(url):
        batches = objects.import_obstore(os.getpid()).list(store)
        found = [item["path"] for batch in batches for item in batch]
    return sorted(found, key=lambda key: ((key == _ROOT) != root_first, key))


def hold_back(url: str) -> None:
    """Take the Zarr group at a URL from view until it is complete.

    Its root metadata gets another name.
    """
    _rename(url, _ROOT, _HELD_BACK)


def release(url: str) -> None:
    """Let a Zarr group appear that was held back."""
    _rename(url, _HELD_BACK, _ROOT)


def is_held_back(url: str) -> bool:
    """Return whether a Zarr group at a URL was held back, and never released."""
    store = objects.connect(url)
    with objects.explain_errors(url), contextlib.suppress(FileNotFoundError):
        return bool(objects.import_obstore(os.getpid()).head(store, _HELD_BACK))
    return False


def _rename(url: str, old: str, new: str) -> None:
    store = objects.connect(url)
    with objects.explain_errors(url):
        objects.import_obstore(os.getpid()).rename(store, old, new)
