"""How far a catalogue is: the status of each star, in the catalogue's Zarr group."""

from __future__ import annotations

import numpy as np
import zarr

from luxscale import store
from luxscale.schema.blocks import iterate_blocks
from luxscale.schema.status import DONE, NOT_DONE
from luxscale.schema.variables import LATENT
from luxscale.store import damage
from luxscale.store.chunks import flush_chunks, get_chunk_rows, read_sizes

#: Arrays whose chunks are there wherever a star is done.
_ALWAYS_FILLED = ("label_value", "label_err", LATENT, "chi2", "n_pixels", "flags")


def read_status(group: zarr.Group, n_stars: int) -> np.ndarray:
    """Return the status of every star, new ones among them: (star,), uint8.

    Stars whose status cannot be read are not done; nor are those that are said to be done, but
    whose labels are not there: a machine that crashes may keep the one and lose the other.
    """
    found = damage.read_readable(store.open_array(group, "status"), NOT_DONE)
    status = np.full(n_stars, NOT_DONE, found.dtype)
    status[: found.size] = found
    for name in _ALWAYS_FILLED:
        rows = get_chunk_rows(store.open_array(group, name))
        sizes = read_sizes(group, name, 0, n_stars)
        for i in np.flatnonzero(sizes <= 0):
            chunk = status[i * rows : (i + 1) * rows]
            chunk[chunk == DONE] = NOT_DONE
    return status


def mark_not_done(group: zarr.Group, stars: np.ndarray, chunk: int) -> None:
    """Mark stars as not done, on the disk when this returns.

    Parameters
    ----------
    group : zarr.Group
    stars : array of bool, (star,)
    chunk : int
        Stars in a chunk of the catalogue.
    """
    status = store.open_array(group, "status")
    for block in iterate_blocks(stars.size, chunk):
        if stars[block].any():
            found = np.asarray(status[block])
            status[block] = np.where(stars[block], NOT_DONE, found).astype(found.dtype)
            flush_chunks([status], block.start, block.stop)
