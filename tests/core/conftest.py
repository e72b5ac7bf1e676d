"""What most tests of the solver need: one thread, and the free body."""

from __future__ import annotations

import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.body.model import BodyModel


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def body() -> BodyModel:
    """The free body. Nobody changes it."""
    return load_body()
