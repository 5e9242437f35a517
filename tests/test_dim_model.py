# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets that tell less than a socket does: a right one fails nothing, a wrong one does not pass by being silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dim_model import MANNERS, dim

from harness.targets.model.connection import Connection

ROOT = Path(__file__).resolve().parent.parent
TOPICS = ("abort", "header", "handshake", "close", "flood/test_connection_limit.py", "crash/test_peer_gone.py")


def play(folder: Path, manner: str, *cases: str, spec: str = "model") -> list[dict[str, Any]]:
    """The records of a run with IPv4."""
    results = folder / "results.json"
    with dim(manner):
        pytest.main([*(str(ROOT / "cases" / case) for case in cases), "--rootdir", str(ROOT), "--target", spec,
                     "--family", "ipv4", "--results", str(results), "-p", "no:cacheprovider", "-q"])
    records: list[dict[str, Any]] = json.loads(results.read_text())["cases"]
    return records


@pytest.mark.parametrize("manner", MANNERS)
def test_who_keeps_the_rules_fails_nothing(tmp_path: Path, manner: str) -> None:
    records = play(tmp_path, manner, *TOPICS)
    assert {f"{one['id']} {one['variant']}: {one['reason']}" for one in records
            if one["verdict"] not in ("pass", "not-applicable")} == set()
    assert sum(one["verdict"] == "pass" for one in records) > 50


@pytest.mark.parametrize("manner", ["vague", "mute", "holds", "discard"])
@pytest.mark.parametrize(("defect", "case"), [
    ("checksum-unchecked", "header/test_checksum.py::test_data_with_a_wrong_checksum_is_ignored"),
    ("data-offset-unchecked", "header/test_fields.py::test_data_with_an_impossible_data_offset_is_dropped"),
])
def test_what_is_acknowledged_late_is_seen(tmp_path: Path, manner: str, defect: str, case: str) -> None:
    """Nobody says that spoilt data was delivered, but its acknowledgement comes when it need not wait any longer."""
    verdicts = [one["verdict"] for one in play(tmp_path, manner, case, spec=f"model:{defect}")]
    assert verdicts.count("fail") >= len(verdicts) / 2


def deaf(state: str) -> Callable[[Connection, Any], None]:
    """A connection that does not take the acknowledgement of its FIN in one state."""
    arrives = Connection.arrives

    def arrived(self: Connection, segment: Any) -> None:
        wrong = self.state == state and segment.ack == self.snd_max
        arrives(self, replace(segment, ack=(segment.ack - 1) % 2**32) if wrong else segment)

    return arrived


@pytest.mark.parametrize(("state", "case"), [
    ("FIN-WAIT-1", "close/test_active.py::test_ack_leads_to_fin_wait_2"),
    ("FIN-WAIT-1", "close/test_merged.py::test_fin_that_acknowledges_the_fin"),
    ("CLOSING", "close/test_simultaneous.py::test_fins_cross"),
])
def test_an_acknowledgement_that_is_not_taken_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str,
                                                      case: str) -> None:
    """It draws nothing that another would not: only the FIN that comes again tells."""
    monkeypatch.setattr(Connection, "arrives", deaf(state))
    assert {one["verdict"] for one in play(tmp_path, "stateless", case)} == {"fail"}
