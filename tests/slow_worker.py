"""A preload for Dask workers that makes them slow to write.

So faults fall between the arrays of a region.

With ``TAKE_BYTES`` they need as much memory more for every region, as for spectra larger than those
of a test.
"""

import mmap
import os
import time

import zarr

from luxscale.model.inference import Inference


def dask_setup(worker):
    """Change what tasks of this process do."""
    write, infer = zarr.Array.__setitem__, Inference.infer_and_count

    def write_slowly(array, *item):
        time.sleep(float(os.environ["SLOW_WRITE"]))
        write(array, *item)

    def infer_in_more(*arguments):
        try:
            mmap.mmap(-1, int(os.environ.get("TAKE_BYTES", 1))).close()
        except OSError as error:
            raise MemoryError(error.strerror) from error
        return infer(*arguments)

    zarr.Array.__setitem__, Inference.infer_and_count = write_slowly, infer_in_more
