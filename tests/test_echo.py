# SPDX-License-Identifier: GPL-2.0-or-later
"""An application that sends back what it is sent: what a case can have it send, and what is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defect_runs import noticed
from dim_model import dim

from harness.lower.echo import longest
from harness.lower.probe import Account
from harness.targets.model.defects import DEFECTS
from harness.wire.segment import ACK, PSH, RST, SYN, Flow, Kind, Option, Segment

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
from harness.authoring import Segment, covers, established

@covers("SA-ESTAB-16", "SA-ESTAB-17")
"""


def play(folder: Path, *cases: str, spec: str = "model", manner: str = "echo") -> list[dict[str, Any]]:
    """The records of a run with IPv4."""
    results = folder / f"{manner}.json"
    with dim(manner):
        pytest.main([*cases, "--rootdir", str(ROOT), "--target", spec, "--family", "ipv4", "--results", str(results),
                     "-p", "no:cacheprovider", "-q", "--import-mode", "importlib"])
    records: list[dict[str, Any]] = json.loads(results.read_text())["cases"]
    return records


def suite(*names: str) -> list[str]:
    """Cases or topics of the suite."""
    return [str(ROOT / "cases" / name) for name in names]


def own(folder: Path, *lines: str) -> dict[str, Any]:
    """The record of a case of these lines, the connection being there."""
    file = folder / "cases" / "own" / "test_own.py"
    file.parent.mkdir(parents=True)
    body = ["connection = established(peer, listener)", *lines]
    file.write_text(HEAD + "def test_own(peer, listener):\n    'A case.'\n" + "".join(f"    {line}\n" for line in body))
    [record] = play(folder, str(file))
    return record


# -- which cases apply -------------------------------------------------------------------------------------------------


def test_more_cases_apply_and_none_fewer(tmp_path: Path) -> None:
    topics = suite("retransmission/test_data.py", "window", "sequence", "options/test_mss.py", "handshake")
    passed = {manner: {f"{one['id']} {one['variant']}" for one in play(tmp_path, *topics, manner=manner)
                       if one["verdict"] == "pass"} for manner in ("discard", "echo")}
    assert passed["discard"] < passed["echo"]
    assert len(passed["echo"]) > len(passed["discard"]) + 25


@pytest.mark.parametrize("name", [
    "no-back-off", "back-off-forgotten", "repetition-measured", "round-trip-not-measured", "least-time-out-too-short",
    "data-given-up-early", "data-never-given-up", "old-ack-opens", "future-ack-opens", "no-push", "mss-ignored",
    "octets-counted-from-zero", "no-window-probe", "one-window-probe", "all-data-into-closed-window",
    "unknown-option-ends-the-list", "nop-ends-the-list", "options-at-even-places", "stamp-clock-stands",
    "stamp-clock-too-fast", "malformed-mss-read", "peers-window-ignored", "window-counted-from-next",
    "scale-not-applied"])
def test_who_breaks_a_rule_fails(tmp_path: Path, name: str) -> None:
    """The case by which a defect is noticed notices it here too; with the discard port alone it did not apply."""
    [defect] = [known for known in DEFECTS if known.name == name]
    topic, _, rest = defect.case.partition("/")
    module, _, case = rest.partition("::")
    records = play(tmp_path, *suite(f"{topic}/test_{module}.py::test_{case}"), spec=f"model:{name}")
    assert any(noticed(defect, record) for record in records), [record["reason"] for record in records]


@pytest.mark.parametrize(("name", "case"), [
    ("stream-does-not-wrap", "isn/test_initial_numbers.py::test_any_initial_number_of_ours_is_taken"),
    ("scale-without-agreement",
     "options/test_window_scale.py::test_windows_of_the_target_are_not_shifted_without_agreement"),
])
def test_open_port_is_enough_to_see_it(tmp_path: Path, name: str, case: str) -> None:
    records = play(tmp_path, *suite(case), spec=f"model:{name}", manner="discard")
    assert "fail" in {record["verdict"] for record in records} <= {"fail", "pass"}


def test_case_is_told_once(tmp_path: Path) -> None:
    """It was begun at the other port; what is told is the second time alone."""
    record = own(tmp_path, "connection.send(10)", "peer.expect('P. 1:11(10) ack 1')")
    assert record["verdict"] == "pass"
    texts = [step["text"] for step in record["steps"]]
    assert [text for text in texts if text.startswith("listen")] == ["listen(16) on port 19998"]
    assert [text for text in texts if text.startswith("send")] == ["send(10) -> 10"]


def test_who_fails_before_it_has_to_send_has_failed(tmp_path: Path) -> None:
    record = own(tmp_path, "peer.send('P. 1:11(10) ack 1')", "peer.expect('. 1:1(0) ack 12')", "connection.send(10)")
    assert record["verdict"] == "fail"
    assert "listen(16) on port 19999" in [step["text"] for step in record["steps"]]


# -- what the case is told ---------------------------------------------------------------------------------------------


def test_numbers_of_the_case_count_on(tmp_path: Path) -> None:
    """Twice the application sends, the second time while nothing may be sent: the case sees its own numbers alone."""
    record = own(tmp_path, "connection.send(100)", "peer.expect('P. 1:101(100) ack 1')",
                 "peer.send('. 1:1(0) ack 101 win 0')", "connection.send(50)", "peer.expect_silence()",
                 "peer.send('. 1:1(0) ack 101 win 1000')", "peer.expect('P. 101:151(50) ack 1')",
                 "peer.send('. 1:1(0) ack 151')", "peer.expect_state('ESTABLISHED')", "peer.send('R 1:1(0)')",
                 "peer.expect_state('CLOSED')")
    assert (record["verdict"], record["reason"]) == ("pass", "")


def test_other_octets_are_seen(tmp_path: Path) -> None:
    """What comes has to be what the application was to send, at its place."""
    record = own(tmp_path, "connection.send(10)", "peer.expect('P. 1:11(10) ack 1 \"0123456789\"')")
    assert record["verdict"] == "fail"


# -- what is left alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lines", "why"), [
    (["connection.send(10)", "peer.expect('P. 1:11(10) ack 1')", "peer.send('P. 1:6(5) ack 11')"],
     "needs an application that sends when it is told to, and not what it is sent"),
    (["peer.send('P. 1:6(5) ack 1')", "peer.expect('. 1:1(0) ack 6')", "connection.send(10)"],
     "needs an application that sends when it is told to, and not what it is sent"),
    (["connection.send(10)", "connection.send(10)"],
     "needs an application that sends again before what it has sent was looked at"),
    (["connection.send(1461)"], "needs an application that sends more at a time than fits into a segment"),
    (["peer.send('. 1:1(0) ack 1 win 0')", "connection.send(10)"],
     "needs an application that sends at once into a closed window, and nothing has shown how soon"),
    (["connection.send(1, urgent=True)"], "needs an upper tester that can send urgent data"),
    (["connection.send(10)", "peer.expect('P. 1:11(10) ack 1')", "peer.send('. 1:1(0) ack 11')",
      "peer.send('F. 1:1(0) ack 11')"], "needs an upper tester that can hold a connection of which our end is closed"),
    (["peer.send(Segment(flags=0x10, checksum=1))", "connection.send(10)"],
     "needs an application that sends by itself: what an echo port is to send back has to reach it"),
])
def test_what_cannot_be_said_for_sure_is_not_applicable(tmp_path: Path, lines: list[str], why: str) -> None:
    record = own(tmp_path, *lines)
    assert (record["verdict"], record["reason"][:len(why)]) == ("not-applicable", why)


def test_slow_application_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its octets come 50 ms late: what it sends into a closed window would be taken for sent too early."""
    judged = Account.came

    def late(self: Account, segment: Segment) -> None:
        judged(self, segment)
        self.came_ns += 50_000_000 if self.came_ns == segment.stamp_ns else 0

    monkeypatch.setattr(Account, "came", late)
    [record] = play(tmp_path, *suite("window/test_zero_window.py::test_first_probe_comes_after_a_time_out"))
    assert record["verdict"] == "not-applicable"
    assert record["reason"].startswith("needs an application that sends at once; what the echo port was sent came back")


# -- what the target has to have taken ---------------------------------------------------------------------------------

OURS, THEIRS = 1000, 5000


def opened(*, scale: bool = False) -> Account:
    """A connection of which the third segment has not gone."""
    account = Account()
    options = (Option.of(Kind.WINDOW_SCALE, b"\x07"),) if scale else ()
    account.sent(Segment(flags=SYN, seq=OURS, ack=0, window=65535, options=options))
    account.came(Segment(flags=SYN | ACK, seq=THEIRS, ack=OURS + 1, window=65535, payload=b"",
                         options=(Option.of(Kind.MSS, b"\x05\xb4"),)))
    return account


def ours(flags: int = ACK, seq: int = OURS + 1, ack: int = THEIRS + 1, **fields: Any) -> Segment:
    return Segment(**{"flags": flags, "seq": seq, "ack": ack, "window": 100, "options": (), "payload": b""} | fields)


@pytest.mark.parametrize(("segment", "taken"), [
    (ours(), True),
    (ours(seq=OURS), False),
    (ours(seq=OURS + 2), False),
    (ours(ack=THEIRS), False),
    (ours(ack=THEIRS + 2), False),
    (ours(flags=ACK | RST), False),
    (ours(flags=PSH), False),
    (ours(checksum=7), False),
])
def test_what_is_in_order(segment: Segment, taken: bool) -> None:
    account = opened()
    account.sent(segment)
    assert account.in_order is (segment if taken else None)


def test_window_goes_with_what_is_in_order() -> None:
    account = opened()
    account.sent(ours(window=50))
    account.sent(ours(seq=OURS + 500, window=0))
    assert (account.window_is_open(THEIRS + 50), account.window_is_open(THEIRS + 51)) == (True, False)
    account.sent(ours(window=0))
    assert not account.window_is_open(THEIRS + 1)


def test_scaled_window_may_be_larger() -> None:
    account = opened(scale=True)
    account.sent(ours(window=50))
    assert account.window_is_open(THEIRS + 51)


@pytest.mark.parametrize(("mss", "mtu", "octets"), [(1460, 1500, 1460), (9000, 1500, 1460), (100, 1500, 100),
                                                    (None, 1500, 536), (None, 400, 360)])
def test_longest_segment(mss: int | None, mtu: int, octets: int) -> None:
    assert longest(Flow(local=bytes(4), local_port=1, target=bytes(4), target_port=2), mtu, mss) == octets
