"""Stage 1 for an analysis' own tables (ROOT, parquet, HDF5, csv, .npy) -> separated sideband and signal-region events (.npy).

    python run_data_preparation.py --input data.parquet --resonant m_jj --features m_j1,dm_j,tau21_1,tau21_2 \\
        --SR_min 3300 --SR_max 3700 --unit m_jj=GeV m_j1=GeV dm_j=GeV --outdir my_separated_data/
    python run_data_preparation.py --input "run*.root" --tree events --selection "m_jj > 2000 and abs(eta_1) < 2.5" --resonant m_jj \\
        --features m_j1,dm_j,n_tracks --dequantize n_tracks --SR_min 3300 --SR_max 3700

The events need no labels: their label is -1 without --label. It writes what run_data_preparation_LHCORD.py writes; data_row.npy says
which row of the input, counted through all files, every event of data.npy was.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.options import MISSING, StageOptions, finite, option
from common.script import run_script
from events.options import SIDEBAND_TRAIN, RegionOptions

if TYPE_CHECKING:
    from events.columns import Columns
    from workflow.stage import Stage

logger = logging.getLogger(__name__)

TEST_FRACTION = 0.2  # of the SR, where labels are known


def check_share(value: float) -> str | None:
    """What is wrong with a share of which both it and the rest must hold events."""
    return None if 0 < value < 1 else "must lie between 0 and 1"


def check_test_share(value: float) -> str | None:
    """What is wrong with a share that may be 0."""
    return None if 0 <= value < 1 else "must be 0 or above, and below 1"


def check_units(values: tuple[str, ...]) -> str | None:
    """What is wrong with units."""
    wrong = [value for value in values if not all(part.strip() for part in value.partition("="))]
    names = [value.partition("=")[0] for value in values]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    return f"{wrong[0]} must be COLUMN=UNIT" if wrong else f"{twice[0]} has two units" if twice else None


@dataclass(frozen=True, kw_only=True)
class Options(RegionOptions, StageOptions):
    """Options of stage 1 for own tables."""

    input: tuple[str, ...] = option(
        MISSING,
        "files or patterns (*.root, *.parquet, *.h5, *.csv, *.npy); their rows follow each other",
        metavar="FILE",
        recorded=False,
    )
    resonant: str = option(MISSING, "column of the resonant variable, in which a signal is a narrow bump", metavar="COLUMN")
    features: str = option(MISSING, "columns of the features, with commas between them", metavar="COLUMN,...")
    SR_min: float = option(MISSING, "lower edge of the signal region, in the unit of --resonant", check=finite)
    SR_max: float = option(MISSING, "upper edge of the signal region, in the unit of --resonant", check=finite)
    tree: str | None = option(
        None, "table in a ROOT or HDF5 file", default_text="the only one that is there", metavar="NAME", chained_as=None
    )
    columns: str | None = option(
        None, "what the columns of a .npy file are, with commas between them", default_text="none", metavar="NAME,..."
    )
    selection: str | None = option(
        None,
        'rows that are kept, such as "m_jj > 2000 and abs(eta_1) < 2.5": comparisons, + - * /, and, or, not, abs, sqrt, log',
        default_text="all of them",
        metavar="CONDITION",
    )
    unit: tuple[str, ...] = option(
        (),
        "units of columns, for figures and messages: COLUMN=UNIT; nothing is converted",
        check=check_units,
        metavar="COLUMN=UNIT",
    )
    label: str | None = option(
        None,
        "column of the label, 1 signal and 0 background, for the evaluation; only idealized_AD and supervised learn from it",
        default_text="none: unknown",
        metavar="COLUMN",
    )
    unweight: str | None = option(
        None,
        "column of weights: an event is kept with a probability in proportion to it, once; negative weights are refused",
        default_text="every event counts the same",
        metavar="COLUMN",
    )
    dequantize: tuple[str, ...] = option((), "discrete features, which are smeared by their own spacing", metavar="COLUMN")
    SB_train_fraction: float = option(SIDEBAND_TRAIN, "share of the sideband to train on; the rest validates", check=check_share)
    SR_train_fraction: float = option(0.5, "share of the signal region's data to train on; the rest validates", check=check_share)
    SR_test_fraction: float | None = option(
        None,
        "share of the signal region that is set aside for the test; with folds (--cf_k_folds of run_all.py) none is needed",
        check=check_test_share,
        default_text=f"0; {TEST_FRACTION} with --label",
    )
    outdir: Path = option(Path("separated_data"), "folder for the separated .npy files", metavar="DIR", recorded=False)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the columns."""
        return names_in(self.features)

    @property
    def test_fraction(self) -> float:
        """Share of the SR for the test."""
        return self.SR_test_fraction if self.SR_test_fraction is not None else TEST_FRACTION if self.label else 0.0


def names_in(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main(options: Options) -> None:
    """Read, describe, separate, write."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.outdir)), resume=False)


def stage(options: Options) -> Stage:
    """Stage 1 with these options."""
    from common.contract import patterns
    from common.seeds import make_rng
    from events.preparation import Wanted, read_tables
    from events.quality import ColumnSummary, summary_table
    from events.selection import Selection
    from events.separation import SEPARATED_FILES, Fractions, SeparatedEvents, separate_table
    from events.tables import found_files, open_table
    from events.window import Window
    from workflow.records import STAGE_1, check_own_folder
    from workflow.separation import write_separated
    from workflow.stage import Stage

    columns = _columns(options)
    window = Window(*options.window.edges, columns.resonant)
    selection = None if options.selection is None else Selection(options.selection)
    wanted = Wanted(options.resonant, options.feature_names, options.label, options.unweight, selection)

    def inputs() -> list[Path]:
        check_own_folder(options.outdir, STAGE_1)
        files = found_files(options.input)
        if inside := [path for path in files if path.resolve().parent == options.outdir.resolve()]:
            raise InputError(f"{inside[0]}: {options.flag('outdir')} must be another folder than that of the input")
        return files

    def work(folder: Path) -> dict[str, Any]:
        files = inputs()
        tables = [open_table(path, options.tree, names_in(options.columns or "")) for path in files]
        found = read_tables(tables, wanted, make_rng(options.seed, "unweighting"))
        every = (columns.resonant, *columns.features)
        dense = (False, *(name not in options.dequantize for name in columns.names))
        described = [ColumnSummary.of(column, found.array[:, i], is_feature=dense[i]) for i, column in enumerate(every)]
        for line in summary_table([summary for summary in described if summary is not None]):
            logger.info("%s", line)
        for summary in filter(None, described):
            if summary.remark:
                logger.warning("the feature %s cannot be described by a density: %s", summary.name, summary.remark)
        found = found.finite([*(column.name for column in every), options.label or "label"])
        found.smear(columns.names, options.dequantize, window, options.seed)
        fractions = Fractions(options.SB_train_fraction, options.SR_train_fraction, options.test_fraction)
        events, rng = found.array, make_rng(options.seed, "separation")
        separation = separate_table(events[:, 0], events[:, -1], window, fractions, rng)
        separated = SeparatedEvents(events, events, found.row, separation, options.seed)
        rows = [{"file": path.name, "rows": n} for path, n in zip(files, found.rows_of_tables, strict=True)]
        results = {
            "rows_of_files": rows,
            "rows_selected": found.n_selected,
            "columns": [asdict(each) for each in described if each],
        }
        return results | write_separated(separated, columns, window, folder, options.figures)

    return Stage("separation", options.outdir, options, inputs, patterns(SEPARATED_FILES), work)


def _columns(options: Options) -> Columns:
    """What the columns are, by the flags.

    Raises
    ------
    InputError
        If a flag is about a column that is not used.
    """
    from events.columns import Column, Columns, is_one_line

    features = options.feature_names
    if not features:
        raise InputError(f"{options.flag('features')}: names no column")
    units = dict(text.split("=", 1) for text in options.unit)
    for flag, names in (("unit", units), ("dequantize", options.dequantize)):
        known = (options.resonant, *features) if flag == "unit" else features
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"{options.flag(flag)} {unknown[0]}: is none of {', '.join(known)}")
    if wrong := [text for text in (options.resonant, *features, *units.values()) if not is_one_line(text)]:
        raise InputError(f"{wrong[0][:50]!r}: names and units must be short text of one line")

    def column(name: str) -> Column:
        formula = f"column {name} of the input" + (", smeared by its own spacing" if name in options.dequantize else "")
        return Column(name, name.replace("$", r"\$"), units.get(name, ""), formula)

    edges = options.window.edges
    return Columns(column(options.resonant), tuple(column(name) for name in features), signal_region=edges)


if __name__ == "__main__":
    run_script(main, __doc__, Options)
