"""The report of a catalogue: what stands on the page, against numbers worked out otherwise."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner
from scipy import stats

import luxscale as lux
from luxscale import store
from luxscale.analysis.evaluate import compare
from luxscale.analysis.goodness import residuals
from luxscale.cli import main
from luxscale.cli.base import format_count
from luxscale.errors import InputError
from luxscale.labelling.run import label_survey
from luxscale.model.file import load_model
from luxscale.model.priors import GaussianPrior
from luxscale.report import cells, figures, measure, tables, write_report
from luxscale.report.figures import pick_abundance_labels
from luxscale.report.sample import take_compared_sample
from luxscale.report.sources import choose_stars, open_inputs
from luxscale.schema import flags
from luxscale.schema.sampling import StarSet
from luxscale.schema.selection import Selection

HOSTILE = '<img src=x onerror="alert(1)">$x$ & co'


class Page(html.parser.HTMLParser):
    """Tables by their caption, rows of cells, and what the page asks a browser to load."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.loads, self.ids, self.links, self.tags = {}, [], set(), set(), []
        self._caption, self._rows, self._text = None, [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.loads += [
            v for k, v in attrs.items() if k in ("src", "srcset", "data", "poster", "action")
        ]
        self.loads += [attrs["href"]] if tag != "a" and "href" in attrs else []
        self.ids |= {attrs["id"]} if "id" in attrs else set()
        self.links |= {attrs["href"]} if tag == "a" else set()
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td", "caption"):
            self._text = ""

    def handle_data(self, data):
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag):
        if tag == "caption":
            self._caption, self._rows = self._text.strip(), []
        elif tag in ("th", "td"):
            self._rows[-1].append(self._text.strip())
        elif tag == "table":
            self.tables[self._caption] = self._rows[1:]
        if tag in ("th", "td", "caption"):
            self._text = None

    def table(self, start):
        (found,) = (rows for caption, rows in self.tables.items() if caption.startswith(start))
        return found


def number(text):
    return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-").rstrip("%"))


@pytest.fixture(scope="module", autouse=True)
def _small_figures():
    """Draw few spectra, coarsely: what is on them is for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "SPECTRA", 2)
        patch.setattr(figures, "_DPI", 40)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, world):
    """A survey of 300 stars, its model and its catalogue."""
    folder = tmp_path_factory.mktemp("report")
    survey = world.survey(300, seed=1)
    store.write_dataset(survey, folder / "survey.zarr", chunk=64)
    lux.train(survey, 4, folds=2, iterations=2, progress=False).save(folder / "model.zarr")
    label_survey(
        folder / "survey.zarr", folder / "model.zarr", folder / "catalog.zarr", progress=False
    )
    return folder


@pytest.fixture(scope="module")
def whole(made):
    """The report with all there is."""
    given = {k: made / f"{k}.zarr" for k in ("survey", "model")}
    write_report(
        made / "catalog.zarr", made / "a.html", truth=made / "survey.zarr", **given, progress=False
    )
    return (made / "a.html").read_text()


@pytest.fixture(scope="module")
def bare(made):
    """The report of the catalogue alone."""
    written = write_report(made / "catalog.zarr", made / "b.html", progress=False)
    assert written.compared is None
    return (made / "b.html").read_text()


def test_the_command_says_how_many_stars_are_compared(made, tmp_path):
    given = ["--truth", str(made / "survey.zarr"), "--stars", "100:"]
    out = tmp_path / "a.html"
    ran = CliRunner().invoke(
        main, ["report", str(made / "catalog.zarr"), "--out", str(out), *given]
    )
    assert ran.exit_code == 0, ran.output
    assert f"{out}: 300 stars, 200 of them compared with trusted labels, " in ran.stdout


def test_one_is_no_plural():
    assert [format_count(n, "star") for n in (0, 1, 2000)] == ["0 stars", "1 star", "2,000 stars"]


def test_the_comparison_is_that_of_evaluate(made, whole):
    catalog, truth = (
        xr.open_zarr(made / f"{k}.zarr", consolidated=False) for k in ("catalog", "survey")
    )
    expected = compare(catalog, truth)
    rows = Page(whole).table("Inferred labels against trusted ones")
    assert [r[0] for r in rows] == expected["label"].values.tolist()
    for i, row in enumerate(rows):
        assert number(row[2]) == int(expected["n_stars"][i])
        for cell, name in zip(
            row[3:8], ("bias", "rmse", "robust_scatter", "median_err", "pull"), strict=True
        ):
            assert number(cell) == pytest.approx(
                float(expected[name][i]), rel=0.01, abs=0.005 * float(expected["rmse"][i])
            )
        trusted = truth["label_true"].sel(label=row[0]).values
        spread = stats.median_abs_deviation(trusted, scale="normal")
        assert number(row[8]) == pytest.approx(float(expected["median_err"][i]) / spread, abs=0.006)


def test_a_label_of_which_the_spectra_say_nothing_has_an_error_as_large_as_its_spread(
    made, tmp_path
):
    truth = xr.open_zarr(made / "survey.zarr", consolidated=False).load()
    catalog = store.open_dataset(made / "catalog.zarr").load()
    catalog["label_err"][:, 1] = stats.median_abs_deviation(
        truth["label_true"][:, 1], scale="normal"
    )
    truth["label_true"][:, 0] = 5000.0
    cells = [
        row[-1].text for row in tables.tabulate_agreement(measure.compare_all(catalog, truth)).rows
    ]
    assert (
        cells[1] == "1.00" and cells[0] == "\N{EN DASH}"
    )  # of a label without spread nothing is said


def test_labels_compared_in_groups_are_those_compared_at_once(made, monkeypatch):
    catalog, truth = (store.open_dataset(made / f"{k}.zarr") for k in ("catalog", "survey"))
    monkeypatch.setattr(measure, "_LABEL_BYTES", 1)
    found = measure.compare_all(catalog, truth)
    xr.testing.assert_identical(found.drop_vars("err_over_spread"), compare(catalog, truth))


def test_residuals_by_pixel_are_those_of_all_stars(made, monkeypatch):
    inputs = open_inputs(
        made / "catalog.zarr", survey=made / "survey.zarr", model=made / "model.zarr"
    )
    monkeypatch.setattr(measure, "_BLOCK_BYTES", 8 * 40 * 17)
    found = measure.measure_fit(inputs, "flux")
    every = residuals(inputs.survey, inputs.catalog, inputs.model, scaled=True).values
    assert found.attrs["stars"] == 300
    np.testing.assert_allclose(found["chi2"], np.nanmean(every**2, 0), rtol=1e-5)
    np.testing.assert_allclose(found["mean"], np.nanmean(every, 0), atol=1e-5)
    np.testing.assert_allclose(found["scatter"], np.nanstd(every, 0), rtol=1e-4)


def test_the_fit_reads_whole_chunks_with_stars_that_are_done_spread_over_the_survey():
    finished = np.ones(1000, bool)
    finished[:100] = False
    starts = measure._pick_chunks(finished, 100, int(measure._FIT_BYTES / 400))
    assert starts.size == 4 and starts[0] == 100 and starts[-1] == 900
    assert measure._pick_chunks(finished, 100, int(measure._FIT_BYTES)).size == 1


def test_the_worst_stars_are_those_of_all(made, whole):
    catalog = xr.open_zarr(made / "catalog.zarr", consolidated=False).load()
    ratio = (catalog["chi2"] / catalog["n_pixels"]).values
    rows = Page(whole).table("Stars with the largest")
    assert [r[0] for r in rows] == catalog["star"].values[np.argsort(-ratio)[: len(rows)]].tolist()
    assert number(rows[0][2]) == pytest.approx(ratio.max(), rel=0.01)
    for column in (2, 5, 6, 7):
        assert len({len(r[column].partition(".")[2]) for r in rows}) == 1
    assert whole.count('alt="s1-') == 2


def test_stars_that_are_not_done_or_have_no_pixels_are_never_the_worst():
    ratio = np.array([1.0, np.nan, 3.0, 2.0, np.nan], "f4")
    assert measure.find_worst(ratio, 10).tolist() == [2, 3, 0]
    assert measure.find_worst(ratio, 1).tolist() == [2]


def test_flags_stand_with_meaning_and_count(made, whole):
    held = xr.open_zarr(made / "catalog.zarr", consolidated=False)["flags"].values
    rows = Page(whole).table("Flags of stars")
    assert [(r[0], r[2]) for r in rows] == list(flags.FLAGS)
    assert [int(r[3]) for r in rows] == [int(np.sum(held & bit > 0)) for bit in flags.BIT.values()]


def test_statistics_of_a_label_have_the_same_decimals_in_every_bin_of_snr(made):
    inputs = open_inputs(made / "catalog.zarr", truth=made / "survey.zarr")
    sample = take_compared_sample(inputs)
    (least, middle, found), *others = measure.compare_by_snr(sample)
    bins = [(least, middle, found), *((a, b, each / 100) for a, b, each in others)]
    rows = tables.tabulate_by_snr(bins, sample).rows
    assert len(rows) == len(bins) * found.sizes["label"]
    for i in range(0, len(rows), len(bins)):
        shown = rows[i : i + len(bins)]
        assert len({row[0].text for row in shown}) == 1 and shown[0][1].value == least
        assert len({len(cell.text.partition(".")[2]) for row in shown for cell in row[3:7]}) == 1


def test_decimals_of_a_column_are_of_the_median_error():
    assert tables._count_column_places(np.array([0.02, 0.5, 0.03, np.nan])) == 3
    assert tables._count_column_places(np.array([np.nan])) == 3


def test_decimals_of_the_worst_are_the_same_in_a_column_however_errors_differ(made):
    inputs = open_inputs(made / "catalog.zarr")
    held = inputs.catalog.load()
    held["label_err"][0] = [0.001, 0.001, 0.001][: held.sizes["label"]] + [0.001] * max(
        0, held.sizes["label"] - 3
    )
    ratio = np.array([0.0123, 1234.5], "f4")
    table = tables.tabulate_worst(dataclasses.replace(inputs, catalog=held), np.arange(2), ratio)
    assert [row[2].text for row in table.rows] == ["0.0123", "1234.5000"]
    for column in range(5, len(table.headings)):
        assert len({len(row[column].text.partition(".")[2]) for row in table.rows}) == 1


def test_provenance_tells_of_model_run_and_catalogue(made, tmp_path):
    (tmp_path / "log").write_text(
        '{"time": "2026-01-02T03:04:05.678+00:00", "event": "start", "workers": 3, "machine": '
        '{"python": "3.12.1", '
        '"versions": {"jax": "0.9.9"}, "host": "secret"}}\n'
        '{"event": "region", "stars": 200}\n{"event": "fault"}\n{"event": "region", "stars": 100}\n'
        '{"time": "2026-01-02T03:05:05.678+00:00", "event": "end", "seconds": 60.0}\n{"event": "reg'
    )
    write_report(
        made / "catalog.zarr",
        tmp_path / "a.html",
        model=made / "model.zarr",
        log=tmp_path / "log",
        progress=False,
    )
    text = (tmp_path / "a.html").read_text()
    page = Page(text)
    assert page.table("Runs that made") == [
        [
            "2026-01-02 03:04:05 UTC",
            "2026-01-02 03:05:05 UTC",
            "60.0",
            "3",
            "300",
            "1",
            "python 3.12.1, jax 0.9.9",
        ]
    ]
    assert "secret" not in text
    catalog = xr.open_zarr(made / "catalog.zarr", consolidated=False)
    assert ["fingerprint", catalog.attrs["model_fingerprint"]] in page.table("The model")
    survey = json.loads(catalog.attrs["identity"])["survey"]
    assert ["identity: survey", survey] in page.table("Attributes")


def test_without_truth_survey_and_model_the_page_says_what_is_left_out(bare, whole):
    for option in (
        "--truth SURVEY",
        "--survey SURVEY --model MODEL",
        "--model MODEL",
        "--log FILE",
    ):
        assert option in bare
    assert whole.count("Left out") == 2 and "Left out: When" in whole  # no log was kept
    titles = re.findall(r'<h2 id="[a-z]+-title">.*?</span> (.*?)</h2>', bare)
    assert (
        titles == re.findall(r'<h2 id="[a-z]+-title">.*?</span> (.*?)</h2>', whole)
        and len(titles) == 8
    )
    assert bare.count("<figure>") == 3 and whole.count("<figure>") == 4 + 2 + 2 + 2 + 2


def test_nothing_is_loaded_from_elsewhere(whole, bare):
    for text in (whole, bare):
        page = Page(text)
        assert all(load.startswith("data:image/") for load in page.loads) and page.loads
        assert page.links <= {f"#{i}" for i in page.ids}
        (policy,) = (
            a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'; img-src data:;")
        for tag in ("style", "script"):
            (held,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(held.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
            assert "url(" not in held and "http" not in held


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(made, whole, tmp_path):
    given = {k: made / f"{k}.zarr" for k in ("survey", "model")}
    write_report(
        made / "catalog.zarr",
        tmp_path / "c.html",
        truth=made / "survey.zarr",
        **given,
        progress=False,
    )
    assert (tmp_path / "c.html").read_text() == whole


@pytest.mark.slow
def test_text_of_files_is_escaped(made, tmp_path):
    path, survey = tmp_path / f"{HOSTILE.replace('/', '')}.zarr", tmp_path / "survey.zarr"
    for source, to in (("catalog", path), ("survey", survey)):
        held = xr.open_zarr(made / f"{source}.zarr", consolidated=False).load()
        stars, labels = held["star"].values.astype(object), held["label"].values.astype(object)
        stars[:], labels[0] = [f"{HOSTILE}{i}" for i in range(stars.size)], HOSTILE
        held = held.assign_coords(star=stars, label=labels)
        held["label_units"] = ("label", np.array([HOSTILE] * labels.size, object))
        held.attrs = {k: v for k, v in held.attrs.items() if k != "flag_counts"} | {
            "title": HOSTILE,
            HOSTILE: HOSTILE,
        }
        store.write_dataset(held, to, chunk=64)
    given = {"truth": survey, "survey": survey, "model": made / "model.zarr"}
    write_report(path, tmp_path / "a.html", **given, progress=False)
    text = (tmp_path / "a.html").read_text()
    page = Page(text)
    assert "<img src=x" not in text and not any("onerror" in attrs for _, attrs in page.tags)
    assert page.table("Stars with the largest")[0][0].startswith(HOSTILE)
    assert page.table("Inferred labels")[0][0] == HOSTILE
    assert [HOSTILE, HOSTILE] in page.table("Attributes")


def test_an_unfinished_catalogue_says_so(made, tmp_path):
    catalog = _copy(
        made / "catalog.zarr", tmp_path / "catalog.zarr", lambda status: status[:64].fill(0)
    )
    write_report(catalog, tmp_path / "a.html", progress=False)
    text = (tmp_path / "a.html").read_text()
    assert re.search(r"Unfinished\.</strong> 64 of 300 stars", text)
    rows = {r[0]: r[2] for r in Page(text).table("Stars of the catalogue")}
    assert (rows["done"], rows["not done"], rows["unreadable"]) == ("236", "64", "0")


def test_stars_that_could_not_be_read_are_counted(made, tmp_path):
    catalog = _copy(
        made / "catalog.zarr", tmp_path / "catalog.zarr", lambda status: status[:5].fill(2)
    )
    write_report(catalog, tmp_path / "a.html", progress=False)
    text = (tmp_path / "a.html").read_text()
    assert "data of 5 stars could not be" in text and "Unfinished" not in text
    assert [r[3:] for r in Page(text).table("Flags of stars") if r[0] == "unreadable"] == [
        ["5", "1.67%"]
    ]


def test_a_catalogue_of_which_nothing_is_done_is_refused(made, tmp_path):
    catalog = _copy(made / "catalog.zarr", tmp_path / "catalog.zarr", lambda status: status.fill(0))
    with pytest.raises(
        InputError, match=r"none of its 300 stars is done; finish it with `luxscale label`"
    ):
        write_report(catalog, tmp_path / "a.html", progress=False)
    assert not (tmp_path / "a.html").exists()


def _copy(source, path, change):
    held = xr.open_zarr(source, consolidated=False).load()
    store.write_dataset(
        held.drop_attrs(deep=False).assign_attrs({**held.attrs, "flag_counts": {}}), path, chunk=64
    )
    array = zarr.open_group(str(path), mode="r+")["status"]
    status = array[:]
    change(status)
    array[:] = status
    return path


def test_errors_of_trusted_labels_that_look_too_large_are_said(made, whole, tmp_path):
    said = "Errors of the trusted labels look overestimated"
    assert said not in whole
    truth = xr.open_zarr(made / "survey.zarr", consolidated=False).load().drop_vars("label_true")
    store.write_dataset(truth.assign(label_err=10 * truth.label_err), tmp_path / "truth.zarr")
    write_report(
        made / "catalog.zarr", tmp_path / "r.html", truth=tmp_path / "truth.zarr", progress=False
    )
    assert said in (tmp_path / "r.html").read_text()


def test_trusted_labels_of_few_stars_in_another_order(made, tmp_path):
    truth = (
        xr.open_zarr(made / "survey.zarr", consolidated=False)
        .load()
        .isel(star=[250, 3, 77, 120, 9, 200])
    )
    store.write_dataset(truth[["label_true", "snr", "flux", "flux_ivar"]], tmp_path / "truth.zarr")
    inputs = open_inputs(made / "catalog.zarr", truth=tmp_path / "truth.zarr")
    found = take_compared_sample(inputs)
    catalog = xr.open_zarr(made / "catalog.zarr", consolidated=False).load()
    at = [3, 9, 77, 120, 200, 250]
    np.testing.assert_array_equal(found.catalog["label_value"], catalog["label_value"][at])
    np.testing.assert_array_equal(
        found.truth["label_true"], truth["label_true"][[1, 4, 2, 3, 5, 0]]
    )
    np.testing.assert_array_equal(found.snr, truth["snr"][[1, 4, 2, 3, 5, 0]])
    assert take_compared_sample(inputs, np.arange(100, 300)).of == 3
    with pytest.raises(
        InputError, match=r"truth\.zarr: none of the chosen stars .* choose others \(--stars\)"
    ):
        take_compared_sample(inputs, np.arange(251, 300))


def test_trusted_labels_of_other_stars_or_of_no_survey_are_refused(made, tmp_path):
    truth = xr.open_zarr(made / "survey.zarr", consolidated=False).load()
    store.write_dataset(truth.assign_coords(star=np.arange(300)), tmp_path / "other.zarr")
    other = truth.assign_coords(label=[f"{name}2" for name in truth["label"].values.tolist()])
    store.write_dataset(other, tmp_path / "labels.zarr")
    for path, message in (
        (
            tmp_path / "other.zarr",
            r"other\.zarr: no star is in common: the catalogue's are like 's1-.*like 0; .*--truth",
        ),
        (tmp_path / "labels.zarr", r"labels\.zarr: no label is in common: .*--truth"),
        (made / "model.zarr", r"model\.zarr: is a model, not a survey; .*--truth"),
        (made / "catalog.zarr", r"catalog\.zarr: is a catalogue, not a survey; .*--truth"),
    ):
        with pytest.raises(InputError, match=message):
            write_report(made / "catalog.zarr", tmp_path / "a.html", truth=path, progress=False)


def test_trusted_labels_of_a_survey_without_labels_are_refused(made, tmp_path):
    survey = xr.open_zarr(made / "survey.zarr", consolidated=False).load()
    store.write_dataset(survey[["flux", "flux_ivar"]], tmp_path / "s.zarr")
    with pytest.raises(InputError, match=r"s\.zarr: it has no labels .* \(--truth\)"):
        open_inputs(made / "catalog.zarr", truth=tmp_path / "s.zarr")


def test_a_survey_of_other_stars_is_refused(made, tmp_path):
    survey = xr.open_zarr(made / "survey.zarr", consolidated=False).load()
    store.write_dataset(survey.isel(star=slice(None, None, -1)), tmp_path / "other.zarr")
    with pytest.raises(
        InputError,
        match=r"other\.zarr: its stars are not those of .*catalog\.zarr, in the same order",
    ):
        write_report(
            made / "catalog.zarr",
            tmp_path / "a.html",
            survey=tmp_path / "other.zarr",
            progress=False,
        )


def test_another_model_is_refused(made, tmp_path):
    model = load_model(made / "model.zarr")
    dataclasses.replace(model, prior=GaussianPrior(2.0)).save(tmp_path / "other.zarr")
    with pytest.raises(
        InputError, match=r"other\.zarr: the catalogue's latents .* are not of this model"
    ):
        write_report(
            made / "catalog.zarr",
            tmp_path / "a.html",
            model=tmp_path / "other.zarr",
            progress=False,
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", "name it .html"),
        ("no/a.html", "there is no directory"),
        ("s3://b/a.html", "local files"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(made, tmp_path, name, message):
    out = name if "://" in name else tmp_path / name
    with pytest.raises(InputError, match=message):
        write_report(made / "catalog.zarr", out, progress=False)


def test_stars_that_are_not_there_are_refused(made, tmp_path):
    with pytest.raises(InputError, match=r"it holds stars 0:300; choose some of them \(--stars\)"):
        write_report(
            made / "catalog.zarr",
            tmp_path / "a.html",
            truth=made / "survey.zarr",
            stars=slice(0, 301),
            progress=False,
        )


def test_the_command(made, tmp_path):
    arguments = ["report", made / "catalog.zarr", "--out", tmp_path / "a.html", "--json"]
    run = lambda *more: CliRunner().invoke(main, [str(a) for a in (*arguments, *more)])  # noqa: E731
    first = run()
    assert first.exit_code == 0 and "report" in first.stderr
    assert json.loads(first.stdout) == {
        "path": str(tmp_path / "a.html"),
        "bytes": (tmp_path / "a.html").stat().st_size,
        "stars": 300,
        "compared": None,
    }
    again = run("--quiet")
    assert again.exit_code == 1 and "a report is there already" in again.stderr
    page = (tmp_path / "a.html").read_text()
    (tmp_path / "a.html").write_text(page[: page.index("<body>")])
    assert run("--quiet", "--overwrite").exit_code == 0
    assert "Catalogue report" in (tmp_path / "a.html").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    assert run("--stars", "0:5").exit_code == 2
    assert run("--where", "snr > 5").exit_code == 2


def test_stars_are_compared_that_satisfy_a_condition_or_are_new_to_the_model(made, tmp_path):
    survey = store.open_dataset(made / "survey.zarr")
    model = lux.load_model(made / "model.zarr")
    trained = StarSet.of(survey["star"].values[::2])
    known = dataclasses.replace(model.provenance, training_stars=trained.text)
    dataclasses.replace(model, provenance=known).save(tmp_path / "model.zarr")
    new = np.arange(300) % 2 == 1
    limit = float(np.median(survey["snr"]))
    bright = survey["snr"].values > limit
    inputs = open_inputs(
        made / "catalog.zarr", truth=made / "survey.zarr", model=tmp_path / "model.zarr"
    )
    condition = f"snr > {limit} and flags >= 0"
    for given, expected in (((None, "untrained"), new), ((condition, "untrained"), new & bright)):
        chosen = choose_stars(inputs, Selection.read(*given))
        np.testing.assert_array_equal(chosen.rows, np.flatnonzero(expected))
        assert chosen.text.endswith("untrained).")
    with pytest.raises(InputError, match="no star is left by where snr > 1e9"):
        choose_stars(inputs, Selection.read("snr > 1e9", None))


def test_a_number_that_is_not_known_is_no_number():
    assert cells.format_number(float("nan"), 2) == cells.Cell("\N{EN DASH}", None)
    assert cells.format_number(-0.5, 1) == cells.Cell("\N{MINUS SIGN}0.5", -0.5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["m_h", "alpha_m"], ("m_h", "alpha_m")),
        (["fe_h", "ca_fe", "mg_fe"], ("fe_h", "mg_fe")),
        (["mg_fe"], None),
        (["fe_h", "c_fe"], None),
    ],
)
def test_the_labels_of_an_abundance_plane(labels, expected):
    assert pick_abundance_labels(labels) == expected


@pytest.mark.slow
def test_survey_and_model_are_those_of_the_log_if_they_are_still_the_same(made, tmp_path):
    for name in ("survey", "model"):
        shutil.copytree(made / f"{name}.zarr", tmp_path / f"{name}.zarr")
    paths = [tmp_path / f"{name}.zarr" for name in ("survey", "model", "catalog")]
    label_survey(*paths, progress=False, log=tmp_path / "catalog.zarr.log.jsonl")
    inputs = open_inputs(paths[2], truth=paths[0])
    assert inputs.model.fingerprint == load_model(
        paths[1]
    ).fingerprint and inputs.survey_where == str(paths[0])
    assert inputs.truth is inputs.survey and inputs.changed == ()
    write_report(paths[2], tmp_path / "a.html", truth=paths[0], progress=False)
    text = (tmp_path / "a.html").read_text()
    assert [r[1] for r in Page(text).table("What the catalogue was made of")] == [
        *("catalog.zarr", "survey.zarr", "model.zarr", "survey.zarr")
    ]
    assert str(tmp_path) not in text and tmp_path.parent.name not in text
    others = store.open_survey(paths[0]).isel(star=slice(None, None, -1)).load()
    shutil.rmtree(paths[0])
    store.write_dataset(others, paths[0])
    shutil.rmtree(paths[1])
    inputs = open_inputs(paths[2])
    assert inputs.survey is None and inputs.model is None
    assert inputs.changed == ("survey",) and inputs.names == {
        "survey": "survey.zarr",
        "model": "model.zarr",
    }


@pytest.mark.slow
def test_a_survey_of_the_same_stars_and_other_flux_is_noticed(made, tmp_path):
    shutil.copytree(made / "survey.zarr", tmp_path / "survey.zarr")
    label_survey(
        tmp_path / "survey.zarr",
        made / "model.zarr",
        tmp_path / "c.zarr",
        progress=False,
        log=tmp_path / "c.zarr.log.jsonl",
    )
    held = zarr.open_group(str(tmp_path / "survey.zarr"), mode="r+")["flux"]
    held[100, :3] = held[100, :3] * 1.5
    write_report(tmp_path / "c.zarr", tmp_path / "a.html", progress=False)
    text = (tmp_path / "a.html").read_text()
    said = (
        "The survey that the log names, survey.zarr, has changed since the catalogue was made of "
        "it."
    )
    assert said in text and "The model that the log names" not in text
    assert "survey.zarr" in [r[1] for r in Page(text).table("What the catalogue was made of")]
    with pytest.raises(
        InputError,
        match=r"survey\.zarr: is not the survey that .*1 chunks of 'flux'.*stars 64 to 128",
    ):
        open_inputs(tmp_path / "c.zarr", survey=tmp_path / "survey.zarr")
    status = zarr.open_group(str(tmp_path / "c.zarr"), mode="r+")["status"]
    status[64:128] = 0  # of a chunk of which nothing is done nothing was made
    assert open_inputs(tmp_path / "c.zarr", survey=tmp_path / "survey.zarr").survey is not None


def test_a_catalogue_that_lost_what_its_labels_are_of_is_refused(made, tmp_path):
    catalog = xr.open_zarr(made / "catalog.zarr", consolidated=False).load()
    del catalog.attrs["identity"]
    store.write_dataset(catalog, tmp_path / "catalog.zarr", chunk=64)
    model = made / "model.zarr"
    with pytest.raises(InputError, match=r"catalog\.zarr: it has no attribute 'identity'"):
        open_inputs(tmp_path / "catalog.zarr", survey=made / "survey.zarr", model=model)
    assert open_inputs(tmp_path / "catalog.zarr", model=model).spectra == ()


def test_a_survey_in_other_chunks_is_not_the_one_that_was_labelled(made, tmp_path):
    survey = xr.open_zarr(made / "survey.zarr", consolidated=False).load()
    store.write_dataset(survey.drop_encoding(), tmp_path / "other.zarr", chunk=100)
    with pytest.raises(InputError, match=r"other\.zarr: is not the survey"):
        open_inputs(made / "catalog.zarr", survey=tmp_path / "other.zarr")


def test_chi2_is_called_the_same_in_figure_and_table(made, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "make_image", lambda ax, *_, **__: drawn.append(ax))
    inputs = open_inputs(made / "catalog.zarr", model=made / "model.zarr")
    figures.chi2(np.random.default_rng(0).chisquare(50, 500).astype("f4") / 50, inputs)
    assert drawn[0].get_xlabel() == r"$\chi^2$ per pixel"


@pytest.mark.slow
def test_a_report_of_a_curved_model(curved_model, curved_survey, tmp_path):
    store.write_dataset(curved_survey, tmp_path / "survey.zarr", chunk=100)
    curved_model.save(tmp_path / "model.zarr")
    paths = [tmp_path / f"{name}.zarr" for name in ("survey", "model", "catalog")]
    label_survey(*paths, progress=False)
    survey, model, catalog = paths
    write_report(
        catalog, tmp_path / "report.html", survey=survey, model=model, truth=survey, progress=False
    )
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "correlated, 8 independent components" in text
