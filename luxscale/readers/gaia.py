"""Sampled XP spectra of Gaia: what GaiaXPy's calibrator writes, and the archive's ``xp_sampled_mean_spectrum``."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
import pandas as pd

from luxscale.readers.apogee import ivar_of
from luxscale.readers.base import BLOCK, BadFile, Format, Hdu, Spectra
from luxscale.readers.fitsrows import open_many

#: The sampling of the archive, and GaiaXPy's usual one; nm, vacuum.
GRID = 336 + 2.0 * np.arange(343)

#: No row of a table is longer, with the correlations that GaiaXPy can give; nor are more read at
#: once.
_MOST_LINE, _MOST_LINES = 4 * 2**20, 64 * 2**20
_MOST_HEADER = 2**20

_WANTED = ("source_id", "flux", "flux_error", "ra", "dec")
_SAMPLING = re.compile(r"sampling:\s*\[(.*?)\]", re.DOTALL)
#: As ``str`` writes numbers of numpy 2 within a tuple.
_NUMPY = re.compile(r"np\.float(?:32|64)\(([^()]*)\)")


def read_xp(path: str | Path) -> Iterator[Spectra]:
    """Read sampled spectra from CSV, ECSV (either compressed or not) or FITS, a block of stars at a time.

    The wavelengths are those that the file gives, or that one named ``..._sampling`` beside it
    does, or `GRID`. Errors of neighbouring pixels are correlated, which no ivar tells.

    Raises
    ------
    BadFile
    """
    try:
        with Path(path).open("rb") as file, gzip.open(file) if _packed(file) else file as content:
            is_fits = content.read(9) == b"SIMPLE  ="
            if not is_fits:
                content.seek(0)
                yield from _read_text(cast("IO[bytes]", content), Path(path))
        if is_fits:
            yield from _read_fits(path)
    except (FileNotFoundError, IsADirectoryError):
        raise BadFile("no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFile(f"cannot be unpacked: {error}") from error


def _packed(file: IO[bytes]) -> bool:
    magic = file.read(2)
    file.seek(0)
    return magic == b"\x1f\x8b"


def _read_fits(path: str | Path) -> Iterator[Spectra]:
    with open_many(path) as hdus, np.errstate(all="ignore"):
        hdu = hdus[1]
        if hdu.kind != "BINTABLE" or len(hdu.shape) != 2:
            raise BadFile("no table in HDU 1")
        if not hdu.shape[0]:
            raise BadFile("a table without rows")
        wavelength = _sampling_of(hdu)
        for start in range(0, hdu.shape[0], BLOCK):
            rows = hdu.rows(start, min(start + BLOCK, hdu.shape[0]))
            _check_columns(rows.names)
            star, flux, error = (rows[name] for name in _WANTED[:3])
            if star.dtype.kind != "i" or flux.ndim != 2 or error.shape != flux.shape:
                raise BadFile(
                    f"columns of shapes {star.shape}, {flux.shape}, {error.shape} are no "
                    "sampled spectra"
                )
            columns = {
                name: rows[name].astype(float) if name in rows else _unknown(star)
                for name in _WANTED[3:]
            }
            yield _spectra(
                star.astype(np.int64),
                flux,
                error,
                _grid(wavelength, flux.shape[1], Path(path)),
                columns,
            )


def _sampling_of(hdu: Hdu) -> np.ndarray | None:
    text = str(hdu.header.get("SAMPLING") or "")
    return _arrays([text], "the sampling")[0] if text else None


def _read_text(file: IO[bytes], path: Path) -> Iterator[Spectra]:
    head, names = _head(file)
    if not names.strip():
        raise BadFile("empty file" if not head else "a table without columns")
    separator = " " if head.startswith("# %ECSV") and "delimiter: ','" not in head else ","
    _check_columns(
        [name.strip(' "\r\n').lower() for name in names.decode("latin-1").split(separator)]
    )
    given = _SAMPLING.search(head.replace("\n#", " "))
    wavelength = _arrays([given[1]], "the sampling")[0] if given else None
    n_rows = 0
    while lines := _lines(file):
        star, texts, columns = _parse(names, lines, separator)
        flux, error = (
            _arrays(t, f"{name} of the star in row {n_rows + 1} or one after")
            for name, t in texts.items()
        )
        if wavelength is None:
            wavelength = _grid(None, flux.shape[1], path)
        yield _spectra(star, flux, error, wavelength, columns)
        n_rows += len(star)
    if not n_rows:
        raise BadFile("a table without rows")


def _head(file: IO[bytes]) -> tuple[str, bytes]:
    """Return the comments at the beginning of a table, and the line of its names."""
    comments: list[bytes] = []
    while (line := file.readline(_MOST_HEADER)).startswith(b"#"):
        comments.append(line)
        if sum(map(len, comments)) > _MOST_HEADER:
            raise BadFile("comments without end")
    return b"".join(comments).decode("latin-1"), line


def _lines(file: IO[bytes]) -> list[bytes]:
    """Return the next lines, a block of them or fewer where they are long."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < BLOCK and size < _MOST_LINES and (line := file.readline(_MOST_LINE)):
        if len(line) == _MOST_LINE:
            raise BadFile(f"a line of more than {_MOST_LINE:,} bytes")
        size += len(line)
        if line.strip():
            lines.append(line)
    return lines


def _check_columns(names: Sequence[str]) -> None:
    if "bp_coefficients" in names:
        raise BadFile(
            "continuous spectra, as coefficients: let GaiaXPy's calibrate sample them first"
        )
    if "xp" in names:
        raise BadFile(
            "BP and RP apart, from GaiaXPy's convert: its calibrate makes one spectrum of them"
        )
    for name in _WANTED[:3]:
        if name not in names:
            raise BadFile(f"no column {name!r}; there are: {', '.join(list(names)[:20])}")


def _parse(
    names: bytes, lines: Sequence[bytes], separator: str
) -> tuple[np.ndarray, dict[str, list[str]], dict[str, np.ndarray]]:
    """Return the identifiers of a block of rows, its arrays as text, and other columns."""
    raw = io.BytesIO(names.rstrip(b"\r\n").lower() + b"\n" + b"".join(lines))
    try:
        table = pd.read_csv(
            raw,
            sep=separator,
            usecols=lambda c: c in _WANTED,
            dtype=object,
            na_filter=False,
            encoding="latin-1",
        )
        star = np.array([int(text) for text in table["source_id"].tolist()], np.int64)
        columns = {
            name: pd.to_numeric(table[name], errors="coerce").to_numpy(float)
            if name in table
            else _unknown(star)
            for name in _WANTED[3:]
        }
    except Exception as error:
        raise BadFile(f"damaged table: {type(error).__name__}: {str(error)[:200]}") from error
    return (
        star,
        {name: [str(text) for text in table[name].tolist()] for name in _WANTED[1:3]},
        columns,
    )


def _unknown(star: np.ndarray) -> np.ndarray:
    return np.full(len(star), np.nan)


def _arrays(texts: Sequence[str], what: str) -> np.ndarray:
    """Return arrays that are written as text in brackets, of either kind, as rows; an empty one as NaN.

    Nothing of the text is evaluated.
    """
    bare = [_bare(text) for text in texts]
    count = np.array([text.count(",") + 1 if text else 0 for text in bare])
    n, has = int(count.max(initial=0)), count > 0
    if (count[has] != n).any():
        raise BadFile(f"{what}: {count[has].min()} to {n} numbers, where all should have as many")
    values = np.full((len(bare), n), np.nan)
    if n:
        raw = io.StringIO("\n".join(text for text in bare if text))
        try:
            values[has] = pd.read_csv(
                raw, header=None, dtype=np.float64, skipinitialspace=True
            ).to_numpy()
        except Exception as error:
            raise BadFile(f"{what} is no array of numbers: {str(error)[:200]}") from error
    return values


def _bare(text: str) -> str:
    """Return an array without its brackets."""
    text = (
        text.strip(' "')
        .removeprefix("(")
        .removeprefix("[")
        .removesuffix(")")
        .removesuffix("]")
        .rstrip(", ")
    )
    return _NUMPY.sub(r"\1", text) if "np" in text else text


def _grid(given: np.ndarray | None, n_pixels: int, path: Path) -> np.ndarray:
    """Return the wavelengths: those that the file gives, those of a file beside it, or the usual ones."""
    if given is None:
        given = _beside(path)
    if given is None and n_pixels == len(GRID):
        return GRID
    if given is None or len(given) != n_pixels:
        have = (
            "no file of the sampling beside it"
            if given is None
            else f"a sampling of {len(given)} wavelengths"
        )
        raise BadFile(f"{n_pixels} pixels, and {have}; spectra of the archive have {len(GRID)}")
    return given


def _beside(path: Path) -> np.ndarray | None:
    stem, suffix = _split(path.name)
    beside = path.with_name(f"{stem}_sampling{suffix}")
    if (
        suffix not in (".csv", ".ecsv")
        or not beside.is_file()
        or beside.stat().st_size > _MOST_HEADER
    ):
        return None
    lines = [
        line
        for line in beside.read_text("latin-1").splitlines()
        if line and not line.startswith("#")
    ]
    if len(lines) != 2 or lines[0] != "pos":
        raise BadFile(f"{beside.name} beside it is no sampling: a column 'pos' of one row")
    return _arrays([lines[1]], beside.name)[0]


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.removesuffix(".gz").rpartition(".")
    return stem, dot + suffix


def spectra_file(path: str) -> str:
    """Return the file of the spectra of which one named ``..._sampling`` has the wavelengths, if it is there."""
    folder, name = os.path.split(path)
    stem, suffix = _split(name)
    spectra = os.path.join(folder, stem.removesuffix("_sampling") + suffix)
    return spectra if stem.endswith("_sampling") and os.path.exists(spectra) else path


def _spectra(
    star: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
    wavelength: np.ndarray,
    columns: dict[str, np.ndarray],
) -> Spectra:
    return Spectra(star, flux.astype(float), ivar_of(error), wavelength, columns=columns)


FORMATS = (
    Format(
        "gaia-xp",
        "sampled XP spectra of Gaia, from GaiaXPy or the archive (CSV, ECSV, FITS)",
        read_xp,
        grid=GRID,
        units="nm",
        continuum="scale",
        pattern=("*.csv", "*.csv.gz", "*.ecsv", "*.ecsv.gz", "*.fits"),
        main=spectra_file,
        many=True,
    ),
)
