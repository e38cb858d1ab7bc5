"""How good labels are, and what a model has learnt.

Imports model and what it stands on.
"""
