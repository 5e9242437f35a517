# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from harness.lower.oracle import Oracle
from harness.wire.ip import internet_checksum
from harness.wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Checksum, Flow, Kind, Option, Segment

FLOW = Flow(local=bytes(4), local_port=1, target=bytes(4), target_port=2)
FLOW6 = Flow(local=bytes(16), local_port=1, target=bytes(16), target_port=2)
OURS, THEIRS = 0xFFFFFFF0, 0xFFFFFF00


def stamps(value: int, echo: int) -> Option:
    return Option.of(Kind.TIMESTAMPS, value.to_bytes(4, "big") + echo.to_bytes(4, "big"))


def mss(value: int) -> Option:
    return Option.of(Kind.MSS, value.to_bytes(2, "big"))


def scale(value: int) -> Option:
    return Option.of(Kind.WINDOW_SCALE, bytes((value,)))


def at(base: int, relative: int) -> int:
    return (base + relative) % 2**32


def data(relative: int, size: int, ack: int = 1, **fields: object) -> Segment:
    known = {"flags": ACK | PSH, "seq": at(THEIRS, relative), "ack": at(OURS, ack), "window": 1000, "ttl": 64,
             "payload": bytes(size), "offset": 5}
    return Segment(**(known | fields))  # type: ignore[arg-type]


def opened(*ours: Option, theirs: tuple[Option, ...] = (), window: int = 65535, flow: Flow = FLOW) -> Oracle:
    oracle = Oracle(flow, 1500)
    oracle.sent(Segment(flags=SYN, seq=OURS, window=window, options=ours or (mss(1460),)))
    assert oracle.judge(Segment(flags=SYN | ACK, seq=THEIRS, ack=at(OURS, 1), window=1000, options=theirs)) == []
    oracle.sent(Segment(flags=ACK, seq=at(OURS, 1), ack=at(THEIRS, 1), window=window))
    return oracle


def broken(oracle: Oracle, segment: Segment) -> list[str]:
    return [violation.requirement for violation in oracle.judge(segment)]


def test_a_sound_exchange_breaks_nothing():
    oracle = opened()
    assert broken(oracle, data(1, 100)) == []
    assert broken(oracle, data(101, 0, flags=FIN | ACK)) == []
    assert broken(oracle, Segment(flags=RST, seq=at(THEIRS, 102))) == []


def test_ect_needs_an_agreement():
    assert broken(opened(), data(1, 10, traffic_class=2)) == ["RFC3168-NEG-4"]
    oracle = Oracle(FLOW, 1500)
    oracle.sent(Segment(flags=SYN | ECE | CWR, seq=OURS, window=65535, options=(mss(1460),)))
    oracle.judge(Segment(flags=SYN | ACK | ECE, seq=THEIRS, ack=at(OURS, 1), window=1000, options=()))
    assert broken(oracle, data(1, 10, traffic_class=2)) == []


def test_the_echo_is_zero_where_nothing_is_acknowledged():
    oracle = Oracle(FLOW, 1500)
    syn = Segment(flags=SYN, seq=THEIRS, ack=0, window=1000, options=(mss(1460), stamps(5, 7)))
    assert broken(oracle, syn) == ["RFC7323-TS-5"]


def test_a_wrong_ip_header_checksum_is_seen():
    header = bytes.fromhex("45000028000040004006") + b"\x00\x00" + bytes((192, 0, 2, 1, 192, 0, 2, 2))
    right = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
    assert broken(opened(), data(1, 0, flags=ACK, raw=right + bytes(20))) == []
    wrong = right[:11] + bytes((right[11] ^ 1,)) + right[12:]
    assert broken(opened(), data(1, 0, flags=ACK, raw=wrong + bytes(20))) == ["RFC1122-IP-CKSUM"]


@pytest.mark.parametrize(("fields", "requirement"), [
    ({"verdict": Checksum.BAD}, "RFC9293-MUST-2"),
    ({"offset": 4}, "RFC9293-U-DOFF"),
    ({"offset": 6, "options": (), "payload": b""}, "RFC9293-U-DOFF"),
    ({"reserved": 1}, "RFC9293-U-RSV-TX"),
    ({"flags": ACK | AE}, "RFC9293-U-RSV-TX"),
    ({"flags": PSH}, "RFC9293-U-ACK-SYNC"),
    ({"ack": 2}, "RFC9293-U-ACCEPT"),
    ({"options": (Option(254, b"\0", 9),)}, "RFC9293-MUST-68"),
    ({"options": (Option(Kind.EOL, b"\x01"),)}, "RFC9293-MUST-69"),
    ({"options": (Option(Kind.EOL), Option.of(Kind.NOP))}, "RFC9293-MUST-69"),
    ({"options": (mss(1460),)}, "RFC9293-MUST-65"),
    ({"options": (Option.of(Kind.SACK_PERMITTED),)}, "RFC2018-PERM-1"),
    ({"options": (scale(1),)}, "RFC7323-WS-6"),
    ({"urgent": 1}, "RFC9293-MUST-30"),
    ({"ttl": 0}, "RFC1122-IP-TTL0"),
])
def test_each_invariant_is_seen_broken(fields, requirement):
    assert broken(opened(), data(1, 10, **fields)) == [requirement]


def test_an_unfinished_checksum_is_no_fault():
    assert broken(opened(), data(1, 10, verdict=Checksum.OFFLOADED)) == []


def test_the_urgent_pointer_is_free_with_urg():
    assert broken(opened(), data(1, 10, flags=ACK | URG, urgent=5)) == []


def test_syn_with_fin_is_never_sound():
    assert broken(opened(), Segment(flags=SYN | FIN, seq=THEIRS, window=1)) == ["RFC9293-U-ACK-SYNC"]


def test_syn_is_not_marked_ect():
    assert broken(Oracle(FLOW, 1500), Segment(flags=SYN, seq=THEIRS, traffic_class=2)) == ["RFC3168-NEG-5"]


@pytest.mark.parametrize(("ours", "flow", "most"), [
    ((mss(1460),), FLOW, 1460), ((mss(9000),), FLOW, 1460), ((mss(400),), FLOW, 400),
    ((Option.of(Kind.NOP),), FLOW, 536), ((Option.of(Kind.NOP),), FLOW6, 1220), ((mss(9000),), FLOW6, 1440),
])
def test_segments_keep_to_the_size_that_was_offered(ours, flow, most):
    assert broken(opened(*ours, flow=flow), data(1, most)) == []
    assert broken(opened(*ours, flow=flow), data(1, most + 1)) == ["RFC9293-MUST-16"]


def test_options_count_towards_the_segment_size():
    agreed = opened(mss(100), stamps(1, 0), theirs=(stamps(5, 1),))
    assert broken(agreed, data(1, 90, options=(stamps(6, 1),))) == []
    assert broken(agreed, data(91, 91, options=(stamps(6, 1),))) == ["RFC9293-MUST-16"]


def test_data_stays_inside_the_window():
    assert broken(opened(window=50), data(1, 50)) == []
    assert broken(opened(window=50), data(1, 51)) == ["RFC5681-LIMIT"]


def test_a_zero_window_may_be_probed_with_one_octet():
    assert broken(opened(window=0), data(1, 1)) == []
    assert broken(opened(window=0), data(1, 2)) == ["RFC5681-LIMIT"]


def test_the_window_is_scaled_only_if_both_offered_it():
    both = opened(mss(1460), scale(3), theirs=(scale(2),), window=100)
    assert broken(both, data(1, 800)) == []
    assert broken(both, data(801, 1)) == ["RFC5681-LIMIT"]
    alone = opened(mss(1460), scale(3), window=100)
    assert broken(alone, data(1, 101)) == ["RFC5681-LIMIT"]


def test_a_resets_payload_is_outside_every_window():
    assert broken(opened(window=0), Segment(flags=RST, seq=at(THEIRS, 1), payload=b"reason")) == []


def test_an_acknowledgement_does_not_go_back():
    oracle = opened()
    oracle.sent(Segment(flags=ACK, seq=at(OURS, 1), ack=at(THEIRS, 1), window=65535, payload=bytes(10)))
    assert broken(oracle, data(1, 0, ack=11, flags=ACK, window=990)) == []
    assert broken(oracle, data(1, 10, ack=11, window=990)) == []
    assert broken(oracle, data(1, 10, ack=10, window=991)) == ["RFC9293-U-ACCEPT"]
    assert broken(oracle, data(11, 0, ack=0, flags=RST | ACK)) == []


def test_a_repeated_syn_ack_does_not_go_back():
    again = Segment(flags=SYN | ACK, seq=THEIRS, ack=at(OURS, 0), window=1000, options=())
    assert broken(opened(), again) == ["RFC9293-U-ACCEPT"]


def test_another_connection_acknowledges_anew():
    oracle = opened()
    oracle.sent(Segment(flags=SYN, seq=at(OURS, -5000), window=65535, options=(mss(1460),)))
    again = Segment(flags=SYN | ACK, seq=at(THEIRS, 9999), ack=at(OURS, -4999), window=1000, options=())
    assert broken(oracle, again) == []


def test_the_right_edge_is_not_taken_back():
    oracle = opened()
    oracle.sent(Segment(flags=ACK, seq=at(OURS, 1), ack=at(THEIRS, 1), window=1000, payload=bytes(100)))
    assert broken(oracle, data(1, 0, flags=ACK, ack=101, window=900)) == []
    assert broken(oracle, data(1, 0, flags=ACK, ack=101, window=899)) == ["RFC9293-SHLD-14"]


def test_a_scaled_edge_may_be_rounded():
    oracle = opened(mss(1460), scale(0), theirs=(scale(7),))
    oracle.sent(Segment(flags=ACK, seq=at(OURS, 1), ack=at(THEIRS, 1), window=1000, payload=bytes(100)))
    assert broken(oracle, data(1, 0, flags=ACK, ack=1, window=100)) == []
    assert broken(oracle, data(1, 0, flags=ACK, ack=101, window=99)) == []
    assert broken(oracle, data(1, 0, flags=ACK, ack=101, window=97)) == ["RFC9293-SHLD-14"]


def test_time_stamps_once_agreed_are_in_every_segment_but_a_reset():
    agreed = opened(mss(1460), stamps(100, 0), theirs=(stamps(5, 100),))
    assert broken(agreed, data(1, 1)) == ["RFC7323-TS-3"]
    assert broken(agreed, Segment(flags=RST, seq=at(THEIRS, 2))) == []
    assert broken(opened(mss(1460), stamps(100, 0)), data(1, 1)) == []


def test_time_stamps_go_forward_and_echo_ours():
    agreed = opened(mss(1460), stamps(100, 0), theirs=(stamps(5, 100),))
    assert broken(agreed, data(1, 1, options=(stamps(5, 100),))) == []
    assert broken(agreed, data(2, 1, options=(stamps(4, 100),))) == ["RFC7323-TS-12"]
    assert broken(agreed, data(3, 1, options=(stamps(6, 99),))) == ["RFC7323-TS-6"]


def test_time_stamps_are_not_compared_after_24_days():
    """A clock of a tick a millisecond is more than half round by 24.9 days, and looks older then."""
    day_ns = 86_400 * 10**9
    agreed = opened(mss(1460), stamps(100, 0), theirs=(stamps(5, 100),))
    assert broken(agreed, data(1, 1, options=(stamps(6, 100),), stamp_ns=day_ns)) == []
    old = (6 + 2**31 + 1) % 2**32
    assert broken(agreed, data(2, 1, options=(stamps(old, 100),), stamp_ns=24 * day_ns)) == ["RFC7323-TS-12"]
    assert broken(agreed, data(2, 1, options=(stamps(old, 100),), stamp_ns=25 * day_ns)) == []
    assert broken(agreed, data(3, 1, options=(stamps(old - 1, 100),), stamp_ns=25 * day_ns)) == ["RFC7323-TS-12"]


def test_a_time_stamp_option_of_another_size_is_no_time_stamp():
    assert broken(opened(), data(1, 1, options=(Option.of(Kind.TIMESTAMPS, b"\0"),))) == []


def test_a_new_opening_on_the_four_tuple_starts_afresh():
    oracle = opened(window=10)
    oracle.sent(Segment(flags=SYN, seq=5000, window=2000, options=(mss(1460),)))
    fresh = Segment(flags=SYN | ACK, seq=77, ack=5001, window=10)
    assert broken(oracle, fresh) == []
    oracle.sent(Segment(flags=ACK, seq=5001, ack=78, window=2000))
    assert broken(oracle, Segment(flags=ACK, seq=78, ack=5001, window=10, payload=bytes(1000), ttl=1)) == []


def test_a_repeated_syn_of_ours_changes_nothing():
    oracle = opened(window=10)
    oracle.sent(Segment(flags=SYN, seq=OURS, window=10, options=(mss(1460),)))
    assert broken(oracle, data(1, 11)) == ["RFC5681-LIMIT"]
