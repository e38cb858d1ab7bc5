"""Figure 19: where stars lie in the space of latents."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from luxscale import plot
from luxscale.errors import InputError
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure
from luxscale.plot.style import TITLE
from luxscale.progress import Progress

PERPLEXITY, SEED = 25, 0


def embed(latent: np.ndarray, weights: np.ndarray) -> xr.Dataset:
    """Reduce latents (star, latent) to two dimensions: by t-SNE, and by the principal components of their spectra.

    Parameters
    ----------
    latent : array, (star, latent)
    weights : array, (pixel, latent)
        The model's B.

    Returns
    -------
    Dataset
        ``tsne`` and ``pca`` (star, component); the attribute ``explained`` holds the shares of the variance of the
        model spectra B z that the two principal components have.

    Raises
    ------
    InputError
        If there are no more stars than the perplexity, 25.
    """
    from sklearn import decomposition, manifold

    if len(latent) <= PERPLEXITY:
        raise InputError(
            f"{len(latent)} stars are too few for t-SNE of perplexity {PERPLEXITY}; give more"
        )
    pca = decomposition.PCA(2, random_state=SEED)
    tsne = manifold.TSNE(2, perplexity=PERPLEXITY, random_state=SEED)
    dims, spectra = (
        ("star", "component"),
        latent @ np.linalg.qr(weights)[1].T,
    )  # as far apart as B z, in few numbers
    return xr.Dataset(
        {"pca": (dims, pca.fit_transform(spectra)), "tsne": (dims, tsne.fit_transform(latent))},
        attrs={"explained": pca.explained_variance_ratio_.tolist()},
    )


@register_figure(
    "19", "latents in two dimensions, by t-SNE and principal components", modules=("sklearn",)
)
def latents(study: Study) -> Figure:
    """Draw the latents of sample B by t-SNE, once for each label as colour, and beside it by principal components.

    As in the paper, for simulated giants. Latents are in the canonical gauge, where those of the
    training stars have mean 0 and variance 1, so all count alike in the distances of t-SNE.
    Principal components of such latents would say nothing; these are of the model spectra, B z. The
    paper names principal components and shows none.
    """
    catalog = giants.infer_catalog(study, "B").compute()

    def make() -> xr.Dataset:
        with Progress("reducing latents", 1, enabled=study.progress) as shown:
            shown.update(0, "t-SNE")
            return embed(
                catalog["latent"].values, np.asarray(giants.train_model(study)["flux"].map.weights)
            )

    embedding = study.keep(
        "latents", make, model=catalog.attrs["model_fingerprint"], perplexity=PERPLEXITY
    ).compute()
    figure = Figure((15.6, 9.6), layout="constrained")
    halves = figure.add_gridspec(1, 2)
    share = sum(embedding.attrs["explained"])
    shown = {
        "tsne": ("t-SNE", f"t-SNE, perplexity {PERPLEXITY}"),
        "pca": (
            "Component",
            f"Principal components of the model spectra, {share:.0%} of the variance",
        ),
    }
    for i, (name, (axis, title)) in enumerate(shown.items()):
        half = figure.add_subfigure(halves[i])
        half.suptitle(title, fontsize=TITLE + 3)
        named = embedding[name].assign_coords(component=[f"{axis} {k}" for k in (1, 2)])
        plot.latents(named, catalog, figure=half)
    return figure
