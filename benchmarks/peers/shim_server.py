"""The shim as `shim.py` starts it: the real `run_shim`, default policy."""

import sys
from pathlib import Path

from streams.config import KafkaSettings, Settings
from streams.model.policy import Policy
from streams.model.standing import PolicyIndex
from streams.shim.run import run_shim
from streams.status import StatusFile

if __name__ == "__main__":
    kafka, port, status = sys.argv[1:]
    run_shim(
        Settings(kafka=KafkaSettings(bootstrap=kafka)),
        PolicyIndex(Policy()),
        [f"inet:127.0.0.1:{port}"],
        status=StatusFile(Path(status)),
    )
