"""Numbers on the command line, for argparse's `type`. Standard library only.

Each raises ArgumentTypeError with what is wrong, which argparse says after the option's name.
"""

from __future__ import annotations

import argparse


def people_count(text: str) -> int:
    """How many people, from "all" or a number; 0 = all."""
    if text == "all":
        return 0
    try:
        return whole(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number above 0 nor “all”") from error


def positive(text: str) -> float:
    """A number above 0, and below a million."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def not_negative(text: str) -> float:
    """A number from 0 on, and below a million."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def whole(text: str) -> int:
    """A whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole_from_0(text: str) -> int:
    """A whole number from 0 on: a frame, or the seed of random numbers."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)
