"""The plain implementation to beat, as simple as the papers: the published flow, one DataLoader, classifiers one after another.

15 MADE blocks of 128 hidden units with batch norm and reversed order from nflows, batches of 256, Adam 1e-4 with weight decay 1e-6;
sampling in one call per model; classifiers of 3 x 64 units, batches of 128, Adam 1e-3.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from nflows.flows import Flow
from torch.utils.data import DataLoader, TensorDataset


def build_flow(d: int) -> Flow:
    """The published flow, from nflows."""
    from models.published_flow import published_maf

    return published_maf(d, 1, 15, 128, torch.Generator().manual_seed(int(torch.randint(2**31, ()))))


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    """float32 tensors."""
    return [torch.as_tensor(array, dtype=torch.float32) for array in arrays]


@torch.no_grad()
def log_prob(flow: Flow, X: np.ndarray, m: np.ndarray) -> np.ndarray:
    """log p(x|m) of every event [n] (nats), in batches that fit the memory."""
    flow.eval()
    return np.concatenate([flow.log_prob(x, c).numpy() for x, c in zip(*(t.split(20000) for t in tensors(X, m)), strict=True)])


@torch.no_grad()
def sample(flow: Flow, m: np.ndarray) -> np.ndarray:
    """One event for every m, in one call."""
    flow.eval()
    return flow.sample(1, context=tensors(m)[0]).squeeze(1).numpy()


def train_flow(
    X: np.ndarray, m: np.ndarray, X_val: np.ndarray, m_val: np.ndarray, epochs: int
) -> Iterator[tuple[float, float, dict]]:
    """Train; yields the seconds of every epoch (with its validation), the validation loss (nats) and the weights."""
    flow = build_flow(X.shape[1])
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, weight_decay=1e-6)
    loader = DataLoader(TensorDataset(*tensors(X, m)), batch_size=256, shuffle=True)
    for _ in range(epochs):
        start = time.perf_counter()
        flow.train()
        for x, condition in loader:
            optimizer.zero_grad()
            loss = -flow.log_prob(x, condition).mean()
            loss.backward()
            optimizer.step()
        loss = -log_prob(flow, X_val, m_val).mean()
        yield time.perf_counter() - start, float(loss), {name: value.clone() for name, value in flow.state_dict().items()}


def kept_name(seed: int) -> str:
    """File in which `density.py` leaves the epochs of the flow of this seed, for `quality.py`."""
    return f"baseline_seed_{seed}.pt"


def train_classifier(
    X: np.ndarray, y: np.ndarray, weight: np.ndarray, X_val: np.ndarray, y_val: np.ndarray, weight_val: np.ndarray, epochs: int
) -> Iterator[tuple[float, float, torch.nn.Module]]:
    """Train one classifier; yields the seconds of every epoch (with its validation), the validation loss (nats) and the network."""
    widths = (X.shape[1], 64, 64, 64)
    layers = [layer for i in range(3) for layer in (torch.nn.Linear(widths[i], widths[i + 1]), torch.nn.ReLU())]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(*tensors(X, y, weight)), batch_size=128, shuffle=True)
    x_val, target_val, w_val = tensors(X_val, y_val, weight_val)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(epochs):
        start = time.perf_counter()
        network.train()
        for x, target, w in loader:
            optimizer.zero_grad()
            loss = cross_entropy(network(x).squeeze(1), target, w)
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            loss = cross_entropy(network(x_val).squeeze(1), target_val, w_val)
        yield time.perf_counter() - start, float(loss), network
