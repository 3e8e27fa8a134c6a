"""The classifier's training, validation and test arrays: mix data with whatever plays the background, preprocess, write.

Columns of the arrays are m_JJ (TeV), d preprocessed features, data (1) or sample (0), label (1 signal, 0 background, 5 sample).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from common.files import InputError, load_array
from data_handler import drop_nan_rows, make_rng, save_arrays, writable_folder
from events.regions import EventSource
from models.scalers import ExtPipeline, LogitScaler, make_scaler
from plots import figures

logger = logging.getLogger(__name__)

DATA, SAMPLE = 1, 0
SAMPLE_LABEL = 5
FIDUCIAL = (0.05, 0.95)
MAX_REDRAWS = 10
MAX_SHARE_OUTSIDE = 0.01  # of the samples


@dataclass(frozen=True)
class ClassifierArrays:
    """What stage 3 hands to stage 4, in physical features (TeV) before preprocessing: [n, d + 3]."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    extrasig: np.ndarray | None = None
    sideband: np.ndarray | None = None


def sample_masses(
    sr_masses: np.ndarray, n_samples: int, sr_range: tuple[float, float], kde_bandwidth: float | None, rng: np.random.Generator
) -> np.ndarray:
    """m_JJ (TeV) at which background is sampled.

    Parameters
    ----------
    sr_masses : array [n]
        SR training masses (TeV).
    kde_bandwidth : float or None
        Width of a Gaussian kernel density estimate of the logit of the masses scaled to (0, 1) by the SR; None samples uniformly.
    """
    low, high = sr_range
    if kde_bandwidth is None:
        return rng.uniform(low, high, n_samples)
    # A draw from a Gaussian KDE is a random training event plus Gaussian noise of the kernel's width.
    z = logit((rng.choice(np.asarray(sr_masses, dtype=np.float64), n_samples) - low) / (high - low))
    return low + (high - low) * expit(z + rng.normal(scale=kde_bandwidth, size=n_samples))


def load_external_samples(paths: Sequence[Path], n_features: int, sr_range: tuple[float, float]) -> np.ndarray:
    """Background samples made elsewhere, columns m_JJ (TeV) then features, those inside the SR [n, 1 + d]."""
    parts = []
    for path in paths:
        samples = load_array(path)
        if samples.ndim != 2 or samples.shape[1] != 1 + n_features:
            raise InputError(
                f"{path}: wrong number of columns: shape {samples.shape}, expected [n, {1 + n_features}] (m_JJ, features)"
            )
        samples = drop_nan_rows(samples, path)
        inside = (samples[:, 0] > sr_range[0]) & (samples[:, 0] < sr_range[1])
        logger.info("%s: %d of %d samples are in the signal region", path, inside.sum(), len(samples))
        parts.append(samples[inside])
    joined = np.concatenate(parts)
    if len(joined) < 2:
        raise InputError(f"{paths[0]}: no sample in {sr_range[0]:g} < m_JJ < {sr_range[1]:g} TeV")
    return joined


def share_out(
    background: np.ndarray, n_train: int, n_val: int, oversampling: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split what plays the background between training and validation in the data's proportion.

    Parameters
    ----------
    n_train, n_val : int
        Number of training and validation data.
    oversampling : bool
        Use all background; otherwise as many events as there are data (or all, where there are fewer).
    """
    wanted = len(background) if oversampling else min(len(background), n_train + n_val)
    if wanted < n_train + n_val:
        logger.warning("only %d background events for %d data: class weights are advisable", wanted, n_train + n_val)
    shuffled = background[rng.permutation(len(background))[:wanted]]
    n_first = round(wanted * n_train / (n_train + n_val))
    if n_first == 0 or n_first == wanted:
        raise InputError(f"{wanted} background events are too few to train and validate on")
    return shuffled[:n_first], shuffled[n_first:]


def tag(events: np.ndarray, kind: int, labels: np.ndarray | int) -> np.ndarray:
    """Append the columns data/sample and label to [m_JJ, features]."""
    return np.column_stack([events, np.full(len(events), kind), np.broadcast_to(labels, len(events))]).astype(np.float32)


def mix(
    data: tuple[np.ndarray, np.ndarray],
    background: tuple[np.ndarray, np.ndarray],
    source: EventSource,
    *,
    extra_signal: bool,
    keep_labels: bool = False,
    without_strips: bool = False,
    transform: Callable[[str, np.ndarray], np.ndarray] = lambda name, events: events,
) -> ClassifierArrays:
    """Join data and background, training and validation, with the test events of signal region and sideband.

    Parameters
    ----------
    data : pair of arrays [n, 2 + d]
        Training and validation data, with label.
    background : pair of arrays [n, 1 + d]
        Training and validation background, without label.
    keep_labels : bool
        Label the background 0, for the supervised mode, instead of 5 (sample).
    without_strips : bool
        Leave the strips of CWoLa out of the test sideband.
    transform : callable
        Applied to all data, [n, 2 + d] and a name for the log: the way to the latent space.
    """
    rng = make_rng(source.seed, "mixing")
    label = 0 if keep_labels else SAMPLE_LABEL
    sets = []
    for name, d, b in zip(("training", "validation"), data, background, strict=True):
        d = transform(name, d)
        joined = np.concatenate([tag(d[:, :-1], DATA, d[:, -1]), tag(b, SAMPLE, label)])
        sets.append(joined[rng.permutation(len(joined))])
    extrasig = source.extra_signal() if extra_signal else None
    tested = {
        "test": source.test(),
        "extrasig": None if extrasig is None else np.concatenate(extrasig),
        "sideband": source.test_sideband(without_strips=without_strips),
    }
    for name, events in tested.items():
        if events is not None:
            events = transform(name, events)
            tested[name] = tag(events[:, :-1], DATA, events[:, -1])
    return ClassifierArrays(*sets, **tested)


def mix_supervised(source: EventSource, extra_bkg: bool, oversampling: bool) -> ClassifierArrays:
    """True signal against true background, by label: the upper limit of everything."""
    signal = source.extra_signal()
    if signal is None:
        raise InputError(f"{source.data_dir}: no innerdata_extrasig*.npy with events, supervised training needs extra signal")
    if extra_bkg:
        pool = source.extra_background()
    else:
        data = np.concatenate(source.signal_region())
        pool = data[data[:, -1] == 0]
    rng = make_rng(source.seed, "sharing out the background")
    background = share_out(pool[:, :-1], len(signal[0]), len(signal[1]), oversampling, rng)
    # The extra signal is what this mode trains on, so it cannot be tested on it.
    return mix(signal, background, source, extra_signal=False, keep_labels=True)


def mix_idealized(source: EventSource, extra_bkg: bool, oversampling: bool, extra_signal: bool) -> ClassifierArrays:
    """SR data against perfectly simulated background; without extra background, half of the SR data gives its background for it."""
    train, val = source.signal_region()
    rng = make_rng(source.seed, "sharing out the background")
    if extra_bkg:
        pool = source.extra_background()
    else:
        (train, rest_train), (val, rest_val) = ((part[::2], part[1::2]) for part in (train, val))
        rest = np.concatenate([rest_train, rest_val])
        pool = rest[rest[:, -1] == 0]
        logger.info("no --extra_bkg: the background of half of the SR data plays the samples")
    return mix((train, val), share_out(pool[:, :-1], len(train), len(val), oversampling, rng), source, extra_signal=extra_signal)


def mix_cwola(source: EventSource, oversampling: bool, extra_signal: bool) -> ClassifierArrays:
    """SR data against the two sideband strips next to it (arXiv:1805.02664)."""
    train, val = source.signal_region()
    rng = make_rng(source.seed, "sharing out the background")
    background = share_out(source.strips()[:, :-1], len(train), len(val), oversampling, rng)
    return mix((train, val), background, source, extra_signal=extra_signal, without_strips=True)


def preprocess(arrays: ClassifierArrays, use_logit: bool, fiducial_cut: bool) -> ClassifierArrays:
    """Features as the classifier sees them; the scaling is learned from the training array alone.

    With logit, events on or beyond the boundary of the training range have no value: they are dropped and counted in the log.

    Parameters
    ----------
    fiducial_cut : bool
        Keep only events with every feature, scaled to (0, 1) by its training range, inside (0.05, 0.95).
    """
    reach = LogitScaler().fit(arrays.train[:, 1:-2])
    low, high = FIDUCIAL if fiducial_cut else (0.0, 1.0) if use_logit else (-np.inf, np.inf)

    def inside(name: str, array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        scaled = reach.scale(array[:, 1:-2])
        keep = ((scaled > low) & (scaled < high)).all(axis=1)
        if len(keep) - keep.sum():
            logger.info(
                "X_%s: %d of %d events dropped outside the %s range",
                name,
                len(keep) - keep.sum(),
                len(keep),
                "fiducial" if fiducial_cut else "training",
            )
        if name == "sideband" and not keep.any():
            return None
        if not keep.any():
            raise InputError(f"X_{name}: no event is left inside the feature range")
        return array[keep]

    kept = {name: inside(name, array) for name, array in vars(arrays).items()}
    scaler = make_scaler(use_logit=use_logit)
    if use_logit:  # the range is that of all training events, those cut away included
        scaler.steps[0] = ("logit", reach)
        scaler.steps[1][1].fit(reach.transform(kept["train"][:, 1:-2]))
    else:
        scaler.fit(kept["train"][:, 1:-2])
    for array in kept.values():
        if array is not None:
            array[:, 1:-2] = scaler.transform(array[:, 1:-2])
    return ClassifierArrays(**kept)


def as_files(arrays: ClassifierArrays) -> dict[str, np.ndarray]:
    """X_NAME and y_NAME (the data/sample column) of every array that exists."""
    existing = {name: array for name, array in vars(arrays).items() if array is not None}
    return {f"X_{name}": array for name, array in existing.items()} | {
        f"y_{name}": array[:, -2] for name, array in existing.items()
    }


@dataclass(frozen=True)
class BackgroundSamples:
    """How the samples of the CATHODE mode are made.

    Parameters
    ----------
    models : sequence of Path
        Weights of the density estimator's epochs; empty with `external`.
    config : mapping
        The density estimator's hyperparameters.
    external : sequence of Path
        Files of samples made elsewhere, used instead.
    n_samples : int
        Shared between the epochs.
    kde_bandwidth : float or None
        See `sample_masses`.
    use_logit : bool
        Whether the density estimator works on logits.
    """

    models: Sequence[Path]
    config: Mapping[str, Any]
    external: Sequence[Path]
    n_samples: int
    kde_bandwidth: float | None
    use_logit: bool
    device: str

    def draw(self, source: EventSource, sr_masses: np.ndarray, n_features: int) -> np.ndarray:
        """Background events [n, 1 + d]: m_JJ (TeV) and physical features."""
        if self.external:
            return load_external_samples(self.external, n_features, source.sr_range)
        from background.densities import load_density_ensemble, training_range

        ensemble = load_density_ensemble(self.models, self.config, n_features, source.shift, self.device, self.use_logit)
        rng = make_rng(source.seed, "samples")
        m = sample_masses(sr_masses, self.n_samples, source.sr_range, self.kde_bandwidth, rng)
        features = sample_finite(ensemble, m, rng)
        warn_of_extrapolation(features, *training_range(self.models[0]))
        return np.column_stack([m, features])


def sample_finite(density: ExtPipeline, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One event x ~ p(x|m) for every mass m [n] (TeV); what is not finite is drawn again, and counted in the log.

    Raises
    ------
    InputError
        If events are still not finite after `MAX_REDRAWS` draws.
    """
    features = density.sample(len(m), m[:, None], rng)
    counts = []
    while (bad := np.flatnonzero(~np.isfinite(features).all(axis=1))).size:
        counts.append(bad.size)
        if len(counts) > MAX_REDRAWS:
            raise InputError(
                f"the density estimator: {bad.size} of {len(m)} samples are not finite, after {MAX_REDRAWS} further draws"
            )
        features[bad] = density.sample(len(bad), m[bad, None], rng)
    logger.info("%d background events sampled, %d not finite and drawn again", len(m), sum(counts))
    return features


def warn_of_extrapolation(features: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Warn where more than 1 % of the sampled features [n, d] lie outside the range of the training events."""
    outside = ((features < low) | (features > high)).mean(axis=0)
    labels = figures.feature_labels(features.shape[1])[1:]
    for k in np.flatnonzero(outside > MAX_SHARE_OUTSIDE):
        logger.warning(
            "%.1f %% of the sampled events lie outside the training range of feature %d, %s", 100 * outside[k], k + 1, labels[k]
        )


def mix_cathode(source: EventSource, samples: BackgroundSamples, oversampling: bool, extra_signal: bool) -> ClassifierArrays:
    """SR data against samples of the sideband's density, interpolated into the SR (arXiv:2109.00546)."""
    train, val = source.signal_region()
    background = samples.draw(source, train[:, 0], train.shape[1] - 2)
    rng = make_rng(source.seed, "sharing out the background")
    return mix((train, val), share_out(background, len(train), len(val), oversampling, rng), source, extra_signal=extra_signal)


def write_classifier_arrays(
    arrays: ClassifierArrays,
    savedir: Path,
    *,
    use_logit: bool,
    fiducial_cut: bool,
    names: tuple[str, str],
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Draw data against background, preprocess, and write X_* and y_* into `savedir`.

    The figure calls data and background by `names`, and the features by `labels` (those of the physical features by default).
    """
    background = arrays.train[arrays.train[:, -2] == SAMPLE, :-2]
    data = arrays.train[arrays.train[:, -2] == DATA, :-2]
    figure = figures.data_against_samples(data, background, *names, labels)
    arrays = preprocess(arrays, use_logit, fiducial_cut)
    writable_folder(savedir)
    save_arrays(savedir, as_files(arrays))
    figures.save(figure, savedir / "data_vs_samples.png")
    counts = {}
    for name, array in vars(arrays).items():
        if array is not None:
            counts[f"X_{name}"] = {"data": int((array[:, -2] == DATA).sum()), "background": int((array[:, -2] == SAMPLE).sum())}
            logger.info("X_%s: %d data, %d background", name, *counts[f"X_{name}"].values())
    return counts
