"""Cut the bundled sample out of the full simulated files, keeping their layout.

    python sample_data/make_sample.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

Writes events.features.h5 and extra_inneronly.features.h5 beside this script. The numbers are rounded to 13 bits of mantissa (a relative
precision of 6e-5, far below any detector's), which halves the size of the compressed files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np

N_BACKGROUND, N_SIGNAL, N_EXTRA = 90_000, 6_000, 30_000
DROPPED_BITS = 10


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 values, to the nearest with the last bits of the mantissa zero."""
    bits = values.astype(np.float32).view(np.uint32)
    bits = (bits + np.uint32(1 << (DROPPED_BITS - 1))) & np.uint32(0xFFFFFFFF << DROPPED_BITS & 0xFFFFFFFF)
    return bits.view(np.float32)


def copy_attributes(old: h5py.HLObject, new: h5py.HLObject) -> None:
    """Copy attributes with their exact stored types: pandas tells text from bytes by the character set."""
    for name in old.attrs:
        source = h5py.h5a.open(old.id, name.encode())
        stored = source.get_type()
        target = h5py.h5a.create(new.id, name.encode(), stored, source.get_space())
        if source.get_space().get_simple_extent_type() != h5py.h5s.NULL:
            value = np.empty(source.shape, f"V{stored.get_size()}")
            source.read(value, stored)
            target.write(value, stored)


def cut(source: Path, target: Path, sizes: dict[int, int]) -> None:
    """Copy the first `sizes[label]` events of every label into a file of the same layout (pandas "fixed", zlib)."""
    with h5py.File(source, "r") as old, h5py.File(target, "w", libver="earliest") as new:
        label = old["df/block1_values"][:, 0]
        rows = np.sort(np.concatenate([np.flatnonzero(label == value)[:size] for value, size in sizes.items()]))
        frame = new.create_group("df")
        copy_attributes(old["df"], frame)
        for name, dataset in old["df"].items():
            values = dataset[:]
            if name == "axis1":
                values = np.arange(len(rows))
            elif name.endswith("_values"):
                values = rounded(values[rows]) if name == "block0_values" else values[rows]
            options = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if len(values) > 100 else {}
            copy_attributes(dataset, frame.create_dataset(name, data=values, **options))


def main() -> None:
    """Parse and cut."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features_file", type=Path, required=True, metavar="FILE", help="signal and background events")
    parser.add_argument("--extra_bkg_file", type=Path, required=True, metavar="FILE", help="extra signal-region background")
    args = parser.parse_args()
    here = Path(__file__).parent
    cut(args.features_file, here / "events.features.h5", {0: N_BACKGROUND, 1: N_SIGNAL})
    cut(args.extra_bkg_file, here / "extra_inneronly.features.h5", {0: N_EXTRA})


if __name__ == "__main__":
    main()
