"""Every wrong survey, label, file or argument is refused by name, and the advice cures it."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bad_surveys import DO, Row, attrs, chain, change, coord, drop, make_survey, put

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError

ALL = np.s_[:]
ONE = (3, 2)
FLUX = "'flux' = .* at star 's03', wavelength 5002.0[:;] "


def transpose(name):
    return lambda s: s.assign({name: s[name].transpose()})


def cast(name, dtype):
    return lambda s: s.assign({name: s[name].astype(dtype)})


def name_by_text(survey):
    named = survey.reset_index("star")
    return named.assign_coords(star=[str(star) for star in survey.star.values])


SHAPES = [
    Row(
        "both kinds of errors",
        lambda s: s.assign(flux_err=s.flux_ivar**-0.5),
        r"both 'flux_ivar' and 'flux_err' say the errors of 'flux'; keep one: .*'flux_err'",
        "infer",
        drop("flux_err"),
    ),
    Row(
        "both kinds of errors of labels",
        lambda s: s.assign(label_value_err=s.label_err),
        "both 'label_value_err' and 'label_err' say the errors of 'label_value'; keep one",
        "train",
        drop("label_value_err"),
    ),
    Row(
        "flux transposed",
        transpose("flux"),
        r"'flux' has dims \('wavelength', 'star'\).*"
        r"write it as .transpose\('star', 'wavelength'\)",
        "open",
        change("flux", lambda f: f.transpose("star", "wavelength")),
    ),
    Row(
        "all transposed",
        lambda s: s.transpose(),
        r".transpose\('star', 'wavelength'\)",
        "open",
        lambda s: s.transpose("star", ...),
    ),
    Row(
        "pixels called lam",
        lambda s: s.rename(wavelength="lam"),
        r"'flux' has dims \('star', 'lam'\).*rename\(lam='wavelength'\)",
        "infer",
        lambda s: s.rename(lam="wavelength"),
    ),
    Row(
        "stars called object",
        lambda s: s.rename(star="object"),
        r"no dim 'star'; its dims are .*object.*rename\(NAME='star'\)",
        "infer",
        lambda s: s.rename(object="star"),
    ),
    Row(
        "a dim of visits",
        lambda s: s.assign(flux=s.flux.expand_dims(visit=2, axis=1)),
        r"'flux' has dims.*select one of 'visit', or average: .isel\(visit=0\)",
        "infer",
        lambda s: s.assign(flux=s.flux.isel(visit=0)),
    ),
    Row(
        "errors of labels for all stars",
        lambda s: s.assign(label_err=s.label_err.isel(star=0, drop=True)),
        r"'label_err' has dims \('label',\).*broadcast_like",
        "train",
        lambda s: s.assign(
            label_err=s.label_err.broadcast_like(s.label_value).transpose("star", "label")
        ),
    ),
    Row(
        "one ivar a star",
        lambda s: s.assign(flux_ivar=s.flux_ivar.isel(wavelength=0, drop=True)),
        r"'flux_ivar' has dims \('star',\)",
        "infer",
        lambda s: s.assign(
            flux_ivar=s.flux_ivar.broadcast_like(s.flux).transpose("star", "wavelength")
        ),
    ),
    Row("one label selected", lambda s: s.sel(label="teff"), r"'label' has dims \(\)", "train"),
    Row("no stars", lambda s: s.isel(star=slice(0, 0)), "it holds no stars", "train"),
    Row(
        "without flux",
        drop("flux"),
        "no variable 'flux', to which 'flux_ivar' belongs",
        "raw",
        drop("flux_ivar"),
    ),
    Row("without ivar", drop("flux_ivar"), "flux_ivar", "open"),
    Row(
        "without errors of labels",
        drop("label_err"),
        "no variable 'label_err', which 'label_value' needs",
        "open",
        lambda s: s.assign(label_err=s.label_value * 0 + 0.1),
    ),
    Row(
        "without labels",
        drop("label_value"),
        "no variable 'label_value', to which 'label_err' belongs",
        "open",
        drop("label_err"),
    ),
    Row(
        "wavelengths that are log10",
        lambda s: s.assign_coords(
            wavelength=("wavelength", np.log10(s.wavelength.values), s.wavelength.attrs)
        ),
        r"'wavelength' of 3.69897 to 3.69992 Angstrom looks like log10; write .assign_coords",
        "train",
        lambda s: s.assign_coords(
            wavelength=("wavelength", 10**s.wavelength.values, s.wavelength.attrs)
        ),
    ),
    Row(
        "wavelengths that are ln",
        lambda s: s.assign_coords(
            wavelength=("wavelength", np.log(s.wavelength.values), s.wavelength.attrs)
        ),
        r"'wavelength' of 8.51719 to 8.51939 Angstrom looks like ln; write .*np.exp",
        "train",
        lambda s: s.assign_coords(
            wavelength=("wavelength", np.exp(s.wavelength.values), s.wavelength.attrs)
        ),
    ),
    Row("without wavelengths", lambda s: s.drop_vars("wavelength"), "wavelength", "open"),
    Row(
        "without names of labels",
        lambda s: s.drop_vars(["label", "label_units"]),
        "no coordinate 'label'",
        "open",
    ),
    Row(
        "without identifiers",
        drop("star"),
        "no variable 'star' .survey identifier, unique.; add it as a coordinate",
        "open",
        lambda s: s.assign_coords(star=np.arange(s.sizes["star"])),
    ),
    Row(
        "nothing at all",
        drop("flux", "flux_ivar", "label_value", "label_err"),
        "no output: it needs 'flux' with 'flux_ivar'",
        "open",
    ),
    Row("inference without spectra", drop("flux", "flux_ivar"), "no variable 'flux'", "infer"),
    Row(
        "flux is text",
        cast("flux", str),
        "'flux' has dtype .*expected float; convert it with .astype.*classes to numbers, as 0",
        "infer",
        cast("flux", "f4"),
    ),
    Row(
        "flux is complex",
        cast("flux", complex),
        "'flux' has dtype complex128, expected float",
        "infer",
    ),
    Row("flux is a boolean", cast("flux", bool), "'flux' has dtype bool", "infer"),
    Row(
        "labels are text",
        cast("label_value", str),
        "'label_value' has dtype",
        "train",
        cast("label_value", float),
    ),
    Row(
        "flux in objects",
        cast("flux", object),
        "'flux' has dtype object",
        "infer",
        cast("flux", "f4"),
    ),
]

STARS = [
    Row(
        "a star twice",
        coord("star", lambda v: np.where(v == "s05", "s03", v)),
        r"'star' repeats 's03' \(1 repeated in all\); keep one row of each",
        "open",
        lambda s: s.drop_duplicates("star"),
    ),
    Row(
        "a number twice",
        coord("star", lambda v: np.arange(v.size) % 30),
        r"'star' repeats 0 \(10 repeated",
        "train",
        lambda s: s.drop_duplicates("star"),
    ),
    Row(
        "identifiers of floats",
        coord("star", lambda v: np.arange(v.size) + 0.5),
        "'star' has dtype float64, which keeps 15 digits.*whole numbers or as text",
        "infer",
        coord("star", lambda v: v.astype(int)),
    ),
    Row(
        "identifiers of numbers and text",
        lambda s: s.assign_coords(star=np.array([7, *s.star.values[1:]], object)),
        "'star' holds int and text; name all stars by text",
        "open",
        name_by_text,
    ),
    Row(
        "identifiers of two levels",
        lambda s: s.drop_vars("star").assign_coords(
            xr.Coordinates.from_pandas_multiindex(
                pd.MultiIndex.from_product([range(4), range(10)], names=["field", "fibre"]), "star"
            )
        ),
        "'star' holds tuple; name all stars by text",
        "open",
        name_by_text,
    ),
    Row(
        "identifiers of dates",
        coord("star", lambda v: np.arange(v.size).astype("M8[s]")),
        "'star' has dtype datetime64",
        "infer",
    ),
    Row(
        "identifiers of booleans",
        coord("star", lambda v: np.arange(v.size) > 0),
        "'star' has dtype bool",
        "infer",
    ),
    Row(
        "identifiers are nobody",
        coord("star", lambda v: np.full(v.size, "")),
        "'star' repeats ''",
        "open",
    ),
]

GRIDS = [
    Row(
        "wavelengths descend",
        lambda s: s.isel(wavelength=slice(None, None, -1)),
        r"'wavelength' is not ascending at index 0 .*sortby\('wavelength'\)",
        "open",
        lambda s: s.sortby("wavelength"),
    ),
    Row(
        "a wavelength twice",
        coord("wavelength", lambda v: np.where(v == 5003, 5002, v)),
        "'wavelength' is repeated at index 2 .5002.0 then 5002.0.",
        "open",
        coord("wavelength", lambda v: 5000.0 + np.arange(v.size)),
    ),
    Row(
        "a wavelength is NaN",
        coord("wavelength", lambda v: np.where(v == 5003, np.nan, v)),
        "'wavelength' is not ascending",
        "open",
    ),
    Row(
        "a wavelength is infinite",
        coord("wavelength", lambda v: np.where(v == 5011, np.inf, v)),
        "'wavelength' is not ascending at index 11",
        "open",
    ),
    Row(
        "wavelengths of whole numbers",
        chain(coord("wavelength", lambda v: v.astype(int)), attrs("wavelength", units=None)),
        r"'wavelength' has dtype int64, expected float; convert it with .astype",
        "open",
        chain(
            coord("wavelength", lambda v: v.astype(float)), attrs("wavelength", units="Angstrom")
        ),
    ),
    Row(
        "wavelengths of text",
        coord("wavelength", lambda v: v.astype(str)),
        "'wavelength' has dtype .*expected float",
        "infer",
        chain(coord("wavelength", lambda v: v.astype(float))),
    ),
    Row(
        "no units",
        attrs("wavelength", units=None),
        "'wavelength' has no 'units' attribute; set e.g. .wavelength.attrs",
        "open",
        attrs("wavelength", units="Angstrom"),
    ),
    Row(
        "neither vacuum nor air",
        attrs("wavelength", medium="water"),
        "'wavelength' has medium 'water'; it must be 'vacuum' or 'air'",
        "open",
        attrs("wavelength", medium="vacuum"),
    ),
    Row(
        "another unit",
        attrs("wavelength", units="nm"),
        "'wavelength' has units 'nm', the model 'Angstrom'; convert it",
        "infer",
        attrs("wavelength", units="AA"),
    ),
    Row(
        "fewer pixels",
        lambda s: s.isel(wavelength=slice(0, 9)),
        "'wavelength' has 9 values, the model 12",
        "infer",
    ),
    Row(
        "another grid",
        coord("wavelength", lambda v: v + 0.5),
        "differs from the model's grid at 12 of 12 pixels, first 5000.5 where",
        "infer",
        coord("wavelength", lambda v: v - 0.5),
    ),
    Row(
        "a name of a label twice",
        coord("label", lambda v: np.array(["teff", "teff"])),
        "'label' repeats a name",
        "open",
        coord("label", lambda v: np.array(["teff", "fe_h"])),
    ),
    Row(
        "labels are numbered",
        coord("label", lambda v: np.arange(2)),
        "'label' has dtype int64",
        "open",
        coord("label", lambda v: v.astype(str)),
    ),
    Row(
        "a role that is none",
        attrs("label_value", role="magic"),
        "'label_value' has role 'magic'",
        "open",
        attrs("label_value", role=None),
    ),
    Row(
        "a spectrum called bands",
        attrs("flux", role="bands"),
        "'flux' has role 'bands', but 'wavelength' is a grid",
        "open",
        attrs("flux", role=None),
    ),
]


def zero_where_bad(survey):
    return survey.assign(flux_ivar=survey.flux_ivar.where(np.isfinite(survey.flux), 0))


SENTINELS = (-9999.0, -999.0, 9999.0, -9999.99, 1e30)
VALUES = [
    *(
        Row(
            f"a flux of {number}",
            put("flux", ONE, number),
            "stands for a missing value.*mark it as missing",
            "open",
            lambda s, n=number: s.assign(flux_ivar=s.flux_ivar.where(s.flux != np.float32(n), 0)),
        )
        for number in SENTINELS
    ),
    *(
        Row(
            f"a label of {number}",
            put("label_value", (3, 0), number),
            "'label_value' = .* at star 's03', label teff: .* stands for a missing",
            do,
            lambda s, n=number: s.assign(label_value=s.label_value.where(s.label_value != n)),
        )
        for number in (-9999.0, -999.0, -99.0, 99999.0, -9999.99, 1e20)
        for do in ("open", "train")
    ),
    Row(
        "an error of -9999",
        put("label_err", (3, 0), -9999.0),
        "'label_err' = -9999.0 with.*errors must be positive",
        "open",
        lambda s: s.assign(label_err=s.label_err.where(s.label_err > 0)),
    ),
    Row(
        "an error of 0",
        put("label_err", (3, 0), 0.0),
        "errors must be positive and finite, NaN where",
        "train",
        lambda s: s.assign(label_err=s.label_err.where(s.label_err > 0)),
    ),
    Row(
        "an infinite error",
        put("label_err", (3, 0), np.inf),
        "errors must be positive and finite",
        "train",
        lambda s: s.assign(label_err=s.label_err.where(np.isfinite(s.label_err))),
    ),
    Row(
        "an infinite label",
        put("label_value", (3, 0), np.inf),
        "'label_value' = inf at|with 'label_value' = inf",
        "train",
        lambda s: s.assign(label_value=s.label_value.where(np.isfinite(s.label_value))),
    ),
    Row(
        "an ivar below 0",
        put("flux_ivar", ONE, -1.0),
        "'flux_ivar' = -1.0 .* star 's03', wavelength 5002.0.*not negative",
        "open",
        lambda s: s.assign(flux_ivar=s.flux_ivar.clip(min=0)),
    ),
    Row(
        "an ivar of NaN",
        put("flux_ivar", ONE, np.nan),
        "'flux_ivar' = nan",
        "open",
        lambda s: s.assign(flux_ivar=s.flux_ivar.fillna(0)),
    ),
    Row(
        "an infinite ivar",
        put("flux_ivar", ONE, np.inf),
        "infinite where an error is 0: write 0 where nothing is known",
        "open",
        lambda s: s.assign(flux_ivar=s.flux_ivar.where(np.isfinite(s.flux_ivar), 0)),
    ),
    Row(
        "fluxes of 1e-17",
        lambda s: s.assign(
            flux=s.flux * np.float32(1e-17), flux_ivar=s.flux_ivar * np.float32(np.inf)
        ),
        "beyond float32: divide 'flux' by a typical value, and multiply 'flux_ivar' by its square",
        "open",
        lambda s: make_survey(),
    ),
    Row(
        "a flux of NaN",
        put("flux", ONE, np.nan),
        "with 'flux' = nan at star 's03'.*0 where the value is not finite",
        "open",
        zero_where_bad,
    ),
    Row(
        "an infinite flux",
        put("flux", ONE, np.inf),
        "with 'flux' = inf at star 's03'",
        "train",
        zero_where_bad,
    ),
    Row(
        "an absurd flux",
        put("flux", ONE, 3e29),
        "absurdly far",
        "train",
        lambda s: s.assign(flux_ivar=s.flux_ivar.where(s.flux < 1e29, 0)),
    ),
    Row(
        "no weight anywhere",
        change("flux_ivar", lambda v: v * 0),
        "'flux' holds no pixel that varies",
        "train",
    ),
    Row(
        "no label known",
        change("label_value", lambda v: v * np.nan),
        "no measurement|no star",
        "train",
    ),
    Row(
        "one label unknown",
        put("label_value", np.s_[:, 1], np.nan),
        "label 'fe_h' has no measurement in 'label_value'",
        "train",
        lambda s: s.drop_sel(label="fe_h"),
    ),
    Row(
        "a constant label",
        put("label_value", np.s_[:, 1], 0.5),
        "label 'fe_h' has the same value .*drop_sel",
        "train",
        lambda s: s.drop_sel(label="fe_h"),
    ),
    Row(
        "a single star",
        lambda s: s.isel(star=[0]),
        "1 star is too few to train on; at least 10 are needed",
        "train",
    ),
    Row(
        "errors of labels beyond use",
        change("label_err", lambda v: v * 0 + 1e30),
        "has errors beyond",
        "train",
    ),
]


def ask(**settings):
    return lambda _: settings


SETTINGS = [
    Row(
        "too many latents",
        ask(latent_dim=90),
        "latent_dim=90 is too large: folds=1 leaves 40 stars to train on, with 14 features; choose "
        "at most 13, or add stars",
        "settings",
        ask(latent_dim=2),
    ),
    Row("no latents", ask(latent_dim=0), "latent_dim", "settings", ask(latent_dim=1)),
    Row("half a latent", ask(latent_dim=2.5), "latent_dim", "settings", ask(latent_dim=2)),
    Row("no folds", ask(folds=0), "folds is 0|folds", "settings", ask(folds=1)),
    Row("more folds than stars", ask(folds=100), "fold", "settings", ask(folds=5)),
    Row("no iterations", ask(iterations=0), "iterations", "settings", ask(iterations=1)),
    Row(
        "a method that is none",
        ask(method="magic"),
        "method.*marginal",
        "settings",
        ask(method="marginal"),
    ),
    Row("a setting that is none", ask(latent_din=3), "latent_din", "settings", ask()),
    Row("a setting of another method", ask(gaussians=3), "gaussians", "settings", ask()),
    Row(
        "a recipe that is none",
        ask(latent_dim=None, iterations=None, recipe="magic"),
        "recipe.*linear",
        "settings",
    ),
    Row(
        "a recipe and a size",
        ask(recipe="linear"),
        "names method and sizes; leave out",
        "settings",
        ask(),
    ),
    Row("a prior below 0", ask(prior=-1.0), "prior", "settings", ask(prior=1.0)),
    Row(
        "a clip of 0",
        ask(label_clip=0.0),
        "label_clip is 0.0; it must be above 0",
        "settings",
        ask(label_clip=8.0),
    ),
    Row("a tolerance below 0", ask(tolerance=-1.0), "tolerance", "settings", ask(tolerance=1e-3)),
    Row(
        "an output that is none",
        ask(outputs=["fluxes"]),
        "no variable 'fluxes', needed for output.*flux, label_value|it has the outputs",
        "settings",
        ask(outputs=["flux", "label_value"]),
    ),
    Row(
        "an output twice",
        ask(outputs=["flux", "flux"]),
        "name none, or one twice",
        "settings",
        ask(outputs=["flux", "label_value"]),
    ),
    Row(
        "a window of no label",
        ask(windows={"mg": [(5000, 5005)]}),
        "mg",
        "settings",
        ask(windows={"fe_h": [(5000, 5005)]}),
    ),
    Row(
        "a window off the grid",
        ask(windows={"fe_h": [(4000, 4005)]}),
        "4000",
        "settings",
        ask(windows={"fe_h": [(5000, 5005)]}),
    ),
]


def spectra(**given):
    flux = np.ones((3, 8))
    arrays = {
        "flux": flux,
        "ivar": flux,
        "wavelength": 5000.0 + np.arange(8),
        "star": np.array(["a", "b", "c"]),
    }
    arrays.update(given)
    return lambda _: {name: value for name, value in arrays.items() if value is not None}


FILES = [
    Row(
        "no flux in a file",
        spectra(flux=None),
        "no array 'flux'; there are: ivar, wavelength, star",
        "file",
        spectra(),
    ),
    Row(
        "no wavelength in a file",
        spectra(wavelength=None),
        "no array 'wavelength'; there are",
        "file",
        spectra(),
    ),
    Row(
        "wavelengths of another length",
        spectra(wavelength=np.arange(1.0, 6)),
        "8 pixels of flux, 5 wavelengths",
        "file",
        spectra(),
    ),
    Row(
        "wavelengths out of order in a file",
        spectra(wavelength=5000.0 + np.array([0, 2, 1, 3, 4, 5, 6, 7])),
        "wavelengths that do not ascend, or are not finite",
        "file",
        spectra(),
    ),
    Row(
        "wavelengths of text in a file",
        spectra(wavelength=np.full(8, "x")),
        "wavelength has shape|no numbers|wavelength holds",
        "file",
        spectra(),
    ),
    Row(
        "flux of text in a file",
        spectra(flux=np.full((3, 8), "x")),
        "flux holds <U1",
        "file",
        spectra(),
    ),
    Row(
        "a cube of flux",
        spectra(flux=np.ones((3, 2, 8))),
        r"flux has shape \(3, 2, 8\), expected stars and pixels",
        "file",
        spectra(),
    ),
    Row(
        "ivar of another shape",
        spectra(ivar=np.ones((3, 7))),
        r"ivar has shape \(3, 7\), expected \(3, 8\)",
        "file",
        spectra(),
    ),
    Row(
        "fewer identifiers",
        spectra(star=np.array(["a", "b"])),
        r"star has shape \(2,\), expected \(3,\)",
        "file",
        spectra(),
    ),
    Row(
        "identifiers of floats in a file",
        spectra(star=np.arange(3) + 0.5),
        "star holds float64, expected whole numbers or text",
        "file",
        spectra(star=np.arange(3)),
    ),
    Row(
        "a column that is none",
        spectra(options={"columns": "age"}),
        "no array 'age'; there are",
        "file",
        spectra(),
    ),
    Row(
        "objects in a file",
        spectra(flux=np.full((3, 8), None)),
        "neither numbers nor text",
        "file",
        spectra(),
    ),
]


def open_(path):
    return lambda model, folder: lux.open_survey(folder / path)


def write_junk(path, raw=b"junk"):
    def do(model, folder):
        (folder / path).write_bytes(raw)
        lux.open_survey(folder / path)

    return do


def over_files(model, folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("precious")
    try:
        store.write_dataset(make_survey(), folder / "mine", overwrite=True)
    finally:
        assert (folder / "mine" / "notes.txt").exists()


def twice(model, folder):
    store.write_dataset(make_survey(), folder / "s.zarr")
    store.write_dataset(make_survey(), folder / "s.zarr")


def model_as_survey(model, folder):
    model.save(folder / "m.zarr")
    lux.open_survey(folder / "m.zarr")


def survey_as_model(model, folder):
    store.write_dataset(make_survey(), folder / "s.zarr")
    lux.load_model(folder / "s.zarr")


def table(text, **words):
    from luxscale.labels import parse_settings, read_labels

    def do(model, folder):
        (folder / "t.csv").write_text(text)
        given = {"key": "ID", "column.teff": "TEFF", "error.teff": "E_TEFF", **words}
        read_labels(
            folder / "t.csv", settings=parse_settings((), {k: v for k, v in given.items() if v})
        )

    return do


RIGHT = "ID,TEFF,E_TEFF\na,4500,30\nb,4600,30\n"
good_table = table(RIGHT)


def row_call(name, do, message, cure=None):
    return Row(name, lambda _: do, message, "call", cure and (lambda _: cure))


CALLS = [
    row_call(
        "a path that is not there",
        open_("none.zarr"),
        "none.zarr: no Zarr group there; give the path of a survey",
    ),
    row_call("a file in place of a store", write_junk("s.zarr"), "s.zarr"),
    row_call("an empty file in place of a store", write_junk("s.zarr", b""), "s.zarr"),
    row_call("a model in place of a survey", model_as_survey, "m.zarr"),
    row_call("a survey in place of a model", survey_as_model, "s.zarr"),
    row_call("writing over a folder of files", over_files, "mine: something other|mine"),
    row_call("writing twice", twice, "s.zarr.*overwrite"),
    row_call(
        "an output to infer from that is none",
        lambda m, f: lux.infer(make_survey(), m, given="fluxes"),
        "fluxes",
    ),
    row_call(
        "an output to predict that is none",
        lambda m, f: lux.predict(lux.infer(make_survey(), m), m, output="fluxes"),
        "fluxes",
    ),
    row_call(
        "a model without such an output",
        lambda m, f: m["fluxes"],
        "the model has no output 'fluxes'",
    ),
    row_call(
        "chunks of no stars",
        lambda m, f: store.write_dataset(make_survey(), f / "s.zarr", chunk=0),
        "chunk",
    ),
    row_call(
        "a table without its column",
        table("ID,TEF,E_TEFF\na,1,1\n"),
        "no column 'TEFF' .1 rows of 3 columns.; similar: TEF",
        good_table,
    ),
    row_call(
        "a table without its key", table("NAME,TEFF,E_TEFF\na,1,1\n"), "no column 'ID'", good_table
    ),
    row_call(
        "a table of text",
        table("ID,TEFF,E_TEFF\na,hot,1\n"),
        "column 'TEFF' holds .*a label is one number per row",
        good_table,
    ),
    row_call(
        "a table without errors",
        table("ID,TEFF\na,4500\nb,4600\n", **{"error.teff": ""}),
        "no column has errors of 'teff'; give 'teff' an error floor",
        table("ID,TEFF\na,4500\nb,4600\n", **{"error.teff": "", "floor.teff": "20"}),
    ),
    row_call(
        "a star twice in a table",
        table(RIGHT + "a,4700,30\n"),
        "identifier 'a' is in several rows; say which by",
        good_table,
    ),
    row_call(
        "a table of sentinels",
        table("ID,TEFF,E_TEFF\na,-9999,30\n"),
        "no label of any row is known: 1 teff: sentinel",
        good_table,
    ),
    row_call(
        "a table without rows", table("ID,TEFF,E_TEFF\n"), "its table has no rows", good_table
    ),
    row_call(
        "a setting of labels that is none",
        table(RIGHT, keys="ID"),
        "no setting 'keys' of labels",
        good_table,
    ),
    row_call(
        "a floor of no label",
        table(RIGHT, **{"floor.logg": "1"}),
        "error floor of 'logg', which is not taken",
        table(RIGHT, **{"floor.teff": "1"}),
    ),
    row_call(
        "a floor that is no number",
        table(RIGHT, **{"floor.teff": "x"}),
        "floor.teff=x: it must be a number",
        table(RIGHT, **{"floor.teff": "1"}),
    ),
    row_call(
        "identifiers of floats in a table",
        table("ID,TEFF,E_TEFF\n1.5,1,1\n"),
        "identifiers of type float64.*must be text or integers",
        good_table,
    ),
]

ROWS = [*SHAPES, *STARS, *GRIDS, *VALUES, *SETTINGS, *FILES, *CALLS]


@pytest.fixture(scope="module")
def model():
    return lux.train(make_survey(), 2, folds=1, iterations=3, progress=False)


def test_there_are_enough_rows():
    assert len(ROWS) >= 100


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.name}-{row.do}" for row in ROWS])
def test_a_wrong_thing_is_refused_and_its_cure_works(row, model, tmp_path):
    do = DO[row.do]
    wrong = row.make(make_survey())
    (tmp_path / "wrong").mkdir()
    with pytest.raises(InputError) as refused:
        do(wrong, model, tmp_path / "wrong")
    assert re.search(row.message, str(refused.value), re.DOTALL), str(refused.value)
    if row.cure:
        (tmp_path / "cured").mkdir()
        do(row.cure(row.make(make_survey())), model, tmp_path / "cured")
