"""Ensembles of boosted trees."""

from models.boosted_trees import HGBClassifier

__all__ = ["HGBClassifier"]
