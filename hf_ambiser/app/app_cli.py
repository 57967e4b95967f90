"""The command that opens the page: `hf-ambiser app`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_ambiser.files.command_parser import CommandParser


def main(argv: Sequence[str] | None = None, prog: str = "hf-ambiser app") -> int:
    """Open the page, and serve it until the process is interrupted. Exit status 2: an argument is wrong."""
    args = _parser(prog).parse_args(sys.argv[1:] if argv is None else argv)

    # Imported here: the help should not wait for torch, and a mistake should not wait for gradio.
    from hf_ambiser.app.serve import serve_app

    try:
        serve_app(
            args.model,
            args.dataset,
            args.votes,
            longest=args.longest,
            device=args.device,
            host=args.host,
            port=args.port,
            share=args.share,
        )
    except KeyboardInterrupt:
        sys.stderr.write(f"{prog}: the page is closed\n")
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=prog,
        description="Open a page in the browser: record or upload, and see what one or several models hear; browse a"
        " built data set, and vote on its utterances. It needs the extra `app`: pip install 'hf-ambiser[app]'.",
        epilog=f"example: {prog} --model runs/a/0 runs/b/0 --dataset data/crema_d",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        help="folders of models or of runs, or Hub names (default: the model that the repository ships)",
    )
    parser.add_argument(
        "--dataset", metavar="DIR", help="folder or Hub name of a built data set to browse and vote on"
    )
    parser.add_argument(
        "--votes",
        type=Path,
        metavar="FILE",
        help="CSV file of the listeners' votes (default: votes.csv, with --dataset)",
    )
    parser.add_argument("--longest", type=float, help="seconds; a longer recording is refused (default: 600)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all of this machine (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, help="(default: the first free one from 7860 on)")
    parser.add_argument("--share", action="store_true", help="also make a public link through Gradio's server")
    return parser
