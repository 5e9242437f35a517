# SPDX-License-Identifier: GPL-2.0-or-later
"""Case records made by hand, for the tests of `harness.report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MS = 1_000_000
OPTIONS = "<mss 1460,sackOK,TS val 3012345678 ecr 4000000000,nop,wscale 7>"


@dataclass(frozen=True)
class Rule:
    id: str
    rfc: int
    section: str
    level: str
    rule: str

    @property
    def url(self) -> str:
        return f"https://www.rfc-editor.org/rfc/rfc{self.rfc}#section-{self.section}"


RULES = {rule.id: rule for rule in (
    Rule("RFC9293-MUST-14", 9293, "3.7.1", "MUST", "Endpoints send and understand the MSS option."),
    Rule("RFC9293-MUST-2", 9293, "3.1", "MUST", "Every segment sent carries a valid checksum."),
    Rule("RFC9293-SHLD-12", 9293, "3.8.4", "SHOULD", "Keepalive probes carry no data."),
    Rule("RFC6298-MIN", 6298, "2.4", "SHOULD", "The retransmission time-out is at least 1 s."),
)}


def step(at_us: int, side: str, text: str, mark: str = "") -> dict[str, Any]:
    return {"at_ns": 5 * MS + at_us * 1000, "side": side, "text": text, "mark": mark}


def finding(**changes: Any) -> dict[str, Any]:
    return {"requirement": "RFC9293-MUST-14", "level": "MUST", "source": "case",
            "expected": "S. 0:0(0) ack 1 win * <mss 1460,sackOK>", "got": "R. 0:0(0) ack 2 win 0 <mss 536>",
            "fields": ["flags", "ack", "options"], "step": 2, "state": "SYN-RECEIVED", "detail": "", "deviation": None,
            **changes}


def pinned(**changes: Any) -> dict[str, Any]:
    """A segment that is not as the profile pins it."""
    return finding(requirement="fingerprint", level="FINGERPRINT", source="fingerprint", expected="ttl 64",
                   got="ttl 63", fields=["ttl"], state="", detail="pinned: ttl", **changes)


def check(got_ms: float | None, what: str = "second SYN") -> dict[str, Any]:
    return {"what": what, "due_ns": 3000 * MS, "earliest_ns": 2999 * MS, "latest_ns": 3375 * MS,
            "got_ns": None if got_ms is None else round(got_ms * MS)}


def record(**changes: Any) -> dict[str, Any]:
    """A passing case unless changed."""
    return {
        "id": "handshake/passive::syn_draws_syn_ack", "title": "A SYN draws a SYN,ACK one past it",
        "behaviours": ["B-01"], "requirements": ["RFC9293-MUST-14"], "tc8": ["TCP_BASICS_01"], "family": "ipv4",
        "variant": "", "verdict": "pass", "reason": "", "findings": [],
        "steps": [
            step(0, "api", "listen(port 8080) -> ok"),
            step(12, "injector", f"S 0:0(0) win 65535 {OPTIONS}"),
            step(43, "target", "S. 0:0(0) ack 1 win 65160 <mss 1460>"),
            step(50, "injector", ". 1:1(0) ack 1 win 65535"),
        ],
        "proof": ["wire", "api"], "timing": None, "duration_s": 0.004, "segments": 3,
        "capture": "reports/captures/handshake.pcapng",
        "command": "tcpqual run --target linux --family ipv4 -k syn_draws_syn_ack", **changes,
    }


def failed(**changes: Any) -> dict[str, Any]:
    steps = record()["steps"]
    steps[2]["mark"] = "mismatch"
    return record(**{"verdict": "fail", "findings": [finding()], "steps": steps, **changes})


def deviating(**changes: Any) -> dict[str, Any]:
    found = finding(requirement="RFC6298-MIN", level="SHOULD", expected="1000 ms", got="200 ms", fields=[],
                    deviation="the minimum is 200 ms")
    return record(**{"id": "retransmission/timer::floor", "behaviours": ["B-14"], "verdict": "known-deviation",
                     "findings": [found], **changes})


def every_verdict() -> list[dict[str, Any]]:
    """One case of each, in both families where that helps."""
    return [
        record(), record(family="ipv6"), record(family="ipv6", variant="wrap"),
        failed(id="options/mss::limit", behaviours=["B-06"]),
        failed(id="options/mss::limit", behaviours=["B-06"], family="ipv6"),
        deviating(), deviating(family="ipv6"),
        record(id="keepalive/probe::no_data", behaviours=["B-13"], verdict="advice",
               findings=[finding(requirement="RFC9293-SHLD-12", level="SHOULD")]),
        record(id="close/active::time_wait", behaviours=["B-18", "B-22"], verdict="inconclusive",
               reason="the target never reached ESTABLISHED"),
        record(id="urgent/pointer::names_next", behaviours=[], verdict="not-applicable",
               reason="the profile has no feature urgent"),
        record(id="rst/closed::no_ack", behaviours=["B-24"], verdict="unexpected-pass",
               reason="the ledger's entry did not happen"),
        record(id="icmp/hard::unreachable", behaviours=["B-16"], verdict="error",
               reason="LinkError: the interface went down", log="Traceback:\n  LinkError: <went> down", steps=[]),
    ]


TARGET = {"name": "linux", "kind": "kernel", "version": "6.12.9", "profile": "linux"}
RUN = {"tool": "tcpqual 0.1.0", "clock": "real", "seed": 7, "kernel": "Linux 6.12.9"}


def document(*records: dict[str, Any], left_out: int = 0, **changes: Any) -> dict[str, Any]:
    from harness.report.results import summarise

    return {
        "schema": 1, "target": TARGET, "summary": summarise(records), "wall_s": 41.23, "run": RUN,
        "cases": list(records),
        "left_out": [{"id": f"timewait/long::case_{number}", "family": "ipv4", "why": "marked slow; run with --slow"}
                     for number in range(left_out)], **changes,
    }
