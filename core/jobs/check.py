"""Whether this Python can solve photos: its packages, where it can compute, the detector's models.

The facts of the result: "python" (version), the packages' versions by their names, "devices" (of torch, separated by
spaces), "models" (the folder of the detector's models).
"""

from __future__ import annotations

import importlib
import platform

from ..messages import CheckSolver, Result
from ..pipeline import PipelineCancelled, PipelineError, PipelineSettings, limit_threads, plain_errors
from . import Work

# Module → package.
PACKAGES = {
    "numpy": "numpy",
    "torch": "torch",
    "mediapipe": "mediapipe",
    "cv2": "opencv-contrib-python",
    "PIL": "pillow",
    "safetensors": "safetensors",
}


def run(request: CheckSolver, work: Work) -> Result:
    """Load what a photo needs. Raises PipelineError for a broken package; without one the worker does not start."""
    limit_threads(request.threads)
    facts = {"python": platform.python_version()}
    for index, (module, package) in enumerate(PACKAGES.items()):
        work.reporter.stage("load", f"Loading {package}")
        work.reporter.progress(index / len(PACKAGES))
        try:
            loaded = importlib.import_module(module)
        except Exception as error:  # a package that is broken can raise nearly anything
            reason = " ".join(str(error).split())[:200]
            raise PipelineError(
                f"{package} is there and can't be loaded ({reason}). Install it again, or choose another Python."
            ) from error
        facts[package] = str(getattr(loaded, "__version__", "?"))
        if work.reporter.cancelled():
            raise PipelineCancelled
    facts["devices"] = " ".join(_devices())
    work.reporter.stage("load", "Loading the detector")
    with plain_errors():
        from ..detection.models import find_models

        facts["models"] = str(find_models(request.models_dir, request.cache_dir).pose.parent)
        # MediaPipe loads its library only now, and that needs others of the system.
        work.pipeline.detector(PipelineSettings(models_dir=request.models_dir, cache_dir=request.cache_dir))
    return Result(request.job, [], facts=facts)


def _devices() -> list[str]:
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
