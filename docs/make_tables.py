"""Write the tables of README and docs that come from the code: `make docs`, or

    python docs/make_tables.py

A table stands between <!-- NAME --> and <!-- end -->. The tests check that all of them are current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import compare_runs  # noqa: E402
import report  # noqa: E402
import run_all  # noqa: E402
import run_ANODE_evaluation as anode_evaluation  # noqa: E402
import run_ANODE_training as density  # noqa: E402
import run_bump_hunt  # noqa: E402
import run_classifier_data_creation as creation  # noqa: E402
import run_classifier_training as training  # noqa: E402
import run_data_preparation as table_preparation  # noqa: E402
import run_data_preparation_LHCORD as preparation  # noqa: E402
import run_scan  # noqa: E402
from background.arrays import ARRAY_FILES  # noqa: E402
from background.registry import MODES  # noqa: E402
from common.options import Flag, flags  # noqa: E402
from evaluation.closure import CLOSURE_FILES  # noqa: E402
from evaluation.folds import SCORES_FILE  # noqa: E402
from evaluation.scores import ANODE_FILES, EVALUATION_FILES, SCORE_FILES  # noqa: E402
from events.features import FEATURES, SETS  # noqa: E402
from events.separation import SEPARATED_FILES  # noqa: E402
from models.density import DENSITY_FILES  # noqa: E402
from models.registry import CLASSIFIERS, DENSITIES, EstimatorRegistry  # noqa: E402
from reports.comparison import COMPARISON_FILES  # noqa: E402
from search.results import CURVE_FILES, SEARCH_FILES  # noqa: E402
from workflow.scan.results import SCAN_FILES  # noqa: E402

STAGES = {"1": preparation, "T": table_preparation, "2": density, "3": creation, "4": training, "A": anode_evaluation}
PAGES = ("README.md", *(f"docs/{name}.md" for name in ("data", "estimators", "files", "flags", "running")))
FILES = {
    "1": SEPARATED_FILES,
    "2": (*DENSITY_FILES, *CLOSURE_FILES),
    "3": ARRAY_FILES,
    "4": (*SCORE_FILES, SCORES_FILE),
    "A": ANODE_FILES,
    "run_all": EVALUATION_FILES,
    "run_bump_hunt": (*SEARCH_FILES, *CURVE_FILES),
    "compare_runs": COMPARISON_FILES,
    "run_scan": SCAN_FILES,
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def modes() -> str:
    """What stands for the background in every mode, and how events are scored."""
    return table(
        ("mode", "what stands for the background", "score"),
        ((f"`{name}`", MODES.get(name).background, MODES.get(name).score) for name in MODES.names),
    )


def presets() -> str:
    """What `--preset paper` stands for in every mode, as it would be typed."""

    def typed(flag: str, value: object) -> str:
        return f"`--{flag}`" if value is True else f"`--{flag} {value}`"

    rows = ((f"`{name}`", ", ".join(typed(*item) for item in MODES.get(name).presets["paper"].items())) for name in MODES.names)
    return table(("mode", "`--preset paper`"), rows)


def in_stages() -> dict[str, list[str]]:
    """Under every flag of run_all.py the flags of the stages behind it: `--epochs` (2)."""
    behind: dict[str, dict[str, list[str]]] = {}
    chains = {field.name: field.metadata["prefix"] for field in fields(run_all.Options) if "prefix" in field.metadata}
    kinds = get_type_hints(run_all.Options)
    for number, script in STAGES.items():
        prefix = next((prefix for name, prefix in chains.items() if kinds[name] is script.Options), None)
        own = {flag.field.name: name for name, flag in flags(script.Options).items()}
        for name, flag in flags(script.Options, prefix or "").items():
            behind.setdefault(name, {}).setdefault(own[flag.field.name], []).append(number)
    return {name: [f"`--{flag}` ({', '.join(numbers)})" for flag, numbers in found.items()] for name, found in behind.items()}


def described(flag: Flag) -> tuple[str, str, str]:
    """Default, unit and meaning of a flag."""
    choices = ", ".join(f"`{choice}`" for choice in flag.field.metadata["choices"])
    default = flag.default if flag.field.default is None or flag.field.default == () else f"`{flag.default}`" * bool(flag.default)
    return default, flag.field.metadata["unit"], flag.field.metadata["help"] + (f": {choices}" if choices else "")


def by_prefix(item: tuple[str, Flag]) -> tuple[int, str]:
    """Flags without a prefix first, then in the order of the stages."""
    name = item[0]
    return name.startswith("DE_") + 2 * name.startswith("cf_"), name.lower()


def chained_flags() -> str:
    """All flags of run_all.py."""
    behind = in_stages()
    rows = (
        (f"`--{name}`", ", ".join(behind.get(name, [])), *described(flag))
        for name, flag in sorted(flags(run_all.Options).items(), key=by_prefix)
    )
    return table(("flag of `run_all.py`", "flag of the stages", "default", "unit", "meaning"), rows)


def stage_flags() -> str:
    """The flags of stages that run_all.py does not have."""

    def rows() -> Iterator[tuple[str, ...]]:
        for number, script in STAGES.items():
            for name, flag in flags(script.Options).items():
                if flag.field.metadata["chained_as"] is None or (number in ("1", "T") and name not in flags(creation.Options)):
                    yield f"`--{name}`", number, *described(flag)

    return table(("flag", "stage", "default", "unit", "meaning"), rows())


def search_flags() -> str:
    """The flags of run_bump_hunt.py that run_all.py does not have."""
    rows = ((f"`--{name}`", *described(flag)) for name, flag in flags(run_bump_hunt.Options).items()
            if name not in flags(run_all.Options) or name == "save_dir")  # fmt: skip
    return table(("flag of `run_bump_hunt.py`", "default", "unit", "meaning"), rows)


def page_flags() -> str:
    """The flags of report.py and compare_runs.py."""
    rows = ((f"`{flag.typed}`", f"`{script.__name__}.py`", *described(flag))
            for script in (report, compare_runs) for flag in flags(script.Options).values())  # fmt: skip
    return table(("flag", "script", "default", "unit", "meaning"), rows)


def scan_flags() -> str:
    """The flags of run_scan.py."""
    rows = ((f"`{flag.typed}`", *described(flag)) for flag in flags(run_scan.Options).values())
    return table(("flag of `run_scan.py`", "default", "unit", "meaning"), rows)


def output_files() -> str:
    """What every stage writes."""
    rows = (
        (stage, ", ".join(f"`{name}`" for name in file.name.split(", ")), file.shape, file.content)
        for stage, files in FILES.items()
        for file in files
    )
    return table(("stage", "file", "shape", "content"), rows)


def hyperparameters(registry: EstimatorRegistry) -> str:
    """The estimators of a registry, and what their YAML files may set."""
    rows = ((f"`{name}`", f"`{registry.get(name).__name__}`", ", ".join(f"`{key}`" for key in registry.get(name).hyperparameters))
            for name in registry.names)  # fmt: skip
    return table(("name", "class", "hyperparameters"), rows)


def feature_sets() -> str:
    """What `--features` may be."""
    return table(("set", "features"), ((f"`{name}`", ", ".join(f"`{feature}`" for feature in SETS[name])) for name in SETS))


def features() -> str:
    """All features."""
    rows = ((f"`{name}`", feature.column.unit, feature.column.formula) for name, feature in FEATURES.items())
    return table(("feature", "unit", "what it is"), rows)


TABLES = {
    "modes": modes,
    "presets": presets,
    "flags of run_all": chained_flags,
    "flags of stages": stage_flags,
    "flags of the search": search_flags,
    "flags of pages": page_flags,
    "flags of scans": scan_flags,
    "output files": output_files,
    "feature sets": feature_sets,
    "features": features,
    "density estimators": lambda: hyperparameters(DENSITIES),
    "classifiers": lambda: hyperparameters(CLASSIFIERS),
}


def current(page: Path) -> str:
    """The text of a page with its tables as they should be."""
    text = page.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        text = re.sub(f"(<!-- {name} -->\n).*?(<!-- end -->)", lambda found, made=make: found[1] + made() + "\n" + found[2], text,
                      flags=re.DOTALL)  # fmt: skip
    return text


def main() -> None:
    """Write all pages."""
    for name in PAGES:
        page = ROOT / name
        page.write_text(current(page), encoding="utf-8")


if __name__ == "__main__":
    main()
