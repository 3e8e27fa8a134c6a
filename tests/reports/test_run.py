"""report.html: one valid, self-contained page whose numbers are those of the run; hostile names; partial folders."""

from __future__ import annotations

import json
import re
import shutil

import html5lib
import numpy as np
import pytest

from common.errors import InputError
from evaluation.curves import evaluate_scores
from reports import write
from reports.folder import RunFolder
from reports.page import Fact, Link, Page, Section, Table
from reports.run import run_page
from workflow.evaluation import load_test_scores, run_sculpting

NAMESPACE = "{http://www.w3.org/1999/xhtml}"


@pytest.fixture(scope="module")
def text(reported):
    return (reported / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(text):
    """The page, by a parser that accepts no error."""
    return html5lib.HTMLParser(strict=True).parse(text)


def words(element) -> str:
    return " ".join("".join(element.itertext()).split())


def test_it_is_valid_and_needs_nothing_else(text, tree, reported):
    assert (reported / "report.html").stat().st_size < 3e6
    images = list(tree.iter(f"{NAMESPACE}img"))
    assert len(images) >= 10
    assert all(re.match(r"data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]{2000,}$", image.get("src")) for image in images)
    assert all(len(image.get("alt")) > 20 for image in images)
    addresses = [element.get(name) for element in tree.iter() for name in ("href", "src", "action") if element.get(name)]
    assert not [address for address in addresses if re.match("https?:|//|file:", address)]
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_it_can_be_read_by_a_screen_reader(tree):
    assert tree.get("lang") == "en"
    headings = [int(element.tag[-1]) for element in tree.iter() if re.fullmatch(f"{NAMESPACE}h[1-6]", str(element.tag))]
    assert headings[0] == 1
    assert set(headings[1:]) == {2}
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    targets = [link.get("href")[1:] for link in tree.iter(f"{NAMESPACE}a") if link.get("href").startswith("#")]
    assert set(targets) <= set(ids)
    assert all(table.find(f"{NAMESPACE}caption") is not None for table in tree.iter(f"{NAMESPACE}table"))


def test_names_are_escaped(text, tree):
    assert not list(tree.iter(f"{NAMESPACE}script"))
    assert not [element for element in tree.iter() if any(str(name).startswith("on") for name in element.attrib)]
    assert "<script>alert(1)<&script> 'run'" in words(tree.find(f".//{NAMESPACE}h1"))
    assert any("onerror=alert(2)" in image.get("alt") for image in tree.iter(f"{NAMESPACE}img"))
    assert "<script" not in text


def test_every_part_of_a_page_is_escaped():
    bad = "<b onclick='x'>"
    section = Section(bad, [bad], tables=[Table(bad, [bad], [[bad, Link(bad, bad)]])], missing=bad)
    page = Page(bad, bad, [Fact(bad, bad, bad)], bad, [bad], [section], bad)
    assert "<b" not in page.html().replace("<body", "")
    assert not list(html5lib.HTMLParser().parse(page.html()).iter(f"{NAMESPACE}b"))


def test_its_numbers_are_those_of_the_run(tree, reported):
    records = json.loads((reported / "STAGE.json").read_text())
    results = records["evaluation"]["results"]
    facts = {words(pair[0]): words(pair[1]) for pair in tree.find(f".//{NAMESPACE}dl")}
    merit = results["merit"]
    assert facts["Max SIC"].startswith(f"{merit['max_sic']['value']:.2f} ± {merit['max_sic']['error']:.2f} ")
    assert "at most 20 %" in facts["Max SIC"]
    evaluation = evaluate_scores(*load_test_scores(reported, reported))
    assert facts["AUC"].startswith(f"{evaluation.auc.mean():.3f} ")
    X = np.concatenate([np.load(reported / f"X_{name}.npy") for name in ("train", "validation")])
    data = X[X[:, -2] == 1, -1]
    s, b = (data == 1).sum(), (data == 0).sum()
    assert facts["S/B"].startswith(f"{100 * s / b:.2f} % ")
    assert facts["S/√B"].startswith(f"{s / np.sqrt(b):.2f} {s} signal, {b} background")
    rows = [[words(cell) for cell in row] for row in tree.iter(f"{NAMESPACE}tr")]
    for run, (best, auc) in enumerate(zip(evaluation.run_max_sic, evaluation.auc, strict=True)):
        assert [str(run), f"{best.value:.2f}", f"{best.tpr:.3f}", f"{best.fpr:.2e}", f"{auc:.3f}"] in rows
    for cut in run_sculpting(reported, reported).cuts:
        assert any(row[:2] == [f"{100 * cut.share:g} %", f"{cut.chi2_per_ndf:.2f}"] for row in rows)
    for name in records:
        assert any(row[0] == name for row in rows), "every stage"
    page = words(tree)
    assert f"{records['density_estimator my_ANODE_model']['results']['lowest_validation_loss']:.4f} nats" in page
    assert results["sculpting"][1:] in page
    assert records["evaluation"]["command"].split()[-1] in page


def test_files_are_said_to_be_what_their_stage_wrote(reported):
    of = {(kind.stage, kind.name): kind.content for kind in RunFolder.read(reported).files()}
    assert of["classifier_arrays", "X_preprocessing.json"].startswith("how the features were preprocessed")
    assert of["density_estimator my_ANODE_model", "my_ANODE_model_preprocessing.json"].startswith("range, mean and width")
    assert all(of.values()), [name for name, content in of.items() if not content]


def test_a_partial_folder_says_what_is_missing(reported, tmp_path, undrawn):
    shutil.copytree(reported, tmp_path / "run")
    folder = tmp_path / "run"
    for name in ("X_train", "preds_matris", "my_ANODE_model_val_losses"):
        (folder / f"{name}.npy").unlink()
    missing = {section.title: section.missing for section in run_page(folder).sections if section.missing}
    assert missing.keys() == {"Training of the density", "Data and background", "Pairs of features", "Scores", "Performance",
                              "Background sculpting"}  # fmt: skip
    assert "X_train.npy: no such file" in missing["Data and background"]
    records = json.loads((folder / "STAGE.json").read_text())
    (folder / "STAGE.json").write_text(json.dumps({name: record for name, record in records.items() if name != "evaluation"}))
    assert "has not been evaluated" in run_page(folder).summary


def test_what_is_no_folder_of_results_is_refused(reported, tmp_path, fails, undrawn):
    assert "no STAGE.json" in fails("report", tmp_path)
    (tmp_path / "STAGE.json").write_text(
        json.dumps({"separation": json.loads((reported / "STAGE.json").read_text())["classifiers"]})
    )
    assert "holds separated events, and no results" in fails("report", tmp_path)
    with pytest.raises(InputError, match="nowhere: no such folder"):
        run_page(tmp_path / "nowhere")
    shutil.copytree(reported, tmp_path / "run")
    records = json.loads((tmp_path / "run" / "STAGE.json").read_text())
    records["evaluation"]["results"]["merit"] = {"max_sic": "large"}
    (tmp_path / "run" / "STAGE.json").write_text(json.dumps(records))
    assert "is damaged" in fails("report", tmp_path / "run")


def test_it_is_written_again_and_the_log_goes_on(reported, run, tmp_path, undrawn):
    shutil.copytree(reported, tmp_path / "run")
    log = (reported / "run.log").read_text()
    assert re.search(r"max SIC .* at ε_S", log)
    lines = log.splitlines()
    assert "begins: " in lines[0]
    assert "report: " in lines[-2]
    assert lines[-1].endswith("ends")
    (tmp_path / "run" / "report.html").unlink()
    run("report", tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "run" / "run.log").read_text() == log, "a report is no run"
    assert not {"run.log", "report.html"} & {
        name for r in json.loads((reported / "STAGE.json").read_text()).values() for name in r["outputs"]
    }


def test_a_fault_in_the_report_ends_no_run(reported, run, tmp_path, monkeypatch, caplog, fails):
    """The results are there: a run says why it has no report, and ends as it would; report.py ends with one line."""
    folder = shutil.copytree(reported, tmp_path / "run")
    events = json.loads((folder / "STAGE.json").read_text())["density_estimator my_ANODE_model"]["read_from"][0]

    def fault(_):
        raise AttributeError("'str' object has no attribute 'items'")

    monkeypatch.setattr(write, "run_page", fault)
    run(
        "run_all",
        "--DE_skip",
        "--cf_skip_create",
        "--cf_skip_train",
        data_dir=events,
        save_dir=folder,
        mode="CATHODE",
        report=True,
    )
    said = [record for record in caplog.records if record.getMessage().startswith("no report: ")]
    assert [record.levelname for record in said] == ["WARNING"]
    assert "has no attribute 'items'" in said[0].getMessage()
    assert "has no attribute 'items'" in fails("report", folder)
