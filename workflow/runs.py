"""What reports and the notebook of the papers' figures read in the folder of a run: its mode, S/B, the events it learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from background.arrays import SCALER_FILE, fold_folders
from background.mode import Mode
from background.registry import MODES
from common.files import load_array, load_json
from evaluation.folds import FILE
from evaluation.scores import searched_labels, signal_and_background
from events.columns import Columns
from events.view import Events
from events.window import stored_window
from models.scalers import scaler_from_dict
from workflow.evaluation import scored_run
from workflow.records import Record, read_records

ARRAYS = ("classifier_arrays", "likelihood_ratios")  # the stages that choose the events: of all modes but ANODE, and of ANODE


def mode_of(records: Mapping[str, Record]) -> Mode | None:
    """The mode of a run; None where STAGE.json does not say which."""
    named = (record["options"]["mode"] for record in records.values() if "mode" in record["options"])
    name = "ANODE" if "likelihood_ratios" in records else next(named, None)
    return MODES.get(name) if name in MODES.names else None


def searched_events(folder: Path) -> tuple[int, int]:
    """Signal and background events, by their true labels, among the data of the signal region that a run searches.

    Raises
    ------
    InputError
        If the run has no arrays of stage 3 (ANODE), if nobody knows the labels, or if there is no background (supervised).
    """
    if (Path(folder) / FILE).is_file():
        run = scored_run(folder, folder)
        labels = np.array([]) if run.labels is None else run.labels[run.in_signal_region]
    else:
        labels = searched_labels(folder)
    return signal_and_background(labels, folder)


def signal_to_background(run_dir: Path) -> float:
    """S/B in the data of the signal region: as stage 1 recorded it for this region, else that of `searched_events`.

    Raises
    ------
    InputError
        If neither says it.
    """
    records = read_records(run_dir)
    for place in (place for stage in ARRAYS for place in records.get(stage, {}).get("read_from", [])):
        recorded = read_records(place).get("separation", {"results": {}})["results"].get("signal_to_background")
        if recorded is not None and len({stored_window(place), stored_window(run_dir)} - {None}) < 2:
            return float(recorded)
    signal, rest = searched_events(run_dir)
    return signal / rest


@dataclass(frozen=True)
class InUnits:
    """Two kinds of events, in the features' own units where these are known.

    Attributes
    ----------
    columns : Columns
        What they are called.
    data, background : arrays [n, 1 + d]
        Masses and features.
    is_known : bool
        False: the folder does not say how features were preprocessed, and they have no unit.
    """

    columns: Columns
    data: np.ndarray = field(repr=False)
    background: np.ndarray = field(repr=False)
    is_known: bool

    @classmethod
    def of(cls, place: Path, data: Events, background: Events) -> InUnits:
        """Events of the arrays in a folder."""
        columns, is_known = Columns.read(place, data.n_features), (place / SCALER_FILE).is_file()

        def restored(events: Events) -> np.ndarray:
            x = events.x.astype(np.float64)
            return np.column_stack(
                [events.m, scaler_from_dict(load_json(place / SCALER_FILE)).inverse_transform(x) if is_known else x]
            )

        return cls(columns, restored(data), restored(background), is_known)

    @property
    def axes(self) -> list[str]:
        """Labels of the axes."""
        first, *others = self.columns.axes
        return [
            first,
            *(others if self.is_known else [f"{column.label}, preprocessed (no unit)" for column in self.columns.features]),
        ]


def training_events(folder: Path) -> InUnits:
    """The training data of a run and what stands for their background; in folds those of the first.

    Raises
    ------
    InputError
        If stage 3 has not been done.
    """
    place = (fold_folders(folder) or [Path(folder)])[0]
    events = Events(load_array(place / "X_train.npy"), mixed=True)
    return InUnits.of(place, events[events.is_data], events[~events.is_data])


def samples_and_truth(folder: Path) -> InUnits:
    """What stands for the background in the training (`background`), and the true background of the test events (`data`).

    Raises
    ------
    InputError
        If stage 3 has not been done, or was done in folds.
    """
    train, test = (Events(load_array(Path(folder) / f"X_{name}.npy"), mixed=True) for name in ("train", "test"))
    return InUnits.of(Path(folder), test[test.label == 0], train[~train.is_data])
