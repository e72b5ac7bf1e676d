"""The accuracy bench on paper: table and figures as markdown and JSON, the worst fits as pictures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..body.bench_labels import PersonLabel
from ..body.model import BodyModel
from ..body.raster import Hits, rasterise
from ..body.skeleton import LEFT_HAND, RIGHT_HAND
from ..whole_file import whole_file, write_whole
from .bench_scores import Scorer, Scores, peer_score
from .bench_types import Result

Float = NDArray[np.float64]
Picture = NDArray[np.uint8]

COLUMNS = (
    ("fitted", "fitted", "{:.0%}"),
    ("pve", "PVE", "{:.1f}"),
    ("pa_pve", "PA-PVE", "{:.1f}"),
    ("pve_hands", "PVE hands", "{:.1f}"),
    ("pa_pve_hands", "PA-PVE hands", "{:.1f}"),
    ("pa_pve_seen_hands", "PA-PVE seen hands", "{:.1f}"),
    ("pve_face", "PVE face", "{:.1f}"),
    ("pa_pve_face", "PA-PVE face", "{:.1f}"),
    ("mpjpe", "MPJPE", "{:.1f}"),
    ("pa_mpjpe", "PA-MPJPE", "{:.1f}"),
    ("mpjpe_hands", "MPJPE hands", "{:.1f}"),
    ("mpjpe_seen_hands", "MPJPE seen hands", "{:.1f}"),
    ("pa_mpjpe_hands", "PA-MPJPE hands", "{:.1f}"),
    ("fingers_seen_hands", "fingers, seen hands", "{:.1f}"),
    ("pa_mpjpe_limbs", "PA-MPJPE limbs", "{:.1f}"),
    ("mediapipe_pa_mpjpe_limbs", "MediaPipe limbs", "{:.1f}"),
    ("pck", "PCK@0.05", "{:.1%}"),
    ("iou", "median IoU", "{:.3f}"),
    ("seconds", "CPU s a fit", "{:.2f}"),
)
_MEDIAN = ("iou",)
_FIT_COLOUR, _TRUE_COLOUR = np.array([235.0, 140.0, 60.0]), np.array([150.0, 155.0, 160.0])


def summary(results: Sequence[Result]) -> Scores:
    """Means over the fits (the median for silhouettes and times), the share fitted, and the peer's error."""
    scored = [result for result in results if result.scores]
    row = {"fitted": len(scored) / max(len(results), 1)}
    for name in scored[0].scores if scored else ():
        values = np.array([result.scores[name] for result in scored])
        if np.isfinite(values).any():
            row[name] = float((np.nanmedian if name in _MEDIAN else np.nanmean)(values))
    peers = [peer_score(result.sample.detected, result.sample.label) for result in scored]
    if np.isfinite(peers).any():
        row["mediapipe_pa_mpjpe_limbs"] = float(np.nanmean(peers))
    if scored:
        row["seconds"] = float(np.median([result.seconds for result in scored]))
    return row


def table(rows: Mapping[str, Scores]) -> str:
    """A markdown table, a row a variant; errors in millimetres."""
    used = [column for column in COLUMNS if any(column[0] in row for row in rows.values())]
    lines = ["| mm | " + " | ".join(title for _, title, _ in used) + " |", "|---|" + "---:|" * len(used)]
    for name, row in rows.items():
        cells = [form.format(row[key]) if key in row else "–" for key, _, form in used]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def condition(label: PersonLabel) -> str:
    """What makes a picture hard, the first that holds."""
    if label.framing != "full":
        return "cropped"
    if float(label.joint_rotations[0][2, 2]) > 0.3:
        return "from behind"
    return "objects in the way" if label.hidden_share > 0.02 else "in full view"


CONDITIONS = ("in full view", "objects in the way", "cropped", "from behind")


def by_condition(results: Sequence[Result]) -> dict[str, Scores]:
    """Summaries of the pictures of each condition, with their number in the key."""
    rows = {}
    for name in CONDITIONS:
        part = [result for result in results if condition(result.sample.label) == name]
        if part:
            rows[f"{name} ({len(part)})"] = summary(part)
    return rows


# Components that must be told apart, by what people call them; both sides are pooled.
EXPRESSIONS = {
    "open mouth": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "raised brows": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "lowered brows": ("browDownLeft", "browDownRight"),
    "pucker": ("mouthPucker",),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "sneer": ("noseSneerLeft", "noseSneerRight"),
    "wide eyes": ("eyeWideLeft", "eyeWideRight"),
    "squint": ("eyeSquintLeft", "eyeSquintRight"),
    "cheeks": ("cheekSquintLeft", "cheekSquintRight"),
}


def expression_rows(results: Sequence[Result], names: Sequence[str]) -> dict[str, Scores]:
    """How fitted expressions follow the true ones, over all fits: correlation, mean true and fitted value where acted.

    The last row: the largest component of neutral faces, mean and worst.
    """
    scored = [result for result in results if result.capture is not None]
    if not scored:
        return {}
    fitted = np.array([result.capture.expression[0] for result in scored if result.capture is not None])
    true = np.array([result.sample.label.expression for result in scored])
    rows: dict[str, Scores] = {}
    for title, parts in EXPRESSIONS.items():
        columns = [list(names).index(part) for part in parts]
        ours, theirs = fitted[:, columns].ravel(), true[:, columns].ravel()
        acted = theirs > 0.3
        if acted.sum() >= 3 and ours.std() > 1e-6:
            rows[title] = {
                "correlation": float(np.corrcoef(ours, theirs)[0, 1]),
                "true": float(theirs[acted].mean()),
                "fitted": float(ours[acted].mean()),
                "at_rest": float(ours[theirs == 0].mean()),
            }
    neutral = true.max(axis=1) == 0
    if neutral.any():
        largest = fitted[neutral].max(axis=1)
        rows["neutral faces, largest component"] = {"fitted": float(largest.mean()), "at_rest": float(largest.max())}
    return rows


def expression_table(rows: Mapping[str, Scores]) -> str:
    """A markdown table of `expression_rows`."""
    lines = ["| | correlation | true | fitted | fitted at rest (neutral: worst) |", "|---|---:|---:|---:|---:|"]
    for title, row in rows.items():
        cells = [f"{row[key]:.2f}" if key in row else "–" for key in ("correlation", "true", "fitted", "at_rest")]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_GESTURE_RAD = 0.35  # mean angle of a hand's joints from a gesture's, for it to be one


def gesture_rows(results: Sequence[Result], body: BodyModel) -> dict[str, Scores]:
    """Errors of the fingers of seen hands, mm in the wrist's frame, by the gesture that the true hands make."""
    from ..body.bench_people import GESTURES, finger_axes, hand_rotations

    shapes = {
        side: {name: hand_rotations(axes, np.array(values), sign) for name, values in GESTURES.items()}
        for side, axes, sign in zip(
            ("left", "right"), (finger_axes(mean) for mean in body.hands_mean), (1.0, -1.0), strict=True
        )
    }
    errors: dict[str, list[float]] = {name: [] for name in GESTURES}
    for result in results:
        for side, part in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
            error = result.scores.get(f"fingers_seen_{side}_hand", float("nan"))
            if not np.isfinite(error):
                continue
            true = result.sample.label.rotations[part].astype(np.float64)
            gaps = {name: float(_angles(shape, true).mean()) for name, shape in shapes[side].items()}
            nearest = min(gaps, key=lambda name: gaps[name])
            if gaps[nearest] < _GESTURE_RAD:
                errors[nearest].append(error)
    return {
        name: {"fingers": float(np.mean(values)), "hands": float(len(values))}
        for name, values in errors.items()
        if values
    }


def _angles(a: Float, b: Float) -> Float:
    """Angles between rotations (…, 3, 3), radians."""
    cosine = (np.einsum("...ij,...ij->...", a, b) - 1) / 2
    return np.asarray(np.arccos(np.clip(cosine, -1, 1)))


def gesture_table(rows: Mapping[str, Scores]) -> str:
    """A markdown table of `gesture_rows`."""
    lines = ["| | hands | fingers, mm |", "|---|---:|---:|"]
    lines += [f"| {name} | {row['hands']:.0f} | {row['fingers']:.1f} |" for name, row in rows.items()]
    return "\n".join(lines)


def provenance() -> dict[str, str]:
    """The commit and the machine that figures come from."""
    import torch

    folder = Path(__file__).parent

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    if commit and git("status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    return {
        "commit": commit or "unknown",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def write_report(folder: Path, photos: str, by_variant: Mapping[str, Sequence[Result]], body: BodyModel) -> str:
    """Write accuracy.md and accuracy.json; the markdown."""
    main, first = next(iter(by_variant.items()))
    expressions, gestures = expression_rows(first, body.expression_names), gesture_rows(first, body)
    origin = provenance()
    rows = {name: summary(results) for name, results in by_variant.items()}
    count = max((len(results) for results in by_variant.values()), default=0)
    lines = [
        *_headline(count, photos),
        table(rows),
        "",
        f"By what makes a picture hard, for {main}:",
        "",
        table(by_condition(first)),
        "",
        f"Expressions, for {main}; true and fitted where the true one is above 0.3:",
        "",
        expression_table(expressions),
        "",
        *((f"Fingers of seen hands by what they do, for {main}:", "") if gestures else ()),
        *((gesture_table(gestures), "") if gestures else ()),
        *(f"* {name}: {value}" for name, value in origin.items()),
        "",
    ]
    text = "\n".join(lines)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "accuracy.md", text)
    document = {
        "photos": photos,
        "count": count,
        **origin,
        "variants": rows,
        "expressions": expressions,
        "gestures": gestures,
        "pictures": {name: [_facts(result) for result in results] for name, results in by_variant.items()},
    }
    write_whole(folder / "accuracy.json", json.dumps(document, indent=1) + "\n")
    return text


def _headline(count: int, photos: str) -> tuple[str, ...]:
    return (
        "# Accuracy on rendered people",
        "",
        f"{count} pictures ({photos}). Errors in mm: PVE and MPJPE after moving the pelvis (hands: the wrist, face:",
        "the neck) onto the true one; PA after the best similarity transform. PVE: outer skin. Seen hands: half of",
        "the joints visible; fingers: in the wrist's frame. PCK: the 22 body joints in the picture, within 5 % of",
        "the person's longer side. MediaPipe: its own 3D points, over the same twelve limb joints as the column",
        "before.",
        "",
    )


def _facts(result: Result) -> dict[str, object]:
    """What is kept of one picture."""
    label = result.sample.label
    return {
        "photo": result.sample.photo.name,
        "action": label.action,
        "condition": condition(label),
        "hidden_share": round(label.hidden_share, 3),
        "seconds": round(result.seconds, 4),
        "mediapipe_pa_mpjpe_limbs": _number(peer_score(result.sample.detected, label)),
        **{key: _number(value) for key, value in result.scores.items()},
    }


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return round(value, 4) if np.isfinite(value) else None


# ----------------------------------------------------------------------------------------------------------- pictures


def write_worst(
    folder: Path, results: Sequence[Result], scorer: Scorer, count: int = 10, key: str = "pa_pve"
) -> list[Path]:
    """The worst fits as photo | fit over it | both from the side (fit orange, truth grey). Their files, worst first."""
    ranked = sorted((r for r in results if r.capture is not None), key=lambda r: -r.scores[key])[:count]
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for place, result in enumerate(ranked, start=1):
        path = folder / f"worst-{place:02d}-{result.sample.photo.stem}.png"
        with whole_file(path) as part:
            picture_of(result, scorer).save(part, "PNG")
        paths.append(path)
    return paths


def picture_of(result: Result, scorer: Scorer) -> Image.Image:
    """Photo | fit over it | fit and truth from the camera's right, pelvis on pelvis."""
    label, capture = result.sample.label, result.capture
    assert capture is not None
    with Image.open(result.sample.photo) as file:
        photo = np.asarray(file.convert("RGB"))
    fitted, faces = scorer.surface(capture), scorer.body.faces
    hits = rasterise(fitted.astype(np.float32), faces, capture.focal_px, label.image_size)
    overlay = _over(photo, fitted, faces, hits, _FIT_COLOUR, 0.75)
    side = np.full((label.image_size[1], label.image_size[1] * 3 // 4, 3), 245, np.uint8)
    size = (side.shape[1], side.shape[0])
    pelvis, true_pelvis = capture.joints[0, 0], label.joints[0]
    true = _from_the_right(label.vertices - true_pelvis)
    ours = _from_the_right(fitted - pelvis)
    reach = 1.15 * np.abs(np.concatenate([true, ours])[:, :2]).max(0)
    focal = float((0.5 * np.array(size) / reach).min()) * 10.0
    for vertices, colour in ((true, _TRUE_COLOUR), (ours, _FIT_COLOUR)):
        moved = vertices + np.array([0.0, 0.0, 10.0])
        side = _over(side, moved, faces, rasterise(moved.astype(np.float32), faces, focal, size), colour, 0.65)
    gap = np.full((photo.shape[0], 6, 3), 255, np.uint8)
    image = Image.fromarray(np.concatenate([photo, gap, overlay, gap, side], axis=1))
    text = ", ".join(f"{name} {result.scores[name]:.0f}" for name in ("pa_pve", "pve", "pa_mpjpe", "pa_pve_hands"))
    ImageDraw.Draw(image).text((6, 4), f"{result.sample.photo.stem} {label.action}: {text}", fill=(255, 255, 0))
    return image


def _from_the_right(points: Float | NDArray[np.float32]) -> Float:
    """Camera axes as a camera sees them that looks from the first one's right."""
    return np.stack([points[:, 2], points[:, 1], -points[:, 0]], axis=1).astype(np.float64)


def _over(
    under: Picture, vertices: Float, faces: NDArray[np.int32], hits: Hits, colour: Float, opacity: float
) -> Picture:
    """A lit surface over a picture."""
    seen = hits.triangles >= 0
    corners = vertices[faces[hits.triangles[seen]]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    light = 0.35 + 0.65 * np.abs(normals @ np.array([0.35, -0.45, -0.82]))
    result = under.astype(np.float64)
    result[seen] = (1.0 - opacity) * result[seen] + opacity * np.clip(colour * light[:, None], 0, 255)
    return np.clip(result + 0.5, 0, 255).astype(np.uint8)
