"""Damaged files make a reader raise BadFile: none makes it crash, hang, or ask for much memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import warnings

import numpy as np
import pytest
from fitsfiles import APSTAR, READABLE, SEEDS, SPEC
from hostile import bomb, card, read_damaged

from luxscale.readers import FORMATS, BadFile


def test_every_format_has_sound_files_to_damage(tmp_path):
    assert set(SEEDS) == set(FORMATS)
    for name, seeds in READABLE.items():
        for path in seeds(tmp_path):
            assert sum(len(spectra.star) for spectra in FORMATS[name].read(path)), name


@pytest.mark.parametrize("name", ["apstar", "desi", "gaia-xp", "arrays"])
def test_settings_stay_those_of_who_asks_for_blocks(name, tmp_path):
    *_, path = SEEDS[name](tmp_path)
    with np.errstate(over="print", divide="raise"), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        before = np.geterr(), list(warnings.filters)
        blocks = FORMATS[name].read(path)
        next(blocks)
        assert (np.geterr(), list(warnings.filters)) == before
        blocks.close()
        assert (np.geterr(), list(warnings.filters)) == before


def outcomes_of(outcomes: dict[str, int], name: str) -> set[str]:
    return {key.rpartition(": ")[2] for key in outcomes if key.startswith(f"{name}: ")}


def test_damaged_files(tmp_path):
    outcomes = read_damaged(*READABLE, n=8, tmp=tmp_path)
    assert sum(outcomes.values()) == 8 * len(READABLE)
    for name in READABLE:
        assert "bad file" in outcomes_of(outcomes, name)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", READABLE)
def test_ten_thousand_damaged_files(name, tmp_path):
    n = -(-10_000 // len(READABLE))
    outcomes = read_damaged(name, n=n, tmp=tmp_path, seed=2)
    assert sum(outcomes.values()) == n
    assert outcomes_of(outcomes, name) == {"bad file", "spectra"}  # the damage is not all of a kind


def changed(path, old: bytes, new: bytes) -> bytes:
    raw = path.read_bytes()
    assert old in raw
    return raw.replace(old, new.ljust(len(old)), 1)


LIES = {
    "more axes than memory": (APSTAR, b"NAXIS   =                    2", card("NAXIS", 10**9)[:30]),
    "negative axis": (APSTAR, b"NAXIS1  =                 8575", card("NAXIS1", -8575)[:30]),
    "axis beyond the file": (
        APSTAR,
        b"NAXIS2  =                    2",
        card("NAXIS2", 10**12)[:30],
    ),
    "endless heap": (SPEC, b"PCOUNT  =                    0", card("PCOUNT", 10**18)[:30]),
    "a million columns": (SPEC, b"TFIELDS =                    8", card("TFIELDS", 10**6)[:30]),
    "no such kind of number": (APSTAR, b"BITPIX  =                  -64", card("BITPIX", -63)[:30]),
    "rows of nothing": (SPEC, b"NAXIS1  =                   32", card("NAXIS1", 0)[:30]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies(lie, tmp_path):
    path, old, new = LIES[lie]
    (tmp_path / "lie.fits").write_bytes(changed(path, old, new))
    with pytest.raises(BadFile, match=r"damaged FITS|truncated|no image|no HDU"):
        list(FORMATS["apstar" if path == APSTAR else "spec"].read(tmp_path / "lie.fits"))


BOMBS = {
    gzip: bomb,
    bz2: lambda: 14 * bz2.compress(bytes(10**7), 1),
    lzma: lambda: 14 * lzma.compress(bytes(10**7), preset=0),
}


@pytest.mark.parametrize("packer", BOMBS)
def test_compressed_files_are_read_up_to_a_size(packer, tmp_path):
    path = tmp_path / f"apStar.fits.{packer.__name__}"
    path.write_bytes(packer.compress(APSTAR.read_bytes()))
    (packed,), (plain,) = FORMATS["apstar"].read(path), FORMATS["apstar"].read(APSTAR)
    np.testing.assert_array_equal(packed.flux, plain.flux)
    path.write_bytes(BOMBS[packer]())
    with pytest.raises(BadFile, match="more than 134 MB"):
        list(FORMATS["apstar"].read(path))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"<html>no</html>", "not a FITS file|no column"),
        (
            b"\x28\xb5\x2f\xfd",
            "not a FITS file.*; it is compressed, unpack it first: zstd -d|no column",
        ),
        (b"\xfd7zXZ\0\0", "cannot be (read|unpacked)"),
        (b"SIMPLE  =", "damaged FITS file: ValueError"),
    ],
)
def test_files_that_are_none(raw, reason, tmp_path):
    path = tmp_path / "file.fits"
    path.write_bytes(raw)
    for name in SEEDS:
        with pytest.raises(BadFile, match=reason):
            list(FORMATS[name].read(path))


def test_a_missing_file_is_a_bad_one(tmp_path):
    with pytest.raises(BadFile, match="no such file"):
        list(FORMATS["apstar"].read(tmp_path / "none.fits"))
    with pytest.raises(BadFile, match="no such file"):
        list(FORMATS["apstar"].read(tmp_path))
