"""The plans of studies that the package ships."""

from __future__ import annotations

import yaml

from hf_ambiser.runs.config_files import SHIPPED


PLANS = sorted(path for path in SHIPPED.rglob("*.yaml") if "systems" in yaml.safe_load(path.read_text()))
