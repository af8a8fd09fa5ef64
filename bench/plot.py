"""A line over time, as an SVG that needs nothing to be shown."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 260, 64, 40, 34


def svg(title: str, points: Sequence[tuple[float, float]], across: str, up: str) -> str:
    """`points` as one line from zero; `across` and `up` say what is counted."""
    right = max(x for x, _ in points) or 1.0
    most = max(y for _, y in points) * 1.2 or 1.0
    line = " ".join(f"{_x(x, right):.1f},{_y(y, most):.1f}" for x, y in points)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            f'<text x="{_LEFT}" y="20" font-size="14">{title}</text>',
            *(_level(most * part / 4, most) for part in range(5)),
            *(
                _text(_x(right * part / 4, right), _HEIGHT - 20, f"{right * part / 4:.0f}")
                for part in range(5)
            ),
            _text(_WIDTH / 2, _HEIGHT - 4, across),
            f'<text x="14" y="{_HEIGHT / 2}" transform="rotate(-90 14 {_HEIGHT / 2})" '
            f'text-anchor="middle">{up}</text>',
            f'<polyline points="{line}" fill="none" stroke="#1f5fbf" stroke-width="1.5"/>',
            "</svg>\n",
        ]
    )


def _level(value: float, most: float) -> str:
    height = _y(value, most)
    line = f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - 16}" stroke="#ddd"/>'
    return f'{line}<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{value:.0f}</text>'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{words}</text>'


def _x(value: float, right: float) -> float:
    return _LEFT + value / right * (_WIDTH - _LEFT - 16)


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - value / most * (_HEIGHT - _BOTTOM - _TOP)
