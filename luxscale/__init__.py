"""Label millions of stellar spectra with the Lux latent-variable model (Horta et al. 2025).

From stars with trusted labels to labels of all the others:

>>> import luxscale as lux
>>> survey = lux.open_survey("survey.zarr")
>>> model = lux.train(survey.isel(star=slice(0, 300)), latent_dim=4, progress=False)
>>> model.save("trained.zarr")
>>> catalog = lux.infer(survey, model)
>>> summary = lux.label_survey("survey.zarr", "trained.zarr", "labelled.zarr", progress=False)

`infer` labels what it is given, lazily; `label_survey` labels a survey of any size into a store, on
a cluster if there is one. Surveys, models and catalogues are xarray Datasets in Zarr.

``luxscale guide`` shows the guide in a terminal: what a survey is, survey files, long runs,
clusters, what the errors mean, words and symbols. Other public modules:
``luxscale.analysis.evaluate``, ``luxscale.analysis.tables`` and ``luxscale.plot`` (how good labels
are), ``luxscale.analysis.interpret``, ``luxscale.analysis.goodness``,
``luxscale.analysis.formal_errors`` and ``luxscale.analysis.precision`` (what a model has learnt),
``luxscale.crossval``, ``luxscale.ingest``, ``luxscale.cluster``,
``luxscale.export``, ``luxscale.examples.simulate`` and ``luxscale.examples.samples``. In examples
of their functions, ``survey``, ``model`` and ``catalog`` are those above.

Importing luxscale loads none of its modules, nor JAX or xarray: each comes when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxscale import (  # noqa: F401 - as `lux.plot` and its like
        analysis,
        cluster,
        crossval,
        examples,
        export,
        guide,
        ingest,
        labels,
        paper,
        plot,
        readers,
        report,
        store,
    )
    from luxscale.analysis.error_calibration import calibrate_errors, remove_calibration
    from luxscale.analysis.intervals import predict_intervals
    from luxscale.analysis.repeats import measure_repeats
    from luxscale.chunked import train_survey
    from luxscale.errors import InputError
    from luxscale.export import to_table
    from luxscale.ingest.memory import read
    from luxscale.labelling.run import label_survey
    from luxscale.model.file import load_model
    from luxscale.model.infer import infer
    from luxscale.model.lux import LuxModel
    from luxscale.model.predict import predict, predict_error
    from luxscale.model.select import select
    from luxscale.store import open_survey
    from luxscale.training import train

    __version__: str

__all__ = [
    "InputError",
    "LuxModel",
    "calibrate_errors",
    "infer",
    "label_survey",
    "load_model",
    "measure_repeats",
    "open_survey",
    "predict",
    "predict_error",
    "predict_intervals",
    "read",
    "remove_calibration",
    "select",
    "to_table",
    "train",
    "train_survey",
]

#: Module of each public name.
_HOMES = {
    "InputError": "luxscale.errors",
    "LuxModel": "luxscale.model.lux",
    "calibrate_errors": "luxscale.analysis.error_calibration",
    "infer": "luxscale.model.infer",
    "label_survey": "luxscale.labelling.run",
    "load_model": "luxscale.model.file",
    "measure_repeats": "luxscale.analysis.repeats",
    "open_survey": "luxscale.store",
    "predict": "luxscale.model.predict",
    "predict_error": "luxscale.model.predict",
    "predict_intervals": "luxscale.analysis.intervals",
    "read": "luxscale.ingest.memory",
    "remove_calibration": "luxscale.analysis.error_calibration",
    "select": "luxscale.model.select",
    "to_table": "luxscale.export",
    "train": "luxscale.training",
    "train_survey": "luxscale.chunked",
}

#: Modules that ``import luxscale`` alone is enough for.
_MODULES = (
    "analysis",
    "cluster",
    "crossval",
    "examples",
    "export",
    "guide",
    "ingest",
    "labels",
    "paper",
    "plot",
    "readers",
    "report",
    "store",
)

if not TYPE_CHECKING:  # type checkers would take any name for one that exists

    def __getattr__(name: str) -> object:
        """Load a public name or module when it is first used."""
        if name in _HOMES:
            found = getattr(importlib.import_module(_HOMES[name]), name)
        elif name in _MODULES:
            found = importlib.import_module(f"luxscale.{name}")
        elif name == "__version__":
            from importlib.metadata import version

            found = version("luxscale")
        else:
            raise AttributeError(f"module 'luxscale' has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """List the public names and modules, loaded or not."""
    return sorted({*__all__, *_MODULES, "__doc__", "__version__"})
