"""Files that are corrupted, or made to run code or to exhaust the machine: refused with one line, nothing executed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from toys import ROOT, frame

SAMPLE = ROOT / "sample_data" / "events.features.h5"


class RunsCode:
    """Unpickling this writes a file, whose absence shows that nobody did."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path):
    """A file that no test may bring into being."""
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()


@pytest.fixture
def refused(fails, marker):
    """Run a script that must end with exit code 2 and one line, and execute nothing; returns the line."""
    return fails


def test_the_pickle_would_run_code(tmp_path):
    """What these tests rely on: loaded carelessly, the hostile file does its harm."""
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


@pytest.fixture
def sampling(refused, toy_dir, tmp_path):
    """Stage 3 with these weights must refuse; returns its line."""

    def refuse(path: Path) -> str:
        return refused("run_classifier_data_creation", data_dir=toy_dir, savedir=tmp_path / "out", ANODE_models=path)

    return refuse


@pytest.fixture(scope="module")
def trained(toy_dir, flow_config, tmp_path_factory):
    """A folder with a trained density estimator."""
    from run_ANODE_training import Options, stage
    from workflow.stage import run_stage

    folder = tmp_path_factory.mktemp("trained")
    run_stage(stage(Options(data_dir=toy_dir, savedir=folder, config_file=flow_config, epochs=1, seed=1)), resume=False)
    return folder


def archive_with(weights: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A torch archive with one entry replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(weights) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, content if entry.filename.endswith(name) else old.read(entry))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind",
    ["pickle", "legacy pickle", "archive with pickle", "object in a state dict", "zip bomb", "not finite", "float64", "empty", "flipped",
     "truncated", "text"],
)  # fmt: skip
def test_weights(kind, trained, sampling, tmp_path, marker):
    models = shutil.copytree(trained, tmp_path / "models")
    path = models / "my_ANODE_model_epoch_0.par"
    state = torch.load(path, weights_only=True)
    first = next(iter(state))
    content = path.read_bytes()
    if kind == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(marker)))
    elif kind == "legacy pickle":
        torch.save({first: RunsCode(marker)}, path, _use_new_zipfile_serialization=False)
    elif kind == "archive with pickle":
        path.write_bytes(archive_with(path, "data.pkl", pickle.dumps(RunsCode(marker), protocol=2)))
    elif kind == "object in a state dict":
        torch.save(state | {first: RunsCode(marker)}, path)
    elif kind == "zip bomb":
        path.write_bytes(archive_with(path, "data/0", bytes(2**26), zipfile.ZIP_DEFLATED))
        assert path.stat().st_size < 2**20
    elif kind == "not finite":
        torch.save(state | {first: torch.full_like(state[first], torch.nan)}, path)
    elif kind == "float64":
        torch.save({name: value.double() for name, value in state.items()}, path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "flipped":
        path.write_bytes(bytes(byte ^ 255 if 40 < i < 200 else byte for i, byte in enumerate(content)))
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_text("weights")
    line = sampling(path)
    assert path.name in line
    assert ("unpacks to" in line) == (kind == "zip bomb"), "before it is unpacked"


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A .npy file of which every byte is chosen."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 6), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 6), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999, 99999999999999999999), }"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 6), }", bytes(23)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 6), }", bytes(25)),
        npy("__import__('os').system('touch executed')"),
        npy("{'descr': '<f4'}"),
        npy("((((((((((" * 10),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 6), }", bytes(24), version=b"\x09\x00"),
        npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (6,), }", bytes(24)),
        b"\x93NUMPY",
        b"",
    ],
)
def test_arrays(content, refused, toy_copy, small_configs, tmp_path):
    (toy_copy / "innerdata_test.npy").write_bytes(content)
    assert "innerdata_test.npy" in refused("run_all", "--data_dir", toy_copy, "--save_dir", tmp_path / "out", *small_configs)


def test_pickled_array(refused, toy_copy, small_configs, tmp_path, marker):
    np.save(toy_copy / "innerdata_test.npy", np.array([RunsCode(marker)], dtype=object), allow_pickle=True)
    assert "innerdata_test.npy" in refused("run_all", "--data_dir", toy_copy, "--save_dir", tmp_path / "out", *small_configs)


@pytest.mark.parametrize(
    "kind", ["pickled attribute", "external link", "external values", "virtual values", "soft link to a group", "no values", "truncated",
             "negative blocks", "array of references"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_events(kind, refused, tmp_path, marker):
    path, other = tmp_path / "events.h5", tmp_path / "other.h5"
    frame(3000, np.random.default_rng(0)).to_hdf(path, key="df", format="table" if kind == "pickled attribute" else "fixed")
    shutil.copy(path, other)
    with h5py.File(path, "a") as file:
        group = file["df"]
        if kind == "pickled attribute":
            names = [name for name in group["table"].attrs if name.endswith("_kind")]
            for name in names:
                group["table"].attrs[name] = np.void(pickle.dumps(RunsCode(marker), protocol=0))
        elif kind == "external link":
            del group["block0_values"]
            group["block0_values"] = h5py.ExternalLink(str(other), "/df/block0_values")
        elif kind == "external values":
            shape = group["block0_values"].shape
            del group["block0_values"]
            group.create_dataset("block0_values", shape, "f8", external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        elif kind == "virtual values":
            shape = group["block0_values"].shape
            layout = h5py.VirtualLayout(shape, "f8")
            layout[:] = h5py.VirtualSource(str(other), "df/block0_values", shape)
            del group["block0_values"]
            group.create_virtual_dataset("block0_values", layout)
        elif kind == "soft link to a group":
            del group["block0_values"]
            group["block0_values"] = h5py.SoftLink("/df")
        elif kind == "no values":
            n_columns = group["block0_values"].shape[1]
            del group["block0_values"]
            group.create_dataset("block0_values", (10**12, n_columns), "f8", chunks=(1000, n_columns))
        elif kind == "negative blocks":
            group.attrs["nblocks"] = -1
        elif kind == "array of references":
            del group["block0_items"]
            group.create_dataset("block0_items", (3,), dtype=h5py.ref_dtype)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:4000])
    line = refused(
        "run_data_preparation_LHCORD", "--features_file", path, "--extra_bkg_file", "none", "--outdir", tmp_path / "out"
    )
    assert "events.h5" in line


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content",
    [
        "!!python/object/apply:os.system ['touch executed']\n",
        "num_blocks: !!python/object/new:os.system ['touch executed']\n",
        LAUGHS,
        f"num_blocks: &a [{', '.join('1' * 20)}]\n",
        "[" * 5000,
        "num_blocks: " + "9" * 5000 + "\n",
        "num_blocks: 10000\nnum_hidden: 10000\n",
        "num_hidden: 0x7fffffff\n",
        "num_blocks: 3\n" * 30_000,
        "\x00\x01",
        "? {a: b}\n: 3\n",
    ],
)
def test_configurations(content, refused, toy_dir, tmp_path):
    path = tmp_path / "flow.yml"
    path.write_text(content)
    assert "flow.yml" in refused("run_all", "--data_dir", toy_dir, "--save_dir", tmp_path / "out", "--DE_config_file", path) or (
        "num_hidden: 10000" in content
    )
    assert not Path("executed").exists()


def test_an_absurd_classifier(refused, toy_dir, tmp_path):
    path = tmp_path / "classifier.yml"
    argv = ["--mode", "CWoLa", "--data_dir", toy_dir, "--save_dir", tmp_path / "run", "--cf_config_file", path]
    path.write_text("layers: [10000, 10000]\n")
    assert "more than can be trained" in refused("run_all", *argv)
    path.write_text(f"layers: [{', '.join(['2'] * 101)}]\n")
    assert "layers" in refused("run_all", *argv)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: "{",
        lambda content: "[]",
        lambda content: "[" * 100_000,
        lambda content: content.replace("[", "[NaN, ", 1),
        lambda content: content.replace("mean_", "__class__"),
        lambda content: json.dumps(json.loads(content) | {"scaler": "standard"}),
        lambda content: json.dumps(
            json.loads(content) | {"scaler": {"standard": {"mean_": [1e999], "scale_": [0], "var_": [0]}}}
        ),
        lambda content: json.dumps(json.loads(content) | {"trained_on": {"shift": {"strength": "much", "random": False}}}),
        lambda content: " " * 2**25,
    ],
)
def test_preprocessing(change, trained, sampling, tmp_path):
    models = shutil.copytree(trained, tmp_path / "models")
    path = models / "my_ANODE_model_preprocessing.json"
    path.write_text(change(path.read_text()))
    line = sampling(models / "my_ANODE_model_epoch_0.par")
    assert path.name in line


def test_a_model_name_that_leaves_its_folder(refused, toy_dir, tmp_path):
    line = refused("run_all", "--data_dir", toy_dir, "--save_dir", tmp_path / "out", "--DE_file_name", "../elsewhere")
    assert "a name, not a path" in line
    assert not list(tmp_path.glob("elsewhere*"))
