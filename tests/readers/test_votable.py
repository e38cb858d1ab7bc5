"""VOTables as the archive and astropy write them are read, bounded by what they hold."""

from __future__ import annotations

import base64
import gzip
import io

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from fitsfiles import DATA
from surveyfiles import build_xp, xp_arrays

from luxscale.readers import FORMATS, BadFile
from luxscale.readers.votable import read_votable

WAYS = ("tabledata", "binary", "binary2")

#: Beginnings of tables with a column of text before, and their ends.
HEAD = """<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE>
<FIELD name="designation" datatype="char" arraysize="*"/>
<FIELD name="SOURCE_ID" datatype="long"><VALUES null="-9"/></FIELD>
<FIELD name="flux" datatype="float" arraysize="*"/>
<FIELD name="ra" datatype="double"/><DATA>"""
TAIL = "</DATA></TABLE></RESOURCE></VOTABLE>"


def read(text):
    return list(read_votable(io.BytesIO(text.encode())))


def pack(rows, flags=None):
    """Return rows of the table above in binary, base64."""
    raw = b""
    for i, (text, source, flux, ra) in enumerate(rows):
        raw += b"" if flags is None else bytes([flags[i]])
        raw += len(text).to_bytes(4, "big") + text.encode() + source.to_bytes(8, "big")
        raw += len(flux).to_bytes(4, "big") + np.array(flux, ">f4").tobytes()
        raw += np.array(ra, ">f8").tobytes()
    return base64.encodebytes(raw).decode()


ROWS = [("Gaia DR3 6", 6, [1.5, 2.5, np.nan], 217.5), ("", 2**60 + 1, [], -1.25)]
CELLS = "".join(
    f"<TR><TD>{t}</TD><TD>{s}</TD><TD>{' '.join(map(str, f))}</TD><TD>{r}</TD></TR>"
    for t, s, f, r in ROWS
)
STREAM = '<STREAM encoding="base64">'
WRITTEN = {
    "tabledata": f"<TABLEDATA>{CELLS}</TABLEDATA>",
    "binary": f"<BINARY>{STREAM}{pack(ROWS)}</STREAM></BINARY>",
    "binary2": f"<BINARY2>{STREAM}{pack(ROWS, [0, 0])}</STREAM></BINARY2>",
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_varying_length(way):
    rows = read(HEAD + WRITTEN[way] + TAIL)
    assert [set(row) for row in rows] == [{"source_id", "flux", "ra"}] * 2
    for row, (_, source, flux, ra) in zip(rows, ROWS, strict=True):
        assert row["source_id"].tolist() == [source]
        np.testing.assert_array_equal(row["flux"], flux)
        assert row["ra"].tolist() == [ra]


def test_what_is_missing():
    cells = "<TR><TD/><TD>-9</TD><TD/><TD/></TR><TR><TD/><TD/><TD/><TD>NaN</TD></TR>"
    for row in read(f"{HEAD}<TABLEDATA>{cells}</TABLEDATA>{TAIL}"):
        assert row["source_id"].size == row["flux"].size == 0
        assert np.isnan(row["ra"]).all()
    packed = pack([("", 7, [1.0], 2.0)], [0b01010000])  # of designation, source_id, flux, ra
    (row,) = read(f"{HEAD}<BINARY2>{STREAM}{packed}</STREAM></BINARY2>{TAIL}")
    assert row["source_id"].size == 0 and row["flux"].tolist() == [1] and np.isnan(row["ra"])


def test_what_stands_for_a_missing_parameter_is_of_no_column():
    parameter = '<PARAM name="x" datatype="double" value="1"><VALUES null="217.5"/></PARAM>'
    head = HEAD.replace("<DATA>", f"{parameter}<DATA>")
    first, _ = read(head + WRITTEN["tabledata"] + TAIL)
    assert first["ra"].tolist() == [217.5]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("packed", [False, True])
def test_what_astropy_writes_of_a_real_file(way, packed, tmp_path):
    source = Table.read(DATA / "XP_SAMPLED_RAW_dr3int6.fits")
    if way != "tabledata":  # astropy writes no arrays of varying length in binary
        for name in ("flux", "flux_error"):
            source[name] = np.stack(list(source[name]))
    path = tmp_path / "XP_SAMPLED.xml"
    source.write(path, format="votable", tabledata_format=way)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    (spectra,) = FORMATS["gaia-xp"].read(path)
    (expected,) = FORMATS["gaia-xp"].read(DATA / "XP_SAMPLED_RAW_dr3int6.fits")
    np.testing.assert_array_equal(spectra.star, expected.star)
    np.testing.assert_allclose(spectra.flux, expected.flux, rtol=1e-6)
    np.testing.assert_allclose(spectra.ivar, expected.ivar, rtol=1e-5)
    for name in ("ra", "dec"):
        np.testing.assert_array_equal(spectra.columns[name], expected.columns[name])


def test_long_tables_and_texts_are_no_long_tags():
    text = f"<DESCRIPTION>{'y' * 5_000_000}<![CDATA[{'y' * 5_000_000}]]></DESCRIPTION>"
    packed = pack([("", 1, np.arange(10_000), 2.0)] * 120)
    assert len(packed) > 4 * 2**20
    rows = read(f"{HEAD}{text}<BINARY>{STREAM}{packed}</STREAM></BINARY>{TAIL}")
    assert [row["flux"].size for row in rows] == [10_000] * 120


def test_masked_sources_have_no_name(tmp_path):
    star = MaskedColumn([5, 6], mask=[False, True])
    columns = {"source_id": star, "flux": np.ones((2, 343)), "flux_error": np.ones((2, 343))}
    for way in ("tabledata", "binary2"):
        path = tmp_path / f"{way}.vot"
        Table(columns).write(path, format="votable", tabledata_format=way)
        (spectra,) = FORMATS["gaia-xp"].read(path)
        assert spectra.star.tolist() == [5, -1]


def test_blocks_of_rows_come_before_the_rest_is_read(tmp_path):
    path = build_xp(tmp_path / "xp.vot", xp_arrays(1030))
    raw = path.read_bytes()
    whole = list(FORMATS["gaia-xp"].read(path))
    assert [len(spectra.star) for spectra in whole] == [1024, 6]
    path.write_bytes(raw[: len(raw) - 3000])
    blocks = iter(FORMATS["gaia-xp"].read(path))
    np.testing.assert_array_equal(next(blocks).flux, whole[0].flux)
    with pytest.raises(BadFile, match="truncated VOTable"):
        next(blocks)


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;">]>'
FIELD = '<FIELD name="x" datatype="{}" arraysize="{}"/>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"<?xml version='1.0'?>{ENTITIES}<VOTABLE>&c;</VOTABLE>", "declares entities"),
        (HEAD + FIELD.format("float", 10**12), "1,000,000,000,000 elements a row"),
        (HEAD + FIELD.format("float", "-4x-4"), "arraysize '-4x-4'"),
        (HEAD + FIELD.format("float", "many"), "arraysize 'many'"),
        (HEAD + FIELD.format("bit", "8"), "a column of bit"),
        (HEAD + FIELD.format("float", "1") * 2001, "more than 2000 columns"),
        (f"{HEAD}<TABLEDATA><TR><TD>1</TD></TR>", "a row of 1 cells in a VOTable of 4 columns"),
        (f"{HEAD}<TABLEDATA><TR><TD/><TD>x</TD><TD/><TD/></TR>", "'x', no numbers"),
        (f"{HEAD}<TABLEDATA><TR><TD/><TD>{10**40}</TD><TD/><TD/></TR>", "no numbers"),
        (f"{HEAD}<TABLEDATA><TR><TD>{'y' * 5_000_000}</TD>", "a row of more than 4,194,304"),
        (f"{HEAD}<BINARY><STREAM encoding='gzip'>", "not base64"),
        (f"{HEAD}<BINARY><STREAM href='x'>", "lie elsewhere"),
        (f"{HEAD}<BINARY>{STREAM}????</STREAM></BINARY>{TAIL}", "damaged VOTable: Only base64"),
        (f"{HEAD}<BINARY>{STREAM}{'/////w==' * 1}</STREAM></BINARY>{TAIL}", "4,294,967,295 elem"),
        (f"{HEAD}<BINARY>{STREAM}{pack(ROWS)[:24]}</STREAM></BINARY>{TAIL}", "ends within a row"),
        (
            f"<VOTABLE><TABLE>{FIELD.format('long', 0)}<BINARY>{STREAM}AAAA</STREAM>",
            "rows of 0 bytes",
        ),
        ("<VOTABLE>" * 101, "more than 100 elements within each other"),
        (f"{HEAD}<!--{'-y' * 2_500_000}", "a tag or comment of more than 4,194,304 bytes"),
        (f"{HEAD}<FIELD name='{'y' * 5_000_000}", "a tag or comment of more than 4,194,304 bytes"),
        (f"{HEAD}<FITS extnum='1'>", "give the FITS file itself"),
        (HEAD + WRITTEN["binary"], "truncated VOTable"),
        ("<?xml version='1.0' encoding='utfq8'?><a/>", "damaged VOTable: unknown encoding: utfq8"),
        ("<?xml version='1.0'?><a><b></a>", "damaged VOTable: mismatched tag"),
    ],
)
def test_what_a_table_may_not_do(text, reason):
    with pytest.raises(BadFile, match=reason):
        read(text)


def test_a_table_without_rows(tmp_path):
    (tmp_path / "a.xml").write_text(HEAD + TAIL)
    with pytest.raises(BadFile, match="a table without rows"):
        list(FORMATS["gaia-xp"].read(tmp_path / "a.xml"))


def test_names_are_looked_at_first(tmp_path):
    table = Table.read(DATA / "XP_CONTINUOUS_RAW.fits")
    table.write(tmp_path / "a.xml", format="votable")
    with pytest.raises(BadFile, match="continuous spectra"):
        list(FORMATS["gaia-xp"].read(tmp_path / "a.xml"))
