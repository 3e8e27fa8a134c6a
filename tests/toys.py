"""Toy events in the form stage 1 writes, and where the project is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from background.options import ArraysOptions
from common.files import save_arrays
from events.columns import Column, Columns
from events.regions import EventSource
from events.separation import Fractions, SeparatedEvents, separate_table
from events.window import Window

ROOT = Path(__file__).parents[1]
SR = (3.3, 3.7)


def toy_background(n: int, rng: np.random.Generator, m: np.ndarray | None = None) -> np.ndarray:
    """Events [n, 6]: m_JJ (TeV), four features that depend on it a little, label 0."""
    if m is None:
        m = 2.5 + rng.exponential(0.8, n)
    x = rng.normal(size=(n, 4)) * [0.05, 0.1, 0.1, 0.1] + [0.3, 0.5, 0.5, 0.5]
    x[:, 0] += 0.02 * (m - 3.5)
    return np.column_stack([m, x, np.zeros(n)]).astype(np.float32)


def toy_signal(n: int, rng: np.random.Generator, sr: tuple[float, float] = SR) -> np.ndarray:
    """Events [n, 6]: a resonance in the middle of the SR that sits in a corner of the features, label 1."""
    m = np.clip(rng.normal(np.mean(sr), 0.05, n), sr[0] + 0.01, sr[1] - 0.01)
    x = rng.normal(size=(n, 4)) * [0.01, 0.03, 0.03, 0.03] + [0.35, 0.65, 0.35, 0.35]
    return np.column_stack([m, x, np.ones(n)]).astype(np.float32)


def write_toy(folder: Path, seed: int = 0, n_sr: int = 1500, n_signal: int = 60, sr: tuple[float, float] = SR) -> Path:
    """All ten files of stage 1."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def inner(n: int, n_sig: int) -> np.ndarray:
        background = toy_background(n, rng, rng.uniform(sr[0] + 0.001, sr[1] - 0.001, n))
        return rng.permutation(np.concatenate([background, toy_signal(n_sig, rng, sr)]))

    sideband = toy_background(9000, rng)
    sideband = sideband[(sideband[:, 0] < sr[0]) | (sideband[:, 0] > sr[1])]
    files = {
        "outerdata_train": sideband[:4000],
        "outerdata_test": sideband[4000:],
        "innerdata_train": inner(n_sr, n_signal),
        "innerdata_val": inner(n_sr, n_signal),
        "innerdata_test": inner(1000, 300),
        "innerdata_extrasig_train": toy_signal(300, rng, sr),
        "innerdata_extrasig_val": toy_signal(300, rng, sr),
        "innerdata_extrabkg_train": inner(n_sr, 0),
        "innerdata_extrabkg_val": inner(n_sr, 0),
        "innerdata_extrabkg_test": inner(200, 0),
    }
    for name, events in files.items():
        np.save(folder / f"{name}.npy", events)
    return folder


def toy_data(n: int = 9000, n_signal: int = 60, seed: int = 0) -> np.ndarray:
    """Events [n, 6] of sideband and signal region in any order, each with a mass of its own."""
    rng = np.random.default_rng(seed)
    events = np.concatenate([toy_background(n - n_signal, rng), toy_signal(n_signal, rng)])
    events[:, 0] = np.clip(events[:, 0], None, 8.0)
    _, first = np.unique(1000 * events[:, 0], return_index=True)
    return events[rng.permutation(first)]


def write_own(folder: Path, events: np.ndarray, *, labelled: bool = False, seed: int = 0) -> Path:
    """What stage 1 makes of a table; the resonant variable is called m (GeV)."""
    folder.mkdir(parents=True, exist_ok=True)
    events = events * np.array([1000, 1, 1, 1, 1, 1], dtype=np.float32)
    if not labelled:
        events[:, -1] = -1
    window, rows = Window(1000 * SR[0], 1000 * SR[1], Column("m", "m", "GeV")), 2 * np.arange(len(events))
    separation = separate_table(events[:, 0], events[:, -1], window, Fractions(0.5, 0.5, 0.0), np.random.default_rng(seed))
    separated = SeparatedEvents(events, events, rows, separation, seed)
    save_arrays(folder, dict(separated.files()) | separated.data())
    features = tuple(Column(f"x{i}", f"x{i}") for i in range(1, 5))
    Columns(window.resonant, features, signal_region=window.edges).save(folder)
    return folder


def event_source(data_dir: Path, seed: int = 1, sr: tuple[float, float] = SR, **options: object) -> EventSource:
    """The events of a folder, seen with these options of stage 3."""
    return EventSource(ArraysOptions(data_dir=data_dir, seed=seed, SR_min=sr[0], SR_max=sr[1], **options))


def frame(n: int, rng: np.random.Generator, label: bool = True) -> pd.DataFrame:
    """Random jets in the official layout, label last."""
    names = [f"{name}j{jet}" for jet in (1, 2) for name in ("px", "py", "pz", "m", "tau1", "tau2", "tau3")]
    table = pd.DataFrame({name: rng.uniform(0.1, 1, n) * (1000 if name[0] in "pm" else 1) for name in names})
    if label:
        table["label"] = rng.integers(2, size=n).astype(float)
    return table
