"""Grids of runs on Dask: what is to be done, where, and what came out."""
