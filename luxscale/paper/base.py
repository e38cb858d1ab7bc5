"""What the figures share: a register of them, and what they are drawn from.

Surveys, models and catalogues are made once and kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

import luxscale as lux
from luxscale import store
from luxscale.errors import InputError
from luxscale.model.lux import LuxModel
from luxscale.progress import Progress
from luxscale.schema.variables import STAR

#: Pixels of the simulated spectra: as many as APOGEE's.
PIXELS = 8575


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A directory of figures, with what they are drawn from beside them.

    Parameters
    ----------
    out : Path
        Figures are written here, and surveys, models and catalogues under ``work`` in it.
    fraction : float
        Number of stars over the paper's: 1 for as many, less for a quick look.
    pixels : int
        Pixels of simulated spectra.
    data : Path, optional
        Directory of files that others publish, for the figures that need them.
    recipe : str, optional
        Recipe of training in place of the paper's linear model.
    progress : bool
        Whether to show progress on standard error.
    """

    out: Path
    fraction: float = 1.0
    pixels: int = PIXELS
    data: Path | None = None
    recipe: str | None = None
    progress: bool = True

    def count_stars(self, paper: int, least: int = 50) -> int:
        """Return how many stars to take where the paper takes ``paper``."""
        return max(least, round(self.fraction * paper))

    def find_file(self, name: str) -> Path:
        """Return the path of a published file.

        Raises
        ------
        InputError
            If it is not there.
        """
        absent = ""
        if self.data is not None:
            path = self.data / name
            if path.exists():
                return path
            absent = f"{name} is not in {self.data}: "
        raise InputError(
            f"{absent}give the directory that holds {name} with --data; `luxscale guide paper` "
            "says where it comes from"
        )

    def keep(self, name: str, make: Callable[[], xr.Dataset], **settings: Any) -> xr.Dataset:
        """Return a dataset that ``make`` returns, made once for these settings and kept in Zarr."""

        def write(path: Path) -> None:
            with store.write_then_move(path) as made:
                store.write_arrays(make(), made)

        return self.write_once(name, write, **settings)

    def write_once(self, name: str, write: Callable[[Path], None], **settings: Any) -> xr.Dataset:
        """Return a dataset that ``write`` writes to a path, once for these settings.

        It must write the dataset whole or not at all.
        """
        path = self._find_path(name, settings)
        if store.read_attributes(path) is None:
            write(path)
        return store.open_dataset(path)

    def train(self, survey: xr.Dataset, latent_dim: int) -> LuxModel:
        """Return a model by the recipe of the study, or the linear one with so many latents."""
        if self.recipe is None:
            return lux.train(survey, latent_dim, progress=self.progress)
        return lux.train(survey, recipe=self.recipe, progress=self.progress)

    @property
    def training(self) -> dict[str, Any]:
        """What tells models of the recipe from others, among the settings that they are kept by."""
        return {} if self.recipe is None else {"recipe": self.recipe}

    def keep_model(self, name: str, train: Callable[[], LuxModel], **settings: Any) -> LuxModel:
        """Return a model that ``train`` returns, trained once for these settings and kept."""
        path = self._find_path(name, settings)
        if store.read_attributes(path) is None:
            train().save(path)
        return lux.load_model(path)

    def map_blocks(
        self, what: str, survey: xr.Dataset, work: Callable[[xr.Dataset], xr.Dataset]
    ) -> xr.Dataset:
        """Return what ``work`` makes of a survey's stars, a chunk of them in memory at a time."""
        parts = []
        n = survey.sizes[STAR]
        with Progress(what, n, unit="stars", enabled=self.progress) as shown:
            for start in range(0, n, store.CHUNK):
                shown.update(start)
                block = survey.isel({STAR: slice(start, start + store.CHUNK)}).compute()
                parts.append(work(block).compute())
        return xr.concat(
            parts,
            STAR,
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="override",
        )

    def _find_path(self, name: str, settings: dict[str, Any]) -> Path:
        """Return the path of what is kept for some settings; its name holds their digest."""
        every = {"fraction": self.fraction, "pixels": self.pixels, **settings}
        text = json.dumps(every, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        folder = self.out / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{digest}.zarr"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A figure of the paper.

    Parameters
    ----------
    number : str
        The paper's, with a word after it if it is of other data.
    title : str
        What it shows.
    needs : tuple of str
        Published files, by name.
    draw : callable
        Takes a `Study`, returns a Matplotlib figure.
    modules : tuple of str
        Python modules of the extra ``figures``.
    """

    number: str
    title: str
    needs: tuple[str, ...]
    draw: Callable[[Study], Figure]
    modules: tuple[str, ...] = ()

    def check(self, study: Study) -> None:
        """Check that the files and modules that the figure needs are there.

        Raises
        ------
        InputError
            If one is not; it says what to do.
        """
        for name in self.needs:
            study.find_file(name)
        for name in self.modules:
            if importlib.util.find_spec(name) is None:
                raise InputError(
                    f"the module {name} is not installed: pip install 'luxscale[figures]'"
                )


#: Figures by number; one that the paper has of other data is called after its number, such as
#: ``7-xp``.
FIGURES: dict[str, Entry] = {}


def register_figure(
    number: str, title: str, *needs: str, modules: tuple[str, ...] = ()
) -> Callable[[Callable[[Study], Figure]], Callable[[Study], Figure]]:
    """Register a function that draws a figure of the paper."""

    def register(function: Callable[[Study], Figure]) -> Callable[[Study], Figure]:
        FIGURES[number] = Entry(
            number=number,
            title=title,
            needs=needs,
            draw=function,
            modules=modules,
        )
        return function

    return register


def sort_numbers() -> list[str]:
    """Return the numbers of all figures in the paper's order: 7, then 7-xp, then 8."""
    return sorted(FIGURES, key=lambda number: (int(number.split("-")[0]), number))


def draw(
    study: Study, numbers: Sequence[str] = (), *, overwrite: bool = False
) -> Iterator[tuple[Entry, Path | None, str]]:
    """Draw figures, all by default, into ``figure-NUMBER.png``.

    Parameters
    ----------
    study : Study
    numbers : sequence of str
        Of the figures; all by default, without those that cannot be drawn, as for want of a file.
    overwrite : bool
        Whether to replace figures that are there.

    Yields
    ------
    entry, path, note
        ``path`` is None where a figure was left out; ``note`` says why.

    Raises
    ------
    InputError
        If there is no such figure, or one is there already and ``overwrite`` is false, or one that
        was asked for by number cannot be drawn: before any is, if a file or module is not there.
    """
    for number in numbers:
        if number not in FIGURES:
            raise InputError(f"no figure {number!r}; there are {', '.join(sort_numbers())}")
        try:
            FIGURES[number].check(study)
        except InputError as error:
            raise InputError(f"figure {number}: {error}") from error
    chosen = [FIGURES[n] for n in (numbers or sort_numbers())]
    paths = {entry.number: study.out / f"figure-{entry.number}.png" for entry in chosen}
    for path in paths.values():
        store.claim_figure_in(study.out, path.name, overwrite=overwrite)
    with Progress("figures", len(chosen), enabled=study.progress) as progress:
        for done, entry in enumerate(chosen):
            progress.update(done, f"figure {entry.number}, {entry.title}")
            path = paths[entry.number]
            try:
                entry.check(study)
                _save(entry, study, path)
            except InputError as error:
                if numbers:
                    raise InputError(f"figure {entry.number}: {error}") from error
                yield entry, None, str(error)
            else:
                yield entry, path, ""


def _save(entry: Entry, study: Study, path: Path) -> None:
    """Draw a figure into a file.

    Raises
    ------
    InputError
        If it cannot be drawn; of few stars it says what to do about that.
    """
    try:
        store.save_figure(entry.draw(study), path)
    except InputError as error:
        if study.fraction >= 1:
            raise
        raise InputError(
            f"{error}; if stars are too few, give a larger --fraction than {study.fraction:g}"
        ) from error
