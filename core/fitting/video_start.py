"""Where a window starts: some frames fitted alone, those that do not go with their neighbours mended, the rest between.

A frame alone may take the wrong one of two depths. Where poses jump, the frames around are fitted once more from what
is on the other side of the jump, and the sequence is chosen that costs least, by dynamic programming.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.skeleton import LEFT_HAND, RIGHT_HAND
from ..rotation import exp_so3, log_so3
from .kinematics import pose_chain
from .settings import INF
from .solver import SolverSettings, solve
from .start import place
from .state import BodyState
from .video_evidence import FIRST, SETS, Seen
from .video_parts import ClipParts
from .video_problem import BODY
from .video_shape import ClipShape

# What of a jump from one anchor to the next is usual: σ of a joint's turn, radians, and its rate, radians a second.
TURN_RAD, TURN_RATE = 0.15, 3.0
MOST = 9.0  # cost of one joint's jump at most
JUMP = 25.0  # cost of all joints' jumps that is looked into
REACH = 6  # anchors on each side of a jump that are tried anew


@dataclass(frozen=True)
class Known:
    """One frame that was solved already."""

    state: BodyState  # of one body
    time_s: float


@torch.inference_mode()
def start_window(
    parts: ClipParts,
    seen: Seen,
    shape: ClipShape,
    image_size: tuple[int, int],
    before: Known | None = None,
    after: Known | None = None,
) -> BodyState:
    """A body in every frame. before, after: a frame on either side that is known already, if there is one."""
    known = enough_seen(seen)
    if not known.any():
        return _between(parts.state(seen, shape), seen, before, after)
    rows = anchor_rows(known, seen.time_s, parts.settings.anchor_s)
    anchors = seen.rows(rows)
    state, cost = _fit(parts, anchors, shape, image_size, None)
    state = _mend(parts, anchors, shape, image_size, state, cost, before, after)
    whole = parts.state(seen, shape)
    rotmats, transl = whole.rotmats, whole.transl
    rotmats[rows], transl[rows] = state.rotmats, state.transl
    there = torch.zeros(len(seen), dtype=torch.bool)
    there[rows] = True
    return fill_in(replace(whole, rotmats=rotmats, transl=transl), there, torch.as_tensor(seen.time_s))


def _between(standing: BodyState, seen: Seen, before: Known | None, after: Known | None) -> BodyState:
    """The way from one known frame to the other; the one that there is; or somebody who stands."""
    ends = [end for end in (before, after) if end is not None]
    if not ends:
        return standing
    rotmats = torch.cat([ends[0].state.rotmats, standing.rotmats, ends[-1].state.rotmats])
    transl = torch.cat([ends[0].state.transl, standing.transl, ends[-1].state.transl])
    times = torch.as_tensor(np.array([ends[0].time_s, *seen.time_s, ends[-1].time_s]))
    if len(ends) == 1:
        times[0], times[-1] = seen.time_s[0] - 1, seen.time_s[-1] + 1
    known = torch.zeros(len(times), dtype=torch.bool)
    known[0] = known[-1] = True
    rows = torch.arange(len(times)).clamp(1, len(seen)) - 1
    whole = fill_in(replace(standing.select(rows), rotmats=rotmats, transl=transl), known, times)
    return replace(standing, rotmats=whole.rotmats[1:-1], transl=whole.transl[1:-1])


def anchor_rows(known: NDArray[np.bool_], time_s: NDArray[np.float64], apart_s: float) -> NDArray[np.int64]:
    """Rows that are fitted alone: known ones, about `apart_s` apart, the first and the last among them."""
    rows = np.flatnonzero(known)
    chosen = [int(rows[0])]
    for row in rows[1:].tolist():
        if time_s[row] - time_s[chosen[-1]] >= apart_s - 1e-6:
            chosen.append(row)
    if chosen[-1] != rows[-1]:
        chosen.append(int(rows[-1]))
    return np.array(chosen, np.int64)


def _fit(
    parts: ClipParts, seen: Seen, shape: ClipShape, image_size: tuple[int, int], start: BodyState | None
) -> tuple[BodyState, Tensor]:
    """Each frame alone, from `start` or from the regressor's word; states and costs (T,)."""
    s = parts.settings
    regressed, prediction = parts.regressed(seen, shape)
    problem = parts.problem("body", seen, shape, image_size, s.robust_width, regressed)
    if start is None:
        start = parts.state(seen, shape)
        if prediction is not None:
            rotmats = prediction.clone()
            rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = start.rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop]
            start = replace(start, rotmats=rotmats)
        wide = parts.problem("body", seen, shape, image_size, 8.0, regressed)
        positions = wide.points.positions(pose_chain(parts.skeleton, start))[:, : wide.count]
        transl = place(positions, start.log_focal, wide.principal, wide.observed, wide.inverse_sigma)
        start = replace(start, transl=transl)
        start = solve(wide, start, SolverSettings(max_steps=s.start_steps, tolerance=1e-2)).state
    solution = solve(problem, start, SolverSettings(max_steps=s.frame_steps, tolerance=5e-3))
    return solution.state, torch.nan_to_num(solution.linearisation.cost, nan=INF)


def jumps(first: Tensor, second: Tensor, apart_s: Tensor) -> Tensor:
    """What it costs to go from poses (…, 55, 3, 3) to others within times (…,): a robust sum over the body's joints."""
    body = list(BODY)
    turned = log_so3(first[..., body, :, :].transpose(-1, -2) @ second[..., body, :, :]).norm(dim=-1)
    sigma = TURN_RAD + TURN_RATE * apart_s[..., None]
    cost: Tensor = ((turned / sigma) ** 2).clamp_max(MOST).sum(-1)
    return cost


def _mend(
    parts: ClipParts,
    seen: Seen,
    shape: ClipShape,
    image_size: tuple[int, int],
    state: BodyState,
    cost: Tensor,
    before: Known | None,
    after: Known | None,
) -> BodyState:
    """Try frames around a jump from its other side, and take the sequence that costs least."""
    count = len(seen)
    times = torch.as_tensor(seen.time_s).to(state.transl)
    between = jumps(state.rotmats[:-1], state.rotmats[1:], times[1:] - times[:-1])
    broken = torch.nonzero(between > JUMP).flatten().tolist()
    source: dict[int, list[int]] = {}  # anchor → anchors to start from; -1 = `before`, `count` = `after`
    for at in broken:
        for row in range(max(0, at - REACH + 1), at + 1):
            source.setdefault(row, []).append(at + 1)
        for row in range(at + 1, min(count, at + 1 + REACH)):
            source.setdefault(row, []).append(at)
    for end, at, rows_near in (
        (before, -1, range(min(count, REACH))),
        (after, count, range(max(0, count - REACH), count)),
    ):
        if end is not None:
            near = slice(0, 1) if at < 0 else slice(-1, None)
            gone = (times[near] - end.time_s).abs()
            if float(jumps(end.state.rotmats[:1], state.rotmats[near], gone)) > JUMP:
                for row in rows_near:
                    source.setdefault(row, []).append(at)
    if not source:
        return state
    rows = np.array([row for row, starts in source.items() for _ in starts[:2]], np.int64)
    starts = [start for starts in source.values() for start in starts[:2]]
    ends = {-1: before, count: after}
    rotmats = torch.stack([state.rotmats[i] if (end := ends.get(i)) is None else end.state.rotmats[0] for i in starts])
    index = torch.as_tensor(rows)
    guess = replace(state.select(index), rotmats=rotmats, transl=state.transl[index])
    tried, tried_cost = _fit(parts, seen.rows(rows), shape, image_size, guess)
    ways: list[list[tuple[Tensor, Tensor, float]]] = [
        [(state.rotmats[i], state.transl[i], float(cost[i]))] for i in range(count)
    ]
    for k, row in enumerate(rows.tolist()):
        ways[row].append((tried.rotmats[k], tried.transl[k], float(tried_cost[k])))
    chosen = _cheapest(ways, times, before, after)
    picked = [ways[i][k] for i, k in enumerate(chosen)]
    return replace(state, rotmats=torch.stack([p[0] for p in picked]), transl=torch.stack([p[1] for p in picked]))


def _cheapest(
    ways: list[list[tuple[Tensor, Tensor, float]]], times: Tensor, before: Known | None, after: Known | None
) -> list[int]:
    """For each anchor one of its ways, so that costs and jumps are least in sum (Viterbi)."""
    total = times.new_tensor([way[2] for way in ways[0]])
    if before is not None:
        poses = torch.stack([way[0] for way in ways[0]])
        gone = (times[0] - before.time_s).abs().expand(len(poses))
        total = total + jumps(before.state.rotmats[:1].expand_as(poses), poses, gone)
    back: list[Tensor] = []
    for t in range(1, len(ways)):
        old = torch.stack([way[0] for way in ways[t - 1]])[:, None]
        new = torch.stack([way[0] for way in ways[t]])[None]
        apart = (times[t] - times[t - 1]).expand(old.shape[0], new.shape[1])
        shape = (old.shape[0], new.shape[1], *old.shape[2:])
        cost = total[:, None] + jumps(old.expand(shape), new.expand(shape), apart)
        best = cost.min(0)
        back.append(best.indices)
        total = best.values + times.new_tensor([way[2] for way in ways[t]])
    if after is not None:
        poses = torch.stack([way[0] for way in ways[-1]])
        gone = (times[-1] - after.time_s).abs().expand(len(poses))
        total = total + jumps(after.state.rotmats[:1].expand_as(poses), poses, gone)
    chosen = [int(total.argmin())]
    for indices in reversed(back):
        chosen.append(int(indices[chosen[-1]]))
    return chosen[::-1]


def enough_seen(seen: Seen) -> NDArray[np.bool_]:
    """Frames with enough points for a fit of their own, (T,)."""
    body = slice(FIRST[SETS[0]], FIRST[SETS[1]])
    return np.asarray((seen.confidence[:, body] > 0.3).sum(1) >= 6)


def fill_in(state: BodyState, known: Tensor, time_s: Tensor) -> BodyState:
    """The states of unknown frames from the nearest known ones: rotations and places half-way in time."""
    if bool(known.all()) or not bool(known.any()):
        return state

    device = state.transl.device
    known, time_s = known.to(device), time_s.to(device)
    at = torch.nonzero(known).flatten()
    all_frames = torch.arange(len(known), device=device)
    after = torch.searchsorted(at, all_frames).clamp_max(len(at) - 1)
    before = (torch.searchsorted(at, all_frames, right=True) - 1).clamp_min(0)
    a, b = at[before], at[after]
    span = (time_s[b] - time_s[a]).clamp_min(1e-9)
    share = ((time_s - time_s[a]) / span).clamp(0, 1).to(state.transl)
    share = torch.where(a == b, torch.zeros_like(share), share)
    turned = log_so3(state.rotmats[a].transpose(-1, -2) @ state.rotmats[b])
    rotmats = state.rotmats[a] @ exp_so3(share[:, None, None] * turned)
    transl = state.transl[a] + share[:, None] * (state.transl[b] - state.transl[a])
    expression = state.expression[a] + share[:, None] * (state.expression[b] - state.expression[a])
    return replace(state, rotmats=rotmats, transl=transl, expression=expression)
