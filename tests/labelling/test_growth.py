"""Catalogues grow with their surveys: what is new or changed is labelled, the rest stays."""

import contextlib
import shutil

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import luxscale as lux
from luxscale import report, store
from luxscale.cli import main
from luxscale.info.describe import describe
from luxscale.labelling import growth, region
from luxscale.labelling.catalogue import Catalogue
from luxscale.labelling.estimate import estimate_run
from luxscale.labelling.plan import make_plan
from luxscale.labelling.stars import describe_other_stars

CHUNK = 20


@pytest.fixture(scope="module")
def stars(_small_survey):
    return _small_survey.isel(star=slice(0, 110))


@pytest.fixture(scope="module")
def model(small_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.zarr"
    small_model.save(path)
    return path


@pytest.fixture(scope="module")
def beginnings(stars, model, tmp_path_factory):
    """The folder of a survey of 70 stars, whose last chunk is half full, and of its catalogue."""
    folder = tmp_path_factory.mktemp("beginnings")
    store.write_dataset(stars.isel(star=slice(0, 70)), folder / "survey.zarr", chunk=CHUNK)
    label(folder / "survey.zarr", model, folder / "catalog.zarr")
    return folder


@pytest.fixture
def survey(beginnings, tmp_path):
    """That survey, which a test may change."""
    return shutil.copytree(beginnings / "survey.zarr", tmp_path / "survey.zarr")


@pytest.fixture
def catalog(beginnings, tmp_path):
    """Its catalogue, which a test may change."""
    return shutil.copytree(beginnings / "catalog.zarr", tmp_path / "catalog.zarr")


@pytest.fixture(scope="module")
def whole(beginnings, stars, model, tmp_path_factory):
    """The catalogue of all 110 stars by one run."""
    folder = tmp_path_factory.mktemp("whole")
    survey = shutil.copytree(beginnings / "survey.zarr", folder / "survey.zarr")
    append(survey, stars.isel(star=slice(70, None)))
    label(survey, model, folder / "catalog.zarr")
    return folder / "catalog.zarr"


@pytest.fixture(scope="module")
def whole_changed(whole, model, tmp_path_factory):
    """The same, of a survey in which a star's spectrum is another."""
    folder = tmp_path_factory.mktemp("changed")
    survey = shutil.copytree(whole.with_name("survey.zarr"), folder / "survey.zarr")
    change_star(survey)
    label(survey, model, folder / "catalog.zarr")
    return folder / "catalog.zarr"


def change_star(survey):
    flux = zarr.open_group(survey, mode="r+")["flux"]
    flux[25] = flux[25] * np.float32(1.01)


def append(survey, stars, skip=""):
    """Add stars behind those of a survey; one array may be left as it is."""
    for name, array in zarr.open_group(survey, mode="r+").arrays():
        if name != skip and array.metadata.dimension_names[0] == "star":
            array.append(stars[name].values.astype(array.dtype))


def label(survey, model, catalog):
    return lux.label_survey(survey, model, catalog, region_stars=CHUNK, progress=False)


def read_arrays(path):
    group = zarr.open_group(path, mode="r")
    return {name: np.asarray(array[:]) for name, array in group.arrays()}


def read_files(path):
    return {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def assert_same(first, second):
    one, two = read_arrays(first), read_arrays(second)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)
    for name in ("flux", "flux_ivar"):
        kept, new = (zarr.open_array(path / store.RUN / name, mode="r") for path in (first, second))
        np.testing.assert_array_equal(kept[:], new[:], err_msg=name)


@pytest.fixture
def grown(survey, catalog, stars):
    """Return a survey of 110 stars and the catalogue that its first 70 have."""
    append(survey, stars.isel(star=slice(70, None)))
    return survey, catalog


def test_new_stars_are_labelled_and_the_others_stay(grown, model, whole):
    survey, catalog = grown
    before = read_files(catalog)
    # the chunk that was half full is another now
    assert label(survey, model, catalog).n_run == 50
    assert_same(catalog, whole)
    after = read_files(catalog)
    for number in range(3):
        kept = [path for path in before if path.parts[1:3] == ("c", str(number))]
        kept = [path for path in kept if path.parts[0] != "star"]
        assert kept
        assert all(before[path] == after[path] for path in kept)
    attributes = zarr.open_group(catalog, mode="r").attrs
    assert attributes["grown"] == [70, 110]
    assert attributes["complete"] == 1


def test_a_survey_grows_more_than_once(survey, catalog, stars, model, whole):
    for first, last in ((70, 75), (75, 80), (80, 110)):
        append(survey, stars.isel(star=slice(first, last)))
        label(survey, model, catalog)
    assert_same(catalog, whole)
    assert describe(catalog)["grown_from"] == [70, 75, 80]
    assert "grown_from" not in describe(whole)


def test_a_catalogue_that_was_not_complete_grows(survey, stars, model, whole, tmp_path):
    catalog = tmp_path / "catalog.zarr"
    plan = make_plan(survey, model, catalog, region_stars=CHUNK)
    Catalogue(plan).create()
    append(survey, stars.isel(star=slice(70, None)))
    assert label(survey, model, catalog).n_run == 110
    assert_same(catalog, whole)


def test_a_catalogue_of_less_than_a_chunk_grows(stars, model, whole, tmp_path):
    survey, catalog = tmp_path / "survey.zarr", tmp_path / "catalog.zarr"
    store.write_dataset(stars, survey, chunk=CHUNK)
    for _, array in zarr.open_group(survey, mode="r+").arrays():
        if array.metadata.dimension_names[0] == "star":
            array.resize((7, *array.shape[1:]))
    assert label(survey, model, catalog).n_run == 7
    append(survey, stars.isel(star=slice(7, None)))
    assert label(survey, model, catalog).n_run == 110
    assert_same(catalog, whole)


@pytest.mark.parametrize("moment", ["identity", "first array", "last array", "stars", "marks"])
def test_growing_is_taken_up_wherever_it_was_cut_off(grown, model, whole, monkeypatch, moment):
    survey, catalog = grown

    class Cut(BaseException):
        pass

    resized = []

    def resize(array, shape, before=zarr.Array.resize):
        if moment == "first array" or (moment == "last array" and "status" in array.path):
            raise Cut
        resized.append(array.path)
        before(array, shape)

    def cut(*args, **options):
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Array, "resize", resize)
        if moment == "identity":
            patched.setattr(growth.damage, "list_filled", cut)
        elif moment == "stars":
            patched.setattr("luxscale.labelling.growth.read_stars", cut)
        elif moment == "marks":
            patched.setattr("luxscale.labelling.catalogue.record_marks", cut)
        with pytest.raises(Cut):
            label(survey, model, catalog)
    plan = make_plan(survey, model, catalog, region_stars=CHUNK)
    assert estimate_run(plan).stars == 50
    assert label(survey, model, catalog).n_run == 50
    assert_same(catalog, whole)
    assert zarr.open_group(catalog, mode="r").attrs["grown"] == [70, 110]


def test_a_dry_run_says_how_much_is_new_and_changes_nothing(grown, model):
    survey, catalog = grown
    before = read_files(catalog)
    todo = estimate_run(make_plan(survey, model, catalog, region_stars=CHUNK))
    assert (todo.stars, todo.regions) == (50, 3)
    assert (todo.new_stars, todo.changed_stars, todo.again_stars) == (40, 0, 10)
    command = ["label", survey, "--model", model, "--out", catalog, "--region-stars", CHUNK]
    shown = CliRunner().invoke(main, [*map(str, command), "--dry-run"]).output
    assert "grown     40 stars are new, the data of 0 changed" in shown
    assert "again     10 stars of these regions done before" in shown
    assert read_files(catalog) == before


def test_stars_whose_data_changed_are_labelled_again(grown, stars, model, whole_changed, capsys):
    survey, catalog = grown
    label(survey, model, catalog)
    change_star(survey)
    again = lux.label_survey(survey, model, catalog, region_stars=CHUNK)
    assert again.n_run == CHUNK
    assert (
        "20 stars whose chunks in the survey changed are labelled again" in capsys.readouterr().err
    )
    assert_same(catalog, whole_changed)
    assert label(survey, model, catalog).n_run == 0


def test_readers_of_a_survey_that_has_grown_say_what_to_do(grown, tmp_path):
    survey, catalog = grown
    with pytest.raises(lux.InputError, match="has 40 stars behind those of .*`luxscale label`"):
        report.write_report(catalog, tmp_path / "r.html", survey=survey, progress=False)
    with pytest.raises(lux.InputError, match="110 stars, the catalogue 70; if it has grown"):
        lux.to_table(catalog, survey=survey, columns=["star"])


def test_a_run_says_how_many_stars_are_new(grown, model, capsys):
    lux.label_survey(grown[0], model, grown[1], region_stars=CHUNK)
    assert "the survey has 40 more stars than it had" in capsys.readouterr().err


@pytest.fixture
def unchecked(monkeypatch):
    """As in a larger survey, of which not every chunk is looked at before a run."""
    monkeypatch.setattr(store, "check_contents", lambda *args, **options: None)


def test_labels_of_data_that_are_gone_are_kept(grown, model, tmp_path, capsys, unchecked):
    survey, catalog = grown
    before = read_arrays(catalog)
    shutil.move(survey / "flux/c/1", tmp_path / "away")
    summary = lux.label_survey(survey, model, catalog, region_stars=CHUNK)
    assert summary.n_run == 50  # what is new goes on
    told = capsys.readouterr().err
    assert "1 chunks of 'flux' from which it has labels, first chunk 1 (stars 20 to 40)" in told
    assert "are missing from the survey; those labels are kept" in told
    after = read_arrays(catalog)
    for name, values in before.items():
        if values.ndim and values.shape[0] == 70:
            np.testing.assert_array_equal(after[name][:60], values[:60], err_msg=name)
    # back as it was it is no change; as others it is one
    shutil.move(tmp_path / "away", survey / "flux/c/1")
    assert label(survey, model, catalog).n_run == 0
    shutil.rmtree(survey / "flux/c/1")
    label(survey, model, catalog)
    shutil.copytree(survey / "flux/c/2", survey / "flux/c/1")
    assert label(survey, model, catalog).n_run == CHUNK


def test_a_catalogue_opens_while_it_grows(grown, model, monkeypatch):
    survey, catalog = grown
    before = store.open_dataset(catalog).load()
    with monkeypatch.context() as patched:
        resized = []

        def resize(array, shape, call=zarr.Array.resize):
            if len(resized) == 3:
                raise Cut
            resized.append(array.path)
            call(array, shape)

        patched.setattr(zarr.Array, "resize", resize)
        with pytest.raises(Cut):
            label(survey, model, catalog)
    now = store.open_dataset(catalog)
    assert (now.attrs["growing"], now.sizes["star"]) == (110, 70)
    for name, values in before.variables.items():
        np.testing.assert_array_equal(now[name].values, values.values, err_msg=name)
    assert (describe(catalog)["stars"], describe(catalog)["done"]) == (110, 70)
    told = CliRunner().invoke(main, ["validate", str(catalog), str(survey)])
    assert told.exit_code == 1
    assert f"{catalog}: 70 of 110 stars done" in told.stdout
    assert label(survey, model, catalog).n_run == 50
    assert "growing" not in store.open_dataset(catalog).attrs


@pytest.mark.parametrize("name", ["flux", "star", "label_err"])
def test_a_survey_whose_growing_was_cut_off_between_arrays_is_refused(
    survey, catalog, stars, model, name
):
    before = read_files(catalog)
    new = stars.isel(star=slice(70, None))
    append(survey, new, skip=name)
    with pytest.raises(lux.InputError, match="have 110 stars, others only 70: .*finish"):
        label(survey, model, catalog)
    assert read_files(catalog) == before
    array = zarr.open_group(survey, mode="r+")[name]
    array.append(new[name].values.astype(array.dtype))
    assert label(survey, model, catalog).n_run == 50


def test_regions_are_done_while_the_survey_grows_between_arrays(survey, stars, model, tmp_path):
    """Workers that open the survey while stars are being added find those of the plan."""
    catalog = tmp_path / "catalog.zarr"
    plan = make_plan(survey, model, catalog, region_stars=CHUNK)
    regions = Catalogue(plan).create()
    append(survey, stars.isel(star=slice(70, None)), skip="flux_ivar")
    region.open_workplace.cache_clear()
    for each in regions[:3]:
        region.run_region(plan, each)
    right = lux.infer(stars.isel(star=slice(0, 60)), lux.load_model(model))
    found = store.open_dataset(catalog).isel(star=slice(0, 60))
    np.testing.assert_allclose(found["label_value"], right["label_value"], rtol=1e-6)


def swap(stars):
    order = np.arange(stars.sizes["star"])
    order[[3, 9]] = order[[9, 3]]
    return stars.isel(star=order)


def rename(stars):
    names = stars["star"].values.copy()
    names[3] = "renamed"
    return stars.assign_coords(star=names)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swap, r"star 3 was (\S+) and is (\S+): stars may be added at the end"),
        (rename, r"star 3 was (\S+) and is renamed: stars may be added at the end"),
        (lambda stars: stars.isel(star=slice(1, None)), r"star 0 was (\S+) and is (\S+)"),
        (lambda stars: stars.isel(star=slice(0, 60)), r"of 70 stars, now 60: (\S+) and later are"),
    ],
    ids=["reordered", "renamed", "removed", "cut off"],
)
@pytest.mark.parametrize("n_stars", [70, 110])
def test_other_stars_are_refused_by_name(survey, catalog, stars, model, change, told, n_stars):
    before = read_files(catalog)
    changed = change(stars.isel(star=slice(0, n_stars)))
    store.write_dataset(changed, survey, chunk=CHUNK, overwrite=True)
    with pytest.raises(lux.InputError, match=f"made with another survey .{told}"):
        label(survey, model, catalog)
    assert read_files(catalog) == before


@pytest.mark.parametrize("n_stars", [70, 110])
def test_another_layout_is_named(survey, catalog, stars, model, n_stars):
    before = read_files(catalog)
    store.write_dataset(stars.isel(star=slice(0, n_stars)), survey, chunk=15, overwrite=True)
    with pytest.raises(lux.InputError, match=r"layout .chunks of 20 stars, where .* have 15"):
        label(survey, model, catalog)
    whole = stars.isel(star=slice(0, n_stars))
    store.write_dataset(
        whole.assign(flux=whole.flux.astype("f8")), survey, chunk=20, overwrite=True
    )
    told = "its stars are the same; flux was float32, is float64 now: write it as it was"
    with pytest.raises(lux.InputError, match=told):
        label(survey, model, catalog)
    shifted = whole.assign_coords(wavelength=whole.wavelength.values + 3)
    store.write_dataset(shifted, survey, chunk=20, overwrite=True)
    with pytest.raises(lux.InputError, match="wavelength"):
        label(survey, model, catalog)
    few = whole.drop_vars(["flux", "flux_ivar"]).rename(label_value="x", label_err="x_err")
    store.write_dataset(few, survey, chunk=20, overwrite=True)
    with pytest.raises(lux.InputError, match="no variable 'flux'"):
        label(survey, model, catalog)
    assert read_files(catalog) == before


def test_text_in_place_of_numbers_is_named():
    told = describe_other_stars(np.array(["a", "b"], object), np.array([1, 2, 3]))
    assert told.startswith("survey (star 0 was a and is 1: stars may be added at the end")


def test_an_outage_is_not_taken_for_another_survey(grown, model, monkeypatch):
    """Identifiers that cannot be read for now say nothing of the survey."""
    survey, catalog = grown
    label(survey, model, catalog)
    store.write_dataset(lux.open_survey(survey).isel(star=slice(1, 60)), survey, overwrite=True)
    before = store.open_array

    def open_array(group, name):
        if name == "star":
            raise ConnectionError("the store does not answer")
        return before(group, name)

    monkeypatch.setattr("luxscale.labelling.stars.store.open_array", open_array)
    with pytest.raises(ConnectionError, match="does not answer"):
        label(survey, model, catalog)


def test_a_catalogue_whose_chunks_leave_no_room_is_refused(grown, model):
    survey, catalog = grown
    group = zarr.open_group(catalog, mode="r+")
    status = np.asarray(group["status"][:])
    group.create_array(
        "status", data=status, chunks=(70,), dimension_names=("star",), overwrite=True
    )
    with pytest.raises(lux.InputError, match=r"another layout \(chunks of 70 stars"):
        label(survey, model, catalog)


class Cut(BaseException):
    pass


def cut(*args, **options):
    raise Cut


@pytest.mark.parametrize("target", ["damage.list_filled", "write_stars"])
def test_a_survey_that_grows_again_after_growing_was_cut_off(
    survey, catalog, stars, model, whole, monkeypatch, target
):
    append(survey, stars.isel(star=slice(70, 90)))
    with monkeypatch.context() as patched:
        patched.setattr(f"luxscale.labelling.growth.{target}", cut)
        with contextlib.suppress(Cut):
            label(survey, model, catalog)
    append(survey, stars.isel(star=slice(90, None)))
    label(survey, model, catalog)
    assert_same(catalog, whole)
    assert describe(catalog)["grown_from"] == [70, 90]


@pytest.mark.parametrize("moment", ["made", "written"])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_marks_are_taken_up_wherever_their_writing_was_cut_off(
    grown, model, whole_changed, monkeypatch, moment, number
):
    survey, catalog = grown
    made = []

    def create(group, name, before=zarr.Group.create_array, **options):
        if group.basename != store.RUN:
            return before(group, name, **options)
        made.append(name)
        if len(made) <= number:
            return before(group, name, **options)
        if moment == "made":
            values = options.pop("data")
            before(group, name, shape=values.shape, dtype=values.dtype, **options)
        else:
            before(group, name, **options)
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Group, "create_array", create)
        with pytest.raises(Cut):
            label(survey, model, catalog)
    change_star(survey)
    assert label(survey, model, catalog).n_run == 50 + CHUNK
    assert_same(catalog, whole_changed)
    assert not list((catalog / store.RUN).glob("*.next"))


@pytest.mark.parametrize("is_new", [True, False])
def test_a_survey_that_grows_while_a_run_begins(survey, stars, model, whole, tmp_path, is_new):
    catalog = tmp_path / "catalog.zarr"
    plan = make_plan(survey, model, catalog, region_stars=CHUNK)
    if not is_new:
        Catalogue(plan).create()
    append(survey, stars.isel(star=slice(70, 110)))
    begin = Catalogue(plan).create if is_new else Catalogue(plan).resume
    assert len(begin()) == 4
    assert store.open_dataset(catalog).sizes["star"] == 70
    assert label(survey, model, catalog).n_run == 110
    assert_same(catalog, whole)


def test_a_survey_in_shards_grows(survey, stars, model, tmp_path):
    group = zarr.open_group(survey, mode="r+")
    for name in ("flux", "flux_ivar"):
        old = group[name]
        values, attributes = np.asarray(old[:]), dict(old.attrs)
        sharded = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(5, values.shape[1]),
            shards=(CHUNK, values.shape[1]),
            dimension_names=("star", "wavelength"),
            overwrite=True,
        )
        sharded[:] = values
        sharded.attrs.update(attributes)
    catalog = tmp_path / "catalog.zarr"
    label(survey, model, catalog)
    before = read_arrays(catalog)
    append(survey, stars.isel(star=slice(70, None)))
    assert label(survey, model, catalog).n_run == 50
    label(survey, model, tmp_path / "new.zarr")
    assert_same(catalog, tmp_path / "new.zarr")
    np.testing.assert_array_equal(
        read_arrays(catalog)["label_value"][:60], before["label_value"][:60]
    )
