"""One rule for all that writes: nothing is overwritten that was not offered.

What is there is refused; ``overwrite`` replaces what the same writer wrote, and nothing else. A run
that resumes goes on with its own; what is renewed without asking is only what its kind is.
"""

import contextlib
import functools

import click
import pytest
from click.testing import CliRunner
from surveyfiles import build_arrays

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
from luxscale.examples import demo
from luxscale.examples.simulate import simulate_survey
from luxscale.export import export_catalog
from luxscale.paper import FIGURES, Study, draw
from luxscale.paper.base import Entry
from luxscale.report import write_report


def run(*arguments):
    """Run a command in this process; an error of input is raised as from a function."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if done.exit_code == 1:
        raise InputError(done.output)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def stores(tmp_path_factory, _small_survey, small_model):
    """A survey, a model and a catalogue."""
    folder = tmp_path_factory.mktemp("stores")
    few = _small_survey.isel(star=slice(40))
    store.write_dataset(few, folder / "survey.zarr", chunk=20)
    small_model.save(folder / "model.zarr")
    lux.label_survey(
        folder / "survey.zarr", folder / "model.zarr", folder / "catalog.zarr", progress=False
    )
    arrays = {"flux": few.flux.values, "ivar": few.flux_ivar.values}
    build_arrays(folder / "stars.npz", {**arrays, "wavelength": few.wavelength.values})
    cross_validate(folder, folder / "crossval.zarr")
    return folder


def write_dataset(stores, out, **how):
    store.write_dataset(store.open_survey(stores / "survey.zarr"), out, chunk=20, **how)


def save_model(stores, out, **how):
    lux.load_model(stores / "model.zarr").save(out, **how)


def simulate(stores, out, **how):
    simulate_survey(out, 3, n_pixels=20, **how)


def export(stores, out, **how):
    export_catalog(stores / "catalog.zarr", out, progress=False, **how)


def report(stores, out, **how):
    write_report(stores / "catalog.zarr", out, progress=False, **how)


def draw_paper(stores, out, **how):
    list(draw(Study(out=out.parent, progress=False), ["1"], **how))


def _flags(overwrite=False):
    return ["--overwrite"] if overwrite else []


def train(stores, out, **how):
    survey = stores / "survey.zarr"
    sizes = ["--latent-dim", 2, "--iterations", 1, "--folds", 1, "--quiet"]
    run("train", survey, "--out", out, *sizes, *_flags(**how))


def train_chunked(stores, out, *options):
    sizes = ["--latent-dim", 2, "--iterations", 1, "--folds", 1, "--quiet"]
    run("train", stores / "survey.zarr", "--out", out, "--chunked", *sizes, *options)


def plot(stores, out, **how):
    run("plot", stores / "survey.zarr", "--row", 0, "--out", out, *_flags(**how))


def validate(stores, out, **how):
    catalog, survey = stores / "catalog.zarr", stores / "survey.zarr"
    run("validate", catalog, survey, "--figures", out.parent, *_flags(**how))


def label(stores, out, *options):
    survey, model = stores / "survey.zarr", stores / "model.zarr"
    run("label", survey, "--model", model, "--out", out, "--workers", 0, "--quiet", *options)


def ingest(stores, out, *options):
    how = ["--continuum", "none", "--workers", 0, "--quiet"]
    run("ingest", "arrays", stores / "stars.npz", "--out", out, *how, *options)


def cross_validate(stores, out, *options):
    sizes = ["--latent-dim", 2, "--iterations", 1, "--folds", 2, "--share", 0.9]
    run(
        "crossval",
        stores / "survey.zarr",
        "--out",
        out,
        *sizes,
        "--workers",
        0,
        "--quiet",
        *options,
    )


def draw_curve(stores, out, **how):
    cross_validate(stores, stores / "crossval.zarr", "--figure", out, *_flags(**how))


def draw_repeats(stores, out, **how):
    run("repeats", stores / "catalog.zarr", "--by", "n_pixels", "--figure", out, *_flags(**how))


def predict_intervals(stores, out, **how):
    catalog, survey = stores / "catalog.zarr", stores / "survey.zarr"
    of = ("--survey", survey, "--held-out", catalog, "--coverage", 0.5)
    run("intervals", catalog, *of, "--out", out, *_flags(**how))


def make_demo(stores, out):
    run("demo", "--out", out, "--recipe", "linear", "--quiet")


def checkpoint(stores, out):
    sizes = ["--latent-dim", 2, "--iterations", 2, "--folds", 1, "--quiet"]
    model = [*sizes, "--out", stores / "other.zarr", "--overwrite"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luxscale.training.checkpoint._EVERY", -1)  # as after a minute
        run("train", stores / "survey.zarr", *model, "--checkpoint", out)


def list_quarantine(stores, out):
    ingest(stores, stores / "ingested.zarr", "--quarantine", out)


def log_ingest(stores, out):
    ingest(stores, stores / "ingested.zarr", "--log", out)


def log_label(stores, out):
    label(stores, stores / "catalog.zarr", "--log", out)


def log_crossval(stores, out):
    cross_validate(stores, stores / "crossval.zarr", "--log", out)


def log_train(stores, out):
    train_chunked(stores, stores / "chunked.zarr", "--overwrite", "--workers", 0, "--log", out)


#: Writers that replace what they wrote when told to, by command and parameter, or by function.
REPLACING = {
    "write_dataset": (write_dataset, "out.zarr"),
    "save": (save_model, "out.zarr"),
    "train out": (train, "out.zarr"),
    "simulate out": (simulate, "out.zarr"),
    "export out": (export, "out.fits"),
    "export out, Parquet": (export, "out.parquet"),
    "export out, CSV": (export, "out.csv"),
    "export out, ECSV": (export, "out.ecsv"),
    "export out, VOTable": (export, "out.vot"),
    "report out": (report, "out.html"),
    "plot out": (plot, "out.png"),
    "validate figures": (validate, "labels.png"),
    "paper out": (draw_paper, "figure-1.png"),
    "crossval figure": (draw_curve, "out.png"),
    "repeats figure": (draw_repeats, "out.png"),
    "intervals out": (predict_intervals, "out.zarr"),
}

#: Runs that the same command goes on with, and an option that asks for something else.
RESUMING = {
    "label out": (label, "out.zarr", ["--covariance"]),
    "ingest out": (ingest, "out.zarr", ["--grid", "15100:15150:2"]),
    "crossval out": (cross_validate, "out.zarr", ["--folds", 3]),
}

#: What the same command renews or adds to, as its help says: its own alone.
RENEWING = {
    "demo out": (make_demo, "out"),
    "train checkpoint": (checkpoint, "out.zarr"),
    "ingest quarantine": (list_quarantine, "out.csv"),
    "ingest log": (log_ingest, "out.jsonl"),
    "label log": (log_label, "out.jsonl"),
    "crossval log": (log_crossval, "out.jsonl"),
    "train log": (log_train, "out.jsonl"),
}

#: Dask's report of a run; earlier ones are replaced.
REPORTED = {
    "label performance_report": label,
    "ingest performance_report": ingest,
    "crossval performance_report": cross_validate,
    "train performance_report": train_chunked,
}

WRITERS = {**REPLACING, **{name: found[:2] for name, found in RESUMING.items()}, **RENEWING}

#: Kinds of the stores that are written, for those that find one of another kind.
KINDS = {
    "write_dataset": "survey",
    "save": "model",
    "train out": "model",
    "simulate out": "survey",
    "label out": "catalog",
    "ingest out": "ingested",
    "crossval out": "crossval",
    "train checkpoint": "checkpoint",
    "intervals out": "intervals",
}

#: Parameters of commands, in text, that name what is read or say how; `job_folder` is shared.
NOT_WRITTEN = (
    *("survey", "catalog", "model", "truth", "data", "path", "inputs", "files", "files_from"),
    *("other",),  # of validate, a survey or a catalogue
    *("by", "over", "held_out"),
    *("nuisance",),  # of train, with files of templates
    *("labels", "initial", "stars", "where", "numbers", "topic", "windows", "span", "outputs"),
    *("output", "columns", "format", "labels_format", "file_format", "label_names"),
    *("labels_setting", "options", "bad", "chips", "continuum_pixels", "grid", "given", "adapt"),
    *("scheduler", "tls_ca", "tls_cert", "tls_key", "job_memory", "walltime", "lifetime", "queue"),
    *("account", "directive", "interface", "job_folder"),
)


def test_every_writer_of_the_command_line_is_here():
    """A parameter that takes text either is read, or names what is written, and is in the walk."""
    found = set()
    for name in main.list_commands(None):
        command = main.get_command(None, name)
        for parameter in command.params:
            is_text = isinstance(parameter.type, click.Path | click.types.StringParamType)
            is_flag = getattr(parameter, "is_flag", False)
            if is_text and not is_flag and parameter.name not in NOT_WRITTEN:
                found.add(f"{name} {parameter.name}")
    found.remove("report log")  # which is read
    walked = {name.partition(",")[0] for name in [*WRITERS, *REPORTED]}
    assert found == walked - {"write_dataset", "save"}


@pytest.fixture
def small(monkeypatch, _small_survey):
    """A demo of a few stars in this process, and a figure of the paper that shows nothing."""
    entry = Entry(number="1", title="one", needs=(), draw=draw_nothing)
    monkeypatch.setitem(FIGURES, "1", entry)
    monkeypatch.setattr(demo, "xp_giants", _small_survey.isel(star=slice(80)).copy)
    monkeypatch.setattr(demo, "local_cluster", contextlib.nullcontext)


@pytest.fixture
def writer(request, stores, tmp_path, small):
    """A function that writes, and where it writes, the only thing in its directory."""
    write, name = WRITERS[request.param]
    return functools.partial(write, stores, tmp_path / name), tmp_path / name


def walk(*names):
    """Run a test for each of some writers."""
    return pytest.mark.parametrize("writer", names, indirect=True)


def list_ways(write):
    """Return the ways to call a writer: with ``overwrite`` too, where it has that."""
    can_replace = any(write.func is function for function, _ in REPLACING.values())
    return [{}, {"overwrite": True}] if can_replace else [{}]


def draw_nothing(study):
    import matplotlib.figure

    return matplotlib.figure.Figure()


def read(place):
    """Return all that lies at a place, byte by byte."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return {str(f.relative_to(place)): f.read_bytes() for f in files if f.is_file()}


@walk(*REPLACING)
def test_what_was_written_is_replaced_only_when_told_to(writer):
    write, place = writer
    write()
    written = read(place)
    with pytest.raises(InputError, match=rf"{place.name}: an? .* is there already; .*--overwrite"):
        write()
    assert read(place) == written
    write(overwrite=True)
    assert set(read(place)) == set(written)
    assert [p.name for p in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("name", RESUMING)
def test_a_run_goes_on_with_its_own_and_is_refused_with_other_settings(name, stores, tmp_path):
    write, place, other = RESUMING[name]
    write(stores, tmp_path / place)
    written = read(tmp_path / place)
    write(stores, tmp_path / place)
    assert read(tmp_path / place) == written
    with pytest.raises(InputError, match=rf"{place}: .* another path"):
        write(stores, tmp_path / place, *other)
    assert read(tmp_path / place) == written


@walk(pytest.param("demo out", marks=pytest.mark.slow), *sorted(set(RENEWING) - {"demo out"}))
def test_the_same_command_renews_its_own(writer):
    write, place = writer
    write()
    written = read(place)
    write()
    assert set(read(place)) == set(written)
    assert [p.name for p in place.parent.iterdir()] == [place.name]


@walk(*WRITERS)
def test_a_directory_of_the_users_is_left_alone(writer):
    write, place = writer
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    for how in list_ways(write):
        with pytest.raises(InputError, match=rf"{place.name}: something other than .* is there"):
            write(**how)
    assert read(place) == {"notes.txt": b"mine"}


# a figure of the same name and ending is taken for an earlier one
@walk(*sorted(set(WRITERS) - {"plot out", "validate figures", "paper out"}))
def test_a_file_of_the_users_is_left_alone(writer):
    write, place = writer
    place.write_text("mine")
    for how in list_ways(write):
        with pytest.raises(InputError, match=rf"{place.name}: something other than .* is there"):
            write(**how)
    assert place.read_text() == "mine"


@walk(*WRITERS)
def test_nothing_is_written_into_a_store(writer, stores):
    write, place = writer
    inside = place.parent / "survey.zarr"
    write_dataset(stores, inside)
    written = read(inside)
    with pytest.raises(InputError, match="lies in a survey; choose a path outside of it"):
        write.func(stores, inside / place.name)
    assert read(inside) == written


@pytest.mark.parametrize("name", REPORTED)
def test_dasks_report_is_not_written_over_a_file_of_the_users(name, stores, tmp_path):
    (tmp_path / "out.html").write_text("<html>mine</html>")
    how = ["--performance-report", tmp_path / "out.html", "--workers", 1]
    with pytest.raises(InputError, match=r"out\.html: something other than a performance report"):
        REPORTED[name](stores, tmp_path / "out.zarr", *how)
    assert (tmp_path / "out.html").read_text() == "<html>mine</html>"


@pytest.mark.parametrize("other", ["survey", "model", "catalog", "crossval"])
@pytest.mark.parametrize("name", KINDS)
def test_a_store_of_another_kind_is_left_alone(name, other, stores):
    if KINDS[name] == other:
        return
    write, _ = WRITERS[name]
    before = read(stores)
    how = {"overwrite": True} if name in REPLACING else {}
    with pytest.raises(InputError, match=rf"{other}\.zarr:? .* (is|not) .*; choose another path"):
        write(stores, stores / f"{other}.zarr", **how)
    assert read(stores) == before
