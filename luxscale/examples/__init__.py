"""Data to try things on: packaged spectra, simulated giants, the demo.

Imports labelling, plot and what they stand on.
"""
