"""Senders that sign with a private key, as functions for ``sender``. Pure. They need ``cryptography``.

The secret is the private key as PEM (PKCS #8); for SNS the target must trust the certificate that belongs to it.
RSA and Ed25519 signatures follow from key and text alone. ECDSA ones take their nonce from RFC 6979, so that they do.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from functools import cache
from hashlib import sha256
from typing import Any

from rig.errors import ConfigError
from rig.requests.sender import Event, Request


def discord(event: Event) -> Request:
    """Discord: Ed25519 over timestamp and body, hex."""
    stamp = str(int(event.now))
    signature = _key(event.secret, "Ed25519").sign(stamp.encode() + event.body)
    return event.signed({"X-Signature-Ed25519": signature.hex(), "X-Signature-Timestamp": stamp})


def sendgrid(event: Event) -> Request:
    """SendGrid: ECDSA P-256 and SHA-256 over timestamp and body, base64 of DER."""
    stamp = str(int(event.now))
    signature = _ecdsa(event.secret, stamp.encode() + event.body)
    return event.signed(
        {
            "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        }
    )


def paypal(event: Event) -> Request:
    """PayPal: RSA and SHA-256 over ``id|time|webhook id|crc32 of the body``, base64.

    The webhook id is ``WEBHOOK``; a target has it in its settings.
    """
    time = _iso(event.now)
    text = f"{event.key}|{time}|WEBHOOK|{zlib.crc32(event.body)}"
    return event.signed(
        {
            "PAYPAL-TRANSMISSION-ID": event.key,
            "PAYPAL-TRANSMISSION-TIME": time,
            "PAYPAL-TRANSMISSION-SIG": b64encode(_rsa(event.secret, text.encode())).decode(),
            "PAYPAL-AUTH-ALGO": "SHA256withRSA",
            "PAYPAL-CERT-URL": "https://api.paypal.com/v1/notifications/certs/CERT-RIG",
        }
    )


_SNS_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")


def aws_sns(event: Event) -> Request:
    """SNS, signature version 2: RSA and SHA-256 over names and values in their order, put into the message."""
    try:
        message = json.loads(event.body)
        signed = [name for name in _SNS_SIGNED if name in message]
    except (ValueError, TypeError):  # a body that is malformed on purpose
        return event.signed()
    text = "".join(f"{name}\n{message[name]}\n" for name in signed)
    message["Signature"] = b64encode(_rsa(event.secret, text.encode())).decode()
    return event.signed(body=json.dumps(message).encode())


def plaid(event: Event) -> Request:
    """Plaid: a JWT (ES256) over the SHA-256 of the body."""
    header = {"alg": "ES256", "kid": "rig", "typ": "JWT"}
    claims = {"iat": int(event.now), "request_body_sha256": sha256(event.body).hexdigest()}
    text = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    r, s = _dss(_ecdsa(event.secret, text))
    signature = _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return event.signed({"Plaid-Verification": (text + b"." + signature).decode()})


def is_private_key(secret: str) -> bool:
    """Whether a secret is a private key as PEM."""
    return secret.lstrip().startswith("-----BEGIN")


@cache
def make_another_key(pem: str) -> str:
    """A new private key of the same kind as this one, as PEM; ConfigError where it is none."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    old = _key(pem, "")
    new: Any = None
    if isinstance(old, rsa.RSAPrivateKey):
        new = rsa.generate_private_key(65537, old.key_size)
    elif isinstance(old, ec.EllipticCurvePrivateKey):
        new = ec.generate_private_key(old.curve)
    elif isinstance(old, ed25519.Ed25519PrivateKey):
        new = ed25519.Ed25519PrivateKey.generate()
    if new is None:
        raise ConfigError(f"no other key can be made of the kind {type(old).__name__}")
    written: bytes = new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return written.decode()


@cache
def _key(pem: str, kind: str) -> Any:
    """The private key; ConfigError where it is none of this kind."""
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # an extra
    except ImportError:
        raise ConfigError(
            "this sender needs cryptography, which is not installed: it comes with the extra `verifiers`"
        ) from None
    try:
        key: Any = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"its secret must be a private key ({kind}, PEM): {error}") from None
    if not type(key).__name__.startswith(kind):
        raise ConfigError(f"its secret must be a private key of kind {kind}, not {type(key).__name__}")
    return key


def _ecdsa(pem: str, text: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    signature: bytes = _key(pem, "EC").sign(text, ec.ECDSA(SHA256(), deterministic_signing=True))
    return signature


def _rsa(pem: str, text: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    signature: bytes = _key(pem, "RSA").sign(text, PKCS1v15(), SHA256())
    return signature


def _dss(signature: bytes) -> tuple[int, int]:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return decode_dss_signature(signature)


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _iso(now: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
