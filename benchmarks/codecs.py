"""Compare codecs for spectra: size on disk, and processor time to decode and to encode.

    luxscale simulate survey.zarr --stars 1024 --pixels 8575
    python benchmarks/codecs.py survey.zarr

The first chunk of flux and of its inverse variance, by Blosc; the codec of luxscale comes first.
"""

import statistics
import time

import click
import numpy as np
from numcodecs.blosc import BITSHUFFLE, SHUFFLE, Blosc

from luxscale import store
from luxscale.store.chunks import get_chunk_rows

SHUFFLES = {BITSHUFFLE: "bitshuffle", SHUFFLE: "shuffle"}

#: Name, level, shuffle and bytes of a block, 0 for Blosc's choice.
CODECS = (
    ("lz4", 5, BITSHUFFLE, 0),
    ("lz4", 1, BITSHUFFLE, 0),
    ("lz4", 9, BITSHUFFLE, 0),
    ("lz4", 5, BITSHUFFLE, 2**20),
    ("lz4", 5, SHUFFLE, 0),
    ("zstd", 1, BITSHUFFLE, 0),
    ("zstd", 1, BITSHUFFLE, 2**17),
    ("zstd", 1, SHUFFLE, 0),
)


def measure(codec, values, rounds):
    """Return stored MB, and the processor ms to decode and to encode: medians."""
    out = np.empty_like(values)
    stored, decoding, encoding = b"", [], []
    for _ in range(rounds):
        started = time.process_time()
        stored = codec.encode(values)
        encoded = time.process_time()
        codec.decode(stored, out)
        decoding.append(time.process_time() - encoded)
        encoding.append(encoded - started)
    assert out.tobytes() == values.tobytes()
    medians = (1e3 * statistics.median(times) for times in (decoding, encoding))
    return np.array([len(stored) / 1e6, *medians])


@click.command(help=__doc__.splitlines()[0])
@click.argument("survey")
@click.option("--rounds", default=7, show_default=True)
def main(survey, rounds):
    group = store.open_group(survey, "r")
    arrays = [store.open_array(group, name) for name in ("flux", "flux_ivar")]
    chunks = [np.ascontiguousarray(array[: get_chunk_rows(array)]) for array in arrays]
    click.echo(f"{sum(chunk.nbytes for chunk in chunks) / 1e6:.1f} MB decoded")
    click.echo("codec                           MB   decode ms   encode ms")
    for name, level, shuffle, block in CODECS:
        codec = Blosc(name, level, shuffle, block)
        size, decode, encode = sum(measure(codec, chunk, rounds) for chunk in chunks)
        label = f"{name}-{level} {SHUFFLES[shuffle]} {block or ''}"
        click.echo(f"{label:<28}{size:6.1f}{decode:12.1f}{encode:12.1f}")


if __name__ == "__main__":
    main()
