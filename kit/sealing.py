"""What a database must not show, but its service must read again: sealed with AES-256-GCM before it is written.

Keys rotate: a new one is put in front and seals from then on; what the others have sealed can be opened as long as they
are in the list. A sealed value is the id of its key (4 bytes), a nonce (12), the ciphertext and its tag (16).
"""

import base64
import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ID_BYTES = 4
NONCE_BYTES = 12


class Unsealable(Exception):
    """A value can't be opened: its key is not in the list, or it was sealed for something else, or was changed."""


class Sealer:
    """Seals with the first of its keys, and opens what any of them has sealed.

    Nonces are random: change the key before it has sealed some billion values.
    """

    def __init__(self, keys: str) -> None:
        """`keys`: 32 bytes each as base64, separated by commas. Errors: ValueError, which says nothing of them."""
        try:
            raw = [base64.b64decode(key.strip(), validate=True) for key in keys.split(",")]
        except ValueError:
            raise ValueError("keys are written as base64, separated by commas") from None
        if any(len(key) != KEY_BYTES for key in raw):
            raise ValueError(f"a key has {KEY_BYTES} bytes, as base64")
        self._ciphers = {hashlib.sha256(key).digest()[:ID_BYTES]: AESGCM(key) for key in raw}
        if len(self._ciphers) != len(raw):
            raise ValueError("no key twice")
        self._id, self._cipher = next(iter(self._ciphers.items()))

    def seal(self, plain: bytes, owner: str) -> bytes:
        """Seals a value that belongs to `owner`, an id: for another it can't be opened."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self._id + nonce + self._cipher.encrypt(nonce, plain, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """Returns what was sealed for `owner`. Errors: Unsealable."""
        cipher = self._ciphers.get(sealed[:ID_BYTES])
        if cipher is None:
            raise Unsealable("the key that sealed this is not in the list")
        nonce, text = sealed[ID_BYTES : ID_BYTES + NONCE_BYTES], sealed[ID_BYTES + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, text, owner.encode())
        except (InvalidTag, ValueError):
            raise Unsealable("this was sealed for something else, or changed") from None
