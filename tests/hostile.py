"""Damaged survey files, by a seed, and a process that reads them with bounded time and memory."""

from __future__ import annotations

import collections
import gzip
import json
import multiprocessing
import resource
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fitsfiles import SEEDS

from luxscale.readers import FORMATS, BadFile
from luxscale.readers.gaia_calibration import find_samples

#: What reading one file may take: seconds, and bytes beyond those of the process as it starts.
MOST_SECONDS = 5
MOST_BYTES = 768 * 2**20

NUMBERS = (
    0,
    -1,
    1,
    2,
    7,
    8,
    999,
    10**6,
    2**31,
    2**63,
    10**18,
    10**40,
    1e308,
    "1E999",
    "NAN",
    "T",
    "''",
    "",
)
FORMS = (
    "1PE(99999999)",
    "1QD(7)",
    "999999999999E",
    "0E",
    "X",
    "",
    "1024A",
    "-5E",
    "rubbish",
    "8C",
    "1E",
    "2K",
    "L",
    "D",
)
SIZES = (
    b"NAXIS",
    b"BITPIX",
    b"PCOUNT",
    b"GCOUNT",
    b"TFIELDS",
    b"TFORM",
    b"TDIM",
    b"TSCAL",
    b"TZERO",
    b"BSCALE",
    b"BZERO",
)
MORE_KEYS = (
    "GROUPS",
    "ZIMAGE",
    "THEAP",
    "BSCALE",
    "BZERO",
    "NAXIS3",
    "TZERO1",
    "TDIM1",
    "BLANK",
    "CRPIX1",
    "XTENSION",
)

Mutation = Callable[[bytearray, np.random.Generator], None]


def card(key: str, value: Any) -> bytes:
    return f"{key:8}= {value!s:>20}"[:80].ljust(80).encode()


def cards(raw: bytes) -> list[int]:
    """Return where the cards of a FITS file's headers stand, by their look."""
    view = np.frombuffer(raw[: len(raw) // 80 * 80], "S1").reshape(-1, 80)
    return np.flatnonzero((view[:, 8] == b"=") & (view[:, 9] == b" ")).tolist()


def flip_header(raw: bytearray, rng: np.random.Generator) -> None:
    places = cards(raw) or [0]
    for _ in range(rng.integers(1, 6)):
        at = 80 * int(rng.choice(places)) + int(rng.integers(0, 80))
        raw[min(at, len(raw) - 1)] = int(rng.integers(0, 256))


def flip_data(raw: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(0, len(raw), rng.integers(1, 2000)):
        raw[at] = int(rng.integers(0, 256))


def truncate(raw: bytearray, rng: np.random.Generator) -> None:
    where = rng.choice(["anywhere", "early", "block"])
    at = int(rng.integers(0, len(raw) if where == "anywhere" else min(len(raw), 40000)))
    del raw[at // 2880 * 2880 if where == "block" else at :]


def lie(raw: bytearray, rng: np.random.Generator) -> None:
    """Let the header say something else about sizes and kinds."""
    places = [i for i in cards(raw) if raw[80 * i : 80 * i + 8].rstrip(b" 0123456789") in SIZES]
    for at in rng.choice(places, rng.integers(1, 4)) if places else []:
        key = raw[80 * at : 80 * at + 8].decode().strip()
        value = (
            f"'{rng.choice(FORMS)}'"
            if key.startswith("TFORM")
            else NUMBERS[rng.integers(len(NUMBERS))]
        )
        raw[80 * at : 80 * at + 80] = card(key, value)


def add_key(raw: bytearray, rng: np.random.Generator) -> None:
    """Put a keyword where another one was."""
    if places := cards(raw):
        at = 80 * int(rng.choice(places))
        raw[at : at + 80] = card(str(rng.choice(MORE_KEYS)), NUMBERS[rng.integers(len(NUMBERS))])


def other_value(raw: bytearray, rng: np.random.Generator) -> None:
    """Give any keyword another value."""
    if places := cards(raw):
        at = 80 * int(rng.choice(places))
        raw[at : at + 80] = card(
            raw[at : at + 8].decode("latin-1").strip(), NUMBERS[rng.integers(len(NUMBERS))]
        )


def move(raw: bytearray, rng: np.random.Generator) -> None:
    """Remove, insert or repeat some bytes, so that all that follows stands elsewhere."""
    at, n = int(rng.integers(0, len(raw))), int(rng.choice([1, 80, 2880, 5760]))
    insert = [b"", bytes(n), bytes(raw[at : at + n]) * 2][rng.integers(3)]
    raw[at : at + n] = insert


def no_end(raw: bytearray, rng: np.random.Generator) -> None:
    ends = [i for i in range(0, len(raw), 80) if raw.startswith(b"END     ", i)]
    if ends:
        at = int(rng.choice(ends))
        raw[at : at + 3] = b"XXX"


def junk(raw: bytearray, rng: np.random.Generator) -> None:
    kept = int(rng.choice([0, 9, 80, 2880, len(raw) // 2]))
    raw[kept:] = rng.bytes(int(rng.integers(0, 50000)))


def pack(raw: bytearray, rng: np.random.Generator) -> None:
    """Compress a file, which is then sound, cut off, damaged, or far too large for a star."""
    kind = rng.integers(4)
    packed = bytearray(gzip.compress(bytes(raw), 1) if kind else bomb())
    if kind == 1:
        del packed[int(rng.integers(0, len(packed))) :]
    elif kind == 2:
        packed[int(rng.integers(10, len(packed)))] ^= 255
    raw[:] = packed


_bomb: list[bytes] = []


def bomb() -> bytes:
    if not _bomb:
        _bomb.append(gzip.compress(b"SIMPLE  =" + bytes(140 * 10**6), 1))
    return _bomb[0]


MUTATIONS: tuple[Mutation, ...] = (
    *(
        flip_header,
        flip_header,
        flip_data,
        truncate,
        lie,
        lie,
        lie,
        add_key,
        other_value,
        other_value,
        move,
        no_end,
        junk,
    ),
)


def mutate(raw: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a damaged file, and how it was damaged."""
    damaged = bytearray(raw)
    mutation = pack if rng.random() < 0.02 else MUTATIONS[rng.integers(len(MUTATIONS))]
    mutation(damaged, rng)
    return mutation.__name__, bytes(damaged)


def read(name: str, path: Path, rng: np.random.Generator) -> str:
    """Read a file, with options by chance; return what became of it."""
    format_ = FORMATS[name]
    options = {
        o.name: str(rng.choice(o.choices))
        for o in format_.options
        if o.choices and rng.random() < 0.5
    }
    try:
        found = list(format_.read(path, **options))
    except BadFile as reason:
        if "MemoryError" in str(reason):
            raise
        return "bad file"
    assert sum(len(spectra.star) for spectra in found)
    return "spectra"


def _child(names: tuple[str, ...], seed: int, n: int, tmp: Path) -> None:
    warnings.simplefilter("error")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    outcomes: collections.Counter[str] = collections.Counter()
    for name in names:
        rng = np.random.default_rng(seed)
        if name == "gaia-xp-continuous":
            find_samples("bp", alone=False)  # once for all, however slow the machine
        seeds = [(path.name, path.read_bytes()) for path in SEEDS[name](tmp)]
        (tmp / f"damaged-{name}").mkdir(exist_ok=True)
        for sound in tmp.glob("mwmStar-*.fits"):  # which fits are read with
            shutil.copy(sound, tmp / f"damaged-{name}" / sound.name)
        for i in range(n):
            file_name, raw = seeds[i % len(seeds)]
            kind, damaged = mutate(raw, rng)
            path = tmp / f"damaged-{name}" / file_name
            path.write_bytes(damaged)
            signal.alarm(MOST_SECONDS)  # its default is to end the process, even inside a library
            outcomes[f"{name}: {kind}: {read(name, path, rng)}"] += 1
            signal.alarm(0)
            path.unlink()
    (tmp / "outcomes.json").write_text(json.dumps(outcomes))


def read_damaged(*names: str, n: int, tmp: Path, seed: int = 1) -> dict[str, int]:
    """Read n damaged files of each format in a process of its own; count the outcomes.

    Raises
    ------
    AssertionError
        If one was neither read nor refused: it is left in ``tmp``.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_child, args=(names, seed, n, tmp)
    )
    process.start()
    process.join()
    assert process.exitcode == 0, (
        f"exit status {process.exitcode} at {[str(p) for p in tmp.glob('damaged*/*')]}"
    )
    return json.loads((tmp / "outcomes.json").read_text())
