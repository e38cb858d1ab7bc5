"""The Lux model and its arithmetic: decoders, noise, inference, prediction, and its file.

Imports store and what it stands on.
"""
