"""What the callers were told: nobody gets in with a bad token, and nobody is kept out or waiting with a good one."""

from __future__ import annotations

import base64
import json
from typing import Any

from rig.checks.key_storms.figures import longest_fetch_s, spans
from rig.checks.key_storms.findings import (
    BAD,
    SCHEDULING_S,
    Finding,
    NotTried,
    Rule,
    Unjudgeable,
    count_errors,
    count_longer,
    find_accepted_calls,
    find_calls,
    find_refused_calls,
    require_all_reports,
    require_reports,
    wait_figures,
)
from rig.evidence.bad_tokens import FAILED, is_refusal
from rig.evidence.incident import Mishap
from rig.evidence.key_case import Start, Token
from rig.evidence.key_storm import KeyStorm
from rig.text import shorten

KNOWN_P99_LIMIT_S = 0.5
"""A known key waits for nothing; this is room for a machine with more processes than cores."""
_TOKEN_SHOWN = 240
_HUNG = "Hung"


@require_all_reports
def judge_false_accepts(storm: KeyStorm) -> Finding:
    """No token that was not signed by a key of the set is accepted, and each is refused."""
    rows = find_calls(storm, *BAD)
    accepted = int(rows["accepted"].sum())
    failed = rows["error"][[error.partition(" ")[0] == FAILED for error in rows["error"]]]
    figures = {"asked": len(rows), "accepted": accepted, "failed": len(failed)}
    wrong = f"{accepted} accepted{_first_incident(storm, Mishap.ACCEPTED)}" if accepted else ""
    if not wrong and len(failed) and "refusals" not in storm.gates:  # a pack from before that gate
        wrong = f"{len(failed)} neither accepted nor refused ({count_errors(failed)})"
    return "no bad token is accepted, and each is refused", figures, wrong


@require_all_reports
def judge_lives(storm: KeyStorm) -> Finding:
    """No token ends a process of the verifier, and none is left without an answer."""
    lost = [one for one in storm.incidents if one.mishap is Mishap.NO_ANSWER]
    figures = {"calls": len(storm.calls), "processes": storm.processes, "without_answer": len(lost)}
    ends = ", ".join(sorted({f"process {one.member} {one.error}" for one in lost}))
    wrong = f"{ends}{_first_incident(storm, Mishap.NO_ANSWER)}" if lost else ""
    if storm.calls.empty and not wrong:
        require_reports(storm)
        raise Unjudgeable("nobody asked")
    return "every call comes back, and every process lives", figures, wrong


@require_all_reports
def judge_refusals(storm: KeyStorm) -> Finding:
    """A token is refused by an exception that says so: no failure, and no mistake of a program."""
    rows = find_calls(storm, *BAD, Token.UNNAMED)
    errors = find_refused_calls(rows)["error"]
    errors = errors[errors != _HUNG]
    wrong_errors = errors[[not is_refusal(error, storm.traits.refuses_with) for error in errors]]
    figures = {"refused": len(errors), "by_error": len(wrong_errors)}
    wrong = ""
    if len(wrong_errors):
        met = f"{len(wrong_errors)} met an error ({count_errors(wrong_errors)})"
        wrong = f"{met}{_first_incident(storm, Mishap.ERROR)}"
    return "a token is refused, and meets no error", figures, wrong


def rule_out(kind: str, what: str) -> Rule:
    """The rule of one kind of forged tokens."""

    def rule(storm: KeyStorm) -> Finding:
        if kind in storm.traits.unchecked:
            raise NotTried(f"it accepts such tokens by design (unchecked has {kind!r})")
        rows = storm.calls[storm.calls["token"].astype(str).str.startswith(f"forged {kind} ")]
        accepted = find_accepted_calls(rows)["token"]
        asked_for = {str(token).rpartition(" ")[2] for token in rows["token"]}
        figures = {"asked": len(rows), "accepted": len(accepted)}
        wrong = ""
        if len(accepted):
            algorithms = ", ".join(sorted({token.rpartition(" ")[2] for token in accepted} - {"-"}))
            of = f" of {algorithms}" if algorithms else ""
            wrong = f"{len(accepted)} accepted{of}{_first_incident(storm, Mishap.ACCEPTED, f'forged {kind} ')}"
        wrong = wrong or require_reports(storm)
        left_out = sorted(({"-"} if kind == "form" else set(storm.traits.algorithms)) - asked_for)
        if left_out and not wrong:
            of = "" if kind == "form" else f" of {', '.join(left_out)}"
            raise Unjudgeable(f"nobody asked with such a token{of}")
        return f"no token {what} is accepted", figures, wrong

    rule.__doc__ = f"No token {what} is accepted."
    return rule


def _first_incident(storm: KeyStorm, mishap: Mishap, kind: str = "") -> str:
    """Which token showed it first, to stand behind a finding; the pack has more of it."""
    for one in storm.incidents:
        if one.mishap is mishap and one.kind.startswith(kind):
            return f"; process {one.member}, {one.kind}: {_read(one.token) or '(a valid token)'}"
    return ""


def _read(token: str) -> str:
    """Header and claims of a token as far as they can be read, else what is written there."""

    def decode(part: str) -> str:
        try:
            return json.dumps(json.loads(base64.urlsafe_b64decode(part + "==")), separators=(",", ":"))
        except ValueError:
            return part

    parts = token.split(".")[:2]
    read = [decode(part) for part in parts]
    return shorten(token if read == parts else " ".join(read), _TOKEN_SHOWN)


@require_all_reports
def judge_known_key_ids(storm: KeyStorm) -> Finding:
    """Tokens of known keys are served throughout."""
    rows = find_calls(storm, Token.KNOWN)
    refused = find_refused_calls(rows)
    figures: dict[str, Any] = {
        "asked": len(rows),
        "refused": len(refused),
        "success": round(1 - len(refused) / len(rows), 5),
        **wait_figures(rows),
    }
    rule = f"every token of a known key is accepted, p99 at most {KNOWN_P99_LIMIT_S * 1e3:g} ms"
    cold = storm.before == 0 if storm.start is None else storm.start is Start.COLD
    if cold:  # the first key set has to come from somewhere: its fetch is everybody's wait
        rule = "every token of a valid key is accepted, though nothing was cached"
    wrong = ""
    if len(refused):
        wrong = f"{len(refused)} refused ({count_errors(refused['error'])})"
    elif not cold and figures["wait_p99_ms"] > KNOWN_P99_LIMIT_S * 1e3:
        wrong = f"p99 {figures['wait_p99_ms']} ms"
    return rule, figures, wrong


@require_all_reports
def judge_follower_wait(storm: KeyStorm) -> Finding:
    """A process waits for the fetch of another no longer than the wait timeout."""
    rows = find_calls(storm, Token.UNKNOWN)
    wait_timeout_s = storm.verifier_settings.wait_timeout_s
    limit_s = wait_timeout_s + SCHEDULING_S
    longer, leaders = count_longer(rows, limit_s), len(storm.fetches)
    figures = {**wait_figures(rows), "longer_than_wait_timeout": longer, "fetches": leaders, "limit_s": limit_s}
    rule = f"nobody but those who fetch waits longer than {wait_timeout_s:g} s (and {SCHEDULING_S:g} s of room)"
    return rule, figures, f"{longer} waited longer, {leaders} fetched" if longer > leaders else ""


@require_all_reports
def judge_rotation(storm: KeyStorm) -> Finding:
    """A new valid key is accepted after one fetch; where a cool-down is running, after its end and one fetch."""
    rows = find_calls(storm, Token.ROTATED)
    begun = storm.mark("rotation")
    if begun is None:
        raise Unjudgeable("no key was rotated")
    over = storm.start is Start.CACHED and begun.at_ns <= storm.released_ns  # no cool-down holds a fetch back
    limit_s = (0.0 if over else storm.verifier_settings.cool_down_s) + longest_fetch_s(storm) + SCHEDULING_S
    refused = find_refused_calls(rows)
    window_s = max(0.0, (float(refused["end_ns"].max()) - begun.at_ns) / 1e9) if len(refused) else 0.0
    last = rows.sort_values("start_ns").groupby("member")["accepted"].last().astype(bool)
    cut_off = not last.all()
    accepting = int(find_accepted_calls(rows)["member"].nunique())
    figures = {
        "asked": len(rows),
        "false_rejects": len(refused),
        "window_at_least_s" if cut_off else "window_s": round(window_s, 3),
        "limit_s": round(limit_s, 3),
        "processes_that_accept": accepting,
        **wait_figures(rows),
    }
    parts = "fetch and room" if over else "cool-down, fetch and room"
    rule = f"after a rotation a valid token is refused for at most {limit_s:.2f} s ({parts}), then accepted"
    wrong = ""
    if window_s > limit_s:
        least = "at least " if cut_off else ""
        end = f", when the storm ended, by {(~last).sum()} of {len(last)} processes" if cut_off else ""
        wrong = f"still refused after {least}{window_s:.2f} s{end}"
    elif accepting < rows["member"].nunique():
        wrong = f"only {accepting} of {rows['member'].nunique()} processes came to accept it"
    return rule, figures, wrong


@require_all_reports
def judge_withdrawn_key(storm: KeyStorm) -> Finding:
    """A key that the issuer has withdrawn is accepted no longer than until the keys have expired, and one fetch."""
    rows = find_calls(storm, Token.WITHDRAWN)
    begun = storm.mark("withdrawal")
    if begun is None:
        raise Unjudgeable("no key was withdrawn")
    settings = storm.verifier_settings
    limit_s = max(settings.ttl_s, settings.cool_down_s) + longest_fetch_s(storm) + SCHEDULING_S
    accepted, late = find_accepted_calls(rows), rows[rows["start_ns"] > begun.at_ns + limit_s * 1e9]
    last_s = (float(accepted["start_ns"].max()) - begun.at_ns) / 1e9 if len(accepted) else 0.0
    kept = find_accepted_calls(late)
    figures = {
        "asked": len(rows),
        "asked_after_limit": len(late),
        "accepted_after_limit": len(kept),
        "last_accepted_s": round(last_s, 3),
        "limit_s": round(limit_s, 3),
    }
    if accepted.empty or late.empty:
        require_reports(storm)
        raise Unjudgeable(f"nobody {'asked' if len(accepted) else 'was accepted'} with the key that was withdrawn")
    of = f"{kept['member'].nunique()} of {rows['member'].nunique()} processes"
    wrong = f"{len(kept)} accepted by {of}, the last {last_s:.2f} s after the key was withdrawn" if len(kept) else ""
    rule = f"a withdrawn key is accepted for at most {limit_s:.2f} s (time to live or cool-down, fetch and room)"
    return rule, figures, wrong


@require_all_reports
def judge_expiry(storm: KeyStorm) -> Finding:
    """A token that was accepted before it expired is refused after that."""
    rows = find_calls(storm, Token.LAPSED)
    before, new, seen = (rows[rows["token"] == f"{Token.LAPSED} {when}"] for when in ("valid", "new", "seen"))
    kept, forgiven = find_accepted_calls(seen), find_accepted_calls(new)
    figures = {"asked": len(seen), "accepted": len(kept), "new_accepted": len(forgiven)}
    if find_accepted_calls(before).empty or seen.empty:
        require_reports(storm)
        raise Unjudgeable("no token was accepted before its end, and sent again after it")
    if len(forgiven):
        raise NotTried("it accepts a new token a second after its end, too: it allows for other clocks (a leeway)")
    by = f"{kept['member'].nunique()} of {seen['member'].nunique()} processes"
    wrong = f"{len(kept)} accepted by {by}, which refused a new token that ends with it" if len(kept) else ""
    return "a token that has expired is refused, also where it was accepted before", figures, wrong


@require_all_reports
def judge_missing_key_id(storm: KeyStorm) -> Finding:
    """A valid token without a key id is accepted, or is refused, as the verifier promises."""
    rows = find_calls(storm, Token.UNNAMED)
    accepted, refused = len(find_accepted_calls(rows)), find_refused_calls(rows)["error"]
    promised = storm.traits.without_key_id
    if promised is None:
        raise NotTried(
            f"it is not promised what becomes of them (without_key_id); {accepted} of {len(rows)} were accepted"
        )
    wrong = f"{accepted} accepted" if accepted else ""
    if promised == "accepted":
        wrong = f"{len(refused)} refused ({count_errors(refused)})" if len(refused) else ""
    figures = {"asked": len(rows), "accepted": accepted, "promised": promised}
    return f"every valid token without a key id is {promised}", figures, wrong


@require_all_reports
def judge_waits(storm: KeyStorm) -> Finding:
    """While another process fetches its key, a valid token waits and is not refused."""
    if not storm.traits.waits:
        raise NotTried("it is not promised that callers wait (waits)")
    rows = find_calls(storm, Token.ROTATED)
    refused = find_refused_calls(rows)["error"]
    meanwhile = sum(
        bool(((rows["start_ns"] < end_ns) & (rows["end_ns"] > start_ns)).any()) for start_ns, end_ns in spans(storm)
    )
    figures = {"asked": len(rows), "refused": len(refused), "fetches_meanwhile": meanwhile}
    wrong = f"{len(refused)} refused ({count_errors(refused)})" if len(refused) else ""
    if not meanwhile and not wrong:
        require_reports(storm)
        raise Unjudgeable("nobody asked while its key was fetched")
    return "no valid token is refused while its key is fetched", figures, wrong
