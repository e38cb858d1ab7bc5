"""Names of files and stars: blank, repeated, the same in several files, no UTF-8."""

import csv
import os

import numpy as np
import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale.cli import main
from luxscale.ingest import ingest
from luxscale.ingest.paths import make_storable, restore_path
from luxscale.labels import LabelSettings, read_labels

WAVELENGTH = 5000.0 + np.arange(40)


def write_npz(path, names=None, n=3, seed=0):
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    flux = rng.normal(1, 0.01, (n, 40))
    arrays = {"flux": flux, "error": np.full((n, 40), 0.01), "wavelength": WAVELENGTH}
    if names is not None:
        arrays["star"] = np.array(names)
    np.savez(path, **arrays)
    return path


def read_files(files, out, labels=None, **options):
    settings = {"recipe": {"continuum": "none"}, "progress": False, "labels": labels}
    return ingest("arrays", files, out, options={"error": "error", **options}, **settings)


def test_blank_and_repeated_names_cost_their_rows_alone(tmp_path):
    path = write_npz(tmp_path / "a.npz", ["a", "", "b", "a", "  ", "c"], n=6)
    made = read_files([path], tmp_path / "s.zarr", star="star")
    stars = lux.open_survey(tmp_path / "s.zarr").star.values.tolist()
    assert sorted(stars) == ["a", "b", "c"]
    reasons = {star: reason for _, star, reason in made.quarantined}
    assert reasons.keys() == {"row 1", "row 4", "a"}
    assert "no identifier" in reasons["row 1"]
    assert "duplicate" in reasons["a"]


def test_spectra_in_reverse_are_counted_and_said(tmp_path, capsys):
    names = [f"star {i}" for i in range(70)]  # more than are prepared at once
    arrays = dict(np.load(write_npz(tmp_path / "a.npz", names, n=70)))
    plain = lux.read(tmp_path / "a.npz", "arrays", options={"error": "error"})
    for name in ("flux", "error", "wavelength"):
        arrays[name] = arrays[name][..., ::-1]
    np.savez(tmp_path / "b.npz", **arrays)
    capsys.readouterr()
    found = lux.read(tmp_path / "b.npz", "arrays", options={"error": "error"})
    np.testing.assert_array_equal(found.flux, plain.flux)
    line = "70 whose wavelengths descend: all their pixels are put in reverse"
    assert capsys.readouterr().err.count(line) == 1
    given = ["--out", str(tmp_path / "s.zarr"), "--workers", "0", "--option", "error=error"]
    done = CliRunner().invoke(
        main, ["ingest", "arrays", str(tmp_path / "b.npz"), *given, "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert f"  {line}\n" in done.stdout


def test_files_of_one_name_keep_all_their_stars(tmp_path):
    files = [write_npz(tmp_path / f / "t.npz", seed=i) for i, f in enumerate("abc")]
    read_files(files[:2], tmp_path / "s.zarr")
    made = read_files(files, tmp_path / "s.zarr")
    assert (made.n_stars, made.quarantined) == (9, [])
    stars = lux.open_survey(tmp_path / "s.zarr").star.values.tolist()
    assert len(set(stars)) == 9
    assert stars[:6] == [f"{file}:{row}" for file in files[:2] for row in range(3)]


def test_a_name_that_is_no_utf8(tmp_path):
    write_npz(tmp_path / "plain.npz", ["a"], n=1)
    good, bad = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/\xe9.npz", b"/\xff.npz"))
    os.rename(tmp_path / "plain.npz", good)
    with open(bad, "w") as file:
        file.write("no file")
    options = ["--option", "error=error", "--option", "star=star", "--continuum", "none"]
    paths = [str(tmp_path / "s.zarr"), str(tmp_path / "q.csv")]
    given = ["--out", paths[0], "--quarantine", paths[1], "--workers", "0", "--quiet"]
    done = CliRunner().invoke(main, ["ingest", "arrays", good, bad, *given, *options])
    assert done.exit_code == 0, done.output
    assert lux.open_survey(tmp_path / "s.zarr").star.values.tolist() == ["a"]
    with (tmp_path / "q.csv").open(errors="surrogateescape") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [bad]
    assert restore_path(make_storable(good)) == good


def test_the_list_of_the_quarantined_is_written_where_no_file_could_be_used(tmp_path):
    (tmp_path / "a.npz").write_text("no file")
    given = ["--out", str(tmp_path / "s.zarr"), "--quarantine", str(tmp_path / "q.csv")]
    more = ["--grid", "5000:5039:1", "--workers", "0", "--quiet"]
    done = CliRunner().invoke(main, ["ingest", "arrays", str(tmp_path / "a.npz"), *given, *more])
    assert done.exit_code == 1
    assert "no file could be used" in done.output
    assert "a.npz" in (tmp_path / "q.csv").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "q.csv"]


@pytest.mark.parametrize(
    ("name", "ours", "remedy"),
    [
        ("star", "a", "column of the survey's identifiers (--labels-setting key=COLUMN)"),
        ("id", "a.npz:0", "array of identifiers (--option star=NAME) in a new survey"),
    ],
)
def test_labels_of_no_star_are_said_with_an_identifier_of_each_side(tmp_path, name, ours, remedy):
    arrays = dict(np.load(write_npz(tmp_path / "a.npz", ["a"], n=1)))
    arrays[name] = arrays.pop("star")
    np.savez(tmp_path / "a.npz", **arrays)
    (tmp_path / "t.csv").write_text("ID,TEFF,E_TEFF\n7,4500,30\n")
    options = ["--option", "error=error", "--continuum", "none"]
    given = ["--out", str(tmp_path / "s.zarr"), "--workers", "0", "--quiet"]
    words = ("key=ID", "column.teff=TEFF", "error.teff=E_TEFF")
    labels = ["--labels", str(tmp_path / "t.csv")]
    labels += [part for word in words for part in ("--labels-setting", word)]
    command = ["ingest", "arrays", str(tmp_path / "a.npz"), *given, *options, *labels]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    said = f"no star has a label: the survey's are like {ours!r}, the catalogue's like 7; "
    assert said in done.stderr
    assert remedy in done.stderr


def test_a_placeholder_is_judged_by_the_stars_of_the_survey(tmp_path, capsys):
    """80 to 120 of other stars would have 99.99 believed, and the survey refused for it."""
    write_npz(tmp_path / "a.npz", ["a", "b", "c"])
    rows = ["a,0.1", "b,99.99", "c,0.3", "x,80", "y,120"]
    (tmp_path / "t.csv").write_text("id,AV,E_AV\n" + "".join(f"{row},0.1\n" for row in rows))
    asked = LabelSettings(key="id", columns={"av": "AV"}, errors={"av": "E_AV"})
    labels = read_labels(tmp_path / "t.csv", settings=asked)
    assert np.isfinite(labels.value).all()
    read_files([tmp_path / "a.npz"], tmp_path / "s.zarr", star="star", labels=labels)
    found = lux.open_survey(tmp_path / "s.zarr").label_value.values
    np.testing.assert_array_equal(found[:, 0], [0.1, np.nan, 0.3])
    assert "labels: av: left out 1 that stand for missing values" in capsys.readouterr().err


def test_a_file_that_is_read_again_keeps_the_names_of_its_stars(tmp_path):
    files = [write_npz(tmp_path / f / "t.npz", seed=i) for i, f in enumerate("ab")]
    arrays = dict(np.load(files[0]))
    arrays["error"][1] = np.nan
    np.savez(files[0], **arrays)
    for number, first in enumerate((files[:1], files)):  # named before the other is there, or not
        out = tmp_path / f"{number}.zarr"
        read_files(first, out)
        made = ingest(
            "arrays",
            files,
            out,
            options={"error": "error"},
            recipe={"continuum": "none"},
            progress=False,
            retry=True,
        )
        assert made.n_stars == 5
