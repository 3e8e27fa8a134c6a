"""What a search says and writes of its global result."""

from __future__ import annotations

import pytest

from events.window import Window
from search.results import GlobalResult, as_json


def test_what_was_not_looked_at_is_named():
    result = GlobalResult(Window(3.3, 3.7), 0.1, 1.8, 0.04, 0.1, 100, 9, 3, ("4 < m < 5 at efficiency 0.001 (+7.6 σ; why)",))
    assert result.sentence().endswith("; not looked at: 4 < m < 5 at efficiency 0.001 (+7.6 σ; why)")
    assert as_json([], [], result)["global"]["without_part"] == ("4 < m < 5 at efficiency 0.001 (+7.6 σ; why)",)


def test_without_toys_nothing_is_bound():
    found = as_json([], [], GlobalResult(Window(3.3, 3.7), 0.01, 4.0, 3e-5, None, 0, 0))["global"]
    assert (found["p_limit_95"], found["p_is_bound"]) == (None, False)


@pytest.mark.parametrize(("n_above", "limit"), [(0, 1 - 0.05**0.01), (2, None)])
def test_where_no_toy_has_as_much_there_is_a_limit(n_above, limit):
    result = GlobalResult(Window(3.3, 3.7), 0.01, 4.0, 3e-5, (1 + n_above) / 101, 100, n_above)
    found = as_json([], [], result)["global"]
    assert (found["p_limit_95"], found["p_is_bound"]) == (limit and pytest.approx(limit, abs=1e-5), limit is not None)
    assert ("below 0.03 at 95 % CL" in result.sentence()) == (limit is not None)
