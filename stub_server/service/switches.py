"""The names of the defects: a switch each, given to ``migrate`` and ``serve`` alike."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum

from stub_server.service.errors import ServiceUsageError

_ALIKE = 0.6
"""Names that share so much of their letters may have been meant."""
_ALL = "`rig help gates` lists defects by the gates that they turn red"


class ServiceDefect(StrEnum):
    """The switches, by the names of the command line."""

    ACK_WITHOUT_STORING = "ack-without-storing"
    NO_DEDUPLICATION = "no-deduplication"
    GLOBAL_DEDUPLICATION = "global-deduplication"
    MALFORMED_DROPPED = "malformed-dropped"
    INVALID_JSON_500 = "invalid-json-500"
    INVALID_JSON_DROPPED = "invalid-json-dropped"
    PERSONAL_DATA_DROPPED = "personal-data-dropped"
    PERSONAL_DATA_KEPT = "personal-data-kept"
    PERSONAL_DATA_LOGGED = "personal-data-logged"
    PERSONAL_DATA_ENCODED = "personal-data-encoded"
    PERSONAL_KEY_RESPELT = "personal-key-respelt"
    PERSONAL_COLUMN_FILLED = "personal-column-filled"
    ALIAS_NOT_NORMALISED = "alias-not-normalised"
    SLOW = "slow"
    STORED_BUT_500 = "stored-but-500"
    ANSWERS_BEFORE_COMMIT = "answers-before-commit"
    ANSWERS_LONG_BEFORE_COMMIT = "answers-long-before-commit"
    COPY_OTHER_TENANT = "copy-other-tenant"
    COPY_UNKNOWN_TENANT = "copy-unknown-tenant"
    COPY_NO_TENANT = "copy-no-tenant"
    COPY_OTHER_KEY = "copy-other-key"
    DEAD_COPY_OTHER_TENANT = "dead-copy-other-tenant"
    CONTENT_OF_ANOTHER_EVENT = "content-of-another-event"
    AMOUNT_ZERO = "amount-zero"
    AMOUNT_OFF_BY_ONE = "amount-off-by-one"
    AMOUNT_FLOAT = "amount-float"
    AMOUNT_HUNDREDFOLD = "amount-hundredfold"
    CURRENCY_WRONG = "currency-wrong"
    TIME_1970 = "time-1970"
    TIME_OTHER_ZONE = "time-other-zone"
    TIME_DAYS = "time-days"
    TIME_HOUR_LOST = "time-hour-lost"
    EXTERNAL_ID_CHANGED = "external-id-changed"
    CHANNEL_WRONG = "channel-wrong"
    PAYLOAD_EMPTIED = "payload-emptied"
    PAYLOAD_TRUNCATED = "payload-truncated"
    PAYLOAD_KEYS_DROPPED = "payload-keys-dropped"
    PAYLOAD_NORMALISED = "payload-normalised"
    PAYLOAD_MANGLED = "payload-mangled"
    REPLAY_OVERWRITES = "replay-overwrites"
    DEAD_LETTER_EMPTIED = "dead-letter-emptied"
    ROWS_DELETED_LATER = "rows-deleted-later"
    PAYLOAD_OVERWRITTEN_LATER = "payload-overwritten-later"
    TENANT_CHANGED_LATER = "tenant-changed-later"
    SIGNATURE_UNCHECKED = "signature-unchecked"
    SIGNATURE_UNCHECKED_SOMETIMES = "signature-unchecked-sometimes"
    SIGNATURE_MAY_BE_EMPTY = "signature-may-be-empty"
    SIGNATURE_MAY_BE_MISSING = "signature-may-be-missing"
    SIGNATURE_NEVER_STALE = "signature-never-stale"
    SIGNATURE_OF_ANY_TENANT = "signature-of-any-tenant"
    SIGNATURE_OF_ANY_EVENT = "signature-of-any-event"
    SIGNATURE_WITHOUT_END = "signature-without-end"
    SIGNATURE_OVER_REWRITTEN_JSON = "signature-over-rewritten-json"
    FORGED_KEPT = "forged-kept"
    ANSWER_CONTRADICTS = "answer-contradicts"
    ANSWER_OTHER_CORRELATION = "answer-other-correlation"
    ROW_OTHER_CORRELATION = "row-other-correlation"
    ROW_SECURITY_OFF = "row-security-off"
    ROW_SECURITY_NOT_FORCED = "row-security-not-forced"
    OPEN_POLICY = "open-policy"
    ROLE_OWNS_TABLE = "role-owns-table"
    ROLE_BYPASSES = "role-bypasses"
    UNLOGGED_TABLE = "unlogged-table"
    PREFIX_DEDUPLICATION = "prefix-deduplication"
    CASE_DEDUPLICATION = "case-deduplication"
    LARGE_AMOUNTS_500 = "large-amounts-500"
    LARGE_AMOUNTS_ROUNDED = "large-amounts-rounded"
    EMOJI_FORGOTTEN = "emoji-forgotten"
    TEXT_COMPOSED = "text-composed"
    LONG_TEXT_CUT = "long-text-cut"
    PERSONAL_DATA_ECHOED = "personal-data-echoed"
    PERSONAL_DATA_ECHOED_SOMETIMES = "personal-data-echoed-sometimes"
    PERSONAL_DATA_IN_METRICS = "personal-data-in-metrics"
    HANGS_WITH_DATABASE = "hangs-with-database"
    LEAVES_TRANSACTIONS = "leaves-transactions"
    DROPS_AT_SIGTERM = "drops-at-sigterm"
    TAKES_OTHERS_DOWN = "takes-others-down"
    DEDUPLICATES_IN_MEMORY = "deduplicates-in-memory"
    LOOKS_BEFORE_INSERT = "looks-before-insert"
    STORES_AGAIN_AT_RETRY = "stores-again-at-retry"
    DEAD_LETTERS_IN_MEMORY = "dead-letters-in-memory"
    POOL_NEVER_RECOVERS = "pool-never-recovers"
    ACCEPTS_UNKNOWN_COMMITS = "accepts-unknown-commits"
    ROW_LOCK_CONVOY = "row-lock-convoy"
    POOL_OF_ONE = "pool-of-one"
    NO_POOL = "no-pool"
    LOG_AMPLIFICATION = "log-amplification"
    BUSY_LOOP = "busy-loop"
    SLEEPS = "sleeps"
    SLOW_DEPENDENCY = "slow-dependency"


def parse_defects(names: Iterable[str]) -> frozenset[ServiceDefect]:
    """The switches of those names; ServiceUsageError for another one, with those that are called alike."""
    names = tuple(names)
    for name in names:
        if name not in set(ServiceDefect):
            alike = get_close_matches(name, list(ServiceDefect), 3, _ALIKE)
            near = f"; alike are {', '.join(alike)}" if alike else ""
            raise ServiceUsageError(f"{name!r} is none of the {len(ServiceDefect)} defects{near}; {_ALL}")
    return frozenset(ServiceDefect(name) for name in names)
