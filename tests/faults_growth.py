"""Faults of surveys that grow, and of catalogues that grow or are replaced."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import zarr
from faults_bench import CHUNK, LATENT_DIM, N_CHUNKS, N_STARS, Bench, Result, checksum, contents

import luxscale as lux


class Nightly:
    """A copy of the survey that begins with some of its stars, and gets the others."""

    def __init__(self, bench: Bench, name: str, n_stars: int):
        self.path = bench.folder / f"{name}.zarr"
        shutil.copytree(bench.survey, self.path)
        self._whole = contents(bench.survey)
        found = zarr.open_group(self.path, mode="r+").arrays()
        self.arrays = [a for _, a in found if a.metadata.dimension_names[0] == "star"]
        self.size = n_stars
        for array in self.arrays:
            array.resize((n_stars, *array.shape[1:]))

    def append(self, size: int, arrays: list[zarr.Array] | None = None, pause: float = 0) -> None:
        """Give arrays, all if not said which, the stars up to a number."""
        for array in self.arrays if arrays is None else arrays:
            array.append(self._whole[array.name.strip("/")][array.shape[0] : size])
            time.sleep(pause)
        self.size = size


def survey_grows(bench: Bench, result: Result) -> None:
    """The survey gets more stars between commands that are killed at random moments."""
    sizes = [N_STARS // 3 + 7, 2 * N_STARS // 3 + 11, N_STARS]
    survey = Nightly(bench, "nightly", sizes[0])
    for size in [*sizes[1:], None]:
        for _ in range(max(2, bench.kills // 4)):
            with bench.start("growing", survey=survey.path) as command:
                if bench.rng.random() < 0.5:  # while it starts, or makes room
                    time.sleep(bench.rng.uniform(0, bench.before_work))
                else:
                    command.wait_for(bench.rng.randint(0, 3))
                command.kill()
                result.injected += 1
        if size is not None:
            survey.append(size)
    with bench.start("growing", survey=survey.path) as command:
        bench.finish("growing", result, command)


def grows_while_labelled(bench: Bench, result: Result) -> None:
    """The survey gets more stars, an array after the other, while it is labelled."""
    survey = Nightly(bench, "busy", N_STARS // 2 + 5)
    for size in (3 * N_STARS // 4 + 9, N_STARS):
        with bench.start("busy-catalog", survey=survey.path) as command:
            command.wait_for(bench.rng.randint(1, N_CHUNKS // 8))
            result.expect(not command.ended, "the run ended too soon to be disturbed")
            bench.rng.shuffle(survey.arrays)
            survey.append(size, pause=bench.rng.uniform(0, 0.3))
            result.injected += 1
            status, said = command.end()
            result.expect(status == 0, f"exit status {status}: {said}")
    with bench.start("busy-catalog", survey=survey.path) as command:
        bench.finish("busy-catalog", result, command)


def append_cut_off(bench: Bench, result: Result) -> None:
    """Adding stars is cut off between two arrays; then it is finished."""
    name, step = "cut-catalog", N_STARS // 4
    survey = Nightly(bench, "cut", step + 3)
    for size in (2 * step + 1, 3 * step, N_STARS):
        with bench.start(name, survey=survey.path) as command:
            status, said = command.end()
        result.expect(status == 0, f"exit status {status}: {said}")
        before = checksum(bench.folder / f"{name}.zarr")
        bench.rng.shuffle(survey.arrays)
        n_done = bench.rng.randint(1, len(survey.arrays) - 1)
        first, rest = survey.arrays[:n_done], survey.arrays[n_done:]
        survey.append(size, first)
        result.injected += 1
        status, said = bench.here(name, survey.path)
        told = status == 1 and "adding them was cut off; finish that" in said and "cut.zarr" in said
        result.expect(told, f"status {status}: {said}")
        same = checksum(bench.folder / f"{name}.zarr") == before
        result.expect(same, "the catalogue was changed")
        survey.append(size, rest)
    with bench.start(name, survey=survey.path) as command:
        bench.finish(name, result, command)


def two_writers(bench: Bench, result: Result) -> None:
    """Two commands begin at once to write into one catalogue, and one of them is killed."""
    pending = set(range(N_CHUNKS))
    for _ in range(max(3, bench.kills // 3)):
        with bench.start("both") as first, bench.start("both") as second:
            pair = [first, second]
            bench.rng.shuffle(pair)
            time.sleep(bench.rng.uniform(0, bench.before_work + 1))
            pair[0].kill()
            result.injected += 1
            if bench.rng.random() < 0.5:
                pair[1].kill()
            else:
                status, said = pair[1].end()
                refused = status == 1 and "another run" in said
                result.expect(status == 0 or refused, f"exit status {status}: {said}")
        left = bench.pending("both")
        result.expect(left <= pending, f"regions {left - pending} were lost")
        pending = left
    with bench.start("both") as command:
        bench.finish("both", result, command)


def catalogue_replaced(bench: Bench, result: Result) -> None:
    """A newer model labels all stars anew, and is killed; the old catalogue stays whole."""
    out, other = bench.folder / "replaced.zarr", bench.folder / "older.zarr"
    new = Path(f"{out}.new")
    stars = lux.open_survey(bench.survey).isel(star=slice(0, 512))
    lux.train(stars, LATENT_DIM, folds=2, iterations=2, progress=False).save(other)
    lux.label_survey(bench.survey, other, out, region_stars=CHUNK, progress=False)
    before = checksum(out)
    options = ("--workers", "2", "--relabel")
    for _ in range(max(4, bench.kills // 2)):
        if 0 < _count_left(new) < N_CHUNKS // 2:  # the next might replace it before it is killed
            break
        with bench.start("replaced", *options) as command:
            if bench.rng.random() < 0.5:  # while it starts
                time.sleep(bench.rng.uniform(0, bench.before_work))
            else:
                command.wait_for(bench.rng.randint(0, N_CHUNKS // 6))
            command.kill()
            result.injected += 1
        if checksum(out) != before:  # done before it was killed, on a machine busy with other work
            bench.compare("replaced", result)
            break
    for _ in range(3):  # about when it is put in place
        with bench.start("replaced", *options) as command:
            command.wait_for(_count_left(new))
            time.sleep(bench.rng.uniform(0, 1))
            command.kill()
            result.injected += 1
    with bench.start("replaced", *options) as command:
        bench.finish("replaced", result, command)
    result.expect(not new.exists(), "something is left beside it")


def _count_left(path: Path) -> int:
    """Return how many regions a catalogue has to do still."""
    try:
        status = np.asarray(zarr.open_group(path, mode="r")["status"][:])
    except (FileNotFoundError, KeyError):
        return 0
    return int((status.reshape(-1, CHUNK) == 0).any(axis=1).sum())


KINDS = (survey_grows, grows_while_labelled, append_cut_off, two_writers, catalogue_replaced)
