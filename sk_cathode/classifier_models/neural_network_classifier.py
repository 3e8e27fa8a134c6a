"""The neural network classifier, and the one whose `predict` gives classes."""

from models.classifier import NeuralNetworkClassifier, NeuralNetworkClassPredictor

__all__ = ["NeuralNetworkClassPredictor", "NeuralNetworkClassifier"]
