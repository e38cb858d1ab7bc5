"""What a survey, a model and a catalogue are: names, dims, dtypes, flags. No files, no JAX.

Imports errors, progress and what they stand on.
"""
