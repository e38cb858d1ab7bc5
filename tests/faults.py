"""Injects faults into runs over a small simulated survey, and counts what was lost.

``python tests/faults.py --seed 1`` kills, stops and starves the processes of the real command,
damages and removes its input, fills its disk and changes what it works on; afterwards it gives the
same command again and compares the catalogue with that of a run that nothing disturbed. Exits 1 if
a star was lost or differs, or a run did not behave.
"""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import faults_growth
import numpy as np
import psutil
import zarr
from faults_bench import (
    CHUNK,
    LATENT_DIM,
    N_CHUNKS,
    SLOW_WRITE,
    Bench,
    Command,
    Result,
    Scheduler,
    checksum,
    contents,
    differ,
    poll,
)

import luxscale as lux
from luxscale.errors import InputError
from luxscale.schema.flags import BIT
from luxscale.schema.status import DONE, UNREADABLE

#: How long a client looks for a scheduler that is gone: Dask's default is 30 s.
QUICK_TO_GIVE_UP = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}


def client_killed(bench: Bench, result: Result) -> None:
    """The client is killed at random moments, and the same command given again."""
    name, pending = "client", set(range(N_CHUNKS))
    for kill in range(bench.kills):
        with bench.start(name) as command:
            if kill < bench.kills // 3:  # while it starts, at any moment
                time.sleep(bench.rng.uniform(0, bench.before_work))
            else:
                rest = len(pending) - (bench.kills - kill)
                command.wait_for(bench.rng.randint(0, max(0, 2 * rest // (bench.kills - kill + 1))))
                time.sleep(bench.rng.uniform(0, 8 * SLOW_WRITE))
            command.kill()
            result.injected += 1
            _check_recomputed(command, pending, result)
        pending = bench.pending(name)
    result.expect(len(pending) < N_CHUNKS, "no kill fell into the work")
    with bench.start(name) as command:
        bench.finish(name, result, command)
        last = {e["region"] for e in command.events("region")}
    result.expect(last == pending, f"the last command did {last}, not what was left: {pending}")


def _check_recomputed(command: Command, pending: set[int], result: Result) -> None:
    again = {e["region"] for e in command.events("region")} - pending
    result.expect(not again, f"regions {again} were done again")


def workers_killed(bench: Bench, result: Result) -> None:
    """Random workers are killed, again and again; some while they start."""
    with bench.start("workers") as command:
        for target in sorted(bench.rng.sample(range(1, N_CHUNKS - 4), max(20, bench.kills))):
            command.wait_for(target)
            time.sleep(bench.rng.uniform(0, 8 * SLOW_WRITE))
            poll(lambda: command.workers() or command.ended, "a worker to kill")
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                bench.rng.choice(command.workers()).kill()
                result.injected += 1
        bench.finish("workers", result, command)
        result.expect(command.events("worker lost"), "no lost worker in the log")


def scheduler_killed(bench: Bench, result: Result) -> None:
    """The scheduler of a running cluster is killed; the command is given again on a new one."""
    with (
        Scheduler.start(bench.folder) as cluster,
        bench.start("scheduler", "--scheduler", cluster.address, **QUICK_TO_GIVE_UP) as command,
    ):
        command.wait_for(bench.rng.randint(2, N_CHUNKS // 2))
        time.sleep(bench.rng.uniform(0, 8 * SLOW_WRITE))
        cluster.process.kill()
        result.injected += 1
        status, said = command.end()
    message = said.strip().splitlines()[-1]
    result.expect(
        status == 1 and "start a cluster and run the same command again" in message,
        f"{status}: {said}",
    )
    result.expect("Error: " in message and "scheduler.zarr" in message, f"no account: {said}")
    pending = bench.pending("scheduler")
    result.expect(0 < len(pending) < N_CHUNKS, f"{len(pending)} regions are pending")
    with (
        Scheduler.start(bench.folder) as cluster,
        bench.start("scheduler", "--scheduler", cluster.address) as command,
    ):
        bench.finish("scheduler", result, command)
        again = {e["region"] for e in command.events("region")}
        result.expect(
            again == pending, f"the last command did {again}, not what was left: {pending}"
        )


def _impatient() -> dict[str, str]:
    """Make the scheduler give up a silent worker after 10 s, not after Dask's five minutes."""
    preload = repr([str(Path(__file__).with_name("impatient_scheduler.py"))])
    return {"DASK_DISTRIBUTED__SCHEDULER__PRELOAD": preload, "WORKER_TTL": "10"}


def worker_stalled(bench: Bench, result: Result) -> None:
    """A worker stops for good, as one does whose file system hangs."""
    with bench.start("stalled", **_impatient()) as command:
        command.wait_for(bench.rng.randint(2, N_CHUNKS // 2))
        bench.rng.choice(command.workers()).send_signal(signal.SIGSTOP)
        result.injected += 1
        bench.finish("stalled", result, command)


def worker_out_of_memory(bench: Bench, result: Result) -> None:
    """A worker may allocate no more: it fails, ends, or hangs and is given up."""
    with bench.start("memory", TAKE_BYTES=str(2**26), **_impatient()) as command:
        command.wait_for(bench.rng.randint(2, N_CHUNKS // 2))
        worker = bench.rng.choice(command.workers())
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (2**20, 2**20))
        result.injected += 1
        status, said = command.end()
        suffered = command.events("fault") or command.events("worker lost")
        result.expect(suffered, "the worker did not run out of memory")
    if status:
        result.expect("run the same command again" in said, f"no account: {said}")
    with bench.start("memory") as command:
        bench.finish("memory", result, command)


def input_damaged(bench: Bench, result: Result) -> None:
    """A chunk of the survey is corrupt, one cut short, one missing; then they are mended."""
    survey, name = bench.folder / "damaged.zarr", "input"
    shutil.copytree(bench.survey, survey)
    chunks = [
        0,
        *bench.rng.sample(range(1, N_CHUNKS), 2),
    ]  # 0 is one of those that are looked at before a run
    for chunk, damage in zip(chunks, (_corrupt, _truncate, Path.unlink), strict=True):
        variable = bench.rng.choice(["flux", "flux_ivar"])
        damage(survey / variable / "c" / str(chunk) / "0")
        result.injected += 1
    status, said = bench.here(name, survey)
    result.expect(
        status == 1 and "cannot be read" in said, f"damaged input: exit status {status}: {said}"
    )
    result.expect(f"region {min(chunks)}: " in said, f"the region is not named: {said}")
    bad = np.zeros((N_CHUNKS, CHUNK), bool)
    bad[chunks] = True
    found, right = (contents(bench.folder / f"{n}.zarr") for n in (name, "undisturbed"))
    result.expect(
        (found["status"] == np.where(bad.ravel(), UNREADABLE, DONE)).all(),
        "other stars are unreadable",
    )
    result.expect(
        ((found["flags"] & BIT["unreadable"] > 0) == bad.ravel()).all(), "other stars are flagged"
    )
    result.expect(np.isnan(found["label_value"][bad.ravel()]).all(), "unreadable stars have labels")
    same = ~differ(found["label_value"], right["label_value"])[~bad.ravel()]
    result.expect(same.all(), "damage spread to other stars")
    for variable in ("flux", "flux_ivar"):
        shutil.copytree(bench.survey / variable, survey / variable, dirs_exist_ok=True)
    with bench.start(name, survey=survey) as command:
        bench.finish(name, result, command)
        result.expect(
            {e["region"] for e in command.events("region")} == set(chunks),
            "not just the damaged were redone",
        )


def input_away(bench: Bench, result: Result) -> None:
    """The survey goes away during a run: until it is missed, and until the run has ended."""
    survey, away = bench.folder / "going.zarr", bench.folder / "away"
    shutil.copytree(bench.survey, survey)
    for name, comes_back in (("back", True), ("gone", False)):
        with bench.start(name, survey=survey) as command:
            command.wait_for(bench.rng.randint(2, N_CHUNKS // 2))
            survey.rename(away)
            result.injected += 1
            poll(lambda: command.events("fault") or command.ended, "the survey to be missed")
            if comes_back:
                away.rename(survey)
            status, said = command.end()
            if not comes_back:
                away.rename(survey)
        if status or not comes_back:
            account = said.strip().splitlines()[-1]
            told = (
                status == 1
                and "going.zarr: is not there" in account
                and "run the same command again" in account
            )
            result.expect(told, f"{name}: exit status {status}: {said}")
        with bench.start(name, survey=survey) as command:
            bench.finish(name, result, command)
            result.expect(not command.events("fault"), f"{name}: faults afterwards")


def _corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8] = bytes(b ^ 0xFF for b in data[middle : middle + 8])
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def disk_full(bench: Bench, result: Result) -> None:
    """The disk fills up with something else; then there is room again."""
    with _disk(bench, result) as place:
        if place is None:
            return

        def fill() -> None:
            with contextlib.suppress(OSError), open(place / "filler", "wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()

        _no_writing(bench, result, fill, (place / "filler").unlink, "No space left on device")


def permission_lost(bench: Bench, result: Result) -> None:
    """The catalogue's file system becomes read-only; then it is mended."""
    with _disk(bench, result) as place:
        if place is None:
            return

        def remount(mode: str) -> bool:  # refused while a file is being written
            return (
                subprocess.run(
                    ["mount", "-o", f"remount,{mode}", place], capture_output=True
                ).returncode
                == 0
            )

        log = bench.folder / "permission.log.jsonl"
        lose = lambda: poll(lambda: remount("ro"), "the file system to become read-only")  # noqa: E731
        _no_writing(bench, result, lose, lambda: remount("rw"), "Read-only file system", log=log)


@contextlib.contextmanager
def _disk(bench: Bench, result: Result) -> Iterator[Path | None]:
    """A small file system at the folder's ``disk``; None where it may not be mounted."""
    place = bench.folder / "disk"
    place.mkdir(exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], capture_output=True, text=True
    )
    if mount.returncode:
        result.skipped = "a file system may not be mounted here"
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _no_writing(
    bench: Bench, result: Result, lose: Callable, mend: Callable, reason: str, **log: Path
) -> None:
    name = "disk/catalog"
    with bench.start(name, **log) as command:
        command.wait_for(bench.rng.randint(2, N_CHUNKS // 2))
        lose()
        result.injected += 1
        lost = time.monotonic()
        status, said = command.end()
        result.expect(time.monotonic() - lost < 60, "the run did not stop soon")
    message = said.strip().splitlines()[-1]
    result.expect(
        status == 1 and reason in message and "catalog.zarr" in message, f"status {status}: {said}"
    )
    with bench.start(name, **log) as command:  # while nothing is mended
        status, said = command.end()
        result.expect(status == 1 and reason in said.strip().splitlines()[-1], f"again: {said}")
        result.expect("catalog.zarr" in said and "Traceback" not in said, f"again: {said}")
    mend()
    done = set(range(N_CHUNKS)) - bench.pending(name)
    result.expect(done, "what was done is lost")
    with bench.start(name, **log) as command:
        bench.finish(name, result, command)
        result.expect(
            not done & {e["region"] for e in command.events("region")},
            "what was done was done again",
        )


def two_runs(bench: Bench, result: Result) -> None:
    """A second run is started into the catalogue of one that is under way."""
    with bench.start("twice") as first:
        first.wait_for(1)
        status, said = bench.here("twice")
        result.injected += 1
        result.expect(not first.ended, "the first run ended too soon to be disturbed")
        result.expect(
            status == 1 and "another run" in said and "twice.zarr" in said,
            f"status {status}: {said}",
        )
        bench.finish("twice", result, first)


def changed_beneath(bench: Bench, result: Result) -> None:
    """Model, settings or survey are others than those that a catalogue was begun with."""
    survey, out = bench.folder / "changing.zarr", bench.folder / "changed.zarr"
    shutil.copytree(bench.survey, survey)
    with bench.start("changed", survey=survey) as command:
        bench.finish("changed", result, command)
    before = checksum(out)
    other = bench.folder / "other.zarr"
    stars = lux.open_survey(bench.survey).isel(star=slice(0, 512))
    lux.train(stars, LATENT_DIM, folds=2, iterations=2, progress=False).save(other)

    def refused(what: str, model: Path = bench.model, **options: object) -> None:
        result.injected += 1
        try:
            lux.label_survey(survey, model, out, region_stars=CHUNK, progress=False, **options)
            result.expect(False, f"{what}: not refused")
        except InputError as error:
            result.expect(what in str(error), f"{what}: {error}")
        result.expect(checksum(out) == before, f"{what}: the catalogue was changed")

    refused("another model", model=other)
    refused("another given", given="label_value")
    refused("another covariance", covariance=True)
    chunk = bench.rng.randrange(N_CHUNKS) * CHUNK
    flux = zarr.open_group(survey, mode="r+")["flux"]
    flux[chunk : chunk + CHUNK] = flux[chunk : chunk + CHUNK] * np.float32(1.01)
    again = lux.label_survey(survey, bench.model, out, region_stars=CHUNK, progress=False)
    result.injected += 1
    result.expect(again.n_run == CHUNK, f"changed chunk: {again.n_run} stars done again")


KINDS = {
    kind.__name__.replace("_", "-"): kind
    for kind in (
        client_killed,
        workers_killed,
        scheduler_killed,
        worker_stalled,
        worker_out_of_memory,
        input_damaged,
        input_away,
        disk_full,
        permission_lost,
        two_runs,
        changed_beneath,
        *faults_growth.KINDS,
    )
}


def inject(bench: Bench, kind: str) -> Result:
    """Inject one kind of fault; return what came of it.

    The same seed draws the same, whatever else is injected.
    """
    result, started = Result(kind), time.monotonic()
    bench.rng = random.Random(f"{bench.seed} {kind}")
    try:
        KINDS[kind](bench, result)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        result.complaints.append(str(error))
    click.echo(f"{kind}: {time.monotonic() - started:.0f} s", err=True)
    return result


def table(results: list[Result]) -> str:
    """Faults injected, by kind; stars lost; stars differing."""
    lines = [f"{'fault':<22}{'injected':>9}{'stars lost':>12}{'stars differing':>17}"]
    for r in results:
        lines.append(
            f"{r.kind:<22}{r.injected:>9}{r.lost:>12,}{r.differing:>17,}  "
            f"{r.skipped and 'skipped: ' + r.skipped}"
        )
    total = [sum(getattr(r, k) for r in results) for k in ("injected", "lost", "differing")]
    lines.append(f"{'all':<22}{total[0]:>9}{total[1]:>12,}{total[2]:>17,}")
    return "\n".join(line.rstrip() for line in lines)


@click.command()
@click.option("--seed", type=int, required=True, help="Where and when faults strike.")
@click.option(
    "--kills",
    type=click.IntRange(10),
    default=10,
    show_default=True,
    help="Times that a client is killed.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Kind of fault (repeat). [default: all]",
)
def main(seed: int, kills: int, only: tuple[str, ...]) -> None:
    """Inject faults into runs over a small survey, and count what is lost."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), seed, kills)
        results = [inject(bench, kind) for kind in only or KINDS]
    click.echo(table(results))
    complaints = [f"{r.kind}: {c}" for r in results for c in r.complaints]
    if complaints or any(r.lost or r.differing for r in results):
        raise click.ClickException("\n".join(complaints) or "stars were lost or differ")


if __name__ == "__main__":
    main()
