"""The runs behind the papers' figures: how a list is read, and what is made of the runs."""

from __future__ import annotations

import numpy as np
import pytest
from paper_runs import N_RUNS, write_run

from common.errors import InputError
from common.files import load_array
from evaluation_utils import evaluate_scores, figures_of_merit, load_test_scores, signal_to_background
from workflow import paper
from workflow.paper import PaperRuns


def read(folder, text):
    (folder / "runs.yml").write_text(text)
    return PaperRuns.read(folder / "runs.yml")


def test_folders_become_curves(tmp_path):
    for name, mode in (("a1", "CWoLa"), ("a2", "CATHODE"), ("a3", "CATHODE")):
        write_run(tmp_path / name, mode, 1.0, seed=int(name[1]))
    (tmp_path / "a4").mkdir()  # not done
    runs = read(tmp_path, "sample: events\nmodes: a*/\ns_over_b: {mine: [a2, a1, 'a[12]'], CATHODE: a3}\nshifted: none/\n")
    assert {label: [run.folder.name for run in of_label] for label, of_label in runs.lists["modes"].items()} == {
        "CATHODE": ["a2", "a3"],
        "CWoLa": ["a1"],
    }
    assert list(runs.lists["modes"]) == ["CATHODE", "CWoLa"], "in the order of the modes"
    assert [run.folder.name for run in runs.lists["s_over_b"]["mine"]] == ["a2", "a1"], "no folder counts twice"
    assert runs.lists["modes"]["CATHODE"][0] is runs.lists["s_over_b"]["mine"][0], "read once"
    assert runs.absent == ("none/", str(tmp_path / "a4"))
    assert (runs.sample, runs.figures) == ("events", tmp_path / "figures")
    (tmp_path / "a1" / "STAGE.json").unlink()
    with pytest.raises(InputError, match=r"a1: STAGE\.json does not say which mode it is; give its curve a name in .*runs\.yml$"):
        read(tmp_path, "modes: a1/\n")
    assert read(tmp_path, "modes: {CWoLa: a1/}\n").lists["modes"].keys() == {"CWoLa"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: a/\n", r"runs\.yml: unknown key mode \(known: sample, figures, modes"),
        ("modes: 3\n", r"runs\.yml: modes: must be folders"),
        ("modes: [a/, 3]\n", r"runs\.yml: modes: must be folders"),
        ("modes: {3: a/}\n", r"runs\.yml: modes: must be folders"),
        ("modes: {CATHODE: {a: b}}\n", r"runs\.yml: modes: must be folders"),
        ("sample: [1]\nmodes: a/\n", r"runs\.yml: sample must be text"),
        ("sample: x\n", r"has results \(it names none\)"),
        ("modes: [a/, b*/]\n", r"none of the folders that it names has results \(a/, b\*/\)"),
        ("- a/\n", "not a YAML mapping"),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_seeds_are_one_curve(tmp_path):
    folders = [write_run(tmp_path / f"a{seed}", "CATHODE", 1.0 + seed, seed=seed) for seed in (1, 2)]
    curves = read(tmp_path, "modes: a*/\n").lists["modes"]
    evaluations = [evaluate_scores(*load_test_scores(folder, folder)) for folder in folders]
    both = paper.evaluations(curves)["CATHODE"]
    np.testing.assert_array_equal(both.fpr, np.concatenate([each.fpr for each in evaluations]))
    assert both.run_max_sic == evaluations[0].run_max_sic + evaluations[1].run_max_sic
    assert min(each.max_sic.value for each in evaluations) < both.max_sic.value < max(each.max_sic.value for each in evaluations)
    row = paper.numbers(curves)["CATHODE"]
    single = [best.value for best in both.run_max_sic]
    assert (row["lowest"], row["highest"], row["folders"], row["classifiers"]) == (min(single), max(single), 2, 2 * N_RUNS)
    assert row["sculpting, χ²/ndf at 1 %"] == 2.5
    merits = [figures_of_merit(*load_test_scores(folder, folder), n_bootstrap=2).sic_at[0.01].value for folder in folders]
    assert min(merits) < row["SIC at ε_B = 0.01"] < max(merits)
    of_one = paper.numbers({"CATHODE": curves["CATHODE"][:1]})["CATHODE"]
    assert of_one["SIC at ε_B = 0.01"] == merits[0], "as STAGE.json has it"
    assert row["SIC at ε_B = 0.001"] is None, "only 4 background events pass"
    losses = paper.losses(curves["CATHODE"])["my_ANODE_model"]["validation"]
    shorter = load_array(folders[0] / "my_ANODE_model_val_losses.npy")
    assert losses.shape == (2, len(shorter) + 1)
    np.testing.assert_array_equal(losses[0], [*shorter, np.nan])
    assert paper.classifier_losses(curves["CATHODE"])["training"].shape[0] == 2 * N_RUNS
    text = paper.caption("What.", "sample", curves["CATHODE"])
    assert text.startswith("What. Sample; 2 run folders; seeds 1, 2; S/B = 6 %; 3 classifiers")


def test_scans(tmp_path):
    for name, settings in {"a": {"s_over_b": 0.0601}, "b": {"s_over_b": 0.0599, "seed": 2}, "c": {"s_over_b": 0.1},
                           "d": {"shift": 0.1, "n_samples": 100}}.items():  # fmt: skip
        write_run(tmp_path / name, "CATHODE", 1.5, **settings)
    write_run(tmp_path / "e", "ANODE", 1.0, s_over_b=0.02)
    curves = read(tmp_path, "modes: '[a-e]/'\n").lists["modes"]
    of = {run.folder.name: [best.value for best in run.evaluation.run_max_sic] for runs in curves.values() for run in runs}
    points = paper.scan(curves, lambda run: run.s_over_b)
    assert points == {"CATHODE": {0.06: of["a"] + of["b"] + of["d"], 0.1: of["c"]}, "ANODE": {0.02: of["e"]}}
    assert paper.scan(curves, lambda run: run.shift)["CATHODE"] == {0.0: of["a"] + of["b"] + of["c"], 0.1: of["d"]}
    chosen = paper.most_shifted(curves)
    assert {label: [run.folder.name for run in runs] for label, runs in chosen.items()} == {"CATHODE": ["d"]}
    samples = paper.scan({"CATHODE": curves["CATHODE"]}, lambda run: run.n_samples)
    assert samples["CATHODE"] == {100.0: of["d"], 500.0: of["a"] + of["b"] + of["c"]}


def test_without_records(tmp_path):
    """S/B comes from the labels then; of ANODE, whose folder has none, it is not known."""
    for mode in ("CATHODE", "ANODE"):
        write_run(tmp_path / mode, mode, 1.5)
        (tmp_path / mode / "STAGE.json").unlink()
    curves = read(tmp_path, "modes: {CATHODE: CATHODE, ANODE: ANODE}\n").lists["modes"]
    (cathode,), (anode,) = curves["CATHODE"], curves["ANODE"]
    assert cathode.s_over_b == signal_to_background(tmp_path / "CATHODE") == pytest.approx(0.06)
    with pytest.raises(InputError, match=r"X_train\.npy"):
        _ = anode.s_over_b
    with pytest.raises(InputError, match="--datashift"):
        _ = cathode.shift
    assert (cathode.seed, cathode.sculpting, cathode.has_samples) == (None, None, False)
    assert "seed" not in paper.caption("What.", "sample", [anode])


def test_which_runs_have_samples(tmp_path):
    write_run(tmp_path / "a", "CATHODE", 1.5, n_samples=200)
    write_run(tmp_path / "b", "CWoLa", 1.5)
    curves = read(tmp_path, "modes: '[ab]/'\n").lists["modes"]
    assert [curves[mode][0].has_samples for mode in ("CATHODE", "CWoLa")] == [True, False]
    (tmp_path / "a" / "fold_0").mkdir()
    (tmp_path / "a" / "X_train.npy").rename(tmp_path / "a" / "fold_0" / "X_train.npy")
    assert not curves["CATHODE"][0].has_samples, "in folds every fold has some of its own"
