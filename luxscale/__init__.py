"""Label millions of stellar spectra with the Lux latent-variable model (Horta et al. 2025).

The whole way, from stars with trusted labels to labels of all the others:

>>> import luxscale as lux
>>> survey = lux.open_survey("survey.zarr")
>>> model = lux.train(survey.isel(star=slice(0, 300)), latent_dim=4, progress=False)
>>> model.save("trained.zarr")
>>> catalog = lux.infer(survey, model)
>>> summary = lux.label_survey("survey.zarr", "trained.zarr", "labelled.zarr", progress=False)

`infer` labels what it is given, lazily; `label_survey` labels a survey of any size into a store, on
a cluster if there is one. Surveys, models and catalogues are xarray Datasets in Zarr.

The guide is ``luxscale guide`` in a terminal, and Markdown in ``luxscale/guide``: what a survey is,
survey files, long runs, clusters, what the errors mean, words and symbols. Modules to know besides:
``luxscale.analysis.evaluate`` and ``luxscale.plot`` (how good labels are),
``luxscale.analysis.interpret``, ``luxscale.analysis.goodness`` and ``luxscale.analysis.precision``
(what a model has learnt), ``luxscale.crossval``, ``luxscale.ingest``, ``luxscale.cluster``,
``luxscale.export``, ``luxscale.examples.simulate`` and ``luxscale.examples.samples``. In examples
of their functions, ``survey``, ``model`` and ``catalog`` are those above.
"""

from luxscale.errors import InputError
from luxscale.labelling.run import label_survey
from luxscale.model.file import load_model
from luxscale.model.infer import infer
from luxscale.model.lux import LuxModel
from luxscale.model.predict import predict, predict_error
from luxscale.store import open_survey
from luxscale.training import train

__all__ = [
    "InputError",
    "LuxModel",
    "infer",
    "label_survey",
    "load_model",
    "open_survey",
    "predict",
    "predict_error",
    "train",
]
