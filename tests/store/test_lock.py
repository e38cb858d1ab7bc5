import errno
import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import zarr

from luxscale.errors import CannotWrite, InputError
from luxscale.store import lock


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "c.zarr")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "PATIENCE", 0.5)


def owner(path):
    return dict(zarr.open_group(path, path="run/lock", mode="r").attrs)


def as_if(path, **changes):
    """Let the lock look as if another run had made it."""
    group = zarr.open_group(path, path="run/lock", mode="r+")
    group.attrs.update(changes)


def test_the_second_is_refused_and_told_who_is_there(path):
    with (
        lock.hold_lock(path),
        pytest.raises(
            InputError, match=r"another run, process \d+ on .* is writing into it"
        ) as error,
    ):
        lock.Lock(path).acquire()
    assert path in str(error.value)


def test_free_again_afterwards_and_after_an_error(path):
    with lock.hold_lock(path):
        pass
    with pytest.raises(ZeroDivisionError), lock.hold_lock(path):
        1 / 0  # noqa: B018
    with lock.hold_lock(path):
        assert owner(path)["beats"] == 0


@pytest.mark.slow
def test_a_run_that_was_killed_is_succeeded_at_once(path):
    script = textwrap.dedent("""
        import os, sys
        from luxscale.store import lock
        lock.Lock(sys.argv[1]).acquire()
        os.kill(os.getpid(), 9)
    """)
    subprocess.run([sys.executable, "-c", script, path], check=False, timeout=60)
    dead = owner(path)
    with lock.hold_lock(path):
        assert owner(path)["token"] != dead["token"]


def test_a_process_that_got_the_number_of_a_dead_one_is_another(path):
    mine = lock.Lock(path)
    mine._make()
    as_if(path, token="other", started="1")
    with lock.hold_lock(path):
        assert owner(path)["token"] != "other"


def test_a_run_elsewhere_is_left_alone_while_it_lives(path, impatient):
    alive = lock.Lock(path)
    alive.acquire()
    as_if(path, host="another machine")
    second = lock.Lock(path)
    original = second._read
    beats = iter(range(1000))
    second._read = lambda: {**original(), "host": "another machine", "beats": next(beats)}
    with pytest.raises(InputError, match="another machine"):
        second.acquire()
    alive.release()


def test_a_run_elsewhere_that_gives_no_sign_is_succeeded(path, impatient):
    lock.Lock(path)._make()
    as_if(path, host="another machine", token="other")
    with lock.hold_lock(path):
        assert owner(path)["token"] != "other"


def test_gives_signs_of_life(path, impatient):
    with lock.hold_lock(path):
        assert poll(lambda: owner(path)["beats"] >= 2)


def test_notices_that_another_took_over(path, impatient):
    with lock.hold_lock(path) as mine:
        mine.check()
        as_if(path, token="other")
        assert poll(lambda: mine._lost)
        with pytest.raises(lock.Lost, match="another run took over"):
            mine.check()
    assert owner(path)["token"] == "other"  # and it is not ours to remove


def test_a_lock_cut_short_holds_nobody(path, impatient):
    mine = lock.Lock(path)
    mine._make()
    Path(path, "run/lock/zarr.json").write_text(json.dumps({"zarr_format": 3})[:7])
    with lock.hold_lock(path):
        assert owner(path)["beats"] == 0


def fails_to(*_):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_lock_that_cannot_be_made_is_told_clearly(path, monkeypatch):
    monkeypatch.setattr(lock.Lock, "_make", fails_to)
    with (
        pytest.raises(CannotWrite, match=r"c.zarr: cannot be written \(Read-only file system\)"),
        lock.hold_lock(path),
    ):
        pass


def test_a_lock_that_cannot_be_removed_hides_no_error_and_holds_nobody(path):
    def run():
        with lock.hold_lock(path) as mine:
            mine._place.delete = fails_to
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run()


def poll(condition, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_a_run_that_is_dead_but_not_yet_asked_for_is_succeeded(path):
    script = (
        "import sys; from luxscale.store import lock; lock.Lock(sys.argv[1]).acquire(); "
        "print('held', "
        "flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"held\n"
        child.kill()
        assert poll(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "Z")
        with lock.hold_lock(path):
            assert owner(path)["beats"] == 0


def test_says_what_it_waits_for(path, impatient):
    lock.Lock(path)._make()
    as_if(path, host="another machine", pid=42, token="other")
    said = []
    with lock.hold_lock(path, said.append):
        pass
    assert said == [
        f"a run on another machine, process 42, holds {path}; waiting up to 0.5 s for a sign "
        "that it is alive"
    ]
