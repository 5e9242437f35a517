# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes with options: segment size, window scale, time stamps, selective acknowledgement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ....wire import seq
from ....wire.segment import ACK, RST, Kind, Option, Segment
from .. import options, values
from ..connection import Connection
from ..options import Offer, timestamps_of
from .defect import Mistakes

_MISTAKES: Final = Mistakes()
_method, _step = _MISTAKES.method, _MISTAKES.step

# -- segment size -----------------------------------------------------------------------------------------------------


@_method("mss-ignored", Connection, "heed_mss", case="options/mss::mss_of_the_syn_limits_what_is_sent",
         breaks=("RFC9293-MUST-14", "RFC9293-MUST-16"))
def _(connection: Connection, offered: int | None) -> None:
    """The peer's MSS is not heeded: what limits is the link."""
    connection.send_mss = connection.link_mss


@_method("no-default-mss", Connection, "heed_mss", case="options/mss::without_the_option_the_default_holds",
         breaks="RFC9293-MUST-15")
def _(connection: Connection, offered: int | None) -> None:
    """A peer that offers no MSS is sent what the link takes."""
    connection.send_mss = offered or connection.link_mss


@_method("ipv4-default-mss", Connection, "heed_mss", case="options/mss::without_the_option_the_default_holds",
         breaks="RFC9293-MUST-15")
def _(connection: Connection, offered: int | None) -> None:
    """The default MSS is 536 in both families."""
    connection.send_mss = offered or 536


@_method("options-not-taken-off", Connection, "option_octets", case="options/mss::options_are_taken_off_the_payload",
         breaks=("RFC6691-SENDER", "RFC9293-MUST-16"))
def _(connection: Connection) -> int:
    """A segment with time stamps carries as much payload as one without."""
    return 0


@_method("mss-repeated-back", Connection, "syn_options", case="options/mss::directions_are_independent",
         breaks="RFC9293-MUST-14")
def _(connection: Connection, flags: int) -> Iterable[Option]:
    """The SYN,ACK offers the peer's own MSS."""
    said = list(Connection.syn_options(connection, flags))
    return [*options.mss(min(connection.send_mss, said[0].value)), *said[1:]] if flags & ACK else said


@_method("mss-in-any-segment", Connection, "arrives", case="options/mss::mss_outside_a_syn_changes_nothing",
         breaks=("RFC9293-MUST-65", "RFC9293-MUST-5"))
def _(connection: Connection, segment: Segment) -> None:
    """An MSS counts in whatever segment it stands."""
    option = options.well_formed(segment, Kind.MSS)
    if option is not None:
        connection.heed_mss(option.value)
    Connection.arrives(connection, segment)


@_method("segments-larger-than-link", Connection, "payload_limit",
         case="options/mss::what_ip_carries_limits_what_is_sent", breaks="RFC9293-MUST-16")
def _(connection: Connection) -> int:
    """The peer's MSS is all that limits a segment, and IP may see to the rest."""
    return max(1, connection.send_mss - connection.option_octets)


# -- reading options --------------------------------------------------------------------------------------------------


@_method("unknown-option-ends-the-list", Connection, "offer",
         case="options/unknown_and_malformed::unknown_option_in_a_syn_is_skipped", breaks="RFC9293-MUST-6")
def _(connection: Connection, segment: Segment) -> Offer:
    """What stands behind an option that nobody knows is not read."""
    known: list[Option] = []
    for option in segment.options or ():
        if option.kind not in (Kind.EOL, Kind.NOP, Kind.MSS, Kind.WINDOW_SCALE, Kind.SACK_PERMITTED, Kind.TIMESTAMPS):
            break
        known.append(option)
    return Connection.offer(connection, replace(segment, options=tuple(known)))


@_method("nop-ends-the-list", Connection, "offer",
         case="options/unknown_and_malformed::nop_and_end_of_options_are_taken",
         breaks=("RFC9293-MUST-4", "RFC9293-MUST-64"))
def _(connection: Connection, segment: Segment) -> Offer:
    """A no-operation in front of an option ends the list like the end mark."""
    found = segment.options or ()
    end = next((at for at, option in enumerate(found) if option.kind == Kind.NOP), len(found))
    return Connection.offer(connection, replace(segment, options=found[:end]))


@_method("options-at-even-places", Connection, "offer",
         case="options/unknown_and_malformed::mss_is_read_at_an_odd_place",
         breaks=("RFC9293-MUST-64", "RFC9293-MUST-14"))
def _(connection: Connection, segment: Segment) -> Offer:
    """An option is read only where a word of 16 bits begins."""
    at, found = 0, []
    for option in segment.options or ():
        if at % 2 == 0 or option.kind == Kind.NOP:
            found.append(option)
        at += len(option.encode())
    return Connection.offer(connection, replace(segment, options=tuple(found)))


# -- window scale -----------------------------------------------------------------------------------------------------


@_method("scale-not-applied", Connection, "agree_shift", case="options/window_scale::our_windows_are_shifted",
         breaks="RFC7323-WS-8")
def _(connection: Connection, offered: int | None) -> bool:
    """The peer's windows are counted in octets though it has offered a scale."""
    agreed = Connection.agree_shift(connection, offered)
    connection.snd_shift = 0
    return agreed


@_method("scale-without-agreement", Connection, "agree_shift",
         case="options/window_scale::windows_of_the_target_are_not_shifted_without_agreement", breaks="RFC7323-WS-3")
def _(connection: Connection, offered: int | None) -> bool:
    """Our windows are scaled though the peer has offered nothing."""
    agreed = Connection.agree_shift(connection, offered)
    connection.rcv_shift = values.SHIFT
    return agreed


@_method("scale-uninvited", Connection, "agree_shift", case="options/window_scale::no_offer_is_not_answered",
         breaks="RFC7323-WS-4")
def _(connection: Connection, offered: int | None) -> bool:
    """A SYN,ACK has a scale whatever the SYN has."""
    return Connection.agree_shift(connection, offered) or True


@_method("scale-above-14", Connection, "offer", case="options/window_scale::shift_above_14_counts_as_14",
         breaks="RFC7323-WS-11")
def _(connection: Connection, segment: Segment) -> Offer:
    """A shift of more than 14 is taken as it is."""
    option = options.well_formed(segment, Kind.WINDOW_SCALE)
    return replace(Connection.offer(connection, segment), shift=None if option is None else option.value)


@_method("syn-window-scaled", Connection, "note_window",
         case="options/window_scale::window_of_our_syn_ack_is_not_shifted", breaks="RFC7323-WS-7")
def _(connection: Connection, segment: Segment, *, scaled: bool = True) -> None:
    """The window of a SYN is scaled like all others."""
    Connection.note_window(connection, segment)


@_method("own-syn-window-scaled", Connection, "begin_receiving",
         case="options/window_scale::window_of_the_targets_syn_ack_is_not_shifted", breaks="RFC7323-WS-7")
def _(connection: Connection, irs: int) -> None:
    """More is taken than the window of our SYN,ACK says, since it is thought of as scaled."""
    Connection.begin_receiving(connection, irs)
    connection.rcv_edge = seq.add(connection.rcv_nxt, connection.rcv_wnd << connection.rcv_shift)


@_method("scale-changed-later", Connection, "arrives", case="options/window_scale::scale_is_fixed_for_life",
         breaks="RFC7323-WS-6")
def _(connection: Connection, segment: Segment) -> None:
    """A scale in a later segment takes the place of that in the SYN."""
    option = options.well_formed(segment, Kind.WINDOW_SCALE)
    if option is not None and connection.rcv_shift:
        connection.snd_shift = option.value
    Connection.arrives(connection, segment)


# -- time stamps ------------------------------------------------------------------------------------------------------


@_method("stamps-uninvited", Connection, "agree", case="options/timestamps::no_offer_is_not_answered",
         breaks="RFC7323-TS-2")
def _(connection: Connection, offer: Offer) -> None:
    """A SYN,ACK has time stamps whatever the SYN has."""
    Connection.agree(connection, offer)
    connection.offers_stamps = True


@_method("stamps-in-the-syn-alone", Connection, "later_options", case="options/timestamps::every_segment_carries_them",
         breaks="RFC7323-TS-3")
def _(connection: Connection, flags: int) -> Iterable[Option]:
    """After the handshake there are no time stamps."""
    return [option for option in Connection.later_options(connection, flags) if option.kind != Kind.TIMESTAMPS]


@_method("echo-forgotten", Connection, "echo", case="options/timestamps::offer_is_answered", breaks="RFC7323-TS-6")
def _(connection: Connection, flags: int) -> int:
    """The echo is always 0."""
    return 0


@_method("stamp-clock-stands", Connection, "stamp",
         case="options/timestamps::clock_of_time_stamps_ticks_between_1_ms_and_1_s",
         breaks=("RFC7323-TS-12", "RFC7323-TS-20"))
def _(connection: Connection) -> int:
    """The clock of time stamps does not move."""
    return connection.ts_offset


@_method("stamp-clock-too-fast", Connection, "stamp",
         case="options/timestamps::clock_of_time_stamps_ticks_between_1_ms_and_1_s",
         breaks=("RFC7323-TS-12", "RFC7323-TS-20"))
def _(connection: Connection) -> int:
    """The clock of time stamps ticks once a microsecond."""
    return seq.add(connection.ts_offset, connection.stack.now_ns // 1000)


# -- old duplicates ---------------------------------------------------------------------------------------------------

_step("no-paws", "Nobody looks whether a time stamp is old.", "ESTABLISHED", "check_timestamps",
      case="options/paws::older_stamp_is_dropped", breaks="RFC7323-PAWS-1")


@_method("paws-refuses-equal", Connection, "check_timestamps", case="options/paws::same_stamp_is_taken",
         breaks=("RFC7323-PAWS-4", "RFC7323-PAWS-1"))
def _(connection: Connection, segment: Segment) -> bool:
    """Data with the same time stamp as the segment before is held for old."""
    stamps = timestamps_of(segment) if connection.stamps else None
    if stamps is not None and segment.payload and stamps[0] == connection.ts_recent:
        connection.ack_due = True
        return True
    return Connection.check_timestamps(connection, segment)


@_method("paws-silent", Connection, "check_timestamps", case="options/paws::older_stamp_is_dropped",
         breaks="RFC7323-PAWS-1")
def _(connection: Connection, segment: Segment) -> bool:
    """An old duplicate is dropped without an acknowledgement."""
    stamps = timestamps_of(segment) if connection.stamps else None
    return stamps is not None and not segment.has(RST) and connection.is_old(stamps[0])


@_method("paws-on-resets", Connection, "check_timestamps", case="options/paws::reset_counts_whatever_its_stamp",
         breaks="RFC7323-PAWS-3")
def _(connection: Connection, segment: Segment) -> bool:
    """A reset with an old time stamp is dropped."""
    stamps = timestamps_of(segment) if connection.stamps else None
    if stamps is not None and segment.has(RST) and connection.is_old(stamps[0]):
        return True
    return Connection.check_timestamps(connection, segment)


@_method("paws-does-not-wrap", Connection, "is_old", case="options/paws::our_stamps_wrap",
         breaks=("RFC7323-PAWS-5", "RFC7323-PAWS-1"))
def _(connection: Connection, stamp: int) -> bool:
    """Time stamps are compared as plain integers."""
    return stamp < connection.ts_recent


@_method("paws-turned-back", Connection, "check_timestamps",
         case="options/paws::old_duplicate_does_not_turn_the_clock_back",
         breaks=("RFC7323-PAWS-1", "RFC7323-PAWS-11", "RFC7323-TS-17"))
def _(connection: Connection, segment: Segment) -> bool:
    """The time stamp of an old duplicate is what the next ones are held against."""
    dropped = Connection.check_timestamps(connection, segment)
    stamps = timestamps_of(segment)
    if dropped and stamps is not None:
        connection.ts_recent = stamps[0]
    return dropped


# -- selective acknowledgement ----------------------------------------------------------------------------------------


@_method("sack-uninvited", Connection, "agree", case="options/sack_permitted::no_blocks_without_an_offer",
         breaks="RFC2018-PERM-2")
def _(connection: Connection, offer: Offer) -> None:
    """Holes are reported in blocks to a peer that has not permitted it."""
    Connection.agree(connection, offer)
    connection.sack = True


@_method("sack-permitted-uninvited", Connection, "agree", case="options/sack_permitted::no_offer_is_not_answered",
         breaks="RFC2018-PERM-1")
def _(connection: Connection, offer: Offer) -> None:
    """SACK-Permitted stands in the SYN,ACK though it was not in the SYN."""
    Connection.agree(connection, offer)
    connection.offers_sack = True


@_method("sack-edge-off-by-one", Connection, "sack_blocks", case="options/sack_permitted::agreed_sack_is_used",
         breaks="RFC2018-PERM-2")
def _(connection: Connection) -> list[tuple[int, int]]:
    """A block ends with its last octet, not behind it."""
    return [(start, seq.add(end, -1)) for start, end in Connection.sack_blocks(connection)]


@_method("sack-permitted-in-every-segment", Connection, "later_options",
         case="options/sack_permitted::third_segment_does_not_repeat_it", breaks="RFC2018-PERM-1")
def _(connection: Connection, flags: int) -> Iterable[Option]:
    """SACK-Permitted is repeated outside the SYN."""
    return [*Connection.later_options(connection, flags), *(options.sack_permitted() if connection.sack else [])]


DEFECTS: Final = tuple(_MISTAKES.found)
