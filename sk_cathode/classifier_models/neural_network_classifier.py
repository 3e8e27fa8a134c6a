"""The neural network classifier."""

from models.classifier import NeuralNetworkClassifier

__all__ = ["NeuralNetworkClassifier"]
