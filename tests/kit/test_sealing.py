"""kit.sealing: what is sealed is read again by who has the key, for whom it was sealed, and by nobody else."""

import base64

import pytest

from kit.sealing import Sealer, Unsealable


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


OLD, NEW = key(1), key(2)
SECRET = b"4242424242424242"


def test_what_is_sealed_shows_nothing_and_differs_each_time() -> None:
    sealer = Sealer(OLD)
    first, second = sealer.seal(SECRET, "a"), sealer.seal(SECRET, "a")
    assert first != second
    assert SECRET not in first
    assert sealer.open(first, "a") == sealer.open(second, "a") == SECRET
    assert sealer.open(sealer.seal(b"", "a"), "a") == b""


def test_the_first_key_seals_and_all_of_them_open() -> None:
    old = Sealer(OLD).seal(SECRET, "a")
    both = Sealer(f"{NEW}, {OLD}")
    new = both.seal(SECRET, "a")
    assert both.open(old, "a") == both.open(new, "a") == Sealer(NEW).open(new, "a") == SECRET
    for sealer, sealed in ((Sealer(OLD), new), (Sealer(NEW), old)):
        with pytest.raises(Unsealable):
            sealer.open(sealed, "a")


def test_it_opens_for_nobody_else_and_not_when_it_was_changed() -> None:
    sealer = Sealer(OLD)
    sealed = sealer.seal(SECRET, "a")
    with pytest.raises(Unsealable):
        sealer.open(sealed, "b")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(Unsealable):
            sealer.open(bytes(changed), "a")
        with pytest.raises(Unsealable):
            sealer.open(sealed[:position], "a")


@pytest.mark.parametrize("keys", ["", ",", "secret!", key(1)[:-4], f"{OLD},", f"{OLD},{OLD}", OLD + OLD, "ключ"])
def test_bad_keys_are_refused_without_being_repeated(keys: str) -> None:
    with pytest.raises(ValueError, match=r"key|base64") as caught:
        Sealer(keys)
    assert "secret" not in str(caught.value)
    assert key(1)[:-4] not in str(caught.value)
