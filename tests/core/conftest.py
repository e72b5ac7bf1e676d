"""What most tests of the solver need: one thread, and the free body; and what those of the accuracy bench share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pantomime.core.body.bench_labels import PersonLabel
from pantomime.core.body.load import load_body
from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.fitting.bench_scores import Scorer
from pantomime.tests.core.bench_person import bent_pose, somebody


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def body() -> BodyModel:
    """The free body. Nobody changes it."""
    return load_body()


@pytest.fixture(scope="session")
def scorer(body: BodyModel) -> Scorer:
    """Of fits of the free body."""
    return Scorer(body)


@pytest.fixture(scope="session")
def pose() -> np.ndarray:
    """(55, 3) axis-angle, camera axes, of `person`. Nobody changes it."""
    return bent_pose()


@pytest.fixture(scope="session")
def person(body: BodyModel) -> tuple[Capture, PersonLabel]:
    """Somebody, as captured without an error and as labelled. Nobody changes them."""
    return somebody(body)
