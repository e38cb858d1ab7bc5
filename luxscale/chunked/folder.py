"""The folder of a training: what each step of it found, in files that appear when complete.

A step is done when its file is there. A run that goes on takes what is there and does the rest, so
that it ends as one that was never interrupted.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from luxscale.chunked.plan import Plan
from luxscale.errors import RunError
from luxscale.model.jit import use_one_blas_thread
from luxscale.runs.executors import Clock, describe_error, name_worker
from luxscale.runs.job import Job, Runner
from luxscale.store import RUN, explain_writing

#: Arrays by name.
Found = dict[str, np.ndarray]

_PARTS = "parts"


class Stage(Protocol):
    """One pass over the regions, or over tiles of features."""

    @property
    def plan(self) -> Plan:
        """The plan."""

    @property
    def name(self) -> str:
        """Its name in the folder, unlike that of any other."""

    def compute(self, item: Any) -> Found:
        """Return what is found of an item."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task reports.

    Parameters
    ----------
    stage : str
    index : int
        Of its item.
    seconds : dict of str to float
    cpu : float
        Processor seconds.
    worker : str
        Host and process.
    """

    stage: str
    index: int
    seconds: dict[str, float]
    cpu: float
    worker: str


def run_stage(stage: Stage, item: Any) -> Outcome:
    """Do an item of a stage, and write what was found."""
    clock, started = Clock(), time.process_time()
    target = stage.plan.path / _PARTS / stage.name / str(item.index)
    if not target.exists():
        # threads of BLAS round sums by their number
        with use_one_blas_thread():
            found = stage.compute(item)
        clock.mark("compute")
        _write_arrays(target, found)
        clock.mark("write")
    return Outcome(
        stage=stage.name,
        index=item.index,
        seconds=clock.seconds,
        cpu=round(time.process_time() - started, 3),
        worker=name_worker(),
    )


def _write_arrays(target: Path, found: Found) -> None:
    """Write arrays as files of a directory, which appears when it is complete."""
    with explain_writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        for name, array in found.items():
            np.save(made / f"{name}.npy", array)
        try:
            os.replace(made, target)
        except OSError:
            # another worker, taken for lost, was there before with the same
            shutil.rmtree(made, ignore_errors=True)
            if not target.exists():
                raise


def load_part(plan: Plan, stage: str, index: int, name: str) -> np.ndarray:
    """Return what a stage found of an item, as a file that is read where it is used."""
    found: np.ndarray = np.load(_locate(plan, stage, index, name), mmap_mode="r")
    return found


def has_part(plan: Plan, stage: str, index: int, name: str) -> bool:
    """Return whether a stage, which is done, found something of that name of an item."""
    return _locate(plan, stage, index, name).exists()


def _locate(plan: Plan, stage: str, index: int, name: str) -> Path:
    return plan.path / _PARTS / stage / str(index) / f"{name}.npy"


def load_step(folder: str, name: str) -> Found:
    """Return what a step found; read once a process."""
    path = Path(folder) / f"{name}.npz"
    return _load(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _load(path: Path, changed: int) -> Found:
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def remove_all(path: Path) -> None:
    """Remove all that steps left in a folder, but not its lock."""
    for left in path.iterdir():
        if left.name not in ("zarr.json", RUN):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()


class Folder:
    """The folder of a training that is under way.

    Parameters
    ----------
    plan : Plan
    runner : Runner
    """

    def __init__(self, plan: Plan, runner: Runner) -> None:
        self.plan = plan
        self._runner = runner

    def take(self, name: str, find: Callable[[], Found], drop: Sequence[str] = ()) -> Found:
        """Return what a step found, which is done if it is not yet.

        Parameters
        ----------
        name : str
        find : callable
        drop : sequence of str
            Stages whose parts nothing needs any more.
        """
        target = self.plan.path / f"{name}.npz"
        if not target.exists():
            found = find()
            with explain_writing(target):
                made = target.with_name(f".{target.name}")
                with made.open("wb") as file:
                    np.savez(file, **found)  # type: ignore[arg-type]
                os.replace(made, target)
        self.drop(*drop)
        return load_step(self.plan.folder, name)

    def run(self, stage: Stage, items: Sequence[Any], title: str, unit: str = "stars") -> None:
        """Do the items of a stage that are not done yet.

        Raises
        ------
        RunError
            Names what could not be done.
        """
        there = self.plan.path / _PARTS / stage.name
        pending = [item for item in items if not (there / str(item.index)).exists()]
        if not pending:
            return
        job = Job(
            task=run_stage,
            plan=stage,
            where=self.plan.folder,
            title=title,
            unit=unit,
            event="part",
            size=lambda item: item.size,
            even=True,
            total=sum(item.size for item in items),
        )
        _, failed = self._runner.run_job(job, pending)
        if failed:
            item, error = min(failed.items(), key=lambda pair: pair[0].index)
            raise RunError(
                f"{self.plan.where}: {len(failed)} of {len(items)} parts of the training could not "
                f"be done ({title}); part {item.index}: {describe_error(error).rstrip('.')}. All "
                "others are kept: fix the cause and run the same command again"
            ) from error

    def drop(self, *stages: str) -> None:
        """Remove the parts of stages."""
        for stage in stages:
            shutil.rmtree(self.plan.path / _PARTS / stage, ignore_errors=True)

    def list_parts(self, stage: str, name: str) -> list[np.ndarray]:
        """Return what a stage found of each region, in their order, where it found it."""
        return [
            load_part(self.plan, stage, region.index, name)
            for region in self.plan.regions
            if has_part(self.plan, stage, region.index, name)
        ]

    def load(self, stage: str, index: int, name: str) -> np.ndarray:
        """Return what a stage found of an item."""
        return load_part(self.plan, stage, index, name)

    def collect(self, stage: str, name: str) -> np.ndarray:
        """Return what a stage found of the stars of all regions, in their order."""
        return np.concatenate(self.list_parts(stage, name))

    def sum(self, stage: str, name: str) -> np.ndarray:
        """Return the sum over the regions of what a stage found, in their order: float64."""
        total: Any = 0.0
        for part in self.list_parts(stage, name):
            total = total + np.asarray(part, float)
        return np.asarray(total)
