"""The card of an exported model: what lies in the folder, and how it is used without this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_ambiser.inference.onnx_model import MODEL, TORCH_MODEL
from hf_ambiser.untrusted.markdown import as_text


_HEADER = """---
library_name: {library}
pipeline_tag: audio-classification
tags:
- hf_ambiser
- speech-emotion-recognition
- {format}
---

# An exported model: what listeners would hear

It answers with a **distribution over {classes}**: how listeners would divide their votes, not one true emotion.
{origin}
"""
_ONNX = """## Use it

With hf_ambiser, also where torch is not installed; recordings of any kind and length, with a timeline of long ones:

```bash
hf-ambiser predict some.wav --model {file}
```

With onnxruntime alone, in the folder of this file, on a mono recording of 16 kHz:

```python
import json

import numpy as np
import onnxruntime
import soundfile

about, config = (json.load(open(f"{{name}}.json", encoding="utf-8")) for name in ("export", "config"))
samples, rate = soundfile.read("some.wav", dtype="float32")
assert samples.ndim == 1 and rate == about["sampling_rate"] and len(samples) <= about["longest"]
values = np.zeros((1, max(len(samples), about["shortest"])), dtype=np.float32)
values[0, : len(samples)] = samples
mask = np.zeros(values.shape, dtype=np.int64)
mask[0, : len(samples)] = 1
session = onnxruntime.InferenceSession("{file}")
(logits,) = session.run(["logits"], {{"input_values": values, "attention_mask": mask}})
decision = config.get("decision") or {{}}
logits = logits[0] / decision.get("temperature", 1.0)
shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
balance = decision.get("balance") or {{"tau": 0}}
rarity = balance["tau"] * np.log(balance["shares"]) if balance["tau"] else 0.0
answer = int(np.argmax(np.log(shares) - rarity))
abstains = shares[answer] < (decision.get("threshold") or 0)
print(dict(zip(about["classes"], shares.round(4).tolist())))
print("abstains" if abstains else about["classes"][answer])
```
"""
_ONNX_FEATURES = """## Use it

The model takes acoustic features, which torch computes, so hf_ambiser and torch must be installed:

```bash
hf-ambiser predict some.wav --model {file}
```

The graph itself takes `input_features` and `attention_mask`, as the feature extractor in `preprocessor_config.json`
makes them.
"""
_TORCH = """## Use it

With torch alone, in the folder of this file; neither transformers nor hf_ambiser is needed:

```python
import json

import torch

about = json.load(open("export.json", encoding="utf-8"))
model = torch.export.load("{file}").module()
values = torch.zeros(1, 32000)  # {what}, here 2 s of silence
mask = torch.ones(1, 32000, dtype=torch.long)
logits, *_ = model(values, mask)
print(dict(zip(about["classes"], logits[0].softmax(-1).tolist())))
```
"""
_TORCH_FEATURES = """## Use it

`torch.export.load("{file}").module()` takes acoustic features and their mask, as the feature extractor in
`preprocessor_config.json` makes them (its code lies beside it): `model(input_features, attention_mask)`.
"""
_TAKES = """
| input | shape | what |
|---|---|---|
| `{input}` | (batch, length{more}) float32 | {what}, zeros behind the end of shorter ones |
| `attention_mask` | (batch, length) int64 | 1 where there is something, 0 for padding behind it |

A batch has any number of recordings. Its length is {shortest} to {longest}; fill a shorter one up with zeros. Answers
do not depend on the padding. Outputs are {outputs}: `logits` become shares by a softmax, after division by
`decision.temperature` where `config.json` has one. Where it has a `decision.balance`, the answer is the class with the
largest share / balance share ^ tau, else the one with the largest share; below a `decision.threshold` the model
abstains. Weights are stored as {precision}.
{checked}
"""


def card_of(about: Mapping[str, Any], has_card: bool) -> str:
    """Return the text of `README.md`.

    Args:
        about: What `export.json` holds.
        has_card: Whether the model's own card is copied as `MODEL_CARD.md`.
    """
    features = about["input"] == "input_features"
    what = (
        "acoustic features, a frame every 10 ms"
        if features
        else f"mono samples in [-1, 1], {about['sampling_rate']} Hz"
    )
    if about["format"] == "torch":
        use = _TORCH_FEATURES if features else _TORCH
    else:
        use = _ONNX_FEATURES if features else _ONNX
    difference, checked = about.get("largest_difference"), ""
    if difference is not None:
        checked = (
            f"On made recordings of odd lengths its outputs differ from those of PyTorch by at most {difference:.1g}."
        )
    origin = "The model that it was made from has no card."
    if has_card:
        origin = "Licence, figures and limits are in [MODEL_CARD.md](MODEL_CARD.md), the card of the original model."
    parts = [
        _HEADER.format(
            library="onnx" if about["format"] == "onnx" else "pytorch",
            format=about["format"],
            classes=", ".join(as_text(name) for name in about["classes"]),
            origin=origin,
        ),
        use.format(file=MODEL if about["format"] == "onnx" else TORCH_MODEL, what=what),
        _TAKES.format(
            **{name: about[name] for name in ("input", "shortest", "longest", "precision")},
            more=", 32" if features else "",
            what=what,
            outputs=", ".join(f"`{name}`" for name in about["outputs"]),
            checked=checked,
        ),
    ]
    return "\n".join(parts).rstrip() + "\n"
