"""What a number was measured on."""

import datetime
import importlib.metadata
import os
import platform
import re
from pathlib import Path


def describe_machine() -> dict:
    """Return the processor, the number of cores, the versions and the date, for a results file."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return {
        "processor": found[1] if found else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "date": datetime.date.today().isoformat(),
    }
