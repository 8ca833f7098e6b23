"""``docs/senders.md``: ``python -m tests.senders > docs/senders.md`` prints it. A test holds the file against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rig.profile.routes import sender_names, sender_preset
from tests.senders.shapes import SHAPES, Shape

_TOP = """# Senders

What a sender posts is said in `[[routes]]` of a profile; docs/profile.md lists all keys. For a known sender one word is
enough:

```toml
[[routes]]
name = "orders"
path = "/webhooks/stripe"
sender = "stripe"
secret_env = "STRIPE_WEBHOOK_SECRET"
```

The preset sets scheme, headers, signed text and a sample body. A key that stands beside it holds in its place.
A header that `[headers]` names holds what the rig fills in.

## Placeholders

They are filled in `path`, `headers`, `signed`, `signature`, `body` and `event`. One that is unknown there is an error.

| placeholder | meaning |
|---|---|
| `<key>` | the idempotency key, a UUID. The truth is looked up by it |
| `<event>` | the key without dashes |
| `<number>` | the same as digits, below 2^48 |
| `<amount>`, `<decimal>` | minor units (`1234`), and the same as `12.34` |
| `<unix>`, `<unix_ms>`, `<iso>` | in a body: when the event happened. Elsewhere: when the request is sent |
| `<now>`, `<now_ms>`, `<now_iso>` | when the request is sent, everywhere |
| `<source>` | `utm_source` |
| `<correlation>` | unique to the request |
| `<tenant>`, `<api_key>` | the tenant's id in its rows, and its API key |
| `<secret>`, `<secret_base64>` | the webhook secret, and its base64 (of `user:password`, for Basic authentication) |
| `<signature>`, `<old_signature>` | the signature, and the one with the secret before a rotation. Not in `signed` |
| `<method>`, `<path>`, `<url>`, `<host>` | of the request; in headers and in `signed` |
| `<body>`, `<body_sha256>`, `<body_md5>`, `<fields>` | in `signed`: the body as sent, its hashes, a form sorted |
| `<events>` | in the `body` of a batch: its events |

A `<` of its own is written `\\u003c` in JSON. In a text body (XML) only the names above are placeholders; write such
a tag with a space: `<event >`.

## A sender of your own

Where keys do not reach, a function makes the whole request: `sender = "module:function"`. The module may lie beside the
profile. The function must be pure, because the rig makes each request again: no clock, no random number.

```python
from rig.requests.sender import Event, Request


def send(event: Event) -> Request:
    stamp = str(int(event.now))
    return event.signed({"X-Stamp": stamp, "X-Mac": my_mac(event.secret, stamp, event.body)})
```

`event.request` is what the route's other keys make of the event. `event.key`, `event.correlation`, `event.tenant`,
`event.api_key`, `event.secret`, `event.url` and `event.now` are what it may use besides.

## What a signature costs

Requests are signed before the clock starts, in all cores. An RSA-2048 signature takes 0.3 to 1.2 ms, ECDSA a tenth of
it. Requests are signed as they go where they could become too old: where half of `tolerance_s` is shorter than the
scenario run may take. The null benchmark does the same with the costliest route of the run. Where signing limits the
client, it says so: "client-bound: signing takes 1.2 ms of the 1.3 ms a request". Then raise `tolerance_s` as far as the
target allows, or test with a cheaper key. A bigger machine is not the remedy.

## What can be said

Each row is made by the rig and accepted by the check named last, in the tests; where a signature covers the body, a
changed body is refused by the same check.
"""


def page() -> str:
    """The whole page."""
    rows = [f"| {shape.name} | {_said(shape)} | {shape.says} | {shape.by} |" for shape in SHAPES]
    hooks = sum(shape.is_hook for shape in SHAPES)
    total = f"{len(SHAPES)} shapes: {len(SHAPES) - hooks} by keys alone, {hooks} by a function, 0 not."
    presets = [
        f"| `{name}` | {sender_preset(name)['title']} | <{sender_preset(name)['docs']}> |" for name in sender_names()
    ]
    return "\n".join(
        [
            _TOP,
            "| sender or shape | said by | way | verified with |\n|---|---|---|---|",
            *rows,
            f"\n{total}\n\n## Presets\n\n| `sender` | who | documented at |\n|---|---|---|",
            *presets,
            "",
        ]
    )


def _said(shape: Shape) -> str:
    if "sender" in shape.route:
        return f'`sender = "{shape.route["sender"]}"`'
    return ", ".join(f"`{key} = {_toml(value)}`" for key, value in _telling(shape.route).items())


def _telling(route: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that make the shape, without the sample body where it is nothing special."""
    plain = {"body"} if len(route) > 1 else set()
    return {key: value for key, value in route.items() if key not in plain}


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")
