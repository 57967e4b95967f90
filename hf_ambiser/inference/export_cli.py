"""The command that exports a model: `hf-ambiser export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.command_parser import CommandParser
from hf_ambiser.inference.export_precision import PRECISIONS


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser export") -> int:
    """Export, and say where the files are. Exit status 2: an argument is wrong, said in one line."""
    args = _parser(prog).parse_args(argv)

    # Imported here: the help should not wait for torch.
    from transformers.utils import logging

    from hf_ambiser.inference.export import export_model

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = export_model(args.model, args.out, args.format, args.precision)
    size = sum(path.stat().st_size for path in folder.glob("model.*"))
    sys.stdout.write(f"{folder}: {size / 1e6:.1f} MB; {folder / 'README.md'} says how to use it\n")
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=prog,
        description="Export a trained model for onnxruntime, or for torch without this package, and check that it"
        " gives the same answers.",
        epilog=f"example: {prog} runs/crema_d/ipr/0 --format onnx --out exported/ipr",
    )
    parser.add_argument("model", help="folder of a model or of a finished run, or Hub name")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it must not hold anything yet")
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="(default: %(default)s)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="how weights are stored; float16 and int8 for onnx only (default: %(default)s)",
    )
    return parser
