"""Density estimators."""
