"""Imported first by what runs as a program: numpy's threads are counted when it is imported.

Its matrices here are small; a second thread only waits for them, with a core of its own. `pipeline.limit_threads` gives
torch and OpenCV what the user asks for. What the environment says already stands.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
