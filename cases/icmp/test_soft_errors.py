# SPDX-License-Identifier: GPL-2.0-or-later
"""B-16: soft ICMP errors are reported and end nothing (RFC 9293, 3.9.2.2; RFC 5927, section 5).

Every error quotes a segment that the target has truly sent, unless the case is about one that does not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.authoring import (
    after,
    covers,
    encode_icmp,
    established,
    families,
    icmp_error,
    needs,
    syn_sent,
)
from harness.targets.backoff import follow_backoff

pytestmark = needs("icmp_errors")

SOFT = [pytest.param({"ipv4": four, "ipv6": six}, id=name) for name, four, six in (
    ("net-unreachable", (3, 0), (1, 0)),
    ("host-unreachable", (3, 1), (1, 3)),
    ("source-route-or-next-header", (3, 5), (4, 1)),
    ("hop-limit", (11, 0), (3, 0)),
    ("reassembly-time", (11, 1), (3, 1)),
    ("parameter-problem", (12, 0), (4, 0)),
    ("option", (12, 1), (4, 2)),
)]
HOST_UNREACHABLE = {"ipv4": (3, 1), "ipv6": (1, 3)}
DATA = "P. 1:101(100) ack 1"
REPORTED = "EHOSTUNREACH|ENETUNREACH|EPROTO|EOPNOTSUPP|ENOTSUP"
"""What a soft error may be called: the names of the socket API are no matter of the RFCs."""
REPORT_ERRORS = {"ipv4": "IP_RECVERR", "ipv6": "IPV6_RECVERR"}


def tell(peer, family, message, segment, **quoted):
    """Send the ICMP error that the message names, about this segment of the target."""
    kind, code = message[family]
    peer.case.send_packet(icmp_error(segment.raw, type=kind, code=code, **quoted), f"ICMP type {kind} code {code}")


def in_flight(peer, listener, family, *, reported=False):
    """A connection with 100 octets of the target unacknowledged, and their segment."""
    connection = established(peer, listener)
    if reported:
        connection.set_option(REPORT_ERRORS[family], 1)
    with peer.case.preamble():
        connection.send(100)
        return connection, peer.expect(". 1:101(100) ack 1")


@covers("RFC9293-MUST-56", behaviour="B-16")
@pytest.mark.parametrize("message", SOFT)
def test_soft_error_does_not_end_a_connection(peer, listener, family, message):
    """The trouble may pass: the connection stays, and data flows in both directions."""
    connection, data = in_flight(peer, listener, family)
    tell(peer, family, message, data)
    peer.expect_silence()
    peer.expect_state("ESTABLISHED")
    peer.send("P. 1:101(100) ack 101")
    peer.expect(". 101:101(0) ack 101")
    connection.expect_data(100)
    connection.send(100)
    peer.expect(". 101:201(100) ack 101")
    peer.send(". 101:101(0) ack 201")


@covers("RFC9293-SHLD-25", "RFC9293-MUST-56", "RFC1122-ICMP-TEX", "RFC1122-ICMP-PARAM", "RFC4443-DU-NOTIFY",
        "RFC4443-TEX-NOTIFY", "RFC4443-PP-NOTIFY", behaviour="B-16")
@pytest.mark.parametrize("message", SOFT)
def test_soft_error_is_reported(peer, listener, family, message):
    """An application that asks for errors is given this one, and goes on using its connection."""
    connection, data = in_flight(peer, listener, family, reported=True)
    tell(peer, family, message, data)
    peer.expect_silence(rule="RFC9293-MUST-56")
    connection.expect_pending_error(REPORTED)
    connection.send(100, rule="RFC9293-MUST-56")
    peer.send(". 1:1(0) ack 101")
    peer.expect(". 101:201(100) ack 1", rule="RFC9293-MUST-56")
    peer.send(". 1:1(0) ack 201")


@covers("RFC9293-SHLD-25", "RFC9293-MUST-56", behaviour="B-16")
def test_soft_error_is_the_reason_given_in_the_end(peer, listener, family, profile):
    """When the data is given up after all, the application learns why: the host is unreachable, not merely silent."""
    connection, data = in_flight(peer, listener, family)
    tell(peer, family, HOST_UNREACHABLE, data)
    peer.expect_silence(rule="RFC9293-MUST-56")
    peer.expect_state("ESTABLISHED", rule="RFC9293-MUST-56")
    end, more = follow_backoff(peer, DATA, profile)
    connection.expect_error(REPORTED, after(*end, since=peer.last))
    peer.expect_silence(allow=[DATA] * more)


@covers("RFC9293-MUST-56", behaviour="B-16")
@pytest.mark.parametrize("message", SOFT)
def test_soft_error_does_not_end_an_attempt(peer, upper, family, message):
    """SYN-SENT: the next SYN may get through, so connect() goes on, and our SYN,ACK still completes it."""
    _, connecting = syn_sent(peer, upper)
    tell(peer, family, message, peer.last)
    peer.expect_silence()
    connecting.expect_open()
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")


@covers("RFC9293-MUST-56", behaviour="B-16")
def test_soft_error_does_not_end_a_half_open_connection(peer, listener, family):
    """SYN-RECEIVED: an error about the SYN,ACK leaves the handshake as it is."""
    with peer.case.preamble():
        peer.send("S 0:0(0) win 65535 <mss 1460>")
        answer = peer.expect("S. 0:0(0) ack 1 <...>")
    tell(peer, family, HOST_UNREACHABLE, answer)
    peer.expect_silence()
    peer.expect_state("SYN-RECEIVED")
    peer.send(". 1:1(0) ack 1")
    listener.accept(peer)


@covers("RFC9293-MUST-54", "RFC9293-SHLD-25", behaviour="B-16")
def test_error_reaches_the_connection_that_it_quotes(case, listener, family):
    """Two connections from the same host: only the one whose segment is quoted hears of the error."""
    first, second = (case.peer(target_port=listener.port) for _ in range(2))
    bystander, _ = in_flight(first, listener, family, reported=True)
    quoted, data = in_flight(second, listener, family, reported=True)
    tell(second, family, HOST_UNREACHABLE, data)
    second.expect_silence()
    quoted.expect_pending_error(REPORTED)
    bystander.expect_pending_error("")


@needs("icmp_soft_errors")
@covers("RFC9293-MUST-54", "RFC5927-SEQCHK", "RFC9293-MUST-56", behaviour="B-16")
@pytest.mark.parametrize("distance", [pytest.param(-1, id="acknowledged"), pytest.param(100_000, id="not-yet-sent")])
def test_error_about_a_number_not_in_flight_is_ignored(peer, listener, family, distance):
    """Whoever forges an error must guess a number that the target has sent and not seen acknowledged."""
    connection, data = in_flight(peer, listener, family, reported=True)
    tell(peer, family, HOST_UNREACHABLE, renumbered(data, distance))
    peer.expect_silence()
    connection.expect_pending_error("")
    peer.expect_state("ESTABLISHED", rule="RFC9293-MUST-56")


def renumbered(segment, distance):
    """The same segment as if it had been sent with another sequence number."""
    at = len(segment.raw) - len(segment.payload) - 4 * segment.offset + 4
    number = (segment.seq + distance) % (1 << 32)
    return replace(segment, raw=segment.raw[:at] + number.to_bytes(4, "big") + segment.raw[at + 4:])


@families("ipv4")
@covers("RFC9293-MUST-55", "RFC6633-TCP", "RFC5927-SQ", behaviour="B-16")
def test_source_quench_is_ignored(peer, listener):
    """ICMP type 4 is history: it neither ends the connection nor slows it; the next flight is as large as the last."""
    connection = established(peer, listener, offer="<mss 1000>")
    connection.send(3000)
    flight = [peer.expect(f". {at}:{at + 1000}(1000) ack 1") for at in (1, 1001, 2001)]
    for segment in flight:
        peer.case.send_packet(icmp_error(segment.raw, type=4, code=0), "ICMP source quench")
    peer.expect_silence()
    peer.send(". 1:1(0) ack 3001")
    connection.send(3000)
    for at in (3001, 4001, 5001):
        peer.expect(f". {at}:{at + 1000}(1000) ack 1")
    peer.send(". 1:1(0) ack 6001")
    connection.expect_pending_error("")


@covers("RFC1122-ICMP-UNK", "RFC4443-UNKTYPE", behaviour="B-16")
def test_icmp_of_unknown_type_is_ignored(peer, listener, family):
    """A type that nobody has defined, quoting data in flight: no answer, no error, no change."""
    connection, data = in_flight(peer, listener, family, reported=True)
    addresses = peer.case.addresses
    kind = {"ipv4": 200, "ipv6": 250}[family]
    peer.case.send_packet(encode_icmp(source=addresses.local, destination=addresses.target, type=kind, code=0,
                                      body=data.raw), f"ICMP type {kind}")
    peer.expect_silence()
    connection.expect_pending_error("")
    peer.expect_state("ESTABLISHED")
