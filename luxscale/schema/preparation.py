"""How spectra were prepared: what a survey of files records, and a model hands on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

#: Attribute of spectra that says how they were prepared, JSON.
PREPARATION = "preparation"

#: Settings of a recipe that change the flux of good pixels.
_SHAPING = ("rest_frame", "continuum", "order", "length", "chips", "continuum_pixels")

#: What is done about the continuum where flux of files of two formats cannot be compared.
_LEFT_AS_IN_FILE = ("none", "file")


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How spectra of files were prepared.

    Parameters
    ----------
    format : str
        Of the files.
    options : mapping of str to str
        Of the format.
    recipe : mapping of str to value
        Of `luxscale.prepare.Recipe`, with lists for tuples.
    """

    format: str
    options: Mapping[str, str]
    recipe: Mapping[str, Any]

    @classmethod
    def parse(cls, text: Any) -> Preparation | None:
        """Return what an attribute says; None where it says nothing."""
        try:
            facts = json.loads(text)
            return cls(facts["format"], dict(facts["options"]), dict(facts["recipe"]))
        except (TypeError, ValueError, KeyError):
            return None

    def __str__(self) -> str:
        """Return the JSON that `parse` reads."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def describe(self) -> str:
        """Return the format and what was done about the continuum, in words."""
        words = f"{self.format}, continuum {self.recipe.get('continuum')}"
        order = self.recipe.get("order")
        return words if order is None else f"{words} of order {order}"


def list_differences(survey: Any, model: Any) -> list[str]:
    """Say in what the flux of a survey was prepared otherwise than a model's.

    Parameters
    ----------
    survey, model : str
        Attributes; where one of them says nothing, no difference is known.

    Returns
    -------
    list of str
        Each difference in words. Which pixels were taken for bad is none.
    """
    theirs, ours = Preparation.parse(survey), Preparation.parse(model)
    if theirs is None or ours is None:
        return []
    found = []
    for name in _SHAPING:
        is_now, was = theirs.recipe.get(name), ours.recipe.get(name)
        if is_now != was:
            found.append(f"{name} is {is_now!r}, the model's {was!r}")
    as_in_file = ours.recipe.get("continuum") in _LEFT_AS_IN_FILE
    if as_in_file and theirs.format != ours.format:
        found.insert(0, f"format is {theirs.format!r}, the model's {ours.format!r}")
    return found
