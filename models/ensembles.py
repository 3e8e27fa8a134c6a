"""Mixtures of flows: densities are averaged as probabilities, samples are shared between the members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp
from tqdm import tqdm

from models.flow import ConditionalNormalizingFlow
from models.scalers import ExtPipeline


class DensityEnsemble:
    """The equal mixture of several flows that share one preprocessing, as a density of the physical features.

    Parameters
    ----------
    flows : sequence of fitted ConditionalNormalizingFlow
    scaler : fitted ExtPipeline
        Takes physical features to the space the flows were trained in.
    """

    def __init__(self, flows: Sequence[ConditionalNormalizingFlow], scaler: ExtPipeline) -> None:
        if not flows:
            raise ValueError("an ensemble needs at least one flow")
        self.flows = list(flows)
        self.scaler = scaler

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log of the mean density p(x|m) over the members [n], in nats, per unit of the physical features.

        NaN where an event is outside the range the preprocessing covers.
        """
        Z = self.scaler.transform(X)
        progress = tqdm(self.flows, desc="log p(x|m)", unit="epoch", disable=None)
        members = np.stack([flow.predict_log_proba(Z, m) for flow in progress])
        return logsumexp(members, axis=0) - np.log(len(members)) + self.scaler.log_jacobian_determinant(X)

    def sample(self, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one event in physical features for every row of m [n, c]; the rows are dealt out evenly to the members."""
        m = np.asarray(m, dtype=np.float64).reshape(len(m), -1)
        samples = np.empty((len(m), self.flows[0].num_inputs))
        for i, flow in enumerate(tqdm(self.flows, desc="sampling", unit="epoch", disable=None)):
            mine = slice(i, None, len(self.flows))
            if len(m[mine]):
                samples[mine] = self.scaler.inverse_transform(flow.sample(m[mine], rng))
        return samples
