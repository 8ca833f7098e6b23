"""What real senders send, as routes of a profile, each with a check that is not the rig's.

The check is the sender's own library where one is on the registry, else the formula that the sender publishes, written
anew. ``python -m tests.senders`` prints the table for docs/senders.md.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl
from xml.etree import ElementTree

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.engine.scenes import Message

URL = "http://hooks.example.test:8080/base"
SECRET = "It's a Secret to Everybody"
KEY = base64.b64encode(bytes(range(24))).decode()
"""Of the senders whose secret is base64."""
HEX_KEY = bytes(range(32)).hex()
TENANT = "north-7"
API_KEY = "key-of-north"


def pem(key: Any) -> str:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(7 << 200, ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Sent:
    """One request as it came, and what the receiver knows."""

    message: Message
    now: int
    secret: str
    old_secret: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.message.headers)

    @property
    def body(self) -> bytes:
        return self.message.body

    @property
    def path(self) -> str:
        return self.message.line.split(" ")[1]

    @property
    def url(self) -> str:
        return "http://hooks.example.test:8080" + self.path


Check = Callable[[Sent], object]
"""Raises, or returns False, where the receiver would refuse the request."""


@dataclass(frozen=True)
class Shape:
    """One row of the table. ``route`` are the keys that say it; ``by``: what it is verified with."""

    name: str
    route: Mapping[str, Any]
    check: Check
    by: str = "published formula"
    secret: str = SECRET
    profile: Mapping[str, Any] = field(default_factory=dict)
    covers_body: bool = True
    """Whether a changed body must be refused."""

    @property
    def says(self) -> str:
        return "hook" if self.is_hook else "keys"

    @property
    def is_hook(self) -> bool:
        from rig.profile.routes import sender_preset

        sender = self.route.get("sender", "")
        return ":" in sender or bool(sender and sender_preset(sender).get("hook"))


def mac(key: bytes, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, text, algorithm).digest()


def same(given: str | bytes, expected: str | bytes) -> bool:
    as_bytes = [one.encode() if isinstance(one, str) else one for one in (given, expected)]
    return hmac.compare_digest(*as_bytes)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- libraries of the senders ---


def stripe(sent: Sent) -> object:
    import stripe as library

    return library.WebhookSignature.verify_header(
        sent.body.decode(), sent.headers["Stripe-Signature"], sent.secret, tolerance=10**9
    )


def stripe_rotated(sent: Sent) -> object:
    import stripe as library

    header = sent.headers["Stripe-Signature"]
    for secret in (sent.secret, sent.old_secret):
        library.WebhookSignature.verify_header(sent.body.decode(), header, secret, tolerance=10**9)
    return header.count("v1=") == 2


def standard_webhooks(sent: Sent) -> object:
    from standardwebhooks import Webhook

    webhook = Webhook(sent.secret)
    webhook._Webhook__verify_timestamp = lambda stamp: None  # type: ignore[attr-defined]  # the time of the test is fixed
    return sign_standard(webhook, sent)


def sign_standard(webhook: Any, sent: Sent) -> bool:
    from datetime import UTC, datetime

    headers = sent.headers
    signed = webhook.sign(
        headers["webhook-id"], datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC), sent.body.decode()
    )
    return signed in headers["webhook-signature"].split(" ")


def svix(sent: Sent) -> object:
    from datetime import UTC, datetime

    from svix.webhooks import Webhook

    headers, good = sent.headers, []
    for secret in (sent.secret, sent.old_secret):
        stamp = datetime.fromtimestamp(int(headers["svix-timestamp"]), UTC)
        signed = Webhook(secret).sign(headers["svix-id"], stamp, sent.body.decode())
        good.append(signed in headers["svix-signature"].split(" "))
    return all(good)


def slack(sent: Sent) -> object:
    from slack_sdk.signature import Clock, SignatureVerifier

    class Then(Clock):
        def now(self) -> float:
            return sent.now

    return SignatureVerifier(sent.secret, Then()).is_valid_request(sent.body, sent.headers)


def twilio(sent: Sent) -> object:
    from twilio.request_validator import RequestValidator

    fields = dict(parse_qsl(sent.body.decode(), keep_blank_values=True))
    return RequestValidator(sent.secret).validate(sent.url, fields, sent.headers["X-Twilio-Signature"])


def github(sent: Sent) -> object:
    from gidgethub import sansio

    sansio.validate_event(sent.body, signature=sent.headers["X-Hub-Signature-256"], secret=sent.secret)
    return sent.headers["X-GitHub-Delivery"] == sent.key


def square(sent: Sent) -> object:
    from square.utils.webhooks_helper import verify_signature

    return verify_signature(
        request_body=sent.body.decode(),
        signature_header=sent.headers["x-square-hmacsha256-signature"],
        signature_key=sent.secret,
        notification_url=sent.url,
    )


def hubspot(sent: Sent) -> object:
    from hubspot.utils.signature import Signature

    expected = Signature.get_signature(
        signature_version="v3",
        client_secret=sent.secret,
        request_body=sent.body.decode(),
        http_uri=sent.url,
        http_method="POST",
        timestamp=sent.headers["X-HubSpot-Request-Timestamp"],
    )
    return same(sent.headers["X-HubSpot-Signature-v3"], expected)


def paddle(sent: Sent) -> object:
    from paddle_billing.Notifications import Secret
    from paddle_billing.Notifications.PaddleSignature import PaddleSignature

    header = sent.headers["Paddle-Signature"]
    return PaddleSignature().verify(header, sent.body.decode(), Secret(sent.secret))


def adyen(sent: Sent) -> object:
    from Adyen.util import is_valid_hmac_notification

    item = json.loads(sent.body)["notificationItems"][0]["NotificationRequestItem"]
    return is_valid_hmac_notification(item, sent.secret)


def discord(sent: Sent) -> object:
    from discord_interactions import verify_key
    from nacl.signing import VerifyKey

    public = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    headers = sent.headers
    signature, stamp = headers["X-Signature-Ed25519"], headers["X-Signature-Timestamp"]
    VerifyKey(public).verify(stamp.encode() + sent.body, bytes.fromhex(signature))
    return verify_key(sent.body, signature, stamp, public.hex())


def sendgrid(sent: Sent) -> object:
    from sendgrid.helpers.eventwebhook import EventWebhook

    public = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    headers = sent.headers
    own = EventWebhook(b64(public))
    signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
    return (
        own.verify_signature(sent.body.decode(), signature, headers["X-Twilio-Email-Event-Webhook-Timestamp"])
        and len(json.loads(sent.body)) == 10
    )


def cloudevents(sent: Sent) -> object:
    from cloudevents.v1.http import from_http

    event = from_http(sent.headers, sent.body)
    return event["id"] == sent.key and event["type"] == "org.example.order.created"


def plaid(sent: Sent) -> object:
    claims = jwt.decode(sent.headers["Plaid-Verification"], P256.public_key(), ["ES256"], options={"verify_iat": False})
    return claims["request_body_sha256"] == hashlib.sha256(sent.body).hexdigest()


# --- formulas that the senders publish ---


def hexed(header: str, *, prefix: str = "", algorithm: str = "sha256") -> Check:
    return lambda sent: same(sent.headers[header], prefix + mac(sent.secret.encode(), sent.body, algorithm).hex())


def based(header: str, *, prefix: str = "") -> Check:
    return lambda sent: same(sent.headers[header], prefix + b64(mac(sent.secret.encode(), sent.body)))


def stamped(sent: Sent) -> object:
    stamp, given = (part.partition("=")[2] for part in sent.headers["Calendly-Webhook-Signature"].split(","))
    return same(given, mac(sent.secret.encode(), f"{stamp}.".encode() + sent.body).hex())


def zoom(sent: Sent) -> object:
    text = f"v0:{sent.headers['x-zm-request-timestamp']}:".encode() + sent.body
    return same(sent.headers["x-zm-signature"], "v0=" + mac(sent.secret.encode(), text).hex())


def linear(sent: Sent) -> object:
    fresh = abs(json.loads(sent.body)["webhookTimestamp"] - sent.now * 1000) <= 60_000
    return fresh and hexed("Linear-Signature")(sent)


def mailgun(sent: Sent) -> object:
    own = json.loads(sent.body)["signature"]
    return same(own["signature"], mac(sent.secret.encode(), f"{own['timestamp']}{own['token']}".encode()).hex())


def paypal(sent: Sent) -> object:
    headers = sent.headers
    text = f"{headers['PAYPAL-TRANSMISSION-ID']}|{headers['PAYPAL-TRANSMISSION-TIME']}|WEBHOOK|{zlib.crc32(sent.body)}"
    signature = base64.b64decode(headers["PAYPAL-TRANSMISSION-SIG"])
    RSA.public_key().verify(signature, text.encode(), padding.PKCS1v15(), SHA256())
    return True


def sns(sent: Sent) -> object:
    message = json.loads(sent.body)
    names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    signature = base64.b64decode(message["Signature"])
    RSA.public_key().verify(signature, text.encode(), padding.PKCS1v15(), SHA256())
    return True


def xero(sent: Sent) -> object:
    return len(json.loads(sent.body)["events"]) == 3 and based("x-xero-signature")(sent)


# --- no signature, other bodies, other doors ---


def token(header: str, value: str = "{}") -> Check:
    return lambda sent: same(sent.headers[header], value.format(sent.secret))


def postmark(sent: Sent) -> object:
    return same(sent.headers["Authorization"], f"Basic {b64(sent.secret.encode())}")


def mollie(sent: Sent) -> object:
    return parse_qs(sent.body.decode())["id"] == [f"tr_{sent.key.replace('-', '')}"]


def parses(sent: Sent) -> object:
    return isinstance(json.loads(sent.body), dict)


def batch(count: int) -> Check:
    def check(sent: Sent) -> object:
        events = json.loads(sent.body)
        return len(events) == count and len({event["id"] for event in events}) == count and events[0]["id"] == sent.key

    return check


def xml(sent: Sent) -> object:
    return ElementTree.fromstring(sent.body).findtext("id") == sent.key


def gzipped(sent: Sent) -> object:
    plain = gzip.decompress(sent.body)
    return sent.headers["Content-Encoding"] == "gzip" and json.loads(plain)["id"] == sent.key and hexed("X-Sign")(sent)


def put(sent: Sent) -> object:
    return sent.message.line == f"PUT /base/orders/{sent.key} HTTP/1.1"


def payload_form(sent: Sent) -> object:
    return json.loads(parse_qs(sent.body.decode())["payload"][0])["id"] == sent.key


def queried(**expected: str) -> Check:
    def check(sent: Sent) -> object:
        query = parse_qs(sent.path.partition("?")[2])
        return all(query[name] == [value] for name, value in expected.items())

    return check


def query_signature(sent: Sent) -> object:
    query = parse_qs(sent.path.partition("?")[2])
    return same(query["h1"][0], mac(sent.secret.encode(), f"{query['ts'][0]}.".encode() + sent.body).hex())


_BODY = '{"id":"<key>","amount":<amount>,"at":"<iso>"}'
_PLAIN: dict[str, Any] = {"body": _BODY}
_HMAC = {"scheme": "hmac", "signature_header": "X-Sign", **_PLAIN}

SHAPES = (
    Shape("Stripe", {"sender": "stripe"}, stripe, "stripe"),
    Shape("Stripe while a secret is rotated (two `v1=`)", {"sender": "stripe-rotated"}, stripe_rotated, "stripe"),
    Shape("Calendly", {"sender": "calendly"}, stamped),
    Shape("Shopify", {"sender": "shopify"}, based("X-Shopify-Hmac-Sha256")),
    Shape("WooCommerce", {"sender": "woocommerce"}, based("X-WC-Webhook-Signature")),
    Shape("Xero (several events)", {"sender": "xero"}, xero),
    Shape("GitHub", {"sender": "github"}, github, "gidgethub"),
    Shape(
        "GitHub, old SHA-1 signature",
        {"sender": "github-sha1"},
        hexed("X-Hub-Signature", prefix="sha1=", algorithm="sha1"),
    ),
    Shape("Typeform", {"sender": "typeform"}, based("Typeform-Signature", prefix="sha256=")),
    Shape("Slack events", {"sender": "slack"}, slack, "slack_sdk"),
    Shape("Slack commands (form)", {"sender": "slack-command"}, slack, "slack_sdk"),
    Shape("Zoom", {"sender": "zoom"}, zoom),
    Shape("Square (address and body)", {"sender": "square"}, square, "squareup"),
    Shape("HubSpot v3 (method, address, body, ms)", {"sender": "hubspot"}, hubspot, "hubspot-api-client"),
    Shape("Linear (fresh within 60 s)", {"sender": "linear"}, linear),
    Shape("Standard Webhooks", {"sender": "standard-webhooks"}, standard_webhooks, "standardwebhooks", f"whsec_{KEY}"),
    Shape("Svix (two signatures)", {"sender": "svix"}, svix, "svix", f"whsec_{KEY}"),
    Shape("Paddle", {"sender": "paddle"}, paddle, "paddle-python-sdk"),
    Shape("Paystack (SHA-512)", {"sender": "paystack"}, hexed("x-paystack-signature", algorithm="sha512")),
    Shape("Adyen (signature in the JSON)", {"sender": "adyen"}, adyen, "Adyen", HEX_KEY, covers_body=False),
    Shape("Mailgun (signature in the JSON)", {"sender": "mailgun"}, mailgun, covers_body=False),
    Shape("Discord (Ed25519)", {"sender": "discord"}, discord, "discord-interactions, PyNaCl", pem(ED25519)),
    Shape("SendGrid (ECDSA, array of events)", {"sender": "sendgrid"}, sendgrid, "sendgrid", pem(P256)),
    Shape("PayPal (RSA over a CRC)", {"sender": "paypal"}, paypal, "cryptography", pem(RSA)),
    Shape("AWS SNS (RSA in the JSON)", {"sender": "aws-sns"}, sns, "cryptography", pem(RSA), covers_body=False),
    Shape("Plaid (JWT over the body's hash)", {"sender": "plaid"}, plaid, "PyJWT", pem(P256)),
    Shape("GitLab (token)", {"sender": "gitlab"}, token("X-Gitlab-Token"), covers_body=False),
    Shape("Telegram (token)", {"sender": "telegram"}, token("X-Telegram-Bot-Api-Secret-Token"), covers_body=False),
    Shape(
        "Postmark (Basic authentication)", {"sender": "postmark"}, postmark, secret="user:password", covers_body=False
    ),
    Shape("Mollie (form with an id alone)", {"sender": "mollie"}, mollie, covers_body=False),
    Shape("Prometheus Alertmanager (no signature)", {"sender": "alertmanager"}, parses, covers_body=False),
    Shape("Twilio (form, address and sorted fields)", {"sender": "twilio"}, twilio, "twilio"),
    Shape("CloudEvents, structured", {"sender": "cloudevents"}, cloudevents, "cloudevents", covers_body=False),
    Shape("CloudEvents, binary", {"sender": "cloudevents-binary"}, cloudevents, "cloudevents", covers_body=False),
    Shape("CloudEvents, batched", {"sender": "cloudevents-batched"}, batch(5), covers_body=False),
    Shape(
        "XML",
        {
            "format": "text",
            "content_type": "application/xml",
            "body": "<order><id><key></id><total><amount></total></order>",
        },
        xml,
        covers_body=False,
    ),
    Shape("gzip", {**_HMAC, "content_encoding": "gzip"}, gzipped),
    Shape("PUT, key in the path", {**_PLAIN, "method": "PUT", "path": "/orders/<key>"}, put, covers_body=False),
    Shape(
        "Form with a JSON payload",
        {"format": "form", "body": '{"payload":{"id":"<key>"}}'},
        payload_form,
        covers_body=False,
    ),
    Shape("Array of N events", {**_PLAIN, "events": 3}, batch(3), covers_body=False),
    Shape(
        "Tenant in the path",
        {**_PLAIN, "path": "/t/<tenant>/in"},
        lambda sent: sent.path == f"/base/t/{TENANT}/in",
        covers_body=False,
    ),
    Shape("Tenant in the query", {**_PLAIN, "path": "/in?tenant=<tenant>"}, queried(tenant=TENANT), covers_body=False),
    Shape(
        "Tenant in the body",
        {"body": '{"id":"<key>","account":"<tenant>"}'},
        lambda sent: json.loads(sent.body)["account"] == TENANT,
        covers_body=False,
    ),
    Shape(
        "Tenant in the host",
        {**_PLAIN, "host": "<tenant>.example.test"},
        lambda sent: sent.headers["Host"] == f"{TENANT}.example.test",
        covers_body=False,
    ),
    Shape(
        "Secret in the query",
        {**_PLAIN, "scheme": "token", "path": "/in?token=<secret>"},
        queried(token=SECRET),
        covers_body=False,
    ),
    Shape(
        "Signature in the query",
        {**_PLAIN, "scheme": "hmac", "signed": "<unix>.<body>", "path": "/in?ts=<unix>&h1=<signature>"},
        query_signature,
    ),
    Shape(
        "Bearer token",
        {**_PLAIN, "scheme": "token", "signature_header": "Authorization", "signature": "Bearer <secret>"},
        token("Authorization", "Bearer {}"),
        covers_body=False,
    ),
    Shape(
        "Whole request by a function of your own", {**_PLAIN, "sender": "tests.senders.own:send"}, hexed("X-Own-Mac")
    ),
)
