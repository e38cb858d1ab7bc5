"""One rule for all that writes: nothing is overwritten that was not offered.

What is there is refused; ``overwrite`` replaces what the same writer wrote, and nothing else.
"""

import functools

import pytest
from click.testing import CliRunner

import luxscale as lux
from luxscale import store
from luxscale.cli import main
from luxscale.errors import InputError
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


def plot(stores, out, **how):
    run("plot", stores / "survey.zarr", "--row", 0, "--out", out, *_flags(**how))


def validate(stores, out, **how):
    catalog, survey = stores / "catalog.zarr", stores / "survey.zarr"
    run("validate", catalog, survey, "--figures", out.parent, *_flags(**how))


WRITERS = {
    "write_dataset": (write_dataset, "out.zarr"),
    "save": (save_model, "out.zarr"),
    "train": (train, "out.zarr"),
    "simulate": (simulate, "out.zarr"),
    "FITS": (export, "out.fits"),
    "Parquet": (export, "out.parquet"),
    "report": (report, "out.html"),
    "plot": (plot, "out.png"),
    "validate": (validate, "labels.png"),
    "paper": (draw_paper, "figure-1.png"),
}


@pytest.fixture(params=WRITERS)
def writer(request, stores, tmp_path, monkeypatch):
    """A function that writes, where it writes, and the only thing in its directory."""
    write, name = WRITERS[request.param]
    monkeypatch.setitem(FIGURES, "1", Entry(number="1", title="one", needs=(), draw=draw_nothing))
    return functools.partial(write, stores, tmp_path / name), tmp_path / name


def draw_nothing(study):
    import matplotlib.figure

    return matplotlib.figure.Figure()


def read(place):
    """Return all that lies at a place, byte by byte."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return {str(f.relative_to(place)): f.read_bytes() for f in files if f.is_file()}


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


def test_a_directory_of_the_users_is_left_alone(writer):
    write, place = writer
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    for how in ({}, {"overwrite": True}):
        with pytest.raises(InputError, match=rf"{place.name}: something other than .* is there"):
            write(**how)
    assert read(place) == {"notes.txt": b"mine"}


# a figure of the same name and ending is taken for an earlier one
@pytest.mark.parametrize(
    "writer", sorted(set(WRITERS) - {"plot", "validate", "paper"}), indirect=True
)
def test_a_file_of_the_users_is_left_alone(writer):
    write, place = writer
    place.write_text("mine")
    for how in ({}, {"overwrite": True}):
        with pytest.raises(InputError, match=rf"{place.name}: something other than .* is there"):
            write(**how)
    assert place.read_text() == "mine"


@pytest.mark.parametrize("other", ["survey.zarr", "model.zarr", "catalog.zarr"])
@pytest.mark.parametrize("name", ["write_dataset", "save", "train", "simulate"])
def test_a_store_of_another_kind_is_left_alone(name, other, stores):
    write, _ = WRITERS[name]
    is_same = (name in ("save", "train")) == (other == "model.zarr") and other != "catalog.zarr"
    if is_same:
        return
    before = read(stores / other)
    with pytest.raises(InputError, match=rf"{other} is a \w+, not a \w+; choose another path"):
        write(stores, stores / other, overwrite=True)
    assert read(stores / other) == before
