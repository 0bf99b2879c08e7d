"""Digests of settings: short hashes that change with the settings and give no secret away."""

import hashlib

import msgspec

from pipeline.settings.secret import Secret

#: Hex digits of a digest.
_DIGITS = 12


def digest(value: object) -> str:
    """Hash settings, or any part of them; secrets go in as hashes of their own."""
    form = msgspec.json.encode(value, enc_hook=_hashed, order="deterministic")
    return hashlib.sha256(form).hexdigest()[:_DIGITS]


def _hashed(secret: object) -> str:
    if not isinstance(secret, Secret):
        raise TypeError(f"the settings hold a {type(secret).__name__}, which has no JSON form")
    return hashlib.sha256(secret.reveal().encode()).hexdigest()
