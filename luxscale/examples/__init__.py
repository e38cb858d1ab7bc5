"""Data to try things on: packaged spectra, simulated giants, the demo.

Imports training, labelling, plot and what they stand on.
"""
