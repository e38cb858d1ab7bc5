"""Survey and model to catalogue, region by region.

Imports model, runs, cluster and what they stand on.
"""
