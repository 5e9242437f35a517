# SPDX-License-Identifier: GPL-2.0-or-later
"""The liars: what comes is passed on but for one lie, counted from where the case begins; all else stays true."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest
from scripted import Scripted, ScriptedUpper, theirs, turned

from harness.audit import answers, lies
from harness.audit.answers import NEVER, TOO_EARLY, AnswerLie
from harness.audit.liar import Deed, LyingLink, LyingUpper
from harness.audit.lies import Lie
from harness.lower.application import Application
from harness.targets.base import PHANTOM_MAC, TARGET_MAC, addresses
from harness.wire import ip
from harness.wire.clock import SECOND, Outcome, SteppedClock
from harness.wire.codec import encode
from harness.wire.frame import Frame
from harness.wire.icmp import encode_icmp, icmp_error
from harness.wire.ip import encode_udp
from harness.wire.link import Network
from harness.wire.segment import ACK, SYN, Segment

SEQ = next(lie for lie in lies.HEADER if lie.name == "seq+1")
INVENTION = lies.INVENTIONS[0]


class Wire:
    """A link on which lies what a test puts there; it keeps what it was asked to do."""

    mac, target_mac, mtu = PHANTOM_MAC, TARGET_MAC, 1400

    def __init__(self) -> None:
        self.coming: deque[Frame] = deque()
        self.asked: list[Any] = []

    def send_bytes(self, frame: bytes) -> None:
        self.asked.append(("send", frame))

    def poll(self) -> Frame | None:
        return self.coming.popleft() if self.coming else None

    recv_frame = poll

    def fileno(self) -> int:
        return 17

    def sent(self) -> list[Frame]:
        return [Frame(data=b"sent", stamp_ns=1)]

    def lost(self) -> int:
        return 3

    def burst(self, frames: bytes | bytearray, frame_size: int) -> int:
        self.asked.append(("burst", len(frames), frame_size))
        return 2

    def ignore(self, networks: Collection[Network]) -> None:
        self.asked.append(("ignore", networks))

    def close(self) -> None:
        self.asked.append("close")


class Room:
    """A case, and a liar before a wire of the test's own."""

    def __init__(self) -> None:
        self.world = Scripted()
        self.case = self.world.case()
        self.peer = self.case.peer()
        self.clock: SteppedClock = self.world.clock
        self.wire = Wire()
        self.liar = LyingLink(self.wire, self.clock)

    def begin(self, lie: Lie | AnswerLie | None = None, at: int = 1, shift_ns: int = 0) -> None:
        self.liar.begin(self.case, None if lie is None else Deed(lie=lie, at=at, shift_ns=shift_ns))

    def frame(self, number: int, stamp_ns: int = 0, **fields: Any) -> Frame:
        """The target's segment that acknowledges this number."""
        packet = encode(theirs(self.peer, f". 1:1(0) ack {number}", **fields), turned(self.peer.flow))
        return framed(packet, stamp_ns)

    def come(self, *frames: Frame) -> list[Frame]:
        """What the liar makes of these frames."""
        self.wire.coming.extend(frames)
        return self.rest()

    def rest(self) -> list[Frame]:
        return list(iter(self.liar.poll, None))

    @property
    def notes(self) -> list[str]:
        return [step.text for step in self.case.story.steps if step.mark == "changed"]


def framed(packet: bytes, stamp_ns: int = 0) -> Frame:
    kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    return Frame(data=PHANTOM_MAC + TARGET_MAC + kind + packet, stamp_ns=stamp_ns)


@pytest.fixture
def room() -> Room:
    return Room()


# -- the link ---------------------------------------------------------------------------------------------------------


def test_without_a_lie_all_is_as_it_comes(room):
    room.begin()
    frames = [room.frame(number, stamp_ns=number) for number in range(1, 6)]
    assert room.come(*frames) == frames
    assert room.liar.frames == frames
    assert not room.liar.told
    assert room.notes == []


@pytest.mark.parametrize("at", [1, 2, 3])
def test_one_frame_is_changed_and_no_other(room, at):
    room.begin(SEQ, at)
    frames = [room.frame(number) for number in range(1, 4)]
    wanted = list(frames)
    wanted[at - 1] = replace(frames[at - 1], data=SEQ.tell(frames[at - 1]) or b"")
    assert room.come(*frames) == wanted
    assert wanted != frames
    assert room.liar.frames == frames, "what is kept is the truth"
    assert room.liar.told
    assert room.notes == [f"the lie seq+1@{at} begins here"]


def test_a_lie_about_a_frame_that_never_comes_is_not_told(room):
    room.begin(SEQ, 3)
    frames = [room.frame(1), room.frame(2)]
    assert room.come(*frames) == frames
    assert not room.liar.told


def test_dropped(room):
    room.begin(lies.DROP, 2)
    first, second, third = (room.frame(number) for number in range(1, 4))
    assert room.come(first, second, third) == [first, third]
    assert room.liar.told


def test_twice(room):
    room.begin(lies.TWICE, 2)
    first, second, third = (room.frame(number) for number in range(1, 4))
    assert room.come(first, second, third) == [first, second, second, third]


def test_an_invention_comes_behind(room):
    room.begin(INVENTION, 1)
    first, second = room.frame(1, stamp_ns=5), room.frame(2)
    invented = Frame(data=INVENTION.tell(first) or b"", stamp_ns=5)
    assert room.come(first, second) == [first, invented, second]


def test_late(room):
    """It comes when its time has come, and what came meanwhile before it; in its place whoever waits is woken."""
    room.begin(lies.LATE, 1, shift_ns=SECOND)
    first, second = room.frame(1, stamp_ns=10), room.frame(2, stamp_ns=20)
    assert room.come(first, second) == [replace(first, data=b""), second]
    assert room.liar.held_until() == SECOND + 10
    assert room.clock.wait(SECOND + 9) is None
    assert room.rest() == []
    assert room.clock.wait(SECOND + 10) is None
    assert room.rest() == [replace(first, stamp_ns=SECOND + 10)]
    assert room.rest() == []


def test_early(room):
    room.begin(lies.EARLY, 1, shift_ns=7)
    first, second = room.frame(1, stamp_ns=10), room.frame(2, stamp_ns=20)
    assert room.come(first, second) == [replace(first, stamp_ns=3), second]


def test_swapped_with_the_next(room):
    """Each takes the other's place and time."""
    room.begin(lies.BEHIND, 1)
    first, second, third = (room.frame(number, stamp_ns=10 * number) for number in range(1, 4))
    assert room.come(first) == []
    assert room.come(second, third) == [replace(second, stamp_ns=10), replace(first, stamp_ns=20), third]


def test_what_cannot_be_told_is_left_as_it_is(room):
    octet = next(lie for lie in lies.HEADER if lie.name == "octet-1")
    room.begin(octet, 1)
    frame = room.frame(1)
    assert room.come(frame) == [frame]
    assert not room.liar.told


def others(room: Room) -> dict[str, Frame]:
    """What comes to a case without being its own."""
    ends = addresses("ipv4")
    stranger = encode(Segment(flags=ACK, seq=1, ack=1), replace(turned(room.peer.flow), local_port=9, target_port=10))
    of_before = encode(Segment(flags=SYN, seq=5), replace(room.peer.flow, local_port=9, target_port=10))
    solicitation = encode_icmp(source=addresses("ipv6").target, destination=addresses("ipv6").local, type=133, code=0)
    return {"a stray": framed(stranger), "an error about a stray": framed(icmp_error(of_before, type=3, code=3)),
            "a router solicitation": framed(solicitation),
            "address resolution": Frame(data=ends.target * 3 + b"\x08\x06" + bytes(28), stamp_ns=1)}


@pytest.mark.parametrize("name", ["a stray", "an error about a stray", "a router solicitation", "address resolution"])
def test_what_is_not_the_cases_own_is_neither_counted_nor_changed(room, name):
    other = others(room)[name]
    room.begin(SEQ, 1)
    frame = room.frame(1)
    assert room.come(other, frame) == [other, replace(frame, data=SEQ.tell(frame) or b"")]
    assert room.liar.frames == [frame]


def own(room: Room) -> dict[str, Frame]:
    ends = addresses("ipv4")
    ours = encode(Segment(flags=SYN, seq=5), room.peer.flow)
    piece = bytearray(encode_udp(source=ends.target, destination=ends.local, source_port=1, destination_port=2,
                                 payload=bytes(16)))
    piece[6:8] = b"\x20\x00"
    return {"an error about ours": framed(icmp_error(ours, type=3, code=3)),
            "an answer to an echo": framed(encode_icmp(source=ends.target, destination=ends.local, type=0, code=0)),
            "a datagram": framed(encode_udp(source=ends.target, destination=ends.local, source_port=1,
                                            destination_port=2)),
            "a fragment": framed(bytes(piece))}


@pytest.mark.parametrize("name", ["an error about ours", "an answer to an echo", "a datagram", "a fragment"])
def test_whatever_else_the_case_may_have_to_look_at_is_its_own(room, name):
    frame = own(room)[name]
    assert ip.dissect(frame.data[14:]) is not None
    room.begin(lies.DROP, 1)
    assert room.come(frame) == []
    assert room.liar.frames == [frame]


def test_before_a_case_and_behind_it_nothing_is_counted_or_changed(room):
    frames = [room.frame(number) for number in range(1, 4)]
    assert room.come(*frames) == frames
    room.begin(SEQ, 1)
    room.liar.end()
    assert room.come(*frames) == frames
    assert not room.liar.told


def test_nothing_of_one_case_comes_in_the_next(room):
    room.begin(lies.LATE, 1, shift_ns=5)
    assert [frame.data for frame in room.come(room.frame(1))] == [b""], "nobody's, so that whoever waits waits anew"
    room.liar.end()
    room.begin(lies.BEHIND, 1)
    assert room.come(room.frame(2)) == []
    room.liar.end()
    room.begin()
    assert room.clock.wait(SECOND) is None
    frame = room.frame(3)
    assert room.come(frame) == [frame]
    assert room.liar.frames == [frame], "counted anew"


def test_a_lie_of_the_upper_tester_is_none_of_the_links(room):
    lie = answers.LIES["send"][0]
    room.begin(lie, 1)
    frame = room.frame(1)
    assert room.come(frame) == [frame]
    assert not room.liar.told


def test_the_rest_is_the_links(room):
    liar = room.liar
    assert (liar.mac, liar.target_mac, liar.mtu) == (PHANTOM_MAC, TARGET_MAC, 1400)
    liar.send_bytes(b"frame")
    liar.ignore(())
    assert liar.burst(bytes(8), 4) == 2
    assert liar.fileno() == 17
    assert liar.lost() == 3
    assert [frame.data for frame in liar.sent()] == [b"sent"]
    liar.close()
    assert room.wire.asked == [("send", b"frame"), ("ignore", ()), ("burst", 8, 4), "close"]


@pytest.mark.parametrize(("lie", "at", "name"), [(SEQ, 3, "seq+1@3"), (TOO_EARLY, 2, "too-early@a2")])
def test_a_deed_has_the_name_that_the_command_line_takes(lie, at, name):
    assert Deed(lie=lie, at=at).name == name


# -- the upper tester -------------------------------------------------------------------------------------------------


class Office:
    """A case whose upper tester lies."""

    def __init__(self) -> None:
        self.world = Scripted()
        self.truth: ScriptedUpper = self.world.script_upper()
        self.liar = LyingUpper(self.truth)
        self.world.upper = self.liar
        self.case = self.world.case()
        self.peer = self.case.peer()
        self.application = Application(self.case)

    def begin(self, lie: AnswerLie | None = None, at: int = 1) -> None:
        self.liar.begin(self.case, None if lie is None else Deed(lie=lie, at=at))

    @property
    def notes(self) -> list[str]:
        return [step.text for step in self.case.story.steps if step.mark == "changed"]

    def outcome(self, call: Any, within_s: float = 1.0) -> Outcome | None:
        self.case.start(call)
        return self.case.outcome(call, self.case.deadline(within_s))


@pytest.fixture
def office() -> Office:
    return Office()


def named(method: str, name: str) -> AnswerLie:
    return next(lie for lie in answers.LIES[method] if lie.name == name)


def question(upper: LyingUpper, method: str, office: Office) -> Any:
    """Ask what is answered at once."""
    asked: dict[str, tuple[Any, ...]] = {
        "send": ("socket", b"data"), "shutdown": ("socket", "write"), "abort": ("socket",),
        "set_option": ("socket", "SO_KEEPALIVE", 1), "pending_error": ("socket",), "state": (office.peer.flow,),
        "listening": (b"", 1), "half_open": (1,)}
    return getattr(upper, method)(*asked[method])


AT_ONCE = ("send", "shutdown", "abort", "set_option", "pending_error", "state", "listening", "half_open")
ASKED = [(method, lie) for method in AT_ONCE for lie in answers.LIES[method]]


def prepare(office: Office, lie: AnswerLie, method: str) -> Any:
    """Have the truth be something that this lie can change; returns it."""
    error = "ECONNREFUSED" if lie.name in ("errno", "success") else ""
    office.truth.error = error
    office.truth.states = ["ESTABLISHED"]
    for _ in range(3):
        office.truth.will("setsockopt" if method == "set_option" else method, 4, error)
    return question(LyingUpper(office.truth), method, office)


@pytest.mark.parametrize(("method", "lie"), ASKED, ids=lambda value: getattr(value, "name", value))
def test_an_answer_is_changed_once_and_the_truth_is_kept(office, method, lie):
    true = prepare(office, lie, method)
    office.begin(lie, 2)
    assert question(office.liar, method, office) == true
    assert question(office.liar, method, office) == lie.change(true) != true
    assert office.liar.told
    assert office.notes == [f"the lie {lie.name}@a2 begins here"]
    assert [answer.answer for answer in office.liar.answers] == [true, true]
    assert [(answer.at, answer.method) for answer in office.liar.answers] == [(1, method), (2, method)]


def test_a_lie_about_a_state_lasts_as_long_as_the_state(office):
    office.truth.states = ["ESTABLISHED", "ESTABLISHED", "FIN-WAIT-1", "ESTABLISHED"]
    lie = named("state", "state=closed")
    office.begin(lie)
    flow = office.peer.flow
    assert [office.liar.state(flow) for _ in range(4)] == ["CLOSED", "CLOSED", "FIN-WAIT-1", "CLOSED"]


def test_a_lie_about_the_state_of_one_connection_is_none_about_another(office):
    office.truth.states = ["ESTABLISHED"]
    office.begin(named("state", "state=closed"))
    other = office.case.peer().flow
    assert [office.liar.state(flow) for flow in (office.peer.flow, other, office.peer.flow)] == [
        "CLOSED", "ESTABLISHED", "CLOSED"]


def test_what_does_not_last_is_told_once(office):
    office.begin(named("half_open", "count+1"))
    assert [office.liar.half_open(1) for _ in range(3)] == [4, 3, 3]


def call_of(office: Office, method: str) -> Any:
    if method == "connect":
        return office.liar.connect(office.peer.flow, options={})[1]
    return {"accept": lambda: office.liar.accept("listener"), "recv": lambda: office.liar.recv("socket", 9),
            "close": lambda: office.liar.close("socket")}[method]()


BEGUN = [(method, lie) for method in ("connect", "accept", "recv", "close") for lie in answers.LIES[method]]


@pytest.mark.parametrize(("method", "lie"), BEGUN, ids=lambda value: getattr(value, "name", value))
def test_the_outcome_of_a_call_is_changed(office, method, lie):
    error = "ECONNREFUSED" if lie.name in ("errno", "success") else ""
    value = (b"" if lie.name == "end-missing" else b"octets") if method == "recv" else None
    office.begin(lie, 2)
    for _ in range(2):
        office.truth.will(method, value, error)
    true = Outcome(call=method, value=value, error=error)
    first, second = call_of(office, method), call_of(office, method)
    got = office.outcome(first)
    assert got is not None
    assert (got.call, got.value, got.error) == (first, value, error)
    got = office.outcome(second)
    told = lie.change(true)
    if told is NEVER:
        assert got is None
    else:
        assert got is not None
        assert (got.call, got.value, got.error) == (second, told.value, told.error)
        assert (told.value, told.error) != (value, error)
    assert office.liar.told
    assert office.notes == [f"the lie {lie.name}@a2 begins here"]
    assert [answer.answer for answer in office.liar.answers] == [true, true]


def test_a_call_that_waits_is_known_as_such(office):
    office.begin()
    office.truth.will("recv", b"octets", after_s=0.5)
    office.truth.will("recv", b"octets")
    for _ in range(2):
        assert office.outcome(office.liar.recv("socket", 9)) is not None
    assert [answer.waited for answer in office.liar.answers] == [True, False]


@pytest.mark.parametrize("method", ["connect", "recv", "close"])
def test_a_call_that_returns_too_early(office, method):
    """At once, and never again with the truth."""
    began = office.world.clock.now()
    office.begin(TOO_EARLY)
    office.truth.will(method, error="ETIMEDOUT", after_s=5.0)
    call = call_of(office, method)
    outcome = office.outcome(call)
    assert outcome is not None
    assert (outcome.call, outcome.error) == (call, "")
    assert office.world.clock.now() == began
    assert office.notes == ["the lie too-early@a1 begins here"]
    office.case.pause(10)
    assert office.case.injector.outcomes == {call: outcome}


def test_a_call_can_be_taken_back_before_it_ends(office):
    """The clock knows it by the liar's name for it."""
    office.begin()
    office.truth.will("recv", b"octets", after_s=0.5)
    pending = office.application.connect(office.peer)[0].receive()
    pending.expect_open()
    pending.withdraw()
    office.case.pause(2)
    assert office.case.injector.outcomes == {}


def test_an_answer_that_never_comes_is_not_asked_for_again_and_again(office):
    """A descriptor at the end of a stream stays ready: in a guest that would stand for all the time there is."""
    looked = []

    class Ended:
        name = "recv"

        def fileno(self) -> int:
            return -1

        def poll(self) -> Outcome:
            looked.append(office.world.clock.now())
            return Outcome(call=self, value=b"")

    office.truth.recv = lambda handle, size: Ended()
    office.begin(named("recv", "end-missing"))
    call = office.liar.recv("socket", 9)
    assert office.outcome(call) is None
    office.case.pause(5)
    assert len(looked) == 1
    assert len(office.notes) == 1


def test_before_a_case_and_behind_it_the_truth_is_told_and_not_counted(office):
    office.truth.states = ["ESTABLISHED"]
    flow = office.peer.flow
    assert office.liar.state(flow) == "ESTABLISHED"
    assert office.liar.answers == []
    office.begin(named("state", "state=closed"))
    office.liar.end()
    assert office.liar.state(flow) == "ESTABLISHED"
    assert office.liar.answers == []


def test_the_next_case_is_counted_from_its_beginning(office):
    office.truth.states = ["ESTABLISHED"]
    flow = office.peer.flow
    office.begin(named("state", "state=closed"))
    assert office.liar.state(flow) == "CLOSED"
    office.liar.end()
    office.begin()
    assert office.liar.state(flow) == "ESTABLISHED", "what lasted has ended"
    assert [answer.at for answer in office.liar.answers] == [1]
    assert not office.liar.told


def test_a_lie_of_the_wire_is_none_of_the_upper_testers(office):
    office.begin()
    office.liar.begin(office.case, Deed(lie=SEQ, at=1))
    assert office.liar.listening(b"", 1) is True
    assert not office.liar.told


def test_a_listener_and_what_helps_a_case_are_passed_on(office):
    office.begin()
    assert office.liar.listen(b"", 5, backlog=3, options={"SO_KEEPALIVE": 1}) == "listener"
    assert office.truth.asked[-1] == ("listen", (5, 3, {"SO_KEEPALIVE": 1}))
    assert office.liar.information("socket") == {"send_mss": 1460}
    assert office.liar.close("socket", linger_s=4).name == "close"
    assert office.truth.asked[-1] == ("close", 4)
    assert [answer.method for answer in office.liar.answers] == ["close"]
