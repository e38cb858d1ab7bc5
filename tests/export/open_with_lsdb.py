"""Ask LSDB for the stars of an exported catalogue: in a cone, and matched with a second catalogue.

open_with_lsdb.py CATALOG POSITIONS.npz
"""

import json
import sys

import lsdb
import numpy as np
import pandas as pd


def match(positions: lsdb.Catalog, stars: lsdb.Catalog) -> list[list[int]]:
    """Return the pairs (position, star) that lie within 9 arcsec of each other."""
    pairs = positions.crossmatch(
        stars, radius_arcsec=9, n_neighbors=200, suffixes=("_a", "_b"), suffix_method="all_columns"
    ).compute()
    return sorted(pairs[["number_a", "star_b"]].values.tolist())


if __name__ == "__main__":
    path, other = sys.argv[1:]
    stars = lsdb.open_catalog(path)
    cone = stars.cone_search(ra=45, dec=0, radius_arcsec=60).compute()
    with np.load(other) as arrays:
        frame = pd.DataFrame(dict(arrays)).assign(number=range(arrays["ra"].size))
    positions = lsdb.from_dataframe(frame)
    answer = {
        "cone": sorted(cone["star"].tolist()),
        "matches": match(positions, stars),
        "without margin": match(positions, lsdb.open_catalog(f"{path}/{stars.name}")),
    }
    print(json.dumps(answer))
