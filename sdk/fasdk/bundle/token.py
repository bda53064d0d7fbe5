"""Signing keys in a hardware token, through its vendor's PKCS #11 module."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fasdk.bundle.signer import AskPassphrase, Signer, ask_for
from fasdk.errors import TrustError
from fasdk.extras import how_to_install

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE_VARIABLE = "FASDK_PKCS11_MODULE"
SCHEME = "pkcs11:"
_RAW_BYTES = 32
_OCTET_STRING = b"\x04\x20"  # DER of an octet string, which some tokens put around it


@dataclass(frozen=True)
class _Address:
    """Parts of a PKCS #11 address (RFC 7512) that find a key.

    Attributes:
        text: The address as it was given.
        token: Label of the token.
        label: Label of the key pair.
        module: The token vendor's PKCS #11 library.
    """

    text: str
    token: str
    label: str
    module: str


@dataclass(frozen=True)
class TokenSigner(Signer):
    """Private key that never leaves its token.

    Attributes:
        address: Address of the key.
    """

    address: str
    _raw: bytes = field(repr=False)
    _key: Any = field(repr=False)

    @property
    def public_raw(self) -> bytes:
        """The 32 bytes of its public key."""
        return self._raw

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes) of a message, made in the token.

        Raises:
            TrustError: The token refuses or is gone.
        """
        import pkcs11

        try:
            return bytes(self._key.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
        except pkcs11.PKCS11Error as error:
            raise TrustError(f"{self.address}: the token does not sign: {_why(error)}") from error


def open_token(text: str, ask: AskPassphrase | None) -> TokenSigner:
    """Return the key at a PKCS #11 address, such as "pkcs11:token=vendor;object=release".

    Args:
        text: Address (RFC 7512) with the attributes `token` and `object`, and with `module-path`
            unless FASDK_PKCS11_MODULE names the module.
        ask: Function that asks for the PIN where the environment has none, or None.

    Raises:
        TrustError: The address is malformed; python-pkcs11, the module, the token or an Ed25519
            key pair of that label is missing; or the PIN is missing or wrong.
    """
    address = _parse(text)
    try:
        import pkcs11
    except ImportError as error:
        raise TrustError(f"{text} needs python-pkcs11: {how_to_install('pkcs11')}") from error
    pin = os.fsdecode(ask_for(f"token {address.token}", ask))
    try:
        token = pkcs11.lib(address.module).get_token(token_label=address.token)
        try:
            session = token.open(user_pin=pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:  # a process logs in once for all sessions
            session = token.open()
        private, public = (
            session.get_key(kind, key_type=pkcs11.KeyType.EC_EDWARDS, label=address.label)
            for kind in (pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.ObjectClass.PUBLIC_KEY)
        )
        point = bytes(public[pkcs11.Attribute.EC_POINT])
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise TrustError(
            f"{text}: the key in the token cannot be used: {_why(error)}; check the address, the "
            f"PIN and the module {address.module}"
        ) from error
    raw = point.removeprefix(_OCTET_STRING) if len(point) > _RAW_BYTES else point
    if len(raw) != _RAW_BYTES:
        raise TrustError(f"{text}: its public key has {len(raw)} bytes, expected Ed25519's 32")
    return TokenSigner(text, raw, private)


def _parse(text: str) -> _Address:
    path, _, query = text.removeprefix(SCHEME).partition("?")
    given = dict([*_pairs(path, ";", text), *_pairs(query, "&", text)])
    module = given.pop("module-path", "") or os.environ.get(MODULE_VARIABLE, "")
    token, label = given.pop("token", ""), given.pop("object", "")
    if given or not (token and label):
        odd = f"{', '.join(given)} is not understood" if given else "it needs token and object"
        raise TrustError(
            f"{text}: {odd}: expected such as "
            "pkcs11:token=vendor;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so"
        )
    if not module:
        raise TrustError(
            f"{text}: name the token vendor's PKCS #11 module in {MODULE_VARIABLE}, or add "
            "?module-path=FILE"
        )
    return _Address(text, token, label, module)


def _pairs(text: str, separator: str, whole: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if not equals:
            raise TrustError(f"{whole}: {part!r} is no attribute of the form name=value")
        yield name, unquote(value)


def _why(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
