"""What both scripts of stage 1 write: the split, all data with their rows, columns.json, the spectrum; and what they say of it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.files import save_arrays
from common.seeds import make_rng
from events.columns import Columns
from events.quality import EVENTS_FOR_MASS, warn_of_known_mass
from events.separation import SeparatedEvents
from events.view import UNKNOWN
from events.window import Window
from plots.spectra import mass_spectrum
from plots.style import save

logger = logging.getLogger(__name__)


def write_separated(separated: SeparatedEvents, columns: Columns, window: Window, folder: Path, figures: str) -> dict[str, Any]:
    """Measure what the features know of the mass, write everything, and return what STAGE.json says of the results.

    `figures` is their format.
    """
    sideband = separated.some_of_the_sideband(2 * EVENTS_FOR_MASS)
    rng = make_rng(separated.seed, "what the features know of the mass")
    known = warn_of_known_mass(sideband[:, 1:-1], sideband[:, 0], columns.names, window, rng)
    s_over_b, labelled = separated.separation.signal_to_background, not (separated.main[:, -1] == UNKNOWN).all()
    for name, events in separated.files():
        save_arrays(folder, {name: events})
        if not labelled:
            if len(events):
                logger.info("%s.npy: %d events", name, len(events))
            continue
        logger.info("%s.npy: %d events, %d of them signal", name, len(events), (events[:, -1] == 1).sum())
        if len(events) == 0 and name in ("innerdata_extrasig_train", "innerdata_extrabkg_train"):
            logger.warning("%s.npy is empty: modes that need it cannot run", name)
    data = separated.data()
    save_arrays(folder, data)
    logger.info("data.npy: all %d data events", len(data["data"]))
    columns.save(folder)
    save(mass_spectrum(data["data"][:, 0], window), folder / f"mjj_spectrum.{figures}")
    if not labelled:
        logger.info("the events have no labels: what needs them is left out")
    elif s_over_b is None:
        logger.warning("no background event in the signal region, by the labels")
    else:
        logger.info("S/B in the signal region: %.3f %%", 100 * s_over_b)
    return {"signal_to_background": s_over_b, "resonant_variable_from_features": known and asdict(known)}
