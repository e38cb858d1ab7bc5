"""Sampled XP spectra of Gaia.

They are what GaiaXPy's calibrator writes, or the archive's ``xp_sampled_mean_spectrum``.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from luxscale.readers.base import BLOCK, BadFile, Format, Hdu, Spectra, compute_ivar
from luxscale.readers.compressed import UNPACK_ERRORS, remove_ending, unpack_stream
from luxscale.readers.fitsrows import open_large_fits
from luxscale.schema.blocks import iterate_blocks

#: The sampling of the archive, and GaiaXPy's usual one; nm, vacuum.
GRID = 336 + 2.0 * np.arange(343)

#: No row of a table is longer, with the correlations that GaiaXPy can give; nor are more read at
#: once.
_MOST_LINE, _MOST_LINES = 4 * 2**20, 64 * 2**20
_MOST_HEADER = 2**20

_NEEDED = ("source_id", "flux", "flux_error")
_POSITION = ("ra", "dec")
#: How tables write that there is nothing.
_BLANK = ("", "null", "nan", "none", "--")
_SAMPLING = re.compile(r"sampling:\s*\[(.*?)\]", re.DOTALL)
#: As ``str`` writes numbers of numpy 2 within a tuple.
_NUMPY = re.compile(r"np\.float(?:32|64)\(([^()]*)\)")


def read_xp(path: str | Path) -> Iterator[Spectra]:
    """Read sampled spectra from CSV, ECSV (either compressed or not) or FITS, in blocks of stars.

    The wavelengths are those that the file gives, or that one named ``..._sampling`` beside it
    does, or `GRID`. Errors of neighbouring pixels are correlated, which no ivar tells.

    Raises
    ------
    BadFile
    """
    try:
        with Path(path).open("rb") as file, unpack_stream(file) as content:
            is_fits = content.read(9) == b"SIMPLE  ="
            if not is_fits:
                content.seek(0)
                yield from _read_text(content, Path(path))
        if is_fits:
            yield from _read_fits(path)
    except (FileNotFoundError, IsADirectoryError):
        raise BadFile("no such file") from None
    except UNPACK_ERRORS as error:
        raise BadFile(f"cannot be unpacked: {error}") from error


def _read_fits(path: str | Path) -> Iterator[Spectra]:
    with open_large_fits(path) as hdus, np.errstate(all="ignore"):
        hdu = hdus[1]
        if hdu.kind != "BINTABLE" or len(hdu.shape) != 2:
            raise BadFile("no table in HDU 1")
        n_stars = hdu.shape[0]
        if not n_stars:
            raise BadFile("a table without rows")
        sampling = _read_sampling(hdu)
        for block in iterate_blocks(n_stars, BLOCK):
            rows = hdu.read_rows(block.start, block.stop)
            _check_columns(rows.names)
            star = rows.get_identifiers("source_id")
            flux, error = rows["flux"], rows["flux_error"]
            if star.dtype.kind != "i" or flux.ndim != 2 or error.shape != flux.shape:
                raise BadFile(
                    f"columns of shapes {star.shape}, {flux.shape}, {error.shape} are no "
                    "sampled spectra"
                )
            columns = {}
            for name in _POSITION:
                columns[name] = rows[name].astype(float) if name in rows else _make_unknown(star)
            wavelength = _find_grid(sampling, flux.shape[1], Path(path))
            yield _make_spectra(star.astype(np.int64), flux, error, wavelength, columns)


def _read_sampling(hdu: Hdu) -> np.ndarray | None:
    text = str(hdu.header.get("SAMPLING") or "")
    if not text:
        return None
    return _parse_arrays([text], "the sampling")[0]


def _read_text(file: IO[bytes], path: Path) -> Iterator[Spectra]:
    head, names = _read_head(file)
    if not names.strip():
        raise BadFile("a table without columns" if head else "empty file")
    separator = ","
    if head.startswith("# %ECSV") and "delimiter: ','" not in head:
        separator = " "
    words = names.decode("latin-1").split(separator)
    _check_columns([word.strip(' "\r\n').lower() for word in words])
    wavelength = None
    sampling = _SAMPLING.search(head.replace("\n#", " "))
    if sampling:
        wavelength = _parse_arrays([sampling[1]], "the sampling")[0]
    n_rows = 0
    while lines := _read_lines(file):
        star, texts, columns = _parse_rows(names, lines, separator)
        where = f"of the star in row {n_rows + 1} or one after"
        flux, error = (_parse_arrays(text, f"{name} {where}") for name, text in texts.items())
        if wavelength is None:
            wavelength = _find_grid(None, flux.shape[1], path)
        yield _make_spectra(star, flux, error, wavelength, columns)
        n_rows += len(star)
    if not n_rows:
        raise BadFile("a table without rows")


def _read_head(file: IO[bytes]) -> tuple[str, bytes]:
    """Return the comments at the beginning of a table, and the line of its names."""
    comments: list[bytes] = []
    while (line := file.readline(_MOST_HEADER)).startswith(b"#"):
        comments.append(line)
        if sum(map(len, comments)) > _MOST_HEADER:
            raise BadFile("comments without end")
    return b"".join(comments).decode("latin-1"), line.removeprefix(codecs.BOM_UTF8)


def _read_lines(file: IO[bytes]) -> list[bytes]:
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
    if "wavelength" in names and "source_id" not in names:
        raise BadFile(
            "the spectrum of one star, a row per wavelength; download from the archive's Datalink "
            "with data structure RAW, which has a row per star"
        )
    for name in _NEEDED:
        if name not in names:
            raise BadFile(f"no column {name!r}; there are: {', '.join(list(names)[:20])}")


def _parse_rows(
    names: bytes, lines: Sequence[bytes], separator: str
) -> tuple[np.ndarray, dict[str, list[str]], dict[str, np.ndarray]]:
    """Return the identifiers of a block of rows, its arrays as text, and other columns."""
    raw = io.BytesIO(names.rstrip(b"\r\n").lower() + b"\n" + b"".join(lines))
    try:
        table = pd.read_csv(
            raw,
            sep=separator,
            usecols=lambda name: name in (*_NEEDED, *_POSITION),
            dtype=object,
            na_filter=False,
            encoding="latin-1",
        )
        star = np.array([_parse_identifier(text) for text in table["source_id"]], np.int64)
        columns = {}
        for name in _POSITION:
            columns[name] = _make_unknown(star)
            if name in table:
                columns[name] = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    except Exception as error:
        raise BadFile(f"damaged table: {type(error).__name__}: {str(error)[:200]}") from error
    texts = {name: [str(text) for text in table[name].tolist()] for name in ("flux", "flux_error")}
    return star, texts, columns


def _parse_identifier(text: str) -> int:
    """Return the number of a source, -1 where it is left blank."""
    text = text.strip(' "')
    return -1 if text.lower() in _BLANK else int(text)


def _make_unknown(star: np.ndarray) -> np.ndarray:
    return np.full(len(star), np.nan)


def _parse_arrays(texts: Sequence[str], what: str) -> np.ndarray:
    """Return arrays that are written as text in brackets, of either kind, as rows.

    An empty one is a row of NaN, and so is one among others that holds anything but numbers.
    Nothing of the text is evaluated.
    """
    bare = [_strip_brackets(text) for text in texts]
    count = np.array([text.count(",") + 1 if text else 0 for text in bare])
    has_numbers = count > 0
    n_columns = int(count.max(initial=0))
    if (count[has_numbers] != n_columns).any():
        raise BadFile(
            f"{what}: {count[has_numbers].min()} to {n_columns} numbers, where all should have "
            "as many"
        )
    values = np.full((len(bare), n_columns), np.nan)
    if not n_columns:
        return values
    try:
        values[has_numbers] = _parse_numbers("\n".join(text for text in bare if text))
    except Exception as error:
        rows = np.flatnonzero(has_numbers).tolist()
        n_parsed = 0
        for row in rows:
            with contextlib.suppress(Exception):
                values[row] = _parse_numbers(bare[row])[0]
                n_parsed += 1
        if not n_parsed:
            reason = str(error)[:200]
            if bare[rows[0]].count(" ") > bare[rows[0]].count(","):
                reason = "commas are missing between them, as where pandas writes arrays of NumPy"
                reason += ", rounded; write lists, table.flux.map(list), or FITS"
            raise BadFile(f"{what} is no array of numbers: {reason}") from error
    return values


def _parse_numbers(text: str) -> np.ndarray:
    """Return lines of numbers with commas between."""
    table = pd.read_csv(io.StringIO(text), header=None, dtype=np.float64, skipinitialspace=True)
    return table.to_numpy()


def _strip_brackets(text: str) -> str:
    """Return an array without its brackets."""
    text = text.strip(' "').removeprefix("(").removeprefix("[")
    text = text.removesuffix(")").removesuffix("]").rstrip(", ")
    if "np" in text:
        return _NUMPY.sub(r"\1", text)
    return text


def _find_grid(given: np.ndarray | None, n_pixels: int, path: Path) -> np.ndarray:
    """Return the wavelengths: those that the file gives, those beside it, or the usual ones."""
    if given is None:
        given = _read_sampling_file(path)
    if given is None:
        if n_pixels == len(GRID):
            return GRID
        raise BadFile(
            f"{n_pixels} pixels, and no file of the sampling beside it; spectra of the archive "
            f"have {len(GRID)}"
        )
    if len(given) != n_pixels:
        raise BadFile(
            f"{n_pixels} pixels, and a sampling of {len(given)} wavelengths; spectra of the "
            f"archive have {len(GRID)}"
        )
    return given


def _read_sampling_file(path: Path) -> np.ndarray | None:
    stem, suffix = _split_suffix(path.name)
    beside = path.with_name(f"{stem}_sampling{suffix}")
    if suffix not in (".csv", ".ecsv") or not beside.is_file():
        return None
    if beside.stat().st_size > _MOST_HEADER:
        return None
    lines = []
    for line in beside.read_text("latin-1").splitlines():
        if line and not line.startswith("#"):
            lines.append(line)
    if len(lines) != 2 or lines[0] != "pos":
        raise BadFile(f"{beside.name} beside it is no sampling: a column 'pos' of one row")
    return _parse_arrays([lines[1]], beside.name)[0]


def _split_suffix(name: str) -> tuple[str, str]:
    stem, dot, suffix = remove_ending(name).rpartition(".")
    return stem, dot + suffix


def find_spectra_file(path: str) -> str:
    """Return the file of the spectra whose wavelengths a file ``..._sampling`` has, if it is there.

    Of any other file, it is that itself.
    """
    folder, name = os.path.split(path)
    stem, suffix = _split_suffix(name)
    if not stem.endswith("_sampling"):
        return path
    spectra = os.path.join(folder, stem.removesuffix("_sampling") + suffix)
    return spectra if os.path.exists(spectra) else path


def _make_spectra(
    star: np.ndarray,
    flux: np.ndarray,
    error: np.ndarray,
    wavelength: np.ndarray,
    columns: dict[str, np.ndarray],
) -> Spectra:
    return Spectra(
        star=star,
        flux=flux.astype(float),
        ivar=compute_ivar(error),
        wavelength=wavelength,
        columns=columns,
    )


FORMATS = (
    Format(
        name="gaia-xp",
        doc="sampled XP spectra of Gaia, from GaiaXPy or the archive (CSV, ECSV, FITS)",
        read=read_xp,
        grid=GRID,
        units="nm",
        continuum="scale",
        pattern=("*.csv", "*.ecsv", "*.fits"),
        main=find_spectra_file,
        many=True,
        tried="real",
    ),
)
