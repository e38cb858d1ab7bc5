import ctypes
import subprocess
import sys

import pytest

from luxscale import memory

SCRIPT = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("memory", sys.argv[2])  # alone, for the package takes long to import
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

if sys.argv[1] == "keep":
    assert memory.keep_freed_memory() and memory.keep_freed_memory()
before = resident()
array = bytearray(64_000_000)
del array
print(resident() - before)
"""


def left_after_freeing(how):
    command = [sys.executable, "-c", SCRIPT, how, memory.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_what_is_freed_is_kept():
    assert left_after_freeing("not") < 10e6
    assert left_after_freeing("keep") > 50e6


def test_elsewhere_it_says_no(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory.__wrapped__() is False


def test_another_c_library(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory.__wrapped__() is False
