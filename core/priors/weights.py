"""Files of trained weights: safetensors with metadata and a checksum. The format itself would not notice damage."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..whole_file import whole_file

CHECKSUM = "sha256"  # key of the metadata


class WeightsError(ValueError):
    """Weights that are not those that were written."""


# What reading of a damaged or foreign file may raise, beside FileNotFoundError.
DAMAGED = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors with their metadata and checksum, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        save_file(plain, str(part), {**metadata, CHECKSUM: _checksum(plain)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata. Raises FileNotFoundError, or one of DAMAGED."""
    with safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if metadata.pop(CHECKSUM, None) != _checksum(tensors):
        raise WeightsError(f"{path.name} does not hold what was written")
    return tensors, metadata


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
