"""How good labels are, and what a model has learnt."""
