"""Open the page and serve it: on this machine alone, unless something else is asked for."""

from __future__ import annotations

import atexit
import errno
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_ambiser.app.hearing import LONGEST, Models
from hf_ambiser.app.rated_set import RatedSet
from hf_ambiser.app.voting import Voting


HOST, VOTES = "127.0.0.1", Path("votes.csv")
# Bytes of an upload for each second that the page takes: stereo of 48 kHz with 24 bits.
_BYTES_A_SECOND = 2 * 48_000 * 3


def serve_app(
    model: str | Path | Sequence[str | Path] = (),
    dataset: str | Path | None = None,
    votes: str | Path | None = None,
    *,
    longest: float | None = None,
    device: str = "auto",
    host: str = HOST,
    port: int | None = None,
    share: bool = False,
    block: bool = True,
) -> Any:
    """Open a page on which one can hear recordings with models, browse a data set and vote.

    Nothing is sent to anybody, uploads are deleted when the process ends, and no file is served but the page's own.

    Args:
        model: Folder of a model or of a finished run, or Hub name; or several. None: the model that the repository
            ships.
        dataset: Folder or Hub name of a built data set; None: the page has no browser and nothing to vote on.
        votes: CSV file of the listeners' votes; None: `votes.csv` in the current folder. It is made with the first
            vote.
        longest: Seconds; a longer recording is refused. None: 600.
        device: "auto", "cpu", "cuda", "cuda:1" and so on.
        host: Address to listen on; the default is reached from this machine alone.
        port: None: the first free one from 7860 on.
        share: Whether Gradio's server gives a public link to the page.
        block: Whether the call lasts as long as the page.

    Returns:
        The `gradio.Blocks` that is served.

    Raises:
        ValueError: If gradio is not installed, an argument is out of range, the port is taken, the host is no
            address of this machine, or a model, the data set or the file of votes cannot be used.
    """
    if votes is not None and dataset is None:
        raise ValueError(
            f"--votes {votes} came without --dataset, and there is nothing else to vote on. Give --dataset, too."
        )
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"--port is {port}; allowed: 1 to 65535.")
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("the page needs gradio, which is not installed. Install it: pip install 'hf-ambiser[app]'")
    _check_address(host, port)
    rated = None if dataset is None else RatedSet.of(dataset)
    voting = None if rated is None else Voting(rated, Path(votes or VOTES))
    names = [model] if isinstance(model, str | Path) else list(model)
    models = Models(names, device, LONGEST if longest is None else longest)

    _own_folder_for_uploads()
    from hf_ambiser.app.page import look, make_page

    if voting is not None and block:
        sys.stderr.write(f"votes: {voting.file.path}; a data set of them: {voting.build_command}\n")
    page = make_page(models, rated, voting)
    page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        allowed_paths=[],
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        ssr_mode=False,
        mcp_server=False,
        **look(round(models.longest * _BYTES_A_SECOND) + 2**20),
    )
    if block:
        sys.stderr.write("".join(f"page: {url}\n" for url in (page.local_url, page.share_url) if url))
        page.block_thread()
    return page


def _check_address(host: str, port: int | None) -> None:
    """Check, before models are loaded, that the page can listen there; gradio names other causes.

    Raises:
        ValueError: If it cannot.
    """
    try:
        found = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0]) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(found[4])
    except OSError as error:
        if port is not None and error.errno in (errno.EADDRINUSE, errno.EACCES):
            why = "is in use" if error.errno == errno.EADDRINUSE else "needs rights that this process has not"
            raise ValueError(f"--port {port} {why}. Give another one, or leave it out.") from None
        raise ValueError(
            f"--host {host!r} is no address of this machine ({error.strerror}); allowed: for example 127.0.0.1 (this"
            " machine alone), or 0.0.0.0 (all its addresses)."
        ) from None


def _own_folder_for_uploads() -> None:
    """Let gradio keep uploads where they are deleted at the end, and not in a folder that all its pages share."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    if "GRADIO_TEMP_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="hf_ambiser_app_")
        os.environ["GRADIO_TEMP_DIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
