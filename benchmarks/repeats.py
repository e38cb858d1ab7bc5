"""Calibrate errors on simulated visits of stars, and hold them against the truth of other stars.

    python benchmarks/repeats.py --pixels 8575 --recipe linear

Trains on stars of S/N 100 to 200. Prints for each label by how much visits scatter over errors and
over formal errors; the root mean square of pulls against the truth of other stars, and their robust
scatter: as trained, calibrated on single spectra with a trusted label each, and calibrated on as
many spectra that are visits of fewer stars, with a trusted label each; the same for fainter stars;
and what each calibration was found from.
"""

import time

import click
import numpy as np

import luxscale as lux
from luxscale.analysis.error_calibration import format_calibration
from luxscale.analysis.evaluate import compare
from luxscale.examples.simulate import simulate
from luxscale.training.recipes import NAMES

BRIGHT, FAINT = (100.0, 200.0), (30.0, 60.0)


def measure_pulls(model, survey):
    """Return the robust scatter and the root mean square of pulls against the truth: (label,)."""
    catalog = lux.infer(survey, model).load()
    pull = (catalog["label_value"] - survey["label_true"]) / catalog["label_err"]
    return compare(catalog, survey)["pull"].values, np.sqrt((pull**2).mean("star")).values


def calibrate(model, survey, by):
    """Return a calibrated model and the catalogue, and print what it was found from."""
    start = time.process_time()
    catalog = lux.infer(survey, model).load()
    inferred = time.process_time()
    calibrated = lux.calibrate_errors(model, catalog, survey, by=by)
    seconds = time.process_time() - inferred
    click.echo(
        f"\n{survey.sizes['star']:,} spectra by {by!r}: labelled in {inferred - start:.1f} s, "
        f"calibrated in {seconds:.2f} s of processor time"
    )
    click.echo(format_calibration(calibrated["label_value"].calibration))
    return calibrated, catalog


@click.command(help=__doc__.splitlines()[0])
@click.option("--stars", default=4000, show_default=True, help="Training stars.")
@click.option("--calibration-stars", default=1000, show_default=True, help="Stars with visits.")
@click.option("--visits", default=36, show_default=True, help="Visits of each.")
@click.option("--test-stars", default=5000, show_default=True, help="Stars with known labels.")
@click.option("--pixels", type=int, default=None, help="Pixels; the emulator's 4,288 by default.")
@click.option("--recipe", type=click.Choice(NAMES), help="Compared if not given.")
def main(stars, calibration_stars, visits, test_stars, pixels, recipe):
    given = {"n_pixels": pixels}
    training = simulate(stars, snr=BRIGHT, seed=0, **given)
    model = lux.train(training, recipe=recipe, progress=False)
    click.echo(repr(model))
    single = simulate(calibration_stars * visits, snr=BRIGHT, seed=1, **given)
    repeated = simulate(calibration_stars, snr=BRIGHT, seed=2, visits=visits, **given)
    by_labels, _ = calibrate(model, single, "star")
    by_visits, catalog = calibrate(model, repeated, "object")
    between = lux.measure_repeats(catalog, "object", survey=repeated, model=model, over=())
    tests = [
        simulate(test_stars, snr=snr, seed=seed, **given) for snr, seed in ((BRIGHT, 3), (FAINT, 4))
    ]
    models = (model, by_labels, by_visits)
    bright, faint = ([measure_pulls(each, survey) for each in models] for survey in tests)
    columns = f"{'':8}{'visits / error':>16}{'/ formal':>10}{'rms pull':>10}"
    click.echo(f"\n{columns}   pull: trained, by labels, by visits | S/N 30-60")
    whole = between.isel(bin=0)
    for m, label in enumerate(whole["label"].values.tolist()):
        line = f"{label:8}{whole['ratio'].values[m]:>16.2f}{whole['formal_ratio'].values[m]:>10.2f}"
        line += f"{bright[0][1][m]:>10.2f}"
        parts = ("".join(f"{pull[m]:>7.2f}" for pull, _ in found) for found in (bright, faint))
        click.echo(f"{line}   {' |'.join(parts)}")


if __name__ == "__main__":
    main()
