"""What a process that forks others has at hand after the rehearsal."""

from __future__ import annotations

import json
import subprocess
import sys

_SEEN = """
import json, sys, threading
from numba.core.dispatcher import Dispatcher
from rs_client.processing.rehearsal import rehearse

rehearse()
threads = threading.active_count()
units = sorted(name for name in ("s1_l0", "echo", "quicklook") if f"rs_client.processing.{name}" in sys.modules)
loaded, load = [], Dispatcher.compile
Dispatcher.compile = lambda self, kinds: loaded.append(self.__name__) or load(self, kinds)

from rs_client.processing.s1_l0 import SentinelOneLevelZero, cadu_block
from tests.unit.processing.session import small

sent = {place: octets.copy() for place, octets in small().files(1).items()}
for octets in sent.values():
    octets[100::2044] ^= 0xFF
blocks = [cadu_block(octets, *place) for place, octets in sent.items()]
product = SentinelOneLevelZero().run({"cadu": blocks}, name="X")["l0"].compute()
frames = product.attrs["quality"]["frames"]
print(json.dumps({"threads": threads, "units": units, "loaded": loaded, "corrected": frames["corrected"]}))
"""


def test_nothing_is_compiled_or_imported_later_and_no_thread_is_left() -> None:
    run = subprocess.run([sys.executable, "-c", _SEEN], capture_output=True, text=True, check=True)
    seen = json.loads(run.stdout)
    assert seen["corrected"] > 0
    assert seen["loaded"] == []
    assert seen["threads"] == 1
    assert seen["units"] == ["echo", "quicklook", "s1_l0"]
