"""Scalers, ensembles, evaluation."""
