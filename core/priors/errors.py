"""The one exception of the priors."""

from __future__ import annotations


class PriorError(Exception):
    """A prior's file that is missing, damaged or foreign; the message says what to do next."""
