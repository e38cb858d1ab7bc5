"""Markdown tables of what methods do on real spectra."""

from peers.environments import METHODS
from peers.report import DONE, number, table
from peers.spectra import READERS


def sample_line(sample):
    """Return a sentence on a sample: how many stars train and are labelled."""
    missing = ""
    if sample["missing_pixels"]:
        missing = f", {sample['missing_pixels']:.1%} of them missing"
    stars = f"{sample['stars']:,} stars of {sample['pixels']:,} pixels{missing}"
    if sample["folds"] == 1:
        return f"{stars}; {sample['training']:,} train, {sample['tested']:,} others are labelled."
    return f"{stars}, in {sample['folds']} folds."


def find_best(runs, key):
    """Return the least value of each label among the runs that are done: (label,)."""
    values = [[s[key] for s in run["scores"]] for run in runs if run["outcome"] == DONE]
    return [min(column) for column in zip(*values, strict=True)]


def score_cells(run, best):
    """Return a cell a label, RMSE and robust scatter; what is best of all methods is bold."""
    cells = []
    for i, found in enumerate(run["scores"]):
        texts = []
        for key in ("rmse", "robust_scatter"):
            text = number(found[key])
            texts.append(f"**{text}**" if found[key] == best[key][i] else text)
        cells.append(f"{texts[0]} ({texts[1]})")
    return cells


def pull_cell(run):
    """Return the least and greatest pull of a run, a dash if it gives no errors."""
    pulls = [s["pull"] for s in run["scores"] if s["pull"] is not None]
    return f"{min(pulls):.2f} to {max(pulls):.2f}" if pulls else "no errors"


def sample_table(runs, sample):
    """Return a line a method: RMSE (robust scatter) of each label, pulls, seconds."""
    labels = [
        f"{name}, K" if unit == "K" else name
        for name, unit in zip(sample["labels"], sample["units"], strict=True)
    ]
    best = {key: find_best(runs, key) for key in ("rmse", "robust_scatter")}
    rows = []
    for run in runs:
        title = METHODS[run["method"]].title
        if run["outcome"] != DONE:
            reason = f"{run['outcome']}: {run['reason']}"
            rows.append([title, reason, *["-"] * (len(labels) + 2)])
            continue
        if run["tested"] < sample["tested"]:
            title = f"{title} ({run['tested']:,} test stars)"
        seconds = [number(run["train_cpu_s"]), number(run["label_cpu_s"])]
        rows.append([title, *score_cells(run, best), pull_cell(run), *seconds])
    return table(["method", *labels, "pull", "training s", "labelling s"], rows)


def report_real(found):
    """Return all tables of a JSON of results on real spectra as Markdown."""
    parts = []
    for name in READERS:
        runs = [run for run in found["runs"] if run["spectra"] == name]
        if runs:
            sample = found["samples"][name]
            title = f"{sample['title']} (`{name}`)"
            parts += [f"### {title}", sample_line(sample), sample_table(runs, sample)]
    return "\n\n".join(parts)
