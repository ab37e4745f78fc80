"""Where the label of a point goes, so that labels cover neither points nor each other: geometry in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_DISTANCES = (7.0, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0)
# Right and left first: a label beside its point is the easiest to read.
_ANGLES = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, 40, 140, 320, 220, 65, 115, 295, 245))
_LEADER_FROM = 15.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with edges along the axes; x grows to the right and y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def outside(self, bounds: Box) -> float:
        """The area that lies outside of the bounds."""
        return (self.right - self.left) * (self.top - self.bottom) - self.overlap(bounds)


@dataclass(frozen=True, slots=True)
class Label:
    """A placed label: its box, and whether it lies so far off that a line should lead to its point."""

    box: Box
    leader: bool


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    obstacles: Sequence[Box] = (),
) -> list[Label]:
    """Place a label beside each point, greedily, the most crowded point first.

    Args:
        points: (x, y) of each point.
        sizes: (width, height) of each label.
        bounds: what the labels must stay in.
        obstacles: what they must not cover, the points' own markers included.

    Returns:
        The labels, in the order of the points. Where there is no free place, the one that covers least.
    """
    placed: dict[int, Label] = {}
    for index in sorted(range(len(points)), key=lambda i: _crowding(points, i)):
        taken = [*obstacles, *(label.box for label in placed.values())]
        placed[index] = _best(points[index], sizes[index], bounds, taken)
    return [placed[index] for index in range(len(points))]


def _crowding(points: Sequence[tuple[float, float]], index: int) -> float:
    distances = [math.dist(points[index], other) for i, other in enumerate(points) if i != index]
    return min(distances, default=math.inf)


def _best(point: tuple[float, float], size: tuple[float, float], bounds: Box, taken: Sequence[Box]) -> Label:
    best, least = None, math.inf
    for distance in _DISTANCES:
        for angle in _ANGLES:
            box = _beside(point, size, distance, angle)
            # Beyond the bounds a label is cut off, which is worse than covering a thing.
            cost = sum(box.overlap(other) for other in taken) + 10 * box.outside(bounds)
            if cost < least - 1e-9:
                best, least = Label(box, distance >= _LEADER_FROM), cost
        if least < 1e-9:
            break
    if best is None:
        raise ValueError("a label needs a finite position and size")
    return best


def _beside(point: tuple[float, float], size: tuple[float, float], distance: float, angle: float) -> Box:
    """The box whose centre lies in the direction of the angle and whose edge lies at the distance."""
    x, y = math.cos(angle), math.sin(angle)
    width, height = size
    centre_x = point[0] + x * distance + (0.0 if abs(x) < 0.1 else math.copysign(width / 2, x))
    centre_y = point[1] + y * distance + (0.0 if abs(y) < 0.1 else math.copysign(height / 2, y))
    return Box(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
