"""Curves and figures."""

from evaluation.curves import Evaluation, sic_curve
from evaluation.sculpting import Sculpting, background_sculpting
from plots.pairs import hists_2d, preds_2d, pulls_2d
from plots.performance import plot_roc_and_sic
from plots.sculpting import sculpting as plot_sculpting

__all__ = [
    "Evaluation", "Sculpting", "background_sculpting", "hists_2d", "plot_roc_and_sic", "plot_sculpting", "preds_2d", "pulls_2d",
    "sic_curve",
]  # fmt: skip
