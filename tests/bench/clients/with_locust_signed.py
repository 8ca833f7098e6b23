"""locust's FastHttpUser doing what the rig's worker does: a body, a key and a signature of its own in every request.

Written as one would write it in a locustfile. Arguments: port and seconds.
"""

from __future__ import annotations

from tests.bench.clients.with_locust import Sender, load  # isort: skip  # locust patches the process: it comes first

import hashlib
import hmac
import json
import sys
import time
import uuid
from typing import Any

from locust import task

from tests.bench.clients.trial import BODY, HEADERS

SECRET = b"a-webhook-secret"
EVENT: dict[str, Any] = json.loads(BODY)


class SignedSender(Sender):
    """Posts without pause."""

    @task
    def send(self) -> None:
        """One request."""
        key = str(uuid.uuid4())
        body = json.dumps({**EVENT, "id": f"evt_{key}", "created": int(time.time())})
        stamp = int(time.time())
        signature = hmac.new(SECRET, f"{stamp}.{body}".encode(), hashlib.sha256).hexdigest()
        headers = {
            **HEADERS,
            "X-Idempotency-Key": key,
            "X-Correlation-ID": str(uuid.uuid4()),
            "Stripe-Signature": f"t={stamp},v1={signature}",
        }
        self.client.post(self.path, data=body, headers=headers)
        self.clock.count()


if __name__ == "__main__":
    load(SignedSender, int(sys.argv[1]), float(sys.argv[2]))
