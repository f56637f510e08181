"""What a number was measured on."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path


def describe_machine() -> dict:
    """Return the processor, the number of cores, the versions and the date, for a results file."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "date": datetime.date.today().isoformat(),
    }
