"""What several tests need: a real photo, the detector's models."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A real photo of one person, upper body, 512 × 512: Eileen Collins, NASA, public domain."""
    skimage = pytest.importorskip("skimage")
    return Path(skimage.__file__).parent / "data" / "astronaut.png"


@pytest.fixture(scope="session")
def detector_models() -> None:
    """Skips where `pantomime models` was never run; `make test` runs it first."""
    from pantomime.core.detection.models import ModelError, find_models

    try:
        find_models()
    except ModelError as error:
        pytest.skip(str(error))
