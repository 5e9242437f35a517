# SPDX-License-Identifier: GPL-2.0-or-later
"""B-16: hard ICMP errors end an attempt at once, and a connection as the profile says.

RFC 9293, 3.9.2.2; RFC 5927, 5.2.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.authoring import covers, established, icmp_error, needs, syn_sent

pytestmark = needs("icmp_errors")

PORT_UNREACHABLE = {"ipv4": (3, 3), "ipv6": (1, 4)}
HARD = [pytest.param(PORT_UNREACHABLE, id="port-unreachable"),
        pytest.param({"ipv4": (3, 2), "ipv6": (1, 1)}, id="protocol-unreachable-or-prohibited")]
REFUSED = "ECONNREFUSED|ENOPROTOOPT|EACCES|EHOSTUNREACH|ECONNABORTED"
"""What the end of an attempt may be called: the names of the socket API are no matter of the RFCs."""


def tell(peer, family, message, segment, **quoted):
    """Send the ICMP error that the message names, about this segment of the target."""
    kind, code = message[family]
    peer.case.send_packet(icmp_error(segment.raw, type=kind, code=code, **quoted), f"ICMP type {kind} code {code}")


@needs("active_open")
@covers("RFC9293-SHLD-26", "RFC1122-ICMP-PORT", behaviour="B-16")
@pytest.mark.parametrize("message", HARD)
def test_hard_error_ends_an_attempt(peer, upper, family, message):
    """SYN-SENT: connect() fails at once, not after all its repetitions, and no SYN follows."""
    _, connecting = syn_sent(peer, upper)
    tell(peer, family, message, peer.last)
    connecting.expect(REFUSED)
    peer.expect_silence()
    peer.expect_state("CLOSED")


@needs("active_open")
@covers("RFC1122-ICMP-PORT", "RFC9293-SHLD-26", behaviour="B-16")
def test_port_unreachable_means_a_reset(peer, upper, family):
    """SYN-SENT: port unreachable says what a reset would have said: nobody listens."""
    _, connecting = syn_sent(peer, upper)
    tell(peer, family, PORT_UNREACHABLE, peer.last)
    connecting.expect("ECONNREFUSED")
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect_gone("R 1:1(0)")


@needs("active_open")
@covers("RFC1122-ICMP-PORT", "RFC9293-SHLD-26", "SA-CLOSED-04", behaviour="B-16")
def test_eight_octets_of_the_segment_are_quote_enough(peer, upper, family):
    """Ports and sequence number are all that an error has to quote."""
    _, connecting = syn_sent(peer, upper)
    tell(peer, family, PORT_UNREACHABLE, peer.last, quote={"ipv4": 20, "ipv6": 40}[family] + 8)
    connecting.expect("ECONNREFUSED")
    peer.expect_state("CLOSED")
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect_gone("R 1:1(0)", rule="SA-CLOSED-04")


@needs("active_open")
@covers("RFC9293-MUST-54", "RFC1122-ICMP-PORT", behaviour="B-16")
def test_hard_error_ends_the_attempt_that_it_quotes(case, upper, family):
    """Two attempts to the same host: the other one goes on and succeeds."""
    first, second = case.peer(), case.peer()
    _, bystander = syn_sent(first, upper)
    _, quoted = syn_sent(second, upper)
    tell(second, family, PORT_UNREACHABLE, second.last)
    quoted.expect("ECONNREFUSED")
    bystander.expect_open()
    first.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    first.expect(". 1:1(0) ack 1")
    bystander.expect("done")


@needs("active_open", "icmp_soft_errors")
@covers("RFC9293-MUST-54", "RFC5927-SEQCHK", behaviour="B-16")
@pytest.mark.parametrize("distance", [pytest.param(-1, id="below"), pytest.param(1000, id="above")])
def test_error_that_quotes_another_number_is_ignored(peer, upper, family, distance):
    """SYN-SENT: an error about a SYN that was never sent is forged; the attempt goes on and succeeds."""
    _, connecting = syn_sent(peer, upper)
    syn = peer.last
    at = len(syn.raw) - 4 * syn.offset + 4
    number = ((syn.seq + distance) % (1 << 32)).to_bytes(4, "big")
    tell(peer, family, PORT_UNREACHABLE, replace(syn, raw=syn.raw[:at] + number + syn.raw[at + 4:]))
    peer.expect_silence()
    connecting.expect_open()
    peer.send("S. 0:0(0) ack 1 win 65535 <mss 1460>")
    peer.expect(". 1:1(0) ack 1")
    connecting.expect("done")


@covers("RFC9293-SHLD-26", "RFC9293-MUST-54", "RFC5927-HARD", "RFC9293-U-ACCEPT", behaviour="B-16")
@pytest.mark.parametrize("message", HARD)
def test_hard_error_on_a_connection_does_as_the_profile_says(peer, listener, family, profile, message):
    """ESTABLISHED: 1122's text ends the connection; RFC 5927 holds the error for forged, and data flows on."""
    connection = established(peer, listener)
    with peer.case.preamble():
        connection.send(100)
        data = peer.expect(". 1:101(100) ack 1")
    tell(peer, family, message, data)
    if not profile.feature("icmp_soft_errors"):
        connection.expect_error(REFUSED)
        return
    peer.expect_silence(rule="RFC9293-MUST-54")
    peer.expect_state("ESTABLISHED", rule="RFC9293-MUST-54")
    peer.send("P. 1:101(100) ack 101")
    peer.expect(". 101:101(0) ack 101", rule="RFC9293-U-ACCEPT")
    connection.expect_data(100, rule="RFC9293-U-ACCEPT")
