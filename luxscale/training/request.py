"""What is asked of a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luxscale.training.initial import Inherited
from luxscale.training.nuisances import Asked
from luxscale.training.recipes import Recipe
from luxscale.training.settings import check_whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained, and how; see `luxscale.train`.

    Parameters
    ----------
    outputs : sequence of str, optional
    method : str
    latent_dim : int, optional
    settings : mapping
        Of the method.
    windows : mapping of label to sequence of (least, greatest), optional
    prior : float, optional
    folds, seed : int
    label_clip : float
    where : str
        Name of the survey in messages.
    progress : bool
    advises : bool
        Whether it is said what may make labels wrong, also without progress; of trials it is not.
    compared : mapping
        What is put on record beside the settings.
    initial : Inherited, optional
        What it goes on from.
    checkpoint : str or Path, optional
    nuisances : Asked, optional
    unlabelled : int
        Stars without labels that take part.
    others : sequence of Recipe
        Of further members of an ensemble.

    Raises
    ------
    InputError
        If one of the numbers is out of its range.
    """

    outputs: Sequence[str] | None
    method: str
    latent_dim: int | None
    settings: Mapping[str, Any]
    windows: Mapping[str, Sequence[tuple[float, float]]] | None
    prior: float | None
    folds: int
    seed: int
    label_clip: float
    where: str
    progress: bool
    advises: bool = False
    compared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    initial: Inherited | None = None
    checkpoint: str | Path | None = None
    nuisances: Asked | None = None
    unlabelled: int = 0
    others: Sequence[Recipe] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_whole("folds", self.folds, 1)
        check_whole("seed", self.seed, 0)
        check_whole("unlabelled", self.unlabelled, 0)
