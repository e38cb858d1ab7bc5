"""The command line: results on standard output, progress on standard error, exit 0, 1 (failed) or 2 (usage)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from luxscale.schema import InputError


class _Group(click.Group):
    """Turns the errors that luxscale foresees into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        from luxscale.run import RunError

        try:
            return super().invoke(ctx)
        except (InputError, RunError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="luxscale")
def main() -> None:
    """Label millions of stellar spectra with the Lux latent-variable model."""


_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_QUIET = click.option("--quiet", is_flag=True, help="Show no progress.")
_WORKERS = click.option(
    "--workers",
    type=click.IntRange(0),
    default=None,
    help="Worker processes on this machine; 0 works in this process. [default: one a processor]",
)


def _print(result: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(result, indent=1) if as_json else text)


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("luxscale-demo"),
    show_default=True,
    help="Directory to make.",
)
@click.option("--workers", type=click.IntRange(1), default=None, help="Worker processes. [default: one a processor]")
@_JSON
@_QUIET
def demo(out: Path, workers: int | None, as_json: bool, quiet: bool) -> None:
    """Label 3,000 real Gaia XP giants and compare with APOGEE.

    Trains on 3,000 other stars, labels on a local Dask cluster, writes figures. No network, about a minute.
    """
    from luxscale.demo import run_demo
    from luxscale.evaluate import format_table, to_records

    made = run_demo(out, workers=workers, progress=not quiet)
    text = f"""
{made.summary.n_stars:,} stars labelled that training had not seen; inferred against APOGEE:

{format_table(made.comparison)}

figures     {"  ".join(str(f) for f in made.figures)}
survey      {made.survey}
unlabelled  {made.unlabelled}
model       {made.model}
catalogue   {made.catalog}

Open the catalogue:
  import xarray as xr
  catalog = xr.open_zarr("{made.catalog}", consolidated=False)
  catalog.label_value.sel(label="fe_h").plot.hist(bins=50)"""
    result = {
        "labels": to_records(made.comparison),
        "figures": [str(f) for f in made.figures],
        "survey": str(made.survey),
        "unlabelled": str(made.unlabelled),
        "model": str(made.model),
        "catalog": str(made.catalog),
    }
    _print(result, text, as_json)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--stars", type=click.IntRange(1), required=True, help="Number of stars.")
@click.option("--snr", type=float, nargs=2, default=(30.0, 200.0), show_default=True, help="Least and greatest S/N.")
@click.option("--pixels", type=click.IntRange(2), default=None, help="Pixels of a spectrum. [default: 4288]")
@click.option("--missing-labels", type=float, default=0.1, show_default=True, help="Fraction of labels missing.")
@click.option("--bad-pixels", type=float, default=0.03, show_default=True, help="Fraction of pixels missing.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--chunk", type=click.IntRange(1), default=1024, show_default=True, help="Stars a chunk.")
@_QUIET
def simulate(
    out: Path,
    stars: int,
    snr: tuple[float, float],
    pixels: int | None,
    missing_labels: float,
    bad_pixels: float,
    seed: int,
    chunk: int,
    quiet: bool,
) -> None:
    """Write a synthetic survey of red giants with known labels to OUT, chunk by chunk."""
    from luxscale.progress import Progress
    from luxscale.simulate import simulate_survey

    with Progress("simulating", stars, unit="stars", enabled=not quiet) as shown:
        simulate_survey(
            out,
            stars,
            snr=snr,
            n_pixels=pixels,
            missing_labels=missing_labels,
            bad_pixels=bad_pixels,
            seed=seed,
            chunk=chunk,
            progress=lambda done, _: shown.update(done),
        )
    click.echo(f"{out}: {stars:,} stars")


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> slice:
    parts = (value or ":").split(":")
    if len(parts) != 2 or not all(p.strip().isdigit() or not p.strip() for p in parts):
        raise click.BadParameter("write START:STOP, e.g. 0:5000")
    return slice(*(int(p) if p.strip() else None for p in parts))


def _spans(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, list[tuple[float, float]]]:
    windows: dict[str, list[tuple[float, float]]] = {}
    for text in value:
        label, _, span = text.rpartition("=")
        try:
            least, greatest = map(float, span.split(":"))
        except ValueError:
            raise click.BadParameter(f"{text!r}: write LABEL=LEAST:GREATEST, e.g. mg_fe=15740:15770") from None
        windows.setdefault(label, []).append((least, greatest))
    return windows


@main.command()
@click.argument("survey")
@click.option("--out", required=True, help="Model to write, a Zarr store.")
@click.option(
    "--latent-dim",
    type=click.IntRange(1),
    default=None,
    help="Number of latents P. [default: 48; The Cannon has one a label]",
)
@click.option(
    "--method", type=click.Choice(["marginal", "alternating", "cannon"]), default="marginal", show_default=True
)
@click.option(
    "--solver",
    type=click.Choice(["exact", "jaxopt"]),
    default=None,
    help="Of the alternating method. [default: exact]",
)
@click.option(
    "--latent-precision",
    type=float,
    default=None,
    help="Of the alternating method: precision of the prior on latents in training. [default: 1e-6]",
)
@click.option(
    "--prior", type=float, default=None, help="Precision of the prior on latents at the test step. [default: 1]"
)
@click.option(
    "--window",
    "windows",
    multiple=True,
    callback=_spans,
    metavar="LABEL=LEAST:GREATEST",
    help="Infer this label from these wavelengths alone (repeat).",
)
@click.option("--stars", callback=_span, metavar="START:STOP", help="Train on these stars only, by position.")
@click.option("--output", "outputs", multiple=True, help="Output to model (repeat). [default: all of the survey]")
@click.option("--iterations", type=click.IntRange(1), default=None, help="Most iterations. [default: the method's]")
@click.option(
    "--tolerance", type=float, default=None, help="Of the marginal method: gain at which to stop. [default: 2e-5]"
)
@click.option(
    "--folds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Folds on which label misfit is measured; 1 measures none.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the alternating method's random start.")
@click.option("--overwrite", is_flag=True, help="Replace a model at --out.")
@_JSON
@_QUIET
def train(
    survey: str,
    out: str,
    latent_dim: int | None,
    method: str,
    solver: str | None,
    latent_precision: float | None,
    prior: float | None,
    windows: dict[str, list[tuple[float, float]]],
    stars: slice,
    outputs: tuple[str, ...],
    iterations: int | None,
    tolerance: float | None,
    folds: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a model on the stars of SURVEY that have labels."""
    from luxscale import model, store
    from luxscale.train import train as fit

    store.claim(out, model.FORMAT, overwrite=overwrite)
    opened = _take(store.open_survey(survey, check="structure"), stars, survey)
    given = {"iterations": iterations, "solver": solver, "latent_precision": latent_precision, "tolerance": tolerance}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    trained = fit(
        opened,
        latent_dim,
        outputs=outputs or None,
        method=method,
        windows=windows,
        prior=prior,
        folds=folds,
        seed=seed,
        progress=not quiet,
        where=survey,
        **settings,
    )
    trained.save(out, overwrite=overwrite)
    result = {
        "model": out,
        "fingerprint": trained.fingerprint,
        "latent_dim": trained.latent_dim,
        "stars": trained.provenance.n_stars,
        "outputs": [o.name for o in trained.outputs],
        "objective": [float(x) for x in trained.objective],
    }
    _print(result, f"{trained}\nwritten to {out}", as_json)


def _take(dataset: Any, stars: slice, path: str) -> Any:
    n = dataset.sizes["star"]
    if (stars.stop or 0) > n or (stars.start or 0) >= (stars.stop or n):
        raise InputError(
            f"{path}: --stars asks for {stars.start or 0}:{'' if stars.stop is None else stars.stop}, but it holds "
            f"stars 0:{n}"
        )
    return dataset.isel(star=stars)


@contextlib.contextmanager
def _cluster(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    from luxscale.cluster import local_cluster

    if scheduler:
        from distributed import Client

        with Client(scheduler) as client:
            yield client
    elif workers == 0:
        yield None
    else:
        with local_cluster(workers) as client:
            yield client


@main.command()
@click.argument("survey")
@click.option("--out", required=True, help="Store of results to write or to continue, a Zarr store.")
@click.option("--latent-dim", "latent_dims", type=click.IntRange(1), multiple=True, required=True, help="P (repeat).")
@click.option(
    "--prior",
    "priors",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    default=(1.0,),
    show_default=True,
    help="Precision of the prior on latents, 1 / Omega^2 (repeat).",
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True)
@click.option("--method", type=click.Choice(["marginal", "alternating"]), default="marginal", show_default=True)
@click.option("--stars", callback=_span, metavar="START:STOP", help="Use these stars only, by position.")
@click.option("--output", "outputs", multiple=True, help="Output to model (repeat). [default: all of the survey]")
@click.option("--iterations", type=click.IntRange(1), default=None, help="Most iterations. [default: the method's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the alternating method's random start.")
@_WORKERS
@click.option("--scheduler", default=None, help="Address of a Dask scheduler to use instead of local workers.")
@_JSON
@_QUIET
def crossval(
    survey: str,
    out: str,
    latent_dims: tuple[int, ...],
    priors: tuple[float, ...],
    folds: int,
    method: str,
    stars: slice,
    outputs: tuple[str, ...],
    iterations: int | None,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Choose P and the prior by cross-validation on the labelled stars of SURVEY; the same command again resumes.

    Scores are chi2 per value of stars left out of training, medians over the folds.
    """
    from luxscale import crossval as cv
    from luxscale import evaluate, store

    if scheduler and workers is not None:
        raise click.UsageError("--scheduler brings its own workers: leave out --workers")
    _take(store.open_survey(survey, check="structure"), stars, survey)
    grid = cv.make_grid(
        survey,
        out,
        latent_dims=latent_dims,
        priors=priors,
        folds=folds,
        method=method,
        outputs=outputs or None,
        stars=stars,
        seed=seed,
        **({} if iterations is None else {"iterations": iterations}),
    )
    todo = cv.prepare(grid)
    with _cluster(workers if todo else 0, scheduler if todo else None) as client:
        results = cv.complete(grid, todo, client=client, progress=not quiet)
    choice = cv.choose(results)
    records, labels = cv.to_records(results), cv.label_scores(results, choice.latent_dim, choice.prior)
    go_on = cv.next_step(grid, choice)
    text = f"""{out}: {len(records)} settings, {folds} folds, {len(todo):,} tasks done now

{cv.format_table(records, choice)}

* the fewest latents within one standard error of the best, P={choice.best[0]}, prior={choice.best[1]:g}; out of fold:

{evaluate.format_table(labels)}

go on with
  {go_on}"""
    _print(
        {
            "out": out,
            "settings": records,
            "chosen": choice._asdict(),
            "labels": evaluate.to_records(labels),
            "next": go_on,
        },
        text,
        as_json,
    )


@main.command()
@click.argument("survey")
@click.option("--model", required=True, help="Model, as `luxscale train` writes it.")
@click.option("--out", required=True, help="Catalogue to write or to continue, a Zarr store.")
@_WORKERS
@click.option("--scheduler", default=None, help="Address of a Dask scheduler to use instead of local workers.")
@click.option("--given", multiple=True, default=("flux",), show_default=True, help="Output to infer from (repeat).")
@click.option("--covariance", is_flag=True, help="Write covariances of the labels too.")
@click.option(
    "--region-stars", type=click.IntRange(1), default=None, help="Stars a task, a multiple of the survey's chunk."
)
@click.option("--region", type=click.IntRange(0), default=None, help="Do this region alone, in this process.")
@_JSON
@_QUIET
def label(
    survey: str,
    model: str,
    out: str,
    workers: int | None,
    scheduler: str | None,
    given: tuple[str, ...],
    covariance: bool,
    region_stars: int | None,
    region: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label every star of SURVEY; the same command again resumes."""
    from luxscale import plan as planning
    from luxscale import run

    if scheduler and workers is not None:
        raise click.UsageError("--scheduler brings its own workers: leave out --workers")
    if region is not None and (scheduler or workers is not None):
        raise click.UsageError("--region works in this process: leave out --workers and --scheduler")
    plan = planning.make_plan(survey, model, out, given=given, covariance=covariance, region_stars=region_stars)
    if region is not None:
        if region >= len(plan.regions):
            raise InputError(f"there is no region {region}: {survey} has regions 0 to {len(plan.regions) - 1}")
        planning.prepare(plan)
        n = run.run_region(plan, plan.regions[region])
        _print({"catalog": out, "region": region, "stars": n}, f"{out}: region {region} done, {n:,} stars", as_json)
        return
    todo = planning.prepare(plan)
    with _cluster(workers if todo else 0, scheduler if todo else None) as client:
        summary = run.complete(plan, todo, client=client, progress=not quiet)
    flagged = "\n".join(f"  {name:<24}{n:>12,}" for name, n in summary.flags.items()) or "  none"
    _print(
        dataclasses.asdict(summary),
        f"{out}: {summary.n_stars:,} stars labelled, {summary.n_run:,} of them now, in {summary.seconds:.1f} s\n"
        f"flags:\n{flagged}",
        as_json,
    )


@main.command()
@click.argument("catalog")
@click.argument("survey")
@click.option(
    "--stars", callback=_span, metavar="START:STOP", help="Compare these stars of the catalogue only, by position."
)
@click.option(
    "--figures", type=click.Path(path_type=Path, file_okay=False), default=None, help="Directory to write figures to."
)
@_JSON
def validate(catalog: str, survey: str, stars: slice, figures: Path | None, as_json: bool) -> None:
    """Check that CATALOG is complete, and compare its labels with those of SURVEY."""
    from luxscale import plot, store
    from luxscale.evaluate import check_catalog, compare, format_table, to_records

    labelled, truth = store.open_dataset(catalog), store.open_survey(survey, check="structure")
    state = check_catalog(labelled, catalog)
    labelled = _take(labelled, stars, catalog)
    comparison = compare(labelled, truth)
    written = []
    if figures:
        figures.mkdir(parents=True, exist_ok=True)
        plot.labels_figure(labelled, truth).savefig(figures / "labels.png", dpi=150)
        written = [str(figures / "labels.png")]
    text = "\n".join(
        [
            f"{catalog}: {state['done']:,} of {state['stars']:,} stars done, "
            f"{state['not_finite']:,} of them without finite labels",
            "",
            format_table(comparison),
            *(f"\nfigure {f}" for f in written),
        ]
    )
    _print({**state, "labels": to_records(comparison), "figures": written}, text, as_json)
    if state["done"] < state["stars"] or state["not_finite"]:
        sys.exit(1)


@main.command()
@click.argument("path")
@click.option("--check", is_flag=True, help="Read and check every value of a survey.")
@_JSON
def info(path: str, check: bool, as_json: bool) -> None:
    """Say what lies at PATH: a survey, a model, a catalogue or a cross-validation."""
    from luxscale.info import describe

    result = describe(path, check=check)
    _print(result, "\n".join(f"{key:<14} {_plain(value)}" for key, value in result.items()), as_json)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"\n  {k:<22} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
