"""The most common passwords, which everybody who guesses tries first."""

from zxcvbn.frequency_lists import FREQUENCY_LISTS

_COMMON = frozenset(FREQUENCY_LISTS["passwords"])


def is_common(password: str) -> bool:
    """Says whether a password is one of the 30,000 most common ones, in whatever letter case."""
    return password.lower() in _COMMON
