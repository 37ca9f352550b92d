"""A small session of two downlink channels for the tests of the product and of the unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rs_client.processing import sentinel1
from tests.unit.processing.downlink import Octets, VirtualChannel, cadus, cut, packet

SAR, ANCILLARY = 1052, 1054
START = 1_415_629_862
"""GPS seconds of 2024-11-14T14:30:44Z."""


@dataclass(frozen=True)
class Small:
    """The octets of each channel, and the packets in them in the order of the product."""

    channels: dict[int, Octets]
    packets: dict[int, list[bytes]]

    def files(self, pieces: int = 3) -> dict[tuple[int, int], Octets]:
        """The same as files: by channel and block, cut anywhere."""
        generator = np.random.default_rng(pieces)
        return {
            (channel, block): part
            for channel, octets in self.channels.items()
            for block, part in enumerate(cut(octets, generator, pieces), start=1)
        }


def small() -> Small:
    """Channels take turns in the sequence counts of an APID, as the two receive polarisations do."""
    packets = {SAR: [_sar(n) for n in range(60)], ANCILLARY: [_ancillary(n) for n in range(10)]}
    channels = {}
    for channel in (1, 2):
        science, ancillary = VirtualChannel(channel), VirtualChannel(16 + channel)
        science.write(packets[SAR][channel - 1 :: 2])
        ancillary.write(packets[ANCILLARY][channel - 1 :: 2])
        channels[channel] = cadus([*science.frames[:5], *ancillary.frames, *science.frames[5:]]).reshape(-1)
    return Small(channels, packets)


def _time(pulse: int) -> bytes:
    ticks = (START << 16) + pulse * 40
    return ticks.to_bytes(6)


def _sar(number: int) -> bytes:
    generator = np.random.default_rng(number)
    header = bytearray(62)
    header[:6] = _time(number // 2)  # both channels report the same pulse
    header[6:10] = sentinel1.SYNC_MARKER.to_bytes(4)
    header[10:14] = (0x6E741).to_bytes(4)
    header[23:27] = number.to_bytes(4)
    header[58] = 10 + number % 3
    user_data = generator.integers(0, 256, 4 * int(generator.integers(300, 2000)), np.uint8).tobytes()
    return packet(SAR, (16_380 + number) % (1 << 14), bytes(header) + user_data, timed=True)


def _ancillary(number: int) -> bytes:
    return packet(ANCILLARY, number, _time(number // 2 * 7) + bytes([number]) * 278, timed=True)
