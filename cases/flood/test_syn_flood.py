# SPDX-License-Identifier: GPL-2.0-or-later
"""B-10: forged SYNs fill a listener's backlog; what becomes of it and of legal clients (RFC 4987).

The flood comes from addresses that never answer, bounded in count and time. Which way out the target has (cookies,
eviction, refusal) and how long an entry lives are the profile's values.
"""

from __future__ import annotations

from itertools import accumulate

import pytest

from harness.authoring import ACK, RST, Kind, Segment, covers, established, flood, free, needs, seconds_between, seq
from harness.lower.flood import Flood
from harness.targets.schedule import over_s, synack_gaps_s

pytestmark = flood

BACKLOG = 64
FORGED = 5000
FULL = "<mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 7>"
FULL_ANSWER = "<mss *,sackOK?,TS val * ecr 1000?,wscale *?>"
"""What it draws from a flooded listener: a cookie keeps as much of it as it has room for."""
cookie_in_the_stamp = free("tsval-1", why="RFC 7323, 5.4 leaves the stamps' clock open, and a cookie hides its value")


def flooded(case, upper):
    """A listener whose backlog is full of forged SYNs, and the flood, which can go on."""
    listener = upper.listen(backlog=BACKLOG)
    storm = Flood(case, listener.port)
    storm.send(FORGED)
    return listener, storm


def admits_under_attack(profile):
    """True if a legal client connects though the backlog is full."""
    return profile.feature("syn_cookies") or profile.feature("half_open_eviction")


def refuses(profile):
    """True if a SYN that finds no room may be reset instead of dropped."""
    return profile.states("accept_backlog_overflow") and profile.policy("accept_backlog_overflow") == "reset"


def room_of(profile):
    """How many half-open connections the listener has room for."""
    extra = profile.limit("accept_backlog_extra") if profile.states("accept_backlog_extra") else 0
    most = BACKLOG + extra
    return min(most, profile.limit("syn_backlog")) if profile.states("syn_backlog") else most


def expect_half_open(case, listener, least, most, *, began=None, life_s=0.0):
    """The target counts that many half-open connections; returns how many.

    Some began at an instant, and live that long at least. A busy machine may let us ask so late that they have ended
    rightly.
    """
    count = listener.half_open
    case.note(f"half-open: {count}")
    if began is not None and seconds_between(began, case.moment()) >= life_s:
        least = 0
    if not (least <= count and count <= most):
        raise case.mismatch(expected=f"{least} to {most} half-open connections", got=f"{count}")
    return count


def expect_service(peer, listener):
    """A handshake, and data both ways."""
    peer.send("S 0:0(0) win 65535 <mss 1460>")
    peer.expect("S. 0:0(0) ack 1 <mss *>")
    peer.send(". 1:1(0) ack 1")
    connection = listener.accept(peer)
    exchange(peer, connection)


def exchange(peer, connection, allow=()):
    """Ten octets each way on a fresh connection."""
    peer.send("P. 1:11(10) ack 1")
    peer.expect(". 1:1(0) ack 11", allow=allow)
    connection.expect_data(10)
    connection.send(10)
    peer.expect("P. 1:11(10) ack 11")
    peer.send(". 11:11(0) ack 11")


# -- who gets in ------------------------------------------------------------------------------------------------------


@covers("SA-LISTEN-01", "RFC4987-FLOOD", behaviour="B-10")
def test_legal_client_meets_what_the_profile_says(case, upper, profile):
    """With cookies or eviction a client that completes its handshake is served though the backlog is full.

    With neither, its SYN is dropped or reset, as the profile says, and connects when it comes again once the forged
    entries are given up.
    """
    listener, _ = flooded(case, upper)
    client = case.peer(target_port=listener.port)
    if not admits_under_attack(profile):
        client.send("S 0:0(0) win 65535 <mss 1460>")
        client.expect_silence(allow=["R. 0:0(0) ack 1"] if refuses(profile) else [])
        case.pause(life_of_an_entry(profile)[1])
    expect_service(client, listener)


@covers("SA-LISTEN-01", "RFC4987-FLOOD", behaviour="B-10")
def test_legal_client_connects_while_the_flood_goes_on(case, upper, profile):
    """The same with more forged SYNs between any two segments of the client."""
    if not admits_under_attack(profile):
        pytest.skip("not applicable: the profile has neither syn_cookies nor half_open_eviction")
    listener, storm = flooded(case, upper)
    client = case.peer(target_port=listener.port)
    client.send("S 0:0(0) win 65535 <mss 1460>")
    storm.send(FORGED)
    client.expect("S. 0:0(0) ack 1 <mss *>")
    storm.send(FORGED)
    client.send(". 1:1(0) ack 1")
    storm.send(FORGED)
    exchange(client, listener.accept(client))


@covers("SA-LISTEN-01", behaviour="B-10")
def test_other_listeners_are_not_affected(case, upper):
    """While one port is flooded another one serves with all options."""
    flooded(case, upper)
    listener = upper.listen()
    expect_service(case.peer(target_port=listener.port), listener)


@covers("SA-ESTAB-17", behaviour="B-10")
def test_established_connection_is_not_affected(case, upper):
    """A connection that the flooded listener accepted before goes on with data both ways."""
    listener = upper.listen(backlog=BACKLOG)
    client = case.peer(target_port=listener.port)
    connection = established(client, listener)
    Flood(case, listener.port).send(FORGED)
    exchange(client, connection)
    client.expect_state("ESTABLISHED")


@covers("SA-SYNRCVD-01", behaviour="B-10")
@needs("syn_cookies")
def test_half_open_connection_from_before_is_completed(case, upper):
    """A client that had its SYN,ACK before the flood still gets in with its third segment.

    A target that takes a second for the flood says its SYN,ACK again meanwhile.
    """
    listener = upper.listen(backlog=BACKLOG)
    client = case.peer(target_port=listener.port)
    client.send("S 0:0(0) win 65535 <mss 1460>")
    client.expect("S. 0:0(0) ack 1 <mss *>")
    client.expect_silence()  # what is allowed below comes later than at once
    Flood(case, listener.port).send(FORGED)
    client.send(". 1:1(0) ack 1")
    exchange(client, listener.accept(client), allow=["S. 0:0(0) ack 1 <mss *>"])


# -- what it costs ----------------------------------------------------------------------------------------------------


@covers("SA-LISTEN-01", "RFC4987-FLOOD", behaviour="B-10")
def test_half_open_count_and_memory_are_bounded(case, upper, profile):
    """The backlog is full at its limit, and stays just as full under ten times as many SYNs."""
    began = case.moment()
    listener, storm = flooded(case, upper)
    full = expect_half_open(case, listener, 1, room_of(profile))
    storm.send(10 * FORGED)
    lives = {"began": began, "life_s": life_of_an_entry(profile)[0]}
    expect_half_open(case, listener, full, full, **lives)
    if admits_under_attack(profile):
        expect_service(case.peer(target_port=listener.port), listener)
        expect_half_open(case, listener, full if profile.feature("syn_cookies") else 1, full, **lives)
    case.sentinel()
    listener.expect_listening()
    other = upper.listen()
    expect_service(case.peer(target_port=other.port), other)


def life_of_an_entry(profile):
    """Within how many seconds a half-open connection is given up under attack: the earliest, and the latest.

    Each wait after a SYN,ACK of that time is a timer of its own, and late on its own; so is what is left besides. A
    target that states no such time has none: its entries live as long as in peace.
    """
    gaps = synack_gaps_s(profile)
    life_s = profile.timer("syn_attack_timeout_s") if profile.states("syn_attack_timeout_s") else sum(gaps)
    waits = [gap for gap, end_s in zip(gaps, accumulate(gaps), strict=True) if end_s <= life_s]
    return life_s, over_s(profile, *waits, life_s - sum(waits))


@free("count-1", why="RFC 4987, 3.3 shortens the life of entries, and does not say how many of them go at once")
@covers("SA-LISTEN-01", "RFC4987-TIMER", behaviour="B-10")
@needs("syn_attack_protection")
def test_target_recovers(case, upper, profile):
    """After the flood entries live for the profile's time under attack until half are gone, then as long as in peace.

    When all are gone the listener is as it was: a client gets what it got before the flood, and a cookie cannot hold.
    """
    earliest_s, latest_s = life_of_an_entry(profile)
    began = case.moment()
    listener, _ = flooded(case, upper)
    full = expect_half_open(case, listener, 1, room_of(profile))
    case.pause(0.9 * earliest_s)
    expect_half_open(case, listener, full, full, began=began, life_s=earliest_s)
    case.pause(latest_s - 0.9 * earliest_s)
    expect_half_open(case, listener, 0, room_of(profile) // 2)
    in_peace_s = over_s(profile, *synack_gaps_s(profile))
    case.pause(max(0.0, in_peace_s - seconds_between(began, case.moment())))
    expect_half_open(case, listener, 0, 0)
    client = case.peer(target_port=listener.port)
    client.send("S 0:0(0) win 65535 <mss 1460,sackOK,nop,wscale 7>")
    options = (("sack", "sackOK"), ("window_scaling", "wscale *"))
    granted = [name for feature, name in options if profile.feature(feature)]
    client.expect(f"S. 0:0(0) ack 1 <{','.join(('mss *', *granted))}>")
    client.expect_state("SYN-RECEIVED")
    client.send(". 1:1(0) ack 1 win 1000")
    exchange(client, listener.accept(client))


@covers("SA-LISTEN-01", "RFC4987-FLOOD", behaviour="B-10")
def test_reset_entries_make_room_at_once(case, upper, profile):
    """Half-open connections of ours that fill the backlog and are reset leave it empty."""
    listener = upper.listen(backlog=8)
    peers = [case.peer(target_port=listener.port) for _ in range(8)]
    for peer in peers:
        peer.send("S 0:0(0) win 65535 <mss 1460>")
        peer.expect("S. 0:0(0) ack 1 <mss *>")
    expect_half_open(case, listener, 8, 8)
    for peer in peers:
        peer.send("R 1:1(0)")
    case.sentinel()
    expect_half_open(case, listener, 0, 0)
    expect_service(case.peer(target_port=listener.port), listener)


# -- cookies ----------------------------------------------------------------------------------------------------------


def asked(case, upper, offer="<mss 1460>", answer="<mss *>"):
    """A client whose SYN the flooded listener has answered, without an entry for it.

    No probe can tell: what it draws, the cookie draws. Where no state is told, the count of entries has to say so.
    """
    listener, _ = flooded(case, upper)
    before = listener.half_open
    client = case.peer(target_port=listener.port)
    client.send(f"S 0:0(0) win 65535 {offer}")
    synack = client.expect(f"S. 0:0(0) ack 1 {answer}")
    if case.upper.state(client.flow):
        client.expect_state("CLOSED")
    expect_half_open(case, listener, before, before)
    return listener, client, synack


def expect_octets(case, client, *, rule=None):
    """Data is next, however the target cuts it; returns how many octets came."""
    data = client.expect(Segment(flags=ACK, seq=client.receive_next, ack=client.send_next), rule=rule)
    if not data.payload:
        raise case.mismatch(expected="data", got="an empty ACK", rule=rule, fields=("length",))
    return len(data.payload)


@covers("SA-SYNRCVD-01", "RFC4987-COOKIE-1", behaviour="B-10")
@needs("syn_cookies")
def test_cookie_alone_makes_the_connection(case, upper):
    """The target has no entry for the client; its third segment alone, with the cookie, is enough."""
    listener, client, _ = asked(case, upper)
    client.send(". 1:1(0) ack 1")
    connection = listener.accept(client)
    client.expect_state("ESTABLISHED")
    exchange(client, connection)


@covers("SA-SYNRCVD-16", "RFC4987-COOKIE-1", behaviour="B-10")
@needs("syn_cookies")
def test_cookie_comes_with_data_too(case, upper):
    """If the third segment is lost, the data behind it makes the connection, and is delivered."""
    listener, client, _ = asked(case, upper)
    client.send("P. 1:11(10) ack 1")
    client.expect(". 1:1(0) ack 11")
    listener.accept(client).expect_data(10)


@covers("SA-LISTEN-07", "RFC4987-COOKIE-1", "RFC9293-U-RST-NONSYNC", behaviour="B-10")
@needs("syn_cookies")
@pytest.mark.parametrize("off", [-2**31, -2**24, -100, 100, 2**24], ids=lambda off: f"{off:+d}")
def test_wrong_cookie_makes_none(case, upper, off):
    """An acknowledgement beside the cookie is reset like any other to a listener, and nobody is connected.

    Not the very next numbers: a cookie whose low digits code the MSS has neighbours that are good as well.
    """
    listener, client, _ = asked(case, upper)
    wrong = Segment(flags=ACK, ack=seq.add(client.receive_next, off))
    client.send(wrong)
    client.expect(Segment(flags=RST, seq=wrong.ack, options=(), payload=b""))
    listener.expect_none()
    client.send(". 1:1(0) ack 1")
    exchange(client, listener.accept(client))


@covers("SA-LISTEN-07", "RFC4987-COOKIE-1", "RFC9293-U-RST-NONSYNC", behaviour="B-10")
@needs("syn_cookies")
def test_cookie_is_bound_to_its_four_tuple(case, upper):
    """The cookie of one client is worth nothing from another port."""
    listener, client, synack = asked(case, upper)
    thief = case.peer(target_port=listener.port)
    thief.iss, thief.irs = client.iss, synack.seq
    thief.send(". 1:1(0) ack 1")
    thief.expect_gone("R 1:1(0)", form="RFC9293-U-RST-NONSYNC")
    listener.expect_none()


@covers("RFC9293-MUST-16", "RFC9293-MUST-60", "RFC4987-COOKIE-3", behaviour="B-10")
@needs("syn_cookies")
@pytest.mark.parametrize("mss", [536, 700, 1300, 1460])
def test_cookie_keeps_the_mss(case, upper, mss):
    """What is sent on a connection made from a cookie is still at most the client's MSS."""
    listener, client, _ = asked(case, upper, f"<mss {mss}>")
    client.send(". 1:1(0) ack 1")
    connection = listener.accept(client)
    left, longest = connection.send(3000), 0
    while left:
        octets = expect_octets(case, client, rule="RFC9293-MUST-60")
        client.send(Segment(flags=ACK))
        left, longest = left - octets, max(longest, octets)
    if longest > mss:
        case.advise(expected=f"at most {mss} octets", got=f"{longest} octets", rule="RFC9293-MUST-16")
    client.expect_silence(rule="RFC9293-MUST-60")


@free("ws-removed", why="RFC 4987, 3.6 has a cookie keep what it has room for; the scale is the next case's")
@cookie_in_the_stamp
@covers("RFC2018-PERM-2", "RFC4987-COOKIE-3", behaviour="B-10")
@needs("syn_cookies", "sack")
@pytest.mark.parametrize(("offer", "answer"), [("<mss 1460,sackOK>", "<mss *,sackOK?>"), (FULL, FULL_ANSWER)],
                         ids=["alone", "with time stamps"])
def test_sack_is_used_only_if_the_cookie_kept_it(case, upper, offer, answer):
    """A hole is reported in blocks if the SYN,ACK permitted SACK, and without if it did not."""
    listener, client, synack = asked(case, upper, offer, answer)
    stamps = [option for option in synack.options if option.kind == Kind.TIMESTAMPS]
    echo = f"<nop,nop,TS val 1001 ecr {stamps[0].value >> 32}>" if stamps else ""
    shown = ["TS val * ecr *"] * bool(stamps) + ["sack 101:111"] * (synack.option(Kind.SACK_PERMITTED) is not None)
    client.send(f". 1:1(0) ack 1 {echo}")
    listener.accept(client)
    client.send(f"P. 101:111(10) ack 1 {echo}")
    client.expect(f". 1:1(0) ack 1 <{','.join(shown)}>")
    client.expect_silence()


@free("sackok-removed", why="RFC 4987, 3.6 has a cookie keep what it has room for; SACK is the last case's")
@cookie_in_the_stamp
@covers("RFC7323-WS-3", "RFC7323-WS-8", "RFC4987-COOKIE-3", behaviour="B-10")
@needs("syn_cookies", "window_scaling")
@pytest.mark.parametrize(("offer", "answer"), [
    ("<mss 1440,nop,wscale 1>", "<mss *,wscale *?>"),
    ("<mss 1440,sackOK,TS val 1000 ecr 0,nop,wscale 1>", FULL_ANSWER)], ids=["alone", "with time stamps"])
def test_scale_is_used_only_if_the_cookie_kept_it(case, upper, offer, answer):
    """Our window field counts two octets if the SYN,ACK had a scale, and one if it had none."""
    listener, client, synack = asked(case, upper, offer, answer)
    stamps = [option for option in synack.options if option.kind == Kind.TIMESTAMPS]
    echo = f"<nop,nop,TS val 1001 ecr {stamps[0].value >> 32}>" if stamps else ""
    scaled = synack.option(Kind.WINDOW_SCALE) is not None
    window = 2 * (1440 - (12 if stamps else 0))
    client.send(f". 1:1(0) ack 1 win {window} {echo}")
    connection = listener.accept(client)
    connection.send(9000)
    left = window << scaled
    while left > 0:
        left -= expect_octets(case, client)
    client.expect_silence()
