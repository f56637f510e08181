"""The long script of SIGKILLs, in a bounded form."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "kill.py"


def test_five_kills_lose_nothing():
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "5"],
        cwd=SCRIPT.parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 of 5 kills" in result.stdout
