"""README and docs: tables are those of the code, commands run, links and names lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score
from toys import ROOT, toy_background, write_toy

from common.contract import patterns
from common.files import load_json
from common.options import make_parser
from events.features import BASELINE, columns_of
from events.options import RegionOptions
from run_data_preparation_LHCORD import Options

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("[a-z]*/README.md")]
BLOCK = re.compile(r"^ *```(bash|python)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# What cannot be done here: it fetches, installs, or is tested elsewhere.
ELSEWHERE = ("make", "wget", "pip", "jupyter", "source")
SMALL = {
    "run_all": ["--DE_epochs", "2", "--DE_batch_size", "512", "--cf_epochs", "2", "--cf_n_runs", "1", "--cf_n_samples", "2000"],
    "run_bump_hunt": [
        "--DE_epochs",
        "1",
        "--DE_batch_size",
        "2048",
        "--cf_n_ensemble",
        "2",
        "--cf_k_folds",
        "3",
        "--cf_n_samples",
        "20000",
        "--n_toys",
        "20",
        "--efficiencies",
        "0.1",
    ],
    "run_ANODE_training": ["--epochs", "2", "--batch_size", "512"],
    "run_classifier_data_creation": ["--n_samples", "2000"],
    "run_classifier_training": ["--epochs", "2", "--n_runs", "1"],
}


@pytest.fixture(scope="module")
def tables():
    """The script that makes the tables."""
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs" / "make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(page: Path) -> list[str]:
    """The commands in a page; of a loop, the first turn."""
    found = []
    for text in (text for kind, text in BLOCK.findall(page.read_text()) if kind == "bash"):
        text = text.replace("\\\n", " ").replace("$(seq 1 10)", "1").replace("; do", "")
        values = dict(re.findall(r"for (\w+) in (\S+)", text)) | dict(re.findall(r"^ *(name)=(\S+)", text, re.MULTILINE))
        for _ in range(2):  # the name is made of the other values
            text = re.sub(r"\$\{?(\w+)\}?", lambda m, v=values: v.get(m[1], m[0]), text)
        command = ""
        for line in text.splitlines():
            command += line + "\n"
            if command.count("'") % 2 == 0:  # else it goes on
                found.append(command.strip())
                command = ""
    return [line for line in found if line and not re.match(r"#|for |done|name=", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_are_current(page, tables):
    assert tables.current(page) == page.read_text(), "make docs"
    if page.name == "README.md" and page.parent == ROOT:
        assert page.stat().st_size <= 8000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_module_has_a_place_in_the_development_page():
    page = (ROOT / "docs" / "development.md").read_text()
    for room in ("common", "models", "events", "background", "evaluation", "plots", "workflow"):
        rows = page[page.index(f"| `{room}/` |") :].split("\n\n")[0].split("\n| `")[0]
        for path in (ROOT / room).rglob("*.py"):
            name = path.relative_to(ROOT / room).as_posix()
            assert f"`{name}`" in rows or name.endswith("__init__.py"), path
        for name in re.findall(r"`([\w/]+\.py)`", rows):
            assert (ROOT / room / name).is_file(), name


def test_the_way_of_an_event_exists():
    page = (ROOT / "docs" / "development.md").read_text()
    steps = re.findall(r"^\d+\. `([\w.]+)` in `([\w/]+\.py)`", page, re.MULTILINE)
    assert 10 <= len(steps) <= 15
    assert len({file for _, file in steps}) <= 8
    for name, file in steps:
        thing = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        for part in name.split("."):
            thing = getattr(thing, part)


def test_the_file_table_has_what_a_run_writes(tables, toy_dir, small_configs, tmp_path, run):
    run("run_all", *small_configs, "--cf_save_model", "--DE_closure", 1, data_dir=toy_dir, save_dir=tmp_path, mode="CATHODE")
    known = [pattern for stage in ("2", "3", "4", "run_all") for pattern in patterns(tables.FILES[stage])]
    known = [pattern.replace("NAME", "my_ANODE_model") for pattern in known]
    written = {path for path in tmp_path.iterdir() if path.name not in ("STAGE.json", "run.log")}
    assert written == {path for pattern in known for path in tmp_path.glob(pattern)}
    absent = {pattern for pattern in known if not list(tmp_path.glob(pattern)) and not pattern.endswith((".pdf", ".svg"))}
    in_folds = {"X_held_out.npy", "folds.npy", "preds_matris_held_out.npy", "scores.npy", "selected.png"}
    others = {"columns.json", "my_classifier_estimator_*.npy", "report.html"}
    assert absent - in_folds == others, "the toy events have no names, networks no trees; a report takes its time"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with everything that the commands in the pages read."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("separated_data", "separated_data_deltaR", "my_samples"):
        write_toy(folder / name, n_sr=250)
    rng = np.random.default_rng(0)
    np.save(folder / "my_samples.npy", toy_background(2000, rng, rng.uniform(3.3, 3.7, 2000))[:, :-1])
    for path in ROOT.glob("*.yml"):
        shutil.copy(path, folder)
    (folder / "DE_MAF_published.yml").write_text("num_blocks: 2\nnum_hidden: 8\n")
    for name in ("sample_data", "demos"):
        (folder / name).symlink_to(ROOT / name)
    sample = ROOT / "sample_data"
    (folder / "events_anomalydetection_v2.features.h5").symlink_to(sample / "events.features.h5")
    extra = "events_anomalydetection_qcd_extra_inneronly_features.h5"
    (folder / extra).symlink_to(sample / "extra_inneronly.features.h5")
    return folder


def smaller(script: str, argv: list[str]) -> list[str]:
    """Further flags with which a command takes seconds; trees have members instead of epochs."""
    flags = SMALL.get(script, [])
    return [{"--cf_epochs": "--cf_n_ensemble"}.get(flag, flag) for flag in flags] if "hgb" in argv else flags


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name not in ("benchmarks",)],
                         ids=lambda page: page.relative_to(ROOT).as_posix())  # fmt: skip
def test_commands_run(page, workplace, run, monkeypatch):
    """As they stand, with fewer epochs, runs and samples; what needs a network or is tested elsewhere is left out."""
    monkeypatch.chdir(workplace)
    for line in commands(page):
        program, *argv = shlex.split(line, comments=True)
        if program in ELSEWHERE:
            continue
        assert program == "python", line
        script = Path(argv[0]).stem
        if argv[0] == "-c":
            exec(compile(argv[1], str(page), "exec"), {})
        elif script in SMALL or script in ("run_data_preparation", "run_data_preparation_LHCORD"):
            run(script, *argv[1:], *smaller(script, argv))
            if script == "run_data_preparation_LHCORD":  # the next command is quicker with fewer events
                parsed = vars(make_parser("", Options).parse_args(argv[1:]))
                shutil.rmtree(parsed["outdir"])
                edges = RegionOptions(SR_min=parsed["SR_min"], SR_max=parsed["SR_max"]).window.edges
                columns_of(BASELINE, signal_region=edges).save(write_toy(Path(parsed["outdir"]), n_sr=250, sr=edges))
        else:
            assert (ROOT / argv[0]).is_file(), line


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_python_runs(page, workplace, run, monkeypatch):
    """The examples, on toy events and for one epoch."""
    blocks = [text for kind, text in BLOCK.findall(page.read_text()) if kind == "python"]
    monkeypatch.chdir(workplace)
    for mode in ("CATHODE", "CWoLa"):
        if page.stem in ("README", "evaluation", "estimators") and not Path(f"{mode}_results/preds_matris.npy").exists():
            run("run_all", *SMALL["run_all"], "--cf_save_model", mode=mode, data_dir="separated_data", save_dir=f"{mode}_results")
    rng = np.random.default_rng(0)
    names = {"np": np}
    for suffix in ("sideband", "data", ""):
        m = rng.uniform(3.3, 3.7, (600, 1))
        names |= {f"m_{suffix}".rstrip("_"): m, f"X_{suffix}".rstrip("_"): rng.uniform(0.2, 0.8, (600, 5)) + 0.01 * m}
    for text in blocks:
        if "load_density(" in text:
            names |= {"X": names["X"][:, :4]}
        exec(compile(text.replace("epochs=20", "epochs=1").replace("100_000", "500"), str(page), "exec"), names)
    plt.close("all")


OWN_ESTIMATORS = re.search("## Your own\n.*?(?=^## )", (ROOT / "docs" / "estimators.md").read_text(), re.MULTILINE | re.DOTALL)[0]
WIDTHS = np.eye(5) + 0.4  # of the features, which are correlated


def means(m: np.ndarray) -> np.ndarray:
    """Of five features [n, 5], linear in m [n]."""
    return 2.0 + np.outer(m, [0.5, -0.3, 0.2, 0.0, 1.0])


def test_own_estimators_describe_and_find():
    """The examples as they stand: samples have the law of the background, the classifier ranks signal above it."""
    rng = np.random.default_rng(4)
    m = rng.uniform(2.5, 4.5, 50000)
    m_sideband, m_data = m[abs(m - 3.5) > 0.2], rng.uniform(3.3, 3.7, 20000)
    X_sideband, background = (means(masses) + rng.normal(size=(len(masses), 5)) @ WIDTHS for masses in (m_sideband, m_data))
    is_signal = rng.random(len(m_data)) < 0.1
    names = {"np": np, "X_sideband": X_sideband, "m_sideband": m_sideband, "m_data": m_data}
    names["X_data"] = background + 3 * is_signal[:, None]
    for _, text in BLOCK.findall(OWN_ESTIMATORS):
        exec(text, names)
    samples, truth = names["density"].sample(m_data, rng), multivariate_normal(cov=WIDTHS @ WIDTHS)
    # Errors of the samples, and of what was learned from half the sideband.
    errors = np.sqrt(np.diag(truth.cov) * (1 / len(m_data) + 2 / len(m_sideband)))
    assert (abs((samples - means(m_data)).mean(axis=0)) < 4 * errors).all()
    np.testing.assert_allclose(np.cov((samples - means(m_data)).T), truth.cov, atol=0.15)
    expected = truth.logpdf(background - means(m_data)).mean()
    assert names["density"].predict_log_proba(background, m_data).mean() == pytest.approx(expected, abs=0.01)
    assert names["samples"].shape == samples.shape
    best = norm.cdf(np.sqrt(5 / 2))  # along the best direction signal and background are √5 widths apart
    assert roc_auc_score(is_signal, names["scores"]) == pytest.approx(best, abs=0.01)


def test_own_estimators_are_chosen_by_name(toy_dir, tmp_path):
    """In a copy of the project that is changed as the page says: the density closes, the scores find the signal, both can be loaded."""
    for path in ROOT.iterdir():
        if (path / "__init__.py").is_file():
            shutil.copytree(path, tmp_path / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.suffix in (".py", ".yml"):
            shutil.copy(path, tmp_path)
    classes = [text for _, text in BLOCK.findall(OWN_ESTIMATORS) if "class " in text]
    (tmp_path / "models" / "mine.py").write_text("\n".join(classes))
    registry = tmp_path / "models" / "registry.py"
    for line, where in re.findall(r'`("\w+": "models\.mine:\w+")` to\s+`(\w+)`', OWN_ESTIMATORS):
        text = registry.read_text()
        registry.write_text(re.sub(rf'({where} = EstimatorRegistry\(\s+"[\w ]+",\s+{{)', rf"\1{line}, ", text))
    chosen = re.findall(r"`(--\w+_model \w+)`", OWN_ESTIMATORS)
    assert len(chosen) == 2
    run = (
        f"run_all.py --mode CATHODE --seed 1 {' '.join(chosen)} --DE_no_logit --DE_closure 2 --cf_n_samples 20000 --cf_oversampling"
        " --cf_use_class_weights --cf_save_model --save_dir results --data_dir"
    )
    closed = (
        "from models.density import load_density; assert type(load_density('results').estimator).__name__ == 'LinearGaussian'"
    )
    scored = (
        "import numpy as np; from evaluation_utils import minimum_val_loss_model_evaluation as evaluate;"
        "assert np.allclose(evaluate('results', 'results', extra_signal=False), np.load('results/preds_matris.npy'))"
    )
    for command in ([*run.split(), toy_dir], ["-c", closed], ["-c", scored]):
        done = subprocess.run([sys.executable, *map(str, command)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    results = {stage: record["results"] for stage, record in load_json(tmp_path / "results" / "STAGE.json").items()}
    assert results["closure_test my_ANODE_model"]["mean_two_sample_auc"] == pytest.approx(0.5, abs=0.05)
    assert results["evaluation"]["auc"] == [pytest.approx(1, abs=0.05)]
