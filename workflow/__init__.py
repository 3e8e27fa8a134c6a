"""Stages, their records, the plan of a run and its checks."""
