"""Survey and model to catalogue, region by region.

Imports runs, cluster and what they stand on.
"""
