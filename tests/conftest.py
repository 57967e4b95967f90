"""What holds for every test: no network, no caches of the user's, one thread; and what the shared suite declares."""

from __future__ import annotations

import atexit
import base64
import gc
import os
import shutil
import socket
import tempfile


# Read when transformers, datasets and torch are imported, so set before any test module is. Processes that tests start
# inherit them.
_CACHE = tempfile.mkdtemp(prefix="hf_ambiser_tests_")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=_CACHE,
    HF_DATASETS_CACHE=os.path.join(_CACHE, "datasets"),
    HF_MODULES_CACHE=os.path.join(_CACHE, "modules"),
    MPLBACKEND="agg",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
)
for _name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_TOKEN", "HF_ENDPOINT"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402


_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def _refuse(host: object) -> None:
    if isinstance(host, bytes):
        host = host.decode()
    if isinstance(host, str) and host and not host.startswith(_LOOPBACK):
        raise OSError(f"a test tried to reach {host!r}; tests run without a network.")


def _block_network() -> None:
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded(original):
        def call(self, address):
            if self.family in (socket.AF_INET, socket.AF_INET6):
                _refuse(address[0])
            return original(self, address)

        return call

    def getaddrinfo(host, *args, **kwargs):
        if host != socket.gethostname():
            _refuse(host)
        return look_up(host, *args, **kwargs)

    socket.socket.connect, socket.socket.connect_ex = guarded(connect), guarded(connect_ex)  # type: ignore[method-assign]
    socket.getaddrinfo = getaddrinfo


_block_network()


# What stands in a file of a figure that nobody rendered.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)


@pytest.fixture
def blank_figures():
    """Figures are made, and written as one pixel: rendering takes half of a report's time and most of a card's.

    For tests that look at what stands beside figures. `test_plotting.py`, `test_cards.py` and `test_report_page.py`
    render every figure.
    """

    def write_pixel(figure, path, **options) -> None:
        with open(path, "wb") as file:
            file.write(_PIXEL)

    with pytest.MonkeyPatch.context() as patch:  # its own, which a test does not undo
        patch.setattr("matplotlib.figure.Figure.savefig", write_pixel)
        yield


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    """A report's bootstraps draw 100 times, for tests that look at no interval; `test_report_tables.py` does."""
    monkeypatch.setattr("hf_ambiser.report.statistics.RESAMPLES", 100)


def pytest_collection_finish() -> None:
    """All modules are imported now, and never garbage: the collection that ends every training looks past them."""
    gc.collect()
    gc.freeze()


# Files in the order of how long they take, for whoever is given the longest one last makes all others wait.
_LONGEST = (
    "every_method",
    "push",
    "plans_can_be_trained",
    "parameter_groups",
    "killed_runs",
    "build_place",
    "weight_average",
    "two_ranks",
    "whisper_runs",
    "spoilt_files",
    "aggregation",
    "dropped_raters",
    "python_first",
    "inherited_arguments",
    "run",
    "planted_faults",
    "annotate_streamed",
    "hub_dataset",
    "slc",
    "frame_cache",
    "calibrate",
    "documentation",
    "untrusted_names",
    "app_page",
    "label_readers",
    "begun_models",
    "resuming",
    "cards",
    "demo",
    "cross_validate",
    "lazy_import",
    "dry_run_cost",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; within a file the order stays."""
    order = {f"test_{name}": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_terminal_summary(terminalreporter) -> None:
    """What methods declare they cannot have by their mathematics, wherever the shared suite ran."""
    reports = [r for kind in ("passed", "failed", "skipped") for r in terminalreporter.stats.get(kind, [])]
    if any("test_every_method" in getattr(report, "nodeid", "") for report in reports):
        from helpers.suite_methods import declared_exceptions

        terminalreporter.section("declared exceptions to the shared suite")
        for line in declared_exceptions() or ["none"]:
            terminalreporter.write_line(line)
