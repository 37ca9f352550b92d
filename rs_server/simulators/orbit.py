"""Where the satellite is: a circular orbit, near enough to Sentinel-1's to make state vectors plausible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RADIUS_M = 7_070_990.0
_INCLINATION = np.radians(98.18)
_EARTH_GM = 3.986004418e14
_EARTH_RATE = 7.2921150e-5
_MEAN_MOTION = float(np.sqrt(_EARTH_GM / _RADIUS_M**3))

type Floats = NDArray[np.float64]


def state(gps_seconds: Floats) -> Floats:
    """Earth-fixed position in m and velocity in m/s (n × 6: x, y, z, vx, vy, vz) at GPS times in seconds."""
    anomaly = _MEAN_MOTION * gps_seconds
    node = -_EARTH_RATE * gps_seconds
    along, across = np.cos(anomaly), np.sin(anomaly)
    d_along, d_across = -_MEAN_MOTION * across, _MEAN_MOTION * along
    x, y, z = _RADIUS_M * _turn(along, across, node)
    vx, vy, vz = _RADIUS_M * _turn(d_along, d_across, node)
    return np.stack([x, y, z, vx + _EARTH_RATE * y, vy - _EARTH_RATE * x, vz], axis=-1)


def _turn(along: Floats, across: Floats, node: Floats) -> Floats:
    """From the orbital plane to the Earth-fixed frame."""
    x, y, z = along, across * np.cos(_INCLINATION), across * np.sin(_INCLINATION)
    return np.stack([x * np.cos(node) - y * np.sin(node), x * np.sin(node) + y * np.cos(node), z])
