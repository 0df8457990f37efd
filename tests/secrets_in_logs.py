"""What must not be in any log."""

import json
import re
from pathlib import Path

_FORBIDDEN = {
    "an email": re.compile(r"[\w.+-]+@example\.com"),
    "a password": re.compile(r"correct horse"),
    "a token": re.compile(r"\beyJ[\w-]{8,}|\bbearer[ .]\w", re.IGNORECASE),
    "the number of a card": re.compile(r"\b4\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}\b"),
    "the number of a phone": re.compile(r"\+79\d{9}\b"),
}


def found_in(home: Path) -> list[str]:
    """Returns the lines in the logs of a stack with anything of people or any of its secrets, each with what it is."""
    forbidden = dict(_FORBIDDEN)
    for name, secret in json.loads((home / "secrets.json").read_text()).items():
        forbidden[f"the secret {name}"] = re.compile(re.escape(secret))
    lines = [
        (log.name, line) for log in sorted((home / "logs").glob("*.log*")) for line in log.read_text().splitlines()
    ]
    assert lines
    return [
        f"{what} in {log}: {line[:500]}" for log, line in lines for what, one in forbidden.items() if one.search(line)
    ]
