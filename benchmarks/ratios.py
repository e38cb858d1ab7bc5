"""Compare two models by the true labels of simulated stars that neither was trained on.

    python benchmarks/ratios.py linear.zarr mixed.zarr others.zarr faint.zarr

Prints, for each survey, the RMSE of the second model's labels over that of the first's: the mean
over the labels, the worst, and each. A survey holds the truth as `label_true`.
"""

import click
import numpy as np

import luxscale as lux


def measure(survey, model):
    """Return the RMSE of each label about the truth."""
    miss = lux.infer(survey, model)["label_value"].values - survey["label_true"].values
    return np.sqrt(np.nanmean(miss**2, axis=0))


@click.command(help=__doc__.splitlines()[0])
@click.argument("models", nargs=2, type=click.Path(exists=True))
@click.argument("surveys", nargs=-1, required=True, type=click.Path(exists=True))
def main(models, surveys):
    loaded = [lux.load_model(path) for path in models]
    for path in surveys:
        survey = lux.open_survey(path).load()
        first, second = (measure(survey, model) for model in loaded)
        ratio = second / first
        each = ", ".join(
            f"{name} {value:.3f}" for name, value in zip(survey.label.values, ratio, strict=True)
        )
        click.echo(f"{path}: mean {ratio.mean():.3f}, worst {ratio.max():.3f}: {each}")


if __name__ == "__main__":
    main()
