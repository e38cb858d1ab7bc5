"""Data to try things on: packaged spectra, simulated giants, the demo."""
