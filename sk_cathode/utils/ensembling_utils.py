"""Ensembles of models and of epochs."""

from models.ensembles import EnsembleModel, EpochEnsembleModel

__all__ = ["EnsembleModel", "EpochEnsembleModel"]
