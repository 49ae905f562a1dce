"""The model card: a bundle's README, from its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def model_card(manifest: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter, in the manner of model cards (Mitchell et al., FAT* 2019)."""
    model, data, info = manifest["model"], manifest["data"], manifest["info"]
    front = {
        "library_name": "recsmith",
        "tags": ["recommender-system", model["name"]],
        "model": model["name"],
        "created": manifest["created"],
        "recsmith": manifest["recsmith"],
        "data_fingerprint": data["fingerprint"],
    }
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n",
        f"# {model['name']} on {data['name']}\n",
        _training_data(data),
        _how_it_answers(manifest),
        _metrics(info.get("metrics")),
        _fold_in(info.get("fold_in_gap")),
        "## Limits\n\nThe figures hold for the log and the split they were measured on. Offline accuracy says what "
        "people chose among what they were shown; it does not say what they would choose among these lists.\n",
    ]
    return "\n".join(section for section in sections if section)


def _training_data(data: Mapping[str, Any]) -> str:
    lines = [
        "## Training data\n",
        f"{data['events']:,} events of {data['users']:,} users with {data['items']:,} items.",
    ]
    lines += [f"- {note}" for note in data["notes"]]
    return "\n".join(lines) + "\n"


def _how_it_answers(manifest: Mapping[str, Any]) -> str:
    model, weighting, fallback = manifest["model"], manifest["weighting"], manifest["fallback"]
    lines = [
        "## How it answers\n",
        f"- Parameters: {_pairs(model['config']) or 'none'}.",
        f"- History: {_pairs(weighting)}.",
    ]
    if fallback is None:
        lines.append("- No fallback: a user without evidence gets an empty list.")
    else:
        lines.append(
            f"- Where the model has no evidence, `{fallback['name']}` answers, and the source says so."
        )
    return "\n".join(lines) + "\n"


def _metrics(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return ""
    lines = ["## Measured on held-out data\n", f"Split: {metrics.get('split', 'not said')}.\n"]
    lines += ["| metric | value | 95 % interval |", "|---|---|---|"]
    for name, row in metrics.get("figures", {}).items():
        low, high = row.get("interval") or (None, None)
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        lines.append(f"| {name} | {row['mean']:.4f} | {interval} |")
    return "\n".join(lines) + "\n"


def _fold_in(gap: Mapping[str, Any] | None) -> str:
    if not gap:
        return ""
    return "## Fold-in against refit\n\n" + "\n".join(f"- {line}" for line in gap.get("words", [])) + "\n"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
