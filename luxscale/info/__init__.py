"""What lies at a path.

Imports labelling, ingest, crossval and what they stand on.
"""
