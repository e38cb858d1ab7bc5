"""From results of methods to figures and Markdown tables; knows nothing of how they were run."""

import numpy as np
import xarray as xr

from luxscale.analysis.evaluate import compare
from luxscale.analysis.tables import round_to, to_records

DONE = "done"
AHEAD = 2.0  # standard errors beyond which one method is better than another


def score(labels, errors, truth, names, truth_err=None):
    """Return the statistics of labels (star, label), a dict a label.

    They are those of `luxscale.analysis.evaluate.compare`. Where the true labels have errors,
    pulls are over both.
    """
    dims, coords = (
        ("star", "label"),
        {"star": np.arange(len(truth)), "label": np.array(names, object)},
    )
    catalog = xr.Dataset({"label_value": (dims, labels), "label_err": (dims, errors)}, coords)
    trusted = xr.Dataset({"label_true": (dims, truth)}, coords)
    if truth_err is not None:
        trusted["label_true_err"] = (dims, truth_err)
    return to_records(compare(catalog, trusted))


def excess(theirs, ours, truth):
    """Return by how many standard errors their mean squares are above ours: (label,).

    Residuals are compared star by star.
    """
    stars = slice(min(len(theirs), len(ours)))
    more = (theirs[stars] - truth[stars]) ** 2 - (ours[stars] - truth[stars]) ** 2
    spread = more.std(0) / np.sqrt(len(more))
    return np.divide(more.mean(0), spread, out=np.zeros(more.shape[1]), where=spread > 0)


def extrapolate(base, longer, factors, wanted):
    """Return the seconds that training takes with several sizes grown at once.

    `longer` are the seconds with one size each grown by `factors` from those that took `base`;
    together they grow by `wanted`. The greater of a product of power laws and of a fixed cost with
    one in proportion to the product of the sizes, so that neither compilation nor a steep law is
    missed.
    """
    longer, factors, wanted = map(np.asarray, (longer, factors, wanted))
    powers = np.log(longer / base) / np.log(factors)
    slopes = (longer - base) / (factors - 1)
    return float(max(base * np.prod(wanted**powers), base + slopes.max() * (np.prod(wanted) - 1)))


def table(header, rows):
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value):
    """Return a number with three significant digits, a dash for None or NaN."""
    if value is None or not np.isfinite(value):
        return "-"
    return round_to(value, max(0, 2 - int(np.floor(np.log10(abs(value)))))) if value else "0"


def pick(runs, **wanted):
    """Return the runs with these values, by method."""
    return {r["method"]: r for r in runs if all(r[k] == v for k, v in wanted.items())}


def outcome(run, text):
    """Return a cell: a text if the run is done, else why not."""
    return text(run) if run["outcome"] == DONE else run["outcome"]


def cost_table(runs):
    """Return a line a method: seconds, memory and stars/s."""
    header = [
        "method",
        "stars used",
        "training s",
        "CPU s",
        "peak GB",
        "stars/s, first pass",
        "later",
        "how",
    ]
    rows = []
    for name, run in runs.items():
        if run["outcome"] != DONE:
            rows.append([name, "-", run["outcome"] + ": " + run["reason"], "-", "-", "-", "-", "-"])
            continue
        first, later = (run["tested"] / s for s in list(run["test_s"].values())[:2])
        cells = (
            number(v) for v in (run["train_s"], run["train_cpu_s"], run["peak_gb"], first, later)
        )
        rows.append([name, f"{run['used']:,}", *cells, run["note"]])
    return table(header, rows)


def accuracy_table(runs, key, test):
    """Return one line per label, a column a method that is done.

    What is better than luxscale is in bold.
    """
    done = {name: r for name, r in runs.items() if r["outcome"] == DONE}
    lines = []
    for i, label in enumerate(next(iter(done.values()))["scores"][test] if done else ()):
        cells = []
        for run in done.values():
            text = number(run["scores"][test][i][key])
            cells.append(
                f"**{text}**" if run["excess"][test][i] < -AHEAD and key == "rmse" else text
            )
        lines.append([label["label"], *cells])
    return table(["label", *done], lines)


def pull_table(runs, tests):
    """Return a line a method that gives errors: its pulls on each set of stars.

    They are the median, least and greatest over labels.
    """
    rows = []
    for name, run in runs.items():
        if run["outcome"] == DONE and run["scores"][tests[0]][0]["pull"] is not None:
            pulls = [[s["pull"] for s in run["scores"][t]] for t in tests]
            rows.append(
                [name, *(f"{np.median(p):.2f} ({min(p):.2f} to {max(p):.2f})" for p in pulls)]
            )
    return table(["method", *(f"S/N {t}" for t in tests)], rows)


def missing_ratio(without, run, test):
    """Return the RMSE with labels missing over that without, label by label."""
    return [
        a["rmse"] / b["rmse"]
        for a, b in zip(run["scores"][test], without["scores"][test], strict=True)
    ]


def missing_table(runs, size_names, tests):
    """Return a line a method: RMSE with missing labels over that without.

    It is taken at the largest size that has both.
    """
    rows = []
    for name, run in pick(runs, missing=True).items():
        if run["outcome"] != DONE:
            rows.append([name, "-", run["outcome"], *[""] * len(tests)])
            continue
        whole = pick(runs, missing=False, method=name, size=run["size"])[name]
        ratios = [missing_ratio(whole, run, t) for t in tests]
        cells = [f"{np.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios]
        rows.append([name, size_names[run["size"]], f"{run['used']:,}", *cells])
    return table(["method", "size", "stars used", *(f"S/N {t}" for t in tests)], rows)


def sweep_table(runs, points):
    """Return a line a method: seconds of training at each (stars, pixels, latents)."""
    methods = list(dict.fromkeys(r["method"] for r in runs))
    found = {
        (r["method"], r["stars"], r["pixels"], r["latents"]): r for r in runs if not r["missing"]
    }
    rows = []
    for name in methods:
        cells = [found.get((name, *point)) for point in points]
        rows.append(
            [
                name,
                *("-" if c is None else outcome(c, lambda r: number(r["train_s"])) for c in cells),
            ]
        )
    return table(["training s", *(f"{n:,} x {px:,}, P = {p}" for n, px, p in points)], rows)


def lead_table(runs, tests):
    """Return a line a method and set of stars: where it is better or worse than luxscale.

    RMSE over luxscale's on the same stars, in labels whose mean squares differ by more than two
    standard errors.
    """
    rows = []
    for name, run in runs.items():
        for t in tests if run["outcome"] == DONE else ():
            named = list(zip(run["scores"][t], run["excess"][t], run["ratio"][t], strict=True))
            better = [f"{s['label']} ({ratio:.2f})" for s, more, ratio in named if more < -AHEAD]
            worse = [ratio for _, more, ratio in named if more > AHEAD]
            span = f"{len(worse)} ({min(worse):.2f} to {max(worse):.2f})" if worse else "0"
            rows.append([name, t, ", ".join(better) or "none", span])
    return table(
        [
            "method",
            "S/N",
            "better than luxscale in (RMSE ratio)",
            "worse in so many labels (ratio)",
        ],
        rows,
    )


def summary_table(runs, tests):
    """Return a line a method: accuracy beside luxscale, pulls, cost.

    Each is at the largest size at which it is done. Ratios are of RMSE to luxscale's on the same
    stars: median over the labels, least and greatest.
    """
    header = [
        "method",
        "stars x pixels",
        *(f"RMSE over luxscale's, S/N {t}" for t in tests),
        "better in",
    ]
    header += ["pull", "training", "stars/s"]
    rows = []
    for name in dict.fromkeys(r["method"] for r in runs):
        whole = [
            r
            for r in runs
            if r["method"] == name and not r["missing"] and r["size"] in ("full", "base")
        ]
        done = sorted((r for r in whole if r["outcome"] == DONE), key=lambda r: r["size"] == "base")
        if not done:
            rows.append([name, "-", *["-"] * len(tests), whole[0]["outcome"], "-", "-", "-"])
            continue
        run = done[0]
        ratios = [run["ratio"][t] for t in tests]
        ahead = {
            s["label"]
            for t in tests
            for s, e in zip(run["scores"][t], run["excess"][t], strict=True)
            if e < -AHEAD
        }
        pulls = [s["pull"] for t in tests for s in run["scores"][t] if s["pull"] is not None]
        row = [
            name,
            f"{run['stars']:,} x {run['pixels']:,}",
            *(f"{np.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in ratios),
            ", ".join(sorted(ahead)) or "none",
            f"{min(pulls):.2f} to {max(pulls):.2f}" if pulls else "no errors",
            f"{number(run['train_s'])} s",
            f"{run['tested'] / list(run['test_s'].values())[-1]:,.0f}",
        ]
        rows.append(row)
    return table(header, rows)


def size_name(stars, pixels):
    """Return how a size is called."""
    return f"{stars:,} stars x {pixels:,} pixels"


def report(found):
    """Return all tables of a JSON of results as Markdown."""
    runs, tests, setup = found["runs"], found["tests"], found["setup"]
    names = {k: size_name(*setup[k]) for k in ("full", "base")}
    machine = (
        f"{found['machine']}, load {found['load'][0]:.1f} to {found['load'][1]:.1f}, "
        f"{found['seconds'] / 60:.0f} minutes"
    )
    parts = [f"{machine}; {setup['latents']} latents; limit {found['limit']:.0f} s a run"]
    parts += ["### In short", summary_table(runs, tests)]
    for size, title in names.items():
        chosen = pick(runs, size=size, missing=False)
        if not chosen:  # the sizes are the same
            continue
        parts += [f"### {title}: cost", cost_table(chosen)]
        for t in tests:
            parts += [f"### {title}: RMSE, S/N {t}", accuracy_table(chosen, "rmse", t)]
            parts += [
                f"### {title}: robust scatter, S/N {t}",
                accuracy_table(chosen, "robust_scatter", t),
            ]
        parts += [
            f"### {title}: pull, median over labels (least to greatest)",
            pull_table(chosen, tests),
        ]
        parts += [
            f"### {title}: where a method is better than luxscale's linear model",
            lead_table(chosen, tests),
        ]
    parts += [
        "### RMSE with 10% of the labels missing over that without",
        missing_table(runs, names, tests),
    ]
    parts += [
        "### Cost as stars, pixels and latents grow",
        sweep_table(runs, [tuple(p) for p in setup["points"]]),
    ]
    return "\n\n".join(parts)
