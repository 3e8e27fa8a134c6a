"""What a search says and writes of its global result."""

from __future__ import annotations

import pytest

from events.window import Window
from search.results import GlobalResult, as_json


@pytest.mark.parametrize(("n_above", "limit"), [(0, 0.02996), (2, None)])
def test_where_no_toy_has_as_much_there_is_a_limit(n_above, limit):
    result = GlobalResult(Window(3.3, 3.7), 0.01, 4.0, 3e-5, (1 + n_above) / 101, 100, n_above)
    found = as_json([], [], result)["global"]
    assert (found["p_limit_95"], found["p_is_bound"]) == (limit and pytest.approx(limit, abs=1e-5), limit is not None)
    assert ("below 0.03 at 95 % CL" in result.sentence()) == (limit is not None)
