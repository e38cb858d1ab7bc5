"""Figure 19: where stars lie in the space of latents."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from luxscale import plot
from luxscale.errors import InputError
from luxscale.model.decoders import Decoder
from luxscale.paper import giants
from luxscale.paper.base import Study, register_figure
from luxscale.plot.style import TITLE
from luxscale.progress import Progress

PERPLEXITY, SEED = 25, 0


def embed(latent: np.ndarray, spectrum: Decoder) -> xr.Dataset:
    """Reduce latents to two dimensions: by t-SNE, and by principal components of their spectra.

    Parameters
    ----------
    latent : array, (star, latent)
    spectrum : Decoder
        The model's map to spectra, with weights B of features phi(z).

    Returns
    -------
    Dataset
        ``tsne`` and ``pca`` (star, component); the attribute ``explained`` holds the shares of the
        variance of the model spectra B phi(z) that the two principal components have.

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
    # R phi of B = Q R: as far apart as B phi, in few numbers
    triangle = np.linalg.qr(np.asarray(spectrum.weights))[1]
    spectra = spectrum.features(latent) @ triangle.T
    dims = ("star", "component")
    return xr.Dataset(
        {"pca": (dims, pca.fit_transform(spectra)), "tsne": (dims, tsne.fit_transform(latent))},
        attrs={"explained": pca.explained_variance_ratio_.tolist()},
    )


@register_figure(
    "19", "latents in two dimensions, by t-SNE and principal components", modules=("sklearn",)
)
def latents(study: Study) -> Figure:
    """Draw the latents of sample B, at the left by t-SNE, at the right by principal components.

    Each label is a colour, in a panel of its own. As in the paper, for simulated giants. Latents
    are in the canonical gauge, where those of the training stars have mean 0 and variance 1, so all
    count alike in the distances of t-SNE. Principal components of such latents would say nothing;
    these are of the model spectra, B z, or B phi(z) of a curved model. The paper names principal
    components and shows none.
    """
    catalog = giants.infer_catalog(study, "B").compute()

    def make() -> xr.Dataset:
        spectrum = giants.train_model(study)["flux"].map
        with Progress("reducing latents", 1, enabled=study.progress) as shown:
            shown.update(0, "t-SNE")
            return embed(catalog["latent"].values, spectrum)

    fingerprint = catalog.attrs["model_fingerprint"]
    embedding = study.keep("latents", make, model=fingerprint, perplexity=PERPLEXITY).compute()
    share = sum(embedding.attrs["explained"])
    titles = {
        "tsne": f"t-SNE, perplexity {PERPLEXITY}",
        "pca": f"Principal components of the model spectra, {share:.0%} of the variance",
    }
    axes_names = {"tsne": ["t-SNE 1", "t-SNE 2"], "pca": ["Component 1", "Component 2"]}
    figure = Figure((15.6, 9.6), layout="constrained")
    halves = figure.add_gridspec(1, 2)
    for i, (name, title) in enumerate(titles.items()):
        half = figure.add_subfigure(halves[i])
        half.suptitle(title, fontsize=TITLE + 3)
        points = embedding[name].assign_coords(component=axes_names[name])
        plot.latents(points, catalog, figure=half)
    return figure
