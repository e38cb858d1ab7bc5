"""Where expectation-maximisation starts: the leading components of all spectra."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from luxscale.chunked.folder import Folder, Found, load_step
from luxscale.chunked.passes import PRINCIPAL, find_principal
from luxscale.chunked.plan import Plan, Region
from luxscale.chunked.spectra import count_values
from luxscale.chunked.stars import iterate_batches, load_batch
from luxscale.training.principal_start import ROUNDS, draw_basis


@dataclasses.dataclass(frozen=True, kw_only=True)
class Iterate:
    """One round of the subspace iteration, for a region: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    step : str
        What found the basis, `basis-i` (feature, column) of each output.
    """

    plan: Plan
    name: str
    step: str

    def compute(self, region: Region) -> Found:
        """Return P^T P and Y^T P for P = Y basis."""
        basis = load_step(self.plan.folder, self.step)
        total: Found = {}
        for positions in iterate_batches(self.plan, region):
            data = load_batch(self.plan, positions, labels=False)
            tables = {
                f"basis-{i}": np.asarray(output.arrays.values)
                for i, output in zip(self.plan.measured, data.measured, strict=True)
            }
            projected: Any = sum(values @ basis[name] for name, values in tables.items())
            gram = projected.T.astype(float) @ projected.astype(float)
            found = {name: values.T @ projected for name, values in tables.items()} | {"gram": gram}
            for name, array in found.items():
                total[name] = total[name] + array if name in total else array
        return total


def find_components(folder: Folder) -> None:
    """Find what turns spectra into their leading components: where EM starts.

    The iteration of `luxscale.training.principal_start.find_principal_latents`, in the space of
    features alone: with G = P^T P = V L V^T, the columns of P V L^-1/2 are orthonormal.
    """
    plan = folder.plan
    measured = plan.measured
    sizes = [plan.sizes[i] for i in measured]
    counts = count_values(folder)
    roots = []
    for i in measured:
        total, count = counts[f"ivar-{plan.outputs[i].name}"]
        roots.append(np.sqrt(total / np.maximum(count, 1))[:, None])
    edges = np.cumsum(sizes)[:-1]

    def lay_out(basis: np.ndarray) -> Found:
        # orthonormal columns of the same space, so that their products are well conditioned
        orthonormal, _ = np.linalg.qr(basis.astype(float))
        parts = zip(measured, roots, np.split(orthonormal, edges), strict=True)
        return {f"basis-{i}": (root * part).astype(np.float32) for i, root, part in parts}

    basis = draw_basis(sum(sizes), plan.latent_dim, plan.n_stars)
    found = folder.take("basis-0", lambda: lay_out(basis))
    for number in range(ROUNDS):

        def find(number: int = number, before: Found = found) -> Found:
            name = f"basis-{number}"
            stage = Iterate(plan=plan, name=name, step=name)
            folder.run(stage, plan.regions, f"start, round {number + 1} of {ROUNDS}")
            turn = _orthonormalise(folder.sum(name, "gram"))
            after = np.concatenate(
                [
                    root * (folder.sum(name, f"basis-{i}") @ turn)
                    for i, root in zip(measured, roots, strict=True)
                ]
            )
            if number + 1 < ROUNDS:
                return lay_out(after)
            _, _, rotation = np.linalg.svd(after, full_matrices=False)
            width = plan.latent_dim
            components = turn @ rotation.T[:, :width] * np.sqrt(plan.n_stars)
            lacking = width - components.shape[1]
            # latents beyond what the data have components start at 0
            components = np.pad(components, ((0, 0), (0, lacking)))
            return {
                f"turn-{i}": (before[f"basis-{i}"] @ components).astype(np.float32)
                for i in measured
            }

        name = f"basis-{number + 1}" if number + 1 < ROUNDS else PRINCIPAL
        found = folder.take(name, find, drop=[f"basis-{number}"])


def _orthonormalise(gram: np.ndarray) -> np.ndarray:
    """Return T for which the columns of P T are orthonormal, or 0 beyond the rank of P."""
    sizes, vectors = np.linalg.eigh(gram)
    kept = sizes > 1e-12 * sizes[-1]
    lengths = np.sqrt(np.where(kept, sizes, 1))
    scale = np.where(kept, 1 / lengths, 0)
    return np.asarray(vectors * scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindLatents:
    """The leading components of the spectra of a region's stars: a `Stage`.

    Parameters
    ----------
    plan : Plan
    name : str
    """

    plan: Plan
    name: str = "principal-latents"

    def compute(self, region: Region) -> Found:
        """Return the latents that EM starts from: (star, latent)."""
        found = []
        for positions in iterate_batches(self.plan, region):
            data = load_batch(self.plan, positions, labels=False)
            found.append(find_principal(self.plan, data)[: positions.size])
        return {"z": np.concatenate(found)}
