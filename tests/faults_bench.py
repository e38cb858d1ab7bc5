"""What `faults` injects faults into: the real command, on a small survey.

Beside it stands the catalogue of a run that nothing disturbed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import zarr

import luxscale as lux
from luxscale.cluster import cpu_count, worker_environment
from luxscale.examples.simulate import simulate_survey
from luxscale.schema.status import DONE

CHUNK, N_CHUNKS, N_PIXELS, LATENT_DIM = 64, 48, 400, 8
N_STARS, N_WORKERS = CHUNK * N_CHUNKS, 2

#: Seconds that a worker waits before it writes each array of a region, and for which a condition is
#: waited for.
SLOW_WRITE, PATIENCE = 0.02, 300.0


@dataclasses.dataclass
class Result:
    """What came of one kind of fault."""

    kind: str
    injected: int = 0
    lost: int = 0
    differing: int = 0
    skipped: str = ""
    complaints: list[str] = dataclasses.field(default_factory=list)

    def expect(self, condition: object, complaint: str) -> None:
        if not condition:
            self.complaints.append(complaint)


def poll(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.03)


def _slow() -> dict[str, str]:
    """What makes workers write slowly, in their environment."""
    preload = repr([str(Path(__file__).with_name("slow_worker.py"))])
    return {"DASK_DISTRIBUTED__WORKER__PRELOAD": preload, "SLOW_WRITE": str(SLOW_WRITE)}


@dataclasses.dataclass
class Scheduler:
    """A Dask cluster in processes of its own: where its scheduler is reached, and its process."""

    address: str
    process: subprocess.Popen

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path) -> Iterator[Scheduler]:
        """Start a scheduler and workers as a command does; at the end kill what is left."""
        at = folder / f"scheduler-{uuid.uuid4().hex}.json"
        here = ["--host", "127.0.0.1", "--scheduler-file", str(at), "--no-dashboard"]
        env = {**os.environ, **_slow(), **worker_environment(max(1, cpu_count() // N_WORKERS))}
        start = functools.partial(subprocess.Popen, env=env, stderr=subprocess.DEVNULL)
        run = [sys.executable, "-m"]
        scheduler = start(
            [
                *run,
                "distributed.cli.dask_scheduler",
                "--dashboard-address",
                "127.0.0.1:0",
                "--port",
                "0",
                *here,
            ]
        )
        processes = [scheduler]
        try:
            poll(lambda: at.exists() and at.read_text().endswith("}"), "a scheduler")
            worker = [*run, "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", *here]
            processes += [start(worker) for _ in range(N_WORKERS)]
            yield cls(json.loads(at.read_text())["address"], scheduler)
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()


class Command:
    """``luxscale label`` in a process of its own, whose workers write slowly."""

    def __init__(
        self,
        survey: Path,
        model: Path,
        out: Path,
        *options: str,
        log: Path | None = None,
        **env: str,
    ):
        self.log = log or Path(f"{out}.log.jsonl")
        self._mark, self._before = uuid.uuid4().hex, len(self._lines())
        command = [
            sys.executable,
            "-c",
            "from luxscale.cli import main; main()",
            "label",
            survey,
            "--model",
            model,
        ]
        command += ["--out", out, "--region-stars", CHUNK, "--log", self.log, *options]
        marked = {"FAULTS_MARK": self._mark}
        # a worker that takes longer to come back, on a machine busy with other work, would be given
        # up for good
        marked["DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT"] = "1h"
        self.process = subprocess.Popen(
            [str(c) for c in command],
            env={**os.environ, **_slow(), **marked, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def events(self, kind: str) -> list[dict]:
        """What this command has written to its log so far."""
        lines = [json.loads(line) for line in self._lines()[self._before :] if line.endswith("}")]
        return [line for line in lines if line["event"] == kind]

    def wait_for(self, regions: int) -> None:
        """Wait until it has done so many regions, or ended."""
        poll(lambda: len(self.events("region")) >= regions or self.ended, f"region {regions}")

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, those that are starting too."""
        return [
            p
            for p in self._family()
            if p.pid != self.process.pid and "spawn_main" in " ".join(_cmdline(p))
        ]

    def _family(self) -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if _environ(p).get("FAULTS_MARK") == self._mark]

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit status and what it said."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def kill(self) -> None:
        """Kill it, and see that no worker outlives it for long."""
        self.process.kill()
        self.process.communicate()
        poll(lambda: not self._family(), "the workers of a command that was killed to end")

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _environ(process: psutil.Process) -> dict[str, str]:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ()
    return {}


def _cmdline(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error, OSError):
        return process.cmdline()
    return []


@dataclasses.dataclass
class Bench:
    """A survey, a model and the catalogue of an undisturbed run; and what draws faults."""

    folder: Path
    seed: int
    kills: int = 10
    rng: random.Random = dataclasses.field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.survey, self.model = self.folder / "survey.zarr", self.folder / "model.zarr"
        simulate_survey(self.survey, N_STARS, n_pixels=N_PIXELS, chunk=CHUNK)
        stars = lux.open_survey(self.survey).isel(star=slice(0, 1024))
        lux.train(stars, LATENT_DIM, folds=2, iterations=4, progress=False).save(self.model)
        started = time.monotonic()
        with self.start("undisturbed") as command:
            status, said = command.end()
            assert status == 0, said
        self.seconds = time.monotonic() - started
        self.before_work = (
            self.seconds
            - sum(sum(e["seconds"].values()) for e in command.events("region")) / N_WORKERS
        )

    def start(
        self, name: str, *options: str, survey: Path | None = None, **more: object
    ) -> Command:
        """Give the command, on worker processes."""
        options = options or ("--workers", str(N_WORKERS))
        return Command(
            survey or self.survey, self.model, self.folder / f"{name}.zarr", *options, **more
        )

    def here(self, name: str, survey: Path | None = None) -> tuple[int, str]:
        """Give the command to work in its own process, with the threads that a worker has."""
        threads = worker_environment(max(1, cpu_count() // N_WORKERS))
        with self.start(name, "--workers", "0", survey=survey, **threads) as command:
            return command.end()

    def pending(self, name: str) -> set[int]:
        """Return the regions that are not done; all of them where no catalogue is yet."""
        try:
            status = contents(self.folder / f"{name}.zarr")["status"]
        except (FileNotFoundError, KeyError, zarr.errors.GroupNotFoundError):
            return set(range(N_CHUNKS))
        return set(np.flatnonzero((status.reshape(N_CHUNKS, CHUNK) != DONE).any(1)).tolist())

    def compare(self, name: str, result: Result) -> None:
        """Count the stars of a catalogue that are lost, or differ from an undisturbed run's."""
        found, right = (
            contents(self.folder / f"{name}.zarr"),
            contents(self.folder / "undisturbed.zarr"),
        )
        result.expect(
            found.keys() == right.keys(), f"{name}: other variables: {set(found) ^ set(right)}"
        )
        result.lost += int((found["status"] != DONE).sum())
        unlike = [
            differ(found[k], right[k]).reshape(N_STARS, -1).any(1)
            for k in right
            if len(right[k]) == N_STARS
        ]
        result.differing += int(np.any(unlike, axis=0).sum())
        attributes = zarr.open_group(self.folder / f"{name}.zarr", mode="r").attrs
        result.expect(attributes["complete"] == 1, f"{name}: not complete")

    def finish(self, name: str, result: Result, command: Command) -> str:
        """Wait for the end of a command that should succeed, and compare its catalogue."""
        status, said = command.end()
        result.expect(status == 0, f"{name}: exit status {status}: {said}")
        self.compare(name, result)
        return said


def contents(path: Path) -> dict[str, np.ndarray]:
    """Every array of a catalogue."""
    return {name: np.asarray(array[:]) for name, array in zarr.open_group(path, mode="r").arrays()}


def checksum(path: Path) -> str:
    """Return what tells whether any file of a store changed."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return digest.hexdigest()


def differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays differ bit for bit; NaN is NaN."""
    nan = (a != a) & (b != b)
    return (a != b) & ~nan
