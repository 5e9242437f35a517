# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes below TCP: ICMP, UDP, fragments."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ....wire import ip
from ....wire.icmp import IcmpMessage
from ....wire.ip import Packet
from ..connection import Connection
from ..network import Network
from ..reassembly import LARGEST, Fragment, Puzzle, Reassembly, fragment_of
from ..states import CLOSED, SYN_SENT
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method = _MISTAKES.method

# -- ICMP -------------------------------------------------------------------------------------------------------------


@_method("icmp-for-nobody", Network, "take_error", case="icmp/hard_errors::hard_error_ends_the_attempt_that_it_quotes",
         breaks=("RFC9293-MUST-54", "RFC1122-ICMP-PORT"))
def _(network: Network, message: IcmpMessage) -> None:
    """TCP is told of no ICMP error."""


@_method("icmp-for-everybody", Network, "take_error",
         case="icmp/soft_errors::error_reaches_the_connection_that_it_quotes",
         breaks=("RFC9293-MUST-54", "RFC9293-SHLD-25"))
def _(network: Network, message: IcmpMessage) -> None:
    """An ICMP error is told to all connections of the host."""
    for connection in network.stack.connections.values():
        connection.hear_soft_error("EHOSTUNREACH")


@_method("icmp-needs-a-long-quote", Network, "take_error",
         case="icmp/hard_errors::eight_octets_of_the_segment_are_quote_enough",
         breaks=("RFC1122-ICMP-PORT", "SA-CLOSED-04"))
def _(network: Network, message: IcmpMessage) -> None:
    """An ICMP error is believed only if it quotes a whole TCP header."""
    quoted = message.quoted
    if quoted is not None and len(quoted.payload) >= 20:
        Network.take_error(network, message)


@_method("icmp-number-unchecked", Connection, "is_in_flight",
         case="icmp/soft_errors::error_about_a_number_not_in_flight_is_ignored",
         breaks=("RFC9293-MUST-54", "RFC5927-SEQCHK"))
def _(connection: Connection, number: int) -> bool:
    """An ICMP error is believed whatever number it quotes."""
    return True


@_method("soft-error-ends-attempt", Connection, "hear_soft_error",
         case="icmp/soft_errors::soft_error_does_not_end_an_attempt", breaks="RFC9293-MUST-56")
def _(connection: Connection, error: str) -> None:
    """A soft error ends an attempt."""
    if connection.state == SYN_SENT:
        connection.vanish(error)
    else:
        Connection.hear_soft_error(connection, error)


@_method("soft-error-ends-connection", Connection, "hear_soft_error",
         case="icmp/soft_errors::soft_error_does_not_end_a_connection", breaks="RFC9293-MUST-56")
def _(connection: Connection, error: str) -> None:
    """A soft error ends a connection."""
    if connection.state == SYN_SENT:
        Connection.hear_soft_error(connection, error)
    else:
        connection.vanish(error)


@_method("soft-error-ends-half-open", Connection, "hear_soft_error",
         case="icmp/soft_errors::soft_error_does_not_end_a_half_open_connection", breaks="RFC9293-MUST-56")
def _(connection: Connection, error: str) -> None:
    """A soft error drops a half-open connection."""
    if connection.state == "SYN-RECEIVED":
        connection.vanish("")
    else:
        Connection.hear_soft_error(connection, error)


@_method("hard-error-ends-connection", Connection, "hear_hard_error",
         case="icmp/hard_errors::hard_error_on_a_connection_does_as_the_profile_says",
         breaks=("RFC9293-MUST-54", "RFC5927-HARD"))
def _(connection: Connection, error: str) -> None:
    """A hard error, which anybody can forge, ends a connection."""
    if connection.state != CLOSED:
        connection.vanish(error)


@_method("source-quench-heeded", Network, "take_error", case="icmp/soft_errors::source_quench_is_ignored",
         breaks=("RFC9293-MUST-55", "RFC6633-TCP"))
def _(network: Network, message: IcmpMessage) -> None:
    """A source quench has the sender slow down."""
    if message.type == 4 and not message.ipv6:
        for connection in network.stack.connections.values():
            connection.cwnd = connection.ssthresh = connection.payload_limit
    else:
        Network.take_error(network, message)


@_method("unknown-icmp-is-an-error", Network, "take_icmp", case="icmp/soft_errors::icmp_of_unknown_type_is_ignored",
         breaks=("RFC1122-ICMP-UNK", "RFC4443-UNKTYPE"))
def _(network: Network, message: IcmpMessage, packet: Packet) -> None:
    """An ICMP message of a type that nobody knows is taken for an error."""
    if message.type >= 200:
        for connection in network.stack.connections.values():
            connection.hear_soft_error("EPROTO")
    Network.take_icmp(network, message, packet)


@_method("error-is-answered", Network, "take_icmp", case="icmp/udp_closed_port::error_is_not_answered",
         breaks=("RFC1122-ICMP-NOERR", "RFC4443-NOERR"))
def _(network: Network, message: IcmpMessage, packet: Packet) -> None:
    """An ICMP error that nobody waits for draws an ICMP error."""
    if message.error:
        network.take_udp(packet)
        network.tell(packet, 1 if message.ipv6 else 3, 4 if message.ipv6 else 3)
    Network.take_icmp(network, message, packet)


# -- UDP --------------------------------------------------------------------------------------------------------------


@_method("closed-udp-port-is-silent", Network, "take_udp",
         case="fragments/reassembly::lone_later_fragment_draws_no_error",
         breaks=("RFC791-FRAG-1", "RFC4443-DU-PORT"))
def _(network: Network, packet: Packet) -> None:
    """UDP to a closed port draws nothing."""


@_method("multicast-is-answered", Network, "is_for_us", case="icmp/udp_closed_port::multicast_is_not_answered",
         breaks=("RFC1122-ICMP-NOERR", "RFC4443-NOERR"))
def _(network: Network, packet: Packet) -> bool:
    """Whatever arrives is taken, and answered, multicast too."""
    return True


@_method("tcp-port-by-icmp", Network, "take_tcp", case="icmp/udp_closed_port::tcp_answers_with_a_reset_and_no_icmp",
         breaks="RFC9293-U-RST-CLOSED-NOACK")
def _(network: Network, packet: Packet) -> None:
    """A closed port draws port unreachable beside the reset."""
    port = int.from_bytes(packet.payload[2:4], "big")
    if not any(known == port for _, known in network.stack.listeners):
        network.tell(packet, 1 if packet.ipv6 else 3, 4 if packet.ipv6 else 3)
    Network.take_tcp(network, packet)


# -- fragments --------------------------------------------------------------------------------------------------------


@_method("fragments-mixed", Reassembly, "puzzle_of", case="fragments/reassembly::datagrams_do_not_mix",
         breaks=("RFC791-FRAG-2", "RFC8200-FRAG-OK"))
def _(reassembly: Reassembly, piece: Fragment) -> Puzzle:
    """The identification is not looked at: fragments of one host are of one datagram."""
    for key, puzzle in reassembly.puzzles.items():
        if key[:2] == piece.key[:2] and puzzle.pieces:
            return puzzle
    return Reassembly.puzzle_of(reassembly, piece)


@_method("overlap-taken", Reassembly, "is_duplicate", case="fragments/overlap::overlapping_fragments",
         breaks="RFC5722-RX")
def _(reassembly: Reassembly, puzzle: Puzzle, piece: Fragment) -> bool:
    """A fragment that lies inside another one is taken for a duplicate."""
    return any(known.start <= piece.start and piece.end <= known.end for known in puzzle.pieces)


@_method("hole-ignored", Reassembly, "is_complete", case="fragments/reassembly::last_fragment_must_come",
         breaks=("RFC815-HOLE-1", "RFC8200-FRAG-OK"))
def _(reassembly: Reassembly, puzzle: Puzzle) -> bool:
    """What has come without a hole is the whole, though none was said to be the last."""
    size = sum(len(piece.packet.payload) for piece in puzzle.pieces)
    return len(puzzle.pieces) > 1 and size == max(piece.end for piece in puzzle.pieces)


@_method("fragments-in-order-only", Reassembly, "is_sound", case="fragments/reassembly::fragments_in_any_order",
         breaks=("RFC791-FRAG-1", "RFC8200-FRAG-OK"))
def _(reassembly: Reassembly, piece: Fragment) -> bool:
    """A fragment whose predecessor has not come is dropped."""
    puzzle = reassembly.puzzles.get(piece.key)
    reached = max((known.end for known in puzzle.pieces), default=0) if puzzle else 0
    return piece.start <= reached and Reassembly.is_sound(reassembly, piece)


@_method("duplicate-spoils-datagram", Reassembly, "is_duplicate", case="fragments/reassembly::duplicates_do_no_harm",
         breaks=("RFC815-HOLE-2", "RFC8200-FRAG-DUP"))
def _(reassembly: Reassembly, puzzle: Puzzle, piece: Fragment) -> bool:
    """A fragment that comes twice counts as an overlap, in IPv4 too."""
    return False


@_method("reassembly-never-ends", Reassembly, "end", case="fragments/reassembly::unfinished_datagram_times_out",
         breaks=("RFC1122-REASM-3", "RFC1122-REASM-2", "RFC8200-FRAG-60"))
def _(reassembly: Reassembly, key: tuple[bytes, bytes, int, int]) -> None:
    """Fragments wait for the rest for ever."""


@_method("late-reassembly-completed", Reassembly, "end", case="fragments/reassembly::unfinished_datagram_times_out",
         breaks=("RFC1122-REASM-2",))
def _(reassembly: Reassembly, key: tuple[bytes, bytes, int, int]) -> None:
    """After its time a datagram is answered for, and completed all the same by what comes late."""
    puzzle = reassembly.puzzles[key]
    Reassembly.end(reassembly, key)
    reassembly.puzzles[key] = puzzle


@_method("odd-fragment-taken", Reassembly, "is_sound", case="fragments/ipv6::fragment_that_is_no_multiple_of_eight",
         breaks=("RFC8200-FRAG-LEN", "RFC8200-FRAG-OK"))
def _(reassembly: Reassembly, piece: Fragment) -> bool:
    """A fragment of any length is taken though another must follow."""
    odd = piece.more and len(piece.packet.payload) % 8
    return bool(odd) or Reassembly.is_sound(reassembly, piece)


@_method("overlong-fragment-taken", Reassembly, "take", case="fragments/ipv6::overlong_total",
         breaks="RFC8200-FRAG-BIG")
def _(reassembly: Reassembly, packet: Packet) -> Packet | None:
    """A fragment that reaches past what a packet may be long completes it."""
    piece = fragment_of(packet)
    if piece is None or piece.end <= LARGEST:
        return Reassembly.take(reassembly, packet)
    pieces = sorted([*reassembly.puzzle_of(piece).pieces, piece], key=lambda known: known.start)
    return replace(packet, fragment=False, payload=b"".join(known.packet.payload for known in pieces))


@_method("overlong-fragment-silent", Reassembly, "refuse", case="fragments/ipv6::overlong_total",
         breaks=("RFC8200-FRAG-BIG-ICMP", "RFC8200-FRAG-LEN-ICMP"))
def _(reassembly: Reassembly, piece: Fragment, code: int, pointer: int) -> bool:
    """What can be no fragment is dropped, and nobody is told."""
    return False


@_method("parameter-problem-points-nowhere", Reassembly, "refuse", case="fragments/ipv6::overlong_total",
         breaks="RFC8200-FRAG-BIG-ICMP")
def _(reassembly: Reassembly, piece: Fragment, code: int, pointer: int) -> bool:
    """A parameter problem always points at octet 0."""
    return Reassembly.refuse(reassembly, piece, code, 0)


@_method("transport-checksum-of-pieces", Network, "take_tcp", case="fragments/reassembly::checksum_is_of_the_whole",
         breaks=("RFC9293-MUST-3", "RFC791-FRAG-1"))
def _(network: Network, packet: Packet) -> None:
    """What was put together is not checked again."""
    if len(packet.payload) >= 512:
        stack = network.stack
        total = ip.pseudo_header_sum(packet.source, packet.destination, ip.TCP, len(packet.payload))
        zeroed = packet.payload[:16] + b"\0\0" + packet.payload[18:]
        good = zeroed[:16] + ip.internet_checksum(zeroed, total).to_bytes(2, "big") + zeroed[18:]
        whole = ip.dissect(ip.ip_packet(packet.source, packet.destination, ip.TCP, good))
        if whole is not None:
            stack.take_segment(whole)
    else:
        Network.take_tcp(network, packet)


DEFECTS: Final = tuple(_MISTAKES.found)
