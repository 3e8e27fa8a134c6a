"""Scalers that know their Jacobian."""

from models.scalers import ExtPipeline, ExtStandardScaler, LogitScaler, make_ext_pipeline

__all__ = ["ExtPipeline", "ExtStandardScaler", "LogitScaler", "make_ext_pipeline"]
