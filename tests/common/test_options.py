"""Options: written once, known to the parser, to the script that chains them, to the record and to the messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import InputError
from common.options import MISSING, Options, chained, flags, make_options, make_parser, option, positive
from common.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Training(Options):
    epochs: int = option(20, "passes", unit="epochs", check=positive)
    share: float | None = option(None, "share", default_text="all")
    files: tuple[Path, ...] = option((), "what is read", recorded=False)
    fast: bool = option(False, "100 % fast", chained_as="fast")
    where: Path = option(Path("here"), "folder", chained_as=None)
    kind: str = option("a", "kind", choices=("a", "b"), switches=True)


@dataclass(frozen=True, kw_only=True)
class Chain(Options):
    first: Training = chained("DE_")
    second: Training = chained("cf_")
    name: str = option(MISSING, "must be given")


def parsed(options: type[Options], *argv: str) -> Options:
    return make_options(options, vars(make_parser("", options).parse_args(argv)))


@dataclass(frozen=True, kw_only=True)
class Placed(Options):
    grid: Path = option(MISSING, "grid", metavar="GRID", positional=True)
    dry: bool = option(False, "dry")


@pytest.mark.parametrize(("argv", "dry"), [
    (["--dry", "g.yml"], True), (["g.yml", "--dry"], True), (["--dry", "false", "g.yml"], False), (["g.yml", "--dry", "true"], True),
    (["g.yml", "--dry=false"], False), (["g.yml"], False),
])  # fmt: skip
def test_a_switch_may_stand_before_what_is_given_by_its_place(argv, dry):
    assert parsed(Placed, *argv) == Placed(grid=Path("g.yml"), dry=dry)


def test_defaults_and_types():
    assert parsed(Training) == Training()
    given = parsed(Training, "--epochs", "3", "--share", "0.5", "--files", "x", "y", "--fast", "--where", "there", "--b")
    assert given == Training(epochs=3, share=0.5, files=(Path("x"), Path("y")), fast=True, where=Path("there"), kind="b")
    assert given.recorded() == {"epochs": 3, "share": 0.5, "fast": True, "where": "there", "kind": "b"}
    assert given.recorded(without=["where"]).keys() == {"epochs", "share", "fast", "kind"}


def test_a_flag_of_several_values_may_be_repeated():
    assert parsed(Training, "--files", "x", "y", "--files", "z").files == (Path("x"), Path("y"), Path("z"))
    assert parsed(Training).files == ()


def test_a_chain_has_the_flags_of_its_stages():
    assert set(flags(Chain)) == {
        "name", "fast", "DE_epochs", "DE_share", "DE_files", "DE_kind", "cf_epochs", "cf_share", "cf_files", "cf_kind"
    }  # fmt: skip
    chain = parsed(Chain, "--name", "x", "--DE_epochs", "3", "--cf_kind", "b", "--fast")
    assert (chain.first.epochs, chain.second.epochs, chain.second.kind) == (3, 20, "b")
    assert chain.first.fast
    assert chain.second.fast


@pytest.mark.parametrize("argv", [["--b", "--a"], ["--kind", "b", "--a"], ["--kind", "c"], ["--epochs", "x"], ["--epo", "3"]])
def test_what_the_parser_refuses_is_one_line(argv, capsys):
    with pytest.raises(SystemExit) as ending:
        parsed(Training, *argv)
    assert ending.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit):
        parsed(Chain)


def test_messages_name_the_flag_as_it_was_typed():
    with pytest.raises(InputError, match=r"^--epochs 0: must be above 0$"):
        parsed(Training, "--epochs", "0")
    with pytest.raises(InputError, match=r"^--DE_epochs -1: must be above 0$"):
        parsed(Chain, "--name", "x", "--DE_epochs", "-1")
    with pytest.raises(InputError, match=r"^--kind c: must be one of a, b$"):
        Training(kind="c")
    chain = parsed(Chain, "--name", "x", "--cf_share", "0.5")
    assert chain.second.flag("share") == "--cf_share"
    with pytest.raises(InputError, match=r"^--cf_share: tree has no such option$"):
        chain.second.settings(["epochs", "share"], {"epochs"}, "tree")
    assert chain.first.settings(["epochs", "share"], {"epochs"}, "tree") == {"epochs": 20}


def test_help_says_unit_and_default():
    text = " ".join(make_parser("", Training).format_help().split())
    assert "passes (epochs; default: 20)" in text
    assert "share (default: all)" in text
    assert "100 % fast" in text
    assert "short for --kind b" in text
    assert "short for" not in make_parser("", Chain).format_help()


def test_a_registry_imports_on_use():
    registry = Registry("function", {"root": "math:sqrt", "broken": "no_such_module:x"})
    assert registry.names == ("root", "broken")
    assert registry.get("root")(4.0) == 2
    with pytest.raises(InputError, match=r"'x' is no function \(known: root, broken\)"):
        registry.get("x")
