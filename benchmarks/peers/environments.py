"""The methods that are compared, and a virtual environment for each package."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

HERE = Path(__file__).parent
SOURCE = HERE.parents[1]  # luxscale itself


@dataclass(frozen=True)
class Package:
    """What an environment holds, and the Pythons that it runs on.

    These are the oldest, and the first that is too new.
    """

    name: str
    requirements: tuple[str, ...]
    oldest: tuple[int, int] = (3, 11)
    too_new: tuple[int, int] = (4, 0)


@dataclass(frozen=True)
class Method:
    """A method: the package it is of, its script and arguments, and what may vary."""

    title: str  # in tables of real spectra
    package: Package | None  # None: luxscale, in the environment that runs the comparison
    script: str
    arguments: tuple[str, ...] = ()
    latents: bool = False  # whether it has a number of latents
    most_test: int | None = (
        None  # test stars of a set that it labels, where all would take too long
    )


POLLUX = Package(
    "pollux", ("pollux==0.1.0", "xmmutablemap==0.2.2"), (3, 12)
)  # with 0.3 of it, pollux holds no data
ANNIESLASSO = Package(
    "annieslasso", ("annieslasso==0.2.96", "numpy==1.26.*", "scipy==1.11.*"), (3, 9), (3, 13)
)
SKLEARN = Package("sklearn", ("scikit-learn>=1.5",), (3, 10))

OURS = "marginal"  # what peers are measured against with simulated spectra
DEFAULT = "luxscale"
METHODS = {
    DEFAULT: Method("luxscale", None, "run_luxscale.py", ("default",)),
    OURS: Method("luxscale, linear", None, "run_luxscale.py", ("marginal",), latents=True),
    "alternating": Method(
        "luxscale, linear, the paper's training",
        None,
        "run_luxscale.py",
        ("alternating",),
        latents=True,
    ),
    "jaxopt": Method(
        "the same by jaxopt's solvers", None, "run_luxscale.py", ("jaxopt",), latents=True
    ),
    "cannon": Method("The Cannon, luxscale's", None, "run_luxscale.py", ("cannon",)),
    "annieslasso": Method(
        "The Cannon, annieslasso", ANNIESLASSO, "run_annieslasso.py", most_test=100
    ),
    "pollux": Method("pollux", POLLUX, "run_pollux.py", latents=True),
    "ridge": Method("ridge regression", SKLEARN, "run_sklearn.py", ("ridge",)),
    "boosting": Method("boosted trees", SKLEARN, "run_sklearn.py", ("boosting",)),
    "network": Method("one network, 50 components", SKLEARN, "run_sklearn.py", ("network",)),
    "network-log-flux": Method(
        "five networks, log flux", SKLEARN, "run_networks.py", ("log-flux",)
    ),
    "network-whitened": Method(
        "five networks, whitened components", SKLEARN, "run_networks.py", ("whitened",)
    ),
}
# of simulated spectra; the others take part where they are named
SIMULATED = (
    OURS,
    "alternating",
    "jaxopt",
    "cannon",
    "annieslasso",
    "pollux",
    "ridge",
    "boosting",
    "network",
)


def find_pythons():
    """Return the interpreters that can make an environment, by version.

    They are those on PATH and of pyenv.
    """
    folders = [Path(p) for p in os.get_exec_path()]
    found = [
        p
        for folder in folders
        if folder.is_dir()
        for p in folder.iterdir()
        if re.fullmatch(r"python3\.\d+", p.name)
    ]
    found += (Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions").glob(
        "*/bin/python"
    )
    pythons = {}
    for python in [sys.executable, *found]:
        probe = "import sys, venv, ensurepip; print(*sys.version_info[:3], sys.executable)"
        answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            *numbers, executable = answer.stdout.split(maxsplit=3)
            pythons[tuple(map(int, numbers))] = executable.strip()
    return pythons


def choose_python(package, pythons):
    """Return the newest Python that a package runs on."""
    fit = {v: p for v, p in pythons.items() if package.oldest <= v[:2] < package.too_new}
    if not fit:
        oldest, too_new = (".".join(map(str, v)) for v in (package.oldest, package.too_new))
        raise click.ClickException(
            f"{package.name} needs a Python from {oldest} on and before {too_new}, and none is "
            "on PATH or in pyenv: "
            "install one, or leave the method out with --methods"
        )
    return fit[max(fit)]


def make_environment(package, folder):
    """Return the Python of a package's environment in `folder`, made unless it is there."""
    if package is None:
        return Path(sys.executable)
    python = folder / package.name / "bin" / "python"
    if not python.exists():
        subprocess.run(
            [choose_python(package, find_pythons()), "-m", "venv", folder / package.name],
            check=True,
        )
    subprocess.run([python, "-m", "pip", "install", "-q", *package.requirements], check=True)
    return python
