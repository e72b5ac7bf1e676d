"""Reading and writing of the learned pose prior: safetensors with its configuration, data hash and errors inside."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from .errors import PriorError
from .flow import FlowLayers, FlowPosePrior
from .pose import PosePrior, load_gaussian_prior
from .vae import VaeLayers, VaePosePrior
from .weights import DAMAGED, read_tensors, write_tensors

LEARNED_FILE = Path(__file__).parent / "data" / "pose_prior.safetensors"


def write_learned(path: Path, layers: FlowLayers | VaeLayers, card: dict[str, Any]) -> None:
    """Write weights with their card; `card["kind"]` is "flow" or "vae"."""
    tensors = {item.name: getattr(layers, item.name).detach().float() for item in fields(layers)}
    write_tensors(path, tensors, {"card": json.dumps(card, sort_keys=True)})


def read_learned(path: Path | None = None) -> tuple[FlowLayers | VaeLayers, dict[str, Any]]:
    """Weights and card, by default of the prior that comes with Pantomime. Raises PriorError."""
    path = path or LEARNED_FILE
    try:
        tensors, metadata = read_tensors(path)
        card: dict[str, Any] = json.loads(metadata["card"])
        return (FlowLayers if card["kind"] == "flow" else VaeLayers)(**tensors), card
    except FileNotFoundError as error:
        raise PriorError(f"The learned pose prior {path.name} is missing. Install Pantomime again.") from error
    except DAMAGED as error:
        raise PriorError(f"The learned pose prior {path.name} is damaged. Install Pantomime again.") from error


def load_learned_prior(
    path: Path | None = None, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> FlowPosePrior | VaePosePrior:
    """The learned prior as residuals. Raises PriorError."""
    layers, card = read_learned(path)
    if isinstance(layers, FlowLayers):
        return FlowPosePrior(layers, dtype, device)
    return VaePosePrior(layers, float(card["sigma_rad"]), dtype, device)


def best_pose_prior(
    dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu", path: Path | None = None
) -> tuple[PosePrior, str, str]:
    """The learned prior, or the Gaussian where its file can't be read.

    Returns the prior, its name ("flow", "vae" or "gaussian") for the capture's diagnostics, and a warning ("" if none).
    """
    try:
        prior = load_learned_prior(path, dtype, device)
    except PriorError as error:
        return load_gaussian_prior("gaussian", dtype, device), "gaussian", f"{error} A simpler prior was used."
    return prior, "flow" if isinstance(prior, FlowPosePrior) else "vae", ""
