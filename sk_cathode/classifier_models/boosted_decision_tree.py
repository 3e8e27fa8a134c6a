"""Ensembles of boosted trees, and those whose `predict` gives classes."""

from models.boosted_trees import HGBClassifier, HGBClassPredictor

__all__ = ["HGBClassPredictor", "HGBClassifier"]
