"""Label millions of stellar spectra with the Lux latent-variable model (Horta et al. 2025)."""

from luxscale.infer import infer
from luxscale.model import LuxModel, load_model
from luxscale.predict import predict, predict_error
from luxscale.run import label_survey
from luxscale.schema import InputError
from luxscale.store import open_survey
from luxscale.train import train

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
