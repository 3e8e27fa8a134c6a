"""Row filters: what they keep, and that nothing else than a condition on columns gets through."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import InputError
from events.selection import Selection

TABLE = {"m": np.array([1.0, 2.0, 3.0, np.nan]), "eta": np.array([-1.0, 2.0, 0.0, 0.0])}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("m > 1", [0, 1, 1, 0]),
        ("1 <= m < 3 and not eta > 1", [1, 0, 0, 0]),
        ("log(m) > 0.5 or -eta > 0", [1, 1, 1, 0]),
        ("sqrt(abs(eta)) >= 1 and m != 2", [1, 0, 0, 0]),
        ("(m + 1) * 2 - m / 2 == 6.5", [0, 0, 1, 0]),
        ("m / 2 > 0.5", [0, 1, 1, 0]),
        ("m == m", [1, 1, 1, 0]),
        ("m > 10000000000000000000000000", [0, 0, 0, 0]),
        ("  m>1\n", [0, 1, 1, 0]),
    ],
)
def test_what_is_kept(text, kept):
    assert Selection(text)(TABLE).tolist() == [bool(keep) for keep in kept]


HOSTILE = [
    "__import__('os').system('true')", "m.__class__ > 1", "m.x > 1", "m[0] > 1", "@m > 1", "m > 'a'", "m if m else m", "lambda: 1",
    "9**9**9 > m", "m > True", "(m > 1) + 1 > 0", "m", "1 > 0", "m > 1e400", "m > 1j", "exp(m) > 1", "abs(m, m) > 1", "abs(m, x=m) > 1",
    "abs(*m) > 1", "m is 1", "m in (1, 2)", "[m for m in m]", "f'{m}' > 1", "m := 3", "m > 1; m", "", "#", "m >", "eval('m') > 1",
    "~m > 1",
    "m & 1 > 0", "m % 2 > 1", "m // 2 > 1", "await m", "(yield) > m", "...", "m > None", "'\\d' > m", "abs > 1 > abs(abs)(1)", "not m",
    "m > 1 and eta", "-(m > 1) > 0", "{m} > 1", "m > 0x" + "f" * 400, "\x00m > 1", "m > 1 if m else eval", "print(m) > 1",
    "where(m, 1, 2) > 1",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=r"^selection .* it may hold comparisons"):
        Selection(text)


@pytest.mark.parametrize(
    "text",
    ["m > 1" + " and m > 1" * 1000, "a" * 5000 + " > 1", "-" * 1900 + "m > 1", "(" * 900 + "m" + ")" * 900 + " > 1",
     "not " * 450 + "m > 1", " + ".join(["m"] * 400) + " > 1", "m" + " < m" * 600],
)  # fmt: skip
def test_very_long_or_very_deep_ones_are_refused(text):
    with pytest.raises(InputError):
        Selection(text)


def test_columns_cannot_stand_for_anything_else():
    """Names of functions and of Python's own attributes are columns like any other, in reach of nothing."""
    selection = Selection("__builtins__ > 1 and where > 1")
    assert selection.columns == ("__builtins__", "where")
    with pytest.raises(KeyError):
        selection({"m": np.ones(3)})


@pytest.mark.parametrize("text", ["m > 2", "m != 2", "not (m > 2)", "m > 2 or n > 0", "not (m == m)"])
def test_rows_with_nan_in_a_column_that_is_used_are_not_kept(text):
    kept = Selection(text)({"m": np.array([np.nan, 3.0]), "n": np.array([1.0, 1.0])})
    assert not kept[0]


@pytest.mark.parametrize("text", ["not (m > 5 and not 1 > 2)", "m / 0 > 1", "m > 1 / 0", "1 > 0 and m > 1"])
def test_parts_that_cannot_be_computed_are_refused_at_once(text):
    with pytest.raises(InputError, match="selection"):
        Selection(text)
