"""`sluice token`: makes a bearer token, and tells what the configuration keeps of it."""

import re
import sys
from getpass import getpass
from typing import Final

import msgspec
import yaml

from pipeline.errors import StartError
from pipeline.settings.decode import decode
from pipeline.settings.schema import Sections
from pipeline.settings.secret import TokenHash, new_token, token_hash

#: What a header carries unchanged from every client.
_FORM: Final = re.compile(rb"[!-~]+")


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is printed with --json."""

    #: Empty for a token that was brought: it is shown nowhere again.
    token: str = ""
    hash: str
    id: str


def run(tenant: str, *, brought: bool, as_json: bool) -> None:
    """Print a new token, or the hash of one from stdin; what to do with it goes to stderr.

    Without a tenant it is an operator's. Raises `StartError` for a tenant's name or a token that
    cannot be one.
    """
    if tenant:
        _, faults = decode({"tenants": {tenant: {}}}, Sections)
        if faults:
            raise StartError(faults[0])
    token = "" if brought else new_token()
    hashed = token_hash(token or _read())
    if as_json:
        told = Told(token=token, hash=hashed.reveal(), id=hashed.id)
        print(msgspec.json.encode(told).decode())
        return
    # Flushed, so that a terminal shows both in this order.
    print(token or hashed.reveal(), flush=True)
    if token:
        print(f"{hashed.reveal()}\n", file=sys.stderr)
    print(_advice(tenant, hashed) if tenant else _advice_of_admin(hashed), end="", file=sys.stderr)


def _read() -> bytes:
    """Take a token from stdin, unseen where that is a terminal. Raises `StartError`."""
    if sys.stdin.isatty():
        text = getpass("Token: ").encode(errors="surrogateescape")
    else:
        text = sys.stdin.buffer.read()
    if not _FORM.fullmatch(text.strip()):
        raise StartError("stdin: expected one token of printable ASCII characters without spaces")
    return text.strip()


def _advice(tenant: str, hashed: TokenHash) -> str:
    lines = yaml.safe_dump({"tenants": {tenant: {"tokens": [hashed.reveal()]}}})
    return (
        "Paste this into sluice.yaml, or add the hash to the tokens that the tenant has:\n\n"
        f"{lines}\n"
        f'Under `token_limits`, and in `sluice status`, the token is "{hashed.id}". Only its hash '
        "is kept: it cannot be shown again.\n"
    )


def _advice_of_admin(hashed: TokenHash) -> str:
    lines = yaml.safe_dump({"admin": {"tokens": [hashed.reveal()]}})
    return (
        "Paste this into sluice.yaml, or add the hash to the tokens that are there:\n\n"
        f"{lines}\n"
        "Who shows the token may use the routes below /admin, and no others. Only its hash is "
        "kept: it cannot be shown again.\n"
    )
