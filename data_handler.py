"""Separated events on disk as arrays: the folder that stage 1 writes, region by region.

from data_handler import EventOptions, EventSource
train, validation = EventSource(EventOptions(data_dir="separated_data")).sideband()
train.m, train.x, train.label     # m_JJ (TeV) [n], features [n, d], 1 signal or 0 background [n]
"""

from events.columns import Column, Columns
from events.options import EventOptions
from events.regions import EventSource, FeatureShift
from events.view import Events, drop_nan_rows, load_events

__all__ = ["Column", "Columns", "EventOptions", "EventSource", "Events", "FeatureShift", "drop_nan_rows", "load_events"]
