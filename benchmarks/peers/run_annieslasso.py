"""Run The Cannon of annieslasso on a problem: python run_annieslasso.py problem.npz result.npz.

Quadratic in the labels, not regularised, as its guide begins; serial, since its pool gives each
process a pixel at a time in training, and in the test step cannot be started on Python 3.11.
"""

import logging
import sys

import numpy as np
from common import complete, fill, run
from thecannon import CannonModel
from thecannon.vectorizer import PolynomialVectorizer


def train(problem):
    rows = complete(problem)
    names = problem["names"].tolist()
    flux = fill(problem["flux"], problem["ivar"])[rows].astype(float)
    vectorizer = PolynomialVectorizer(names, 2)
    model = CannonModel(
        problem["label"][rows], flux, problem["ivar"][rows].astype(float), vectorizer
    )
    model.train()

    def label(flux, ivar):
        labels, covariance, _ = model.test(fill(flux, ivar).astype(float), ivar.astype(float))
        # the covariance is of the labels as they are scaled inside
        return labels, np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) * model._scales

    return label, {"used": int(rows.sum()), "note": "stars with every label; serial"}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    run(train, ["annieslasso", "numpy", "scipy"], *sys.argv[1:])
