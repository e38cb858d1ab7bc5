"""Time labelling in memory: stars per second of processor time, by any model.

    taskset -c 1 python benchmarks/rate.py survey.zarr model.zarr --first 4000

Prints the best of a few passes over the stars, after one that compiles, and how many fell back.
"""

import time

import click

import luxscale as lux
from luxscale.model.inference import Inference


@click.command(help=__doc__.splitlines()[0])
@click.argument("survey_path", metavar="SURVEY", type=click.Path(exists=True))
@click.argument("model_path", metavar="MODEL", type=click.Path(exists=True))
@click.option("--first", default=0, show_default=True, help="Number of the first star.")
@click.option("--number", default=1000, show_default=True, help="Most stars.")
@click.option("--passes", type=click.IntRange(min=1), default=4, show_default=True)
def main(survey_path, model_path, first, number, passes):
    inference = Inference.of(lux.load_model(model_path))
    survey = lux.open_survey(survey_path).isel(star=slice(first, first + number))
    data = {variable: survey[variable].values for variable in inference.variables}
    seconds = []
    for _ in range(passes + 1):
        start = time.process_time()
        _, fell_back = inference.infer_and_count(data)
        seconds.append(time.process_time() - start)
    labelled = survey.sizes["star"]
    rate = labelled / min(seconds[1:])
    click.echo(f"{labelled:,} stars: {rate:,.0f} stars/s of processor time, {fell_back} fell back")


if __name__ == "__main__":
    main()
