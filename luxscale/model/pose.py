"""The problem of inference that a model poses to the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from luxscale.model.designs import (
    add_components,
    is_plain,
    make_design,
    make_head,
    make_windows,
)
from luxscale.model.distort import distort
from luxscale.model.jit import check_jax, use_one_blas_thread
from luxscale.model.landmarks import make_landmarks
from luxscale.model.lux import LuxModel
from luxscale.model.output import Output
from luxscale.model.presence import list_bits
from luxscale.model.problem import Problem, put_on_device


def pose_problem(
    model: LuxModel,
    given: Sequence[Output],
    labels: Sequence[Output],
    *,
    exactly: bool = False,
) -> Problem:
    """Return what the kernel needs to know of a model, without its further members.

    Parameters
    ----------
    model : LuxModel
    given : sequence of Output
        What latents are inferred from.
    labels : sequence of Output
        What is predicted from them.
    exactly : bool
        Whether to go the exact way always.
    """
    check_jax()
    search = not all(map(is_plain, given)) or not model.prior.is_gaussian
    search = search or not all(o.map.features.is_linear for o in labels)
    heads = tuple(make_head(o, model.measured) for o in labels)
    # the same to the last bit in every process, however many threads BLAS has there
    with use_one_blas_thread():
        made = [make_design(o, search) for o in given]
        made, distortion = distort(made, given, search)
        if not (search or exactly or distortion):
            made = [add_components(design, heads) for design in made]
        if not search:
            made = [d if d.components else d.multiplied for d in made]
        designs = put_on_device(made)
        prior = model.prior.prepare(model.latent_dim)
        landmarks = make_landmarks(designs, prior, every_term=model.every_term)
    return Problem(
        designs=designs,
        heads=heads,
        windows=tuple(make_windows(labels, given)),
        prior=prior,
        limits=model.limits,
        landmarks=landmarks,
        distortion=distortion,
        bits=list_bits(labels, given, model.measured),
    )
