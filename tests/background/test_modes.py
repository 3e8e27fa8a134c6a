"""The modes: what stands for the background, and what their arrays hold before they are preprocessed."""

from __future__ import annotations

import numpy as np
import pytest
from toys import event_source

from background.arrays import ClassifierArrays
from background.mode import ClassifierMode
from background.options import NOT_FOR_ALL
from background.registry import MODES
from events.view import Events


def arrays_of(mode: str, toy_dir, **options: object) -> ClassifierArrays:
    """The arrays of a mode, made of toy events."""
    source = event_source(toy_dir, mode=mode, separate_val_set=True, **options)
    (arrays,) = MODES.get(mode).build(source, source.options)
    return arrays


def data_and_background(events: Events) -> tuple[Events, Events]:
    return events[events.is_data], events[~events.is_data]


@pytest.mark.parametrize("name", MODES.names)
def test_every_mode_says_what_it_is(name):
    mode = MODES.get(name)
    assert mode.name == name
    assert mode.background
    assert mode.score
    if isinstance(mode, ClassifierMode):
        assert set(mode.uses) <= set(NOT_FOR_ALL)
        assert len(mode.class_names) == 2


def test_cwola_takes_the_two_strips_next_to_the_signal_region(toy_dir):
    arrays = arrays_of("CWoLa", toy_dir, oversampling=True)
    data, strips = data_and_background(arrays.train)
    assert ((data.m > 3.3) & (data.m < 3.7)).all()
    below, above = (strips.m > 3.1) & (strips.m <= 3.3), (strips.m >= 3.7) & (strips.m < 3.9)
    assert (below | above).all()
    assert below.any()
    assert above.any()
    assert (strips.label == 5).all()
    assert (arrays.extrasig.label == 1).all()
    assert arrays.extrasig.is_data.all()


def test_idealized_background_is_true_background_and_disjoint_from_the_data(toy_dir):
    for extra in (True, False):
        arrays = arrays_of("idealized_AD", toy_dir, extra_bkg=extra, no_extra_signal=True)
        data, background = data_and_background(Events.joined(arrays.train, arrays.validation))
        events = {tuple(row) for row in background.m_and_x}
        assert not events & {tuple(row) for row in data.m_and_x}
        truth = np.concatenate([np.load(path) for path in toy_dir.glob("innerdata_*.npy")])
        label = {tuple(row[:-1]): row[-1] for row in truth}
        assert all(label[event] == 0 for event in events)
        assert (data.label == 1).any()
        assert arrays.extrasig is None


@pytest.mark.parametrize("extra", [True, False])
def test_supervised_learns_true_labels_and_is_not_tested_on_its_training_signal(toy_dir, extra):
    arrays = arrays_of("supervised", toy_dir, extra_bkg=extra, oversampling=True)
    for events in (arrays.train, arrays.validation):
        np.testing.assert_array_equal(events.is_data, events.label)
        assert set(events.label) == {0, 1}
        np.testing.assert_array_equal(MODES.get("supervised").target(events), events.label)
    assert arrays.extrasig is None
    trained, tested = set(arrays.train.x[:, 0]), set(arrays.test.x[arrays.test.label == 1, 0])
    assert not trained & tested


def test_test_events_include_the_extra_test_background(toy_dir):
    arrays = arrays_of("CWoLa", toy_dir, no_extra_signal=True)
    assert len(arrays.test) == 1300 + 200
    assert arrays.test.is_data.all()


def test_options_without_a_use_are_said_and_not_recorded(toy_dir, caplog):
    source = event_source(toy_dir, mode="CWoLa", n_samples=7)
    unused = MODES.get("CWoLa").unused(source.options)
    assert "n_samples" in unused
    assert "oversampling" not in unused
    assert [record.getMessage() for record in caplog.records] == ["--n_samples does not matter: the CWoLa mode has no use for it"]
