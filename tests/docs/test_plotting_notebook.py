"""The evaluation notebook, executed on small run folders in the form that stages 2 to 4 write."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from common.files import save_array
from evaluation_utils import evaluate_scores, load_test_scores
from events.view import DATA, SAMPLE, SAMPLE_LABEL, Events

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "plotting_notebook.ipynb"
N_RUNS, EPOCHS, N_FEATURES = 3, 4, 4
N_TEST_SIGNAL, N_TEST_BACKGROUND = 300, 2000


def write_run(folder: Path, mode: str, separation: float, n_signal: int = 30, n_background: int = 500) -> Path:
    """A run folder of `mode` whose scores tell signal from background by `separation` standard deviations."""
    rng = np.random.default_rng(n_background)
    folder.mkdir()

    def events(n: int, kind: int, labels: np.ndarray | int) -> np.ndarray:
        return Events.mix(rng.uniform(3.3, 3.7, n), rng.normal(size=(n, N_FEATURES)), kind, labels).array

    def save(**arrays: np.ndarray) -> None:
        for name, array in arrays.items():
            save_array(folder / f"{name}.npy", array)

    labels = np.repeat([1, 0], (N_TEST_SIGNAL, N_TEST_BACKGROUND))
    # CWoLa stands for runs without --save_model, which keep the scores of every epoch.
    n_runs, n_kept = (1, 1) if mode == "ANODE" else (N_RUNS, EPOCHS if mode == "CWoLa" else 1)
    scores = rng.normal(size=(n_runs, n_kept, len(labels))) + separation * labels
    save(X_test=events(len(labels), DATA, labels), preds_matris=scores.astype(np.float32))
    flows = {"CATHODE": ["my_ANODE_model"], "ANODE": ["my_ANODE_model", "my_ANODE_model_inner"]}.get(mode, [])
    for flow in flows:
        save(**{f"{flow}_{name}_losses": 5 + rng.exponential(size=EPOCHS + 1) for name in ("train", "val")})
    if mode != "ANODE":
        for name in ("train", "validation"):
            data = events(n_signal + n_background, DATA, np.repeat([1, 0], (n_signal, n_background)))
            save(**{f"X_{name}": np.concatenate([data, events(1000, SAMPLE, SAMPLE_LABEL)])})
        save(**{name: rng.uniform(0.68, 0.7, (N_RUNS, EPOCHS)) for name in ("loss_matris", "val_loss_matris")})
    return folder


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Execute the notebook on some run folders; returns it, and the values of `expressions` evaluated at its end."""

    def run(runs: dict[str, Path], scan: list[Path] = (), expressions: list[str] = ()):
        settings = {"runs": {mode: str(folder) for mode, folder in runs.items()}, "scan": [str(folder) for folder in scan]}
        (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        monkeypatch.setenv("CATHODE_NOTEBOOK_SETTINGS", str(tmp_path / "settings.json"))
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # neither the user's start-up files nor traces in the home folder
            monkeypatch.setenv(variable, str(tmp_path / variable))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        probe = f"import json; print(json.dumps([{', '.join(expressions)}]))"
        notebook.cells.append(nbformat.v4.new_code_cell(probe, id="probe"))
        client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
        client.execute()
        return notebook, json.loads(printed(notebook)["probe"])

    return run


def printed(notebook) -> dict[str, str]:
    """What every cell printed, warnings included."""
    streams = {cell.id: [o.text for o in cell.get("outputs", ()) if o.output_type == "stream"] for cell in notebook.cells}
    return {cell: "".join(texts) for cell, texts in streams.items() if texts}


def n_figures(notebook) -> dict[str, int]:
    """How many figures every cell shows."""
    counts = {cell.id: sum("image/png" in o.get("data", ()) for o in cell.get("outputs", ())) for cell in notebook.cells}
    return {cell: count for cell, count in counts.items() if count}


def test_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_all_modes(tmp_path, execute):
    separations = {"CATHODE": 2.0, "ANODE": 1.2, "CWoLa": 0.8, "idealized_AD": 2.2, "supervised": 2.5}
    runs = {mode: write_run(tmp_path / mode, mode, separation) for mode, separation in separations.items()}
    # The S/B of the first two is 6.0 % within two significant digits.
    scan = [write_run(tmp_path / f"scan{n}", "CATHODE", sep, s, n) for sep, s, n in ((2, 30, 500), (1.5, 30, 498), (1, 10, 490))]
    missing = tmp_path / "missing"
    notebook, (max_sic, scanned) = execute(
        runs | {"LaCATHODE": missing}, [*scan, missing], ["table['max SIC'].to_dict()", "sorted(of_sb.items())"]
    )

    assert n_figures(notebook) == {"modes": 1, "samples": 1, "density": 3, "classifiers": 4, "scan": 1}
    evaluations = {mode: evaluate_scores(*load_test_scores(folder, folder)) for mode, folder in runs.items()}
    assert max_sic == {mode: evaluation.max_sic.value for mode, evaluation in evaluations.items()}
    (table,) = (o.data["text/html"] for cell in notebook.cells if cell.id == "table" for o in cell.outputs)
    for mode, evaluation in evaluations.items():
        assert f"<th>{mode}</th>\n      <td>{evaluation.max_sic.value:.4g}</td>" in table

    of_folder = [[best.value for best in evaluate_scores(*load_test_scores(folder, folder)).run_max_sic] for folder in scan]
    assert scanned == [[0.02, of_folder[2]], [0.06, of_folder[0] + of_folder[1]]]
    messages = printed(notebook)
    assert messages.keys() == {"folders", "probe"}, "no cell prints or warns but the one that names absent folders"
    assert messages["folders"].count(str(missing)) == 2


def test_one_mode_without_scan(tmp_path, execute):
    run = write_run(tmp_path / "CWoLa", "CWoLa", 1.0)
    notebook, (modes,) = execute({"CWoLa": run}, expressions=["list(table.index)"])
    assert modes == ["CWoLa"]
    assert n_figures(notebook) == {"modes": 1, "classifiers": 1}
    assert printed(notebook).keys() == {"samples", "scan", "probe"}, "what is skipped is said"


def test_no_run_folder(tmp_path, execute):
    with pytest.raises(CellExecutionError, match="none of the run folders exists"):
        execute({"CATHODE": tmp_path / "missing"})
