"""The conditional normalizing flow."""

from models.flow import ConditionalNormalizingFlow

__all__ = ["ConditionalNormalizingFlow"]
