"""Curves and figures."""

from evaluation.sculpting import Sculpting
from evaluation_utils import Evaluation, background_sculpting, plot_roc_and_sic, sic_curve
from plots.figures import sculpting as plot_sculpting
from plots.pairs import hists_2d, preds_2d, pulls_2d

__all__ = [
    "Evaluation", "Sculpting", "background_sculpting", "hists_2d", "plot_roc_and_sic", "plot_sculpting", "preds_2d", "pulls_2d",
    "sic_curve",
]  # fmt: skip
