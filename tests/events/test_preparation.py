"""Tables become events: rows are numbered as in the input, weights, NaN and labels are seen to, and every event goes into one file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.errors import InputError
from events import tables
from events.columns import Column
from events.preparation import TableEvents, Wanted, read_tables
from events.quality import ColumnSummary, summary_table
from events.selection import Selection
from events.separation import Fractions, Separation, separate_table
from events.tables import Table, open_table
from events.window import Window

WANTED = Wanted("m", ("x",))
WEIGHTED = Wanted("m", ("x",), weight="w")
WINDOW = Window(3300, 3700, Column("m", "m", "GeV"))


def npy(folder: Path, **columns: np.ndarray) -> Table:
    """A table of these columns; m and x are there in any case."""
    n = len(next(iter(columns.values())))
    columns = {"m": np.linspace(2000, 6000, n), "x": np.arange(n)} | columns
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, np.column_stack(list(columns.values())))
    return open_table(path, columns=tuple(columns))


def read(wanted: Wanted, *opened: Table, seed: int = 1) -> TableEvents:
    return read_tables(opened, wanted, np.random.default_rng(seed))


def events(array: np.ndarray) -> TableEvents:
    """Events from one table, all of whose rows are there."""
    return TableEvents(array, np.arange(len(array)), (len(array),), len(array))


def labelled(label: np.ndarray) -> np.ndarray:
    """Events [n, 3] with these labels."""
    return np.column_stack([np.linspace(2000, 6000, len(label)), np.zeros(len(label)), label]).astype(np.float32)


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("chunk", [7, 2**16])
def test_rows_are_those_of_the_input_counted_through_all_files(chunk, tmp_path, monkeypatch):
    """`number` is what the row must be; the second of the files has no row that is selected, and text that nobody asked for."""
    monkeypatch.setattr(tables, "CHUNK", chunk)
    rng, sizes = np.random.default_rng(0), (50, 20, 41)
    table = pd.DataFrame({"number": np.arange(111), "m": rng.uniform(2, 9, 111), "x": rng.normal(size=111)})
    table.loc[50:69, "x"] = -1
    first, second, third = table[:50], table[50:70].assign(text="a"), table[70:]
    first.to_csv(tmp_path / "a.csv", index=False)
    second.to_parquet(tmp_path / "b.parquet")
    np.save(tmp_path / "c.npy", third.to_numpy())
    opened = [open_table(tmp_path / name, columns=tuple(table)) for name in ("a.csv", "b.parquet", "c.npy")]
    found = read(Wanted("m", ("number",), selection=Selection("x > 0 and m < 8")), *opened)
    expected = np.flatnonzero((table.x > 0) & (table.m < 8))
    np.testing.assert_array_equal(found.row, expected)
    np.testing.assert_array_equal(found.array[:, 1], expected)
    np.testing.assert_array_equal(found.array[:, 0], table.m[expected].astype(np.float32))
    assert found.rows_of_tables == sizes
    assert found.n_selected == len(expected)
    assert found.array.dtype == np.float32


def test_without_a_selection_every_row_is_there_and_has_no_label(tmp_path):
    found = read(WANTED, npy(tmp_path, x=np.arange(30)), npy(tmp_path, x=np.arange(5)))
    assert found.row.tolist() == list(range(35))
    assert found.array[:, 1].tolist() == [*range(30), *range(5)]
    assert (found.array[:, -1] == -1).all()


@pytest.mark.parametrize("options", [{"label": "x"}, {"weight": "x"}, {"label": "m"}, {"label": "y", "weight": "y"}])
def test_a_column_has_one_part_to_play(options):
    with pytest.raises(InputError, match="can be only one of"):
        Wanted("m", ("x",), **options)


@pytest.mark.parametrize("features", [("x", "x"), ("x", "m")])
def test_no_feature_is_there_twice_or_the_resonant_variable(features):
    with pytest.raises(InputError, match="can be only one of"):
        Wanted("m", features)


def test_a_column_may_be_selected_by_and_used_and_is_read_once():
    wanted = Wanted("m", ("x",), "truth", "w", Selection("m > 2 and w > 0 and eta < 1"))
    assert wanted.columns == ["m", "x", "truth", "w", "eta"]


def test_kept_events_follow_the_weights(tmp_path):
    """Of weights 1, 2, 3 and 4 so many quarters are kept, to 4 standard deviations; those of rows that are not selected do not count."""
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 5, 20_000).astype(float)
    left_out = rng.random(20_000) < 0.1
    table = npy(tmp_path, w=np.where(left_out, 1000, weight), m=left_out)
    found = read(Wanted("m", ("x",), weight="w", selection=Selection("m == 0")), table)
    assert not left_out[found.row].any()
    assert found.n_selected == (~left_out).sum()
    assert len(np.unique(found.row)) == len(found.row)
    for value in (1, 2, 3, 4):
        n, share = np.sum((weight == value) & ~left_out), value / 4
        kept = np.sum(weight[found.row] == value)
        assert abs(kept - share * n) <= 4 * np.sqrt(n * share * (1 - share)), value


@pytest.mark.parametrize("weight", [0.3, 1, 7e-12])
def test_equal_weights_keep_everything(weight, tmp_path):
    assert len(read(WEIGHTED, npy(tmp_path, w=np.full(500, weight))).row) == 500


def test_which_events_are_kept_is_up_to_the_seed_not_to_the_chunks(tmp_path, monkeypatch):
    table = npy(tmp_path, w=np.random.default_rng(0).random(300))
    first, other = read(WEIGHTED, table), read(WEIGHTED, table, seed=2)
    monkeypatch.setattr(tables, "CHUNK", 7)
    np.testing.assert_array_equal(read(WEIGHTED, table).row, first.row)
    assert first.row.tolist() != other.row.tolist()


@pytest.mark.parametrize(
    ("bad", "message"), [(-1e-9, "are negative"), (np.nan, "are NaN or infinite"), (np.inf, "are NaN or infinite")]
)
def test_weights_that_are_none_are_refused_where_they_are_selected(bad, message, tmp_path):
    weight = np.ones(100)
    weight[70] = bad
    fine, table = npy(tmp_path, w=np.ones(100)), npy(tmp_path, w=weight)
    with pytest.raises(InputError, match=message) as error:
        read(WEIGHTED, fine, table)
    assert f"{table.path}: some weights in the column 'w'" in one_line(error)
    assert len(read(Wanted("m", ("x",), weight="w", selection=Selection("x < 70")), table).row) == 70


def test_weights_that_are_all_0_are_refused(tmp_path):
    with pytest.raises(InputError, match="all weights in the column 'w' are 0") as error:
        read(WEIGHTED, npy(tmp_path, w=np.zeros(10)))
    one_line(error)


def test_a_few_weights_far_above_all_others_are_warned_of(tmp_path, caplog):
    weight = np.ones(5000)
    weight[::500] = 1e4
    read(WEIGHTED, npy(tmp_path, w=weight))
    assert "only 0.2" in caplog.text
    assert "up to 10000" in caplog.text


@pytest.mark.parametrize("name", ["empty.csv", "empty.parquet", "empty.npy"])
def test_a_table_without_rows_holds_no_event_and_is_no_obstacle_to_others(name, tmp_path):
    empty = pd.DataFrame({"m": np.zeros(0), "x": np.zeros(0)})
    if name.endswith("csv"):
        empty.to_csv(tmp_path / name, index=False)
    elif name.endswith("parquet"):
        empty.to_parquet(tmp_path / name)
    else:
        np.save(tmp_path / name, empty.to_numpy())
    opened = open_table(tmp_path / name, columns=("m", "x"))
    with pytest.raises(InputError, match=f"{name}: no event in it"):
        read(WANTED, opened)
    found = read(WANTED, opened, npy(tmp_path, x=np.arange(3)))
    assert found.row.tolist() == [0, 1, 2]
    assert found.rows_of_tables == (0, 3)


def test_where_nothing_is_selected_it_is_said_how_many_there_were(tmp_path):
    with pytest.raises(InputError, match="none of the 40 events is left"):
        read(Wanted("m", ("x",), selection=Selection("m > 1e6")), npy(tmp_path, x=np.arange(40)))


@pytest.mark.parametrize(
    ("text", "kept"),
    [("1 > 0 and m > 1", [0, 1, 1]), ("m > 1 or 1 > 0", [1, 1, 1]), ("not (m > 5 and not 1 > 2)", [1, 1, 0]),
     ("m > 1 / 0", [0, 0, 0]), ("m / 0 > 1", [1, 1, 1]), ("m > 1e200 * 1e200", [0, 0, 0]), ("m > sqrt(-1)", [0, 0, 0])],
)  # fmt: skip
def test_conditions_on_numbers_alone_are_refused_or_mean_what_they_say(text, kept):
    """What numexpr computes beforehand is a Python number there, for which `not` and / do something else."""
    try:
        keep = Selection(text)({"m": np.array([1.0, 2.0, 6.0])})
    except InputError:
        return
    assert keep.dtype == bool
    assert keep.tolist() == [bool(each) for each in kept]


@pytest.mark.parametrize("line", ["{},{},8,", "{},{},8,9"])
def test_longer_lines_than_the_first_do_not_shift_the_columns(line, tmp_path):
    """A comma at the end of every line but the first is common; pandas takes the first column for an index then."""
    (tmp_path / "a.csv").write_text("\n".join(["m,x,y", *(line.format(3000 + i, i) for i in range(9)), ""]))
    try:
        found = read(WANTED, open_table(tmp_path / "a.csv"))
    except InputError:
        return
    assert found.array[:, 0].tolist() == [3000 + i for i in range(9)]


def with_bad(n_bad: int, bad: float = np.nan, column: int = 1) -> np.ndarray:
    """1000 events [1000, 4] without label, of which some hold no number."""
    array = np.column_stack([np.linspace(2000, 6000, 1000), np.ones((1000, 2)), np.full(1000, -1)]).astype(np.float32)
    array[np.arange(5, 5 + n_bad) % 1000, column] = bad
    return array


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_up_to_one_percent_without_a_number_is_dropped_and_counted(bad, column, caplog):
    found = events(with_bad(10, bad, column)).finite(["m", "x", "y"])
    assert np.isfinite(found.array).all()
    assert found.row.tolist() == [*range(5), *range(15, 1000)]
    assert "dropped 10 of 1000 rows" in caplog.text
    with pytest.raises(InputError, match=f"11 of 1000 values of the column '{'mxy'[column]}' are NaN or infinite") as error:
        events(with_bad(11, bad, column)).finite(["m", "x", "y"])
    one_line(error)


def test_all_rows_are_kept_where_all_are_numbers(caplog):
    complete = events(with_bad(0))
    assert complete.finite(["m", "x", "y"]) is complete
    assert caplog.text == ""


def test_what_is_missing_in_several_columns_is_added_up():
    array = with_bad(8)
    array[500:508, 2] = np.nan
    with pytest.raises(InputError, match="16 of 1000 rows hold NaN or infinity in some column"):
        events(array).finite(["m", "x", "y"])


def test_a_column_without_any_number_is_said_to_be_one():
    with pytest.raises(InputError, match="the column 'x' holds no number at all") as error:
        events(with_bad(1000)).finite(["m", "x", "y"])
    one_line(error)


def test_what_is_too_large_for_float32_counts_as_infinite(tmp_path):
    with pytest.raises(InputError, match="the column 'x' holds no number at all"):
        read(WANTED, npy(tmp_path, x=np.full(10, 1e39))).finite(["m", "x"])


@pytest.mark.parametrize("name", ["x", "jet.pt", "jet pt"])
def test_the_selection_that_is_advised_leaves_only_numbers(name):
    """NaN and infinite ones alike; and none is advised that would be refused because of the column's name."""
    with pytest.raises(InputError, match="more than 1 %") as error:
        events(with_bad(11)).finite(["m", name, "y"])
    for advised in re.findall('--selection "(.*)"', str(error.value)):
        keep = Selection(advised)({name: np.array([1.0, np.nan, np.inf, -np.inf])})
        assert keep.tolist() == [True, False, False, False]


@pytest.mark.parametrize("values", [(0, 1), (0, 0), (1, 1), (-1, -1)])
def test_labels_are_0_and_1_or_unknown_throughout(values):
    array = labelled(np.tile(values, 200))
    np.testing.assert_array_equal(events(array).finite(["m", "x"]).array, array)


@pytest.mark.parametrize("values", [(0, 2), (0, 0.5), (-1, 1), (-1, 0), (5, 5), (0, -2)])
def test_other_labels_are_refused(values):
    with pytest.raises(InputError, match=r"the label must be 1 \(signal\) or 0 \(background\), or -1 \(unknown\)") as error:
        events(labelled(np.tile(values, 200))).finite(["m", "x"])
    one_line(error)


def test_the_label_of_a_table_is_that_of_the_row(tmp_path):
    truth = np.random.default_rng(0).integers(2, size=200)
    found = read(Wanted("m", ("x",), "truth", selection=Selection("x >= 100")), npy(tmp_path, truth=truth))
    np.testing.assert_array_equal(found.array[:, -1], truth[100:])


def test_discrete_features_are_smeared_by_their_spacing_and_always_alike():
    rng = np.random.default_rng(0)
    array = np.column_stack([rng.uniform(2, 9, 500), rng.integers(5, size=500), rng.normal(size=500), rng.integers(5, size=500)])
    array = np.column_stack([array, np.full(500, -1)]).astype(np.float32)
    smeared = [events(array.copy()) for _ in range(3)]
    for each, seed in zip(smeared, (1, 1, 2), strict=True):
        each.smear(["a", "b", "c"], ["a", "c"], Window(100, 101), seed)
    first, again, other = (each.array for each in smeared)
    np.testing.assert_array_equal(first, again)
    assert (first[:, [1, 3]] != other[:, [1, 3]]).all(axis=1).mean() > 0.99
    np.testing.assert_array_equal(first[:, [0, 2, 4]], array[:, [0, 2, 4]])
    shifts = (first - array)[:, [1, 3]]
    assert np.abs(shifts).max() <= 0.5
    assert shifts.std(axis=0) == pytest.approx([np.sqrt(1 / 12)] * 2, rel=0.1)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2


def separated(
    m: np.ndarray, *fractions: float, label: np.ndarray | None = None, window: Window = WINDOW, seed: int = 1
) -> Separation:
    label = np.full(len(m), -1) if label is None else label
    return separate_table(m, label, window, Fractions(*fractions or (0.6, 0.5, 0.25)), np.random.default_rng(seed))


def masses(n_inside: int, n_outside: int) -> np.ndarray:
    """The sideband first."""
    return np.concatenate([np.linspace(4000, 5000, n_outside), np.linspace(3400, 3600, n_inside)]).astype(np.float32)


@pytest.mark.parametrize("fractions", [(0.57, 0.5, 0.0), (0.6, 0.75, 0.2), (0.01, 0.99, 0.9)])
def test_every_event_is_in_one_file_and_files_have_their_shares(fractions):
    m = np.random.default_rng(0).uniform(2500, 4500, 3000).astype(np.float32)
    files = separated(m, *fractions).main
    np.testing.assert_array_equal(np.sort(np.concatenate(list(files.values()))), np.arange(3000))
    n, inside = {name: len(rows) for name, rows in files.items() if len(rows)}, (m > 3300) & (m < 3700)
    for name, rows in files.items():
        assert (inside[rows] == name.startswith("inner")).all()
    assert n.keys() - {"innerdata_test"} == {"outerdata_train", "outerdata_test", "innerdata_train", "innerdata_val"}
    assert n["outerdata_train"] == pytest.approx(fractions[0] * (~inside).sum(), abs=0.5)
    n_test = n.get("innerdata_test", 0)
    assert n_test == pytest.approx(fractions[2] * inside.sum(), abs=0.5)
    assert n["innerdata_train"] == pytest.approx(fractions[1] * (inside.sum() - n_test), abs=0.5)


def test_all_events_are_data_and_none_is_extra():
    separation = separated(masses(100, 200))
    assert separation.data.tolist() == list(range(300))
    assert separation.extra == {}


def test_which_event_goes_where_is_random_and_up_to_the_seed():
    """Events that come first are as likely to be trained on as others: files are often sorted by run, or by process."""
    files = separated(masses(2000, 2000)).main
    for name, middle in (("outerdata_train", 1000), ("innerdata_train", 3000), ("innerdata_test", 3000)):
        rows = files[name]
        assert abs(rows.mean() - middle) < 4 * 2000 / np.sqrt(12 * len(rows))
        assert (np.diff(rows) < 0).any()
        np.testing.assert_array_equal(separated(masses(2000, 2000)).main[name], rows)
        assert separated(masses(2000, 2000), seed=2).main[name].tolist() != rows.tolist()


@pytest.mark.parametrize(("low", "high"), [(3300, 3700), (3.3, 3.7)])
def test_the_edges_belong_to_the_sideband(low, high):
    """In float32, too, where 3.3 is a little below and 3.7 a little above."""
    edges = np.array([low, high] * 2, dtype=np.float32)
    inside = np.array([np.nextafter(edges[0], edges[1]), np.nextafter(edges[1], edges[0])] * 4)
    files = separated(np.concatenate([edges, inside]), window=Window(low, high)).main
    assert sorted([*files["outerdata_train"], *files["outerdata_test"]]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("n_inside", "n_outside", "fractions", "message"),
    [(0, 100, (0.6, 0.5, 0.25), "0 events are too few to train and validate on in the signal region"),
     (1, 100, (0.6, 0.5, 0.25), "too few to train and validate on in the signal region"),
     (100, 100, (0.6, 0.5, 0.999), "0 events are too few to train and validate on in the signal region"),
     (100, 0, (0.6, 0.5, 0.25), "0 events are too few to train and validate on in the sideband"),
     (100, 1, (0.6, 0.5, 0.25), "1 events are too few to train and validate on in the sideband"),
     (100, 100, (0.999, 0.5, 0.25), "in the sideband")],
)  # fmt: skip
def test_too_few_events_are_refused_with_their_range(n_inside, n_outside, fractions, message):
    with pytest.raises(InputError, match=message) as error:
        separated(masses(n_inside, n_outside), *fractions)
    assert "of 3300 < m < 3700 GeV; m goes from " in one_line(error)


def test_masses_in_another_unit_than_the_window_are_named():
    with pytest.raises(InputError, match=r"about a thousand times the window, 3\.3 to 3\.7 TeV"):
        separated(masses(100, 100), window=Window(3.3, 3.7, Column("m", "m", "TeV")))
    with pytest.raises(InputError, match="about a thousandth of the window, 3300 to 3700 GeV"):
        separated(masses(100, 100) / 1000)


@pytest.mark.parametrize(("inside", "ratio"), [([1] * 10 + [0] * 40, 0.25), ([0] * 50, 0.0), ([-1] * 50, None)])
def test_signal_over_background_is_that_of_the_signal_region(inside, ratio):
    outside = np.full(100, inside[0])
    assert separated(masses(50, 100), label=np.concatenate([outside, inside])).signal_to_background == ratio


@pytest.mark.parametrize(
    ("values", "low", "high", "nan_share", "boundary_share", "commonest", "commonest_share"),
    [([0, 0, 0, 1, 1, 1, 1, 5, np.nan, np.inf], 0, 5, 0.2, 0.5, 1, 0.5), ([3, 3, np.nan, -np.inf], 3, 3, 0.5, 1, 3, 1),
     ([1, 2, 3, 3], 1, 3, 0, 0.75, 3, 0.5), ([-2, -1, -1, -1, 4], -2, 4, 0, 0.4, -1, 0.6)],
)  # fmt: skip
def test_shares_in_a_summary(values, low, high, nan_share, boundary_share, commonest, commonest_share):
    found = ColumnSummary.of(Column("x", "$x$", "GeV"), np.array(values, dtype=np.float32), is_feature=True)
    assert (found.name, found.unit, found.low, found.high, found.commonest) == ("x", "GeV", low, high, commonest)
    shares = (found.nan_share, found.boundary_share, found.commonest_share)
    assert shares == pytest.approx((nan_share, boundary_share, commonest_share))


def test_a_summary_says_what_is_wrong_with_features_only():
    values = np.tile([1.0, 2.0], 300)
    for is_feature, remark in ((True, "it has only 2 different values: it must be dequantized"), (False, "")):
        assert ColumnSummary.of(Column("x", "x"), values, is_feature=is_feature).remark == remark
    assert ColumnSummary.of(Column("x", "x"), np.array([np.nan, np.inf]), is_feature=True) is None


def test_the_table_of_summaries_has_a_line_for_every_column():
    summaries = [ColumnSummary.of(Column(name, name, unit), np.array([1.0, 2, 2, np.nan]), is_feature=False)
                 for name, unit in (("m", "GeV"), ("a_long_name", ""))]  # fmt: skip
    head, *rows = (re.split("  +", line) for line in summary_table(summaries))
    assert head[:5] == ["column", "unit", "lowest", "highest", "NaN"]
    numbers = ["1", "2", "25 %", "100 %", "2", "66.7 %"]
    assert rows == [["m", "GeV", *numbers], ["a_long_name", "-", *numbers]]
    assert len(summary_table([])) == 1
