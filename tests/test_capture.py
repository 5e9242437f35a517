# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures: what is written is what scapy and tshark read, to the nanosecond."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader, RawPcapNgReader

from harness.wire.capture import read_capture, write_capture
from harness.wire.codec import encode
from harness.wire.errors import ScriptError
from harness.wire.frame import Frame
from harness.wire.segment import ACK, SYN, Flow, Segment

EPOCH = 1_700_000_000_123_456_789
FLOW = Flow(local=bytes((192, 0, 2, 1)), local_port=40000, target=bytes((192, 0, 2, 2)), target_port=80)
BACK = Flow(local=FLOW.target, local_port=80, target=FLOW.local, target_port=40000)
ETHERNET = bytes.fromhex("020000000002 020000000001 0800")
FRAMES = [
    (Frame(data=ETHERNET + encode(Segment(flags=SYN, seq=100), FLOW), stamp_ns=1, outgoing=True), "step 1: S 0:0(0)"),
    (Frame(data=ETHERNET + encode(Segment(flags=SYN | ACK, seq=900, ack=101), BACK), stamp_ns=1_000_000_001), ""),
    (Frame(data=ETHERNET + encode(Segment(flags=ACK, seq=101, ack=901, payload=b"abc"), FLOW), stamp_ns=2_000_000_000,
           outgoing=True), "third ACK × data"),
]


def write(path: Path, frames: list[tuple[Frame, str]], epoch_ns: int = EPOCH, comment: str = "") -> None:
    write_capture(path, frames, epoch_ns=epoch_ns, interface_name="tcpq0", comment=comment)


def comment_texts(comments: object) -> list[str]:
    found = comments if isinstance(comments, list) else [comments] if comments else []
    return [text.decode() for text in found]


def test_scapy_reads_stamps_directions_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write(path, FRAMES, comment="two words")
    with RawPcapNgReader(str(path)) as reader:
        read = list(reader)
        assert reader.interfaces[0][2]["name"] == b"tcpq0"
    assert [data for data, _ in read] == [frame.data for frame, _ in FRAMES]
    for (_, meta), (frame, text) in zip(read, FRAMES, strict=True):
        assert (meta.linktype, meta.tsresol, meta.wirelen) == (1, 10 ** 9, len(frame.data))
        assert meta.tshigh << 32 | meta.tslow == EPOCH + frame.stamp_ns
        assert meta.direction == (2 if frame.outgoing else 1)
        assert comment_texts(meta.comments) == ([text] if text else [])


def test_scapy_dissects_the_packets(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write(path, FRAMES)
    with PcapNgReader(str(path)) as reader:
        packets = list(reader)
    assert all(isinstance(packet, Ether) for packet in packets)
    assert [str(packet["TCP"].flags) for packet in packets] == ["S", "SA", "A"]
    assert float(packets[0].time) == pytest.approx((EPOCH + 1) / 1e9)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_opens_it_without_complaint(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write(path, FRAMES, comment="two words")
    fields = ["frame.time_relative", "frame.comment", "frame.interface_name", "tcp.seq", "tcp.checksum.status"]
    command = ["tshark", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1] for row in rows] == [text for _, text in FRAMES]
    assert [row[0] for row in rows] == ["0.000000000", "1.000000000", "1.999999999"]
    assert [row[2:] for row in rows] == [["tcpq0", "0", "1"], ["tcpq0", "0", "1"], ["tcpq0", "1", "1"]]
    assert "cut short" not in done.stderr
    assert "damaged" not in done.stderr


frames = st.lists(st.tuples(
    st.builds(Frame, data=st.binary(max_size=70), stamp_ns=st.integers(0, 1 << 61), outgoing=st.booleans(),
              offloaded=st.booleans()),
    st.text(max_size=20)), max_size=5)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captures") / "a.pcapng"


@given(written=frames, epoch_ns=st.integers(0, 1 << 61), comment=st.text(max_size=20))
def test_what_is_written_is_read_back(scratch: Path, written: list[tuple[Frame, str]], epoch_ns: int,
                                      comment: str) -> None:
    write(scratch, written, epoch_ns, comment)
    assert read_capture(scratch, epoch_ns=epoch_ns) == written


def test_stamps_are_absolute_unless_the_epoch_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.pcapng", FRAMES[:1])
    assert read_capture(tmp_path / "a.pcapng")[0][0].stamp_ns == EPOCH + 1


def test_blocks_are_whole_words_and_chained_both_ways(tmp_path: Path) -> None:
    write(tmp_path / "a.pcapng", FRAMES, comment="x")
    octets = (tmp_path / "a.pcapng").read_bytes()
    at, kinds = 0, []
    while at < len(octets):
        kind, size = struct.unpack_from("<II", octets, at)
        assert size % 4 == 0
        assert octets[at + size - 4:at + size] == struct.pack("<I", size)
        kinds.append(kind)
        at += size
    assert kinds == [0x0A0D0D0A, 1, 6, 6, 6]


def test_folders_are_made_and_a_file_replaced(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "a.pcapng"
    write(path, FRAMES)
    write(path, FRAMES[:1])
    assert len(read_capture(path)) == 1


def test_a_stamp_before_1970_is_held_at_it(tmp_path: Path) -> None:
    write(tmp_path / "a.pcapng", [(Frame(data=b"", stamp_ns=-5), "")], epoch_ns=0)
    assert read_capture(tmp_path / "a.pcapng")[0][0].stamp_ns == 0


def test_an_endless_comment_is_cut_at_a_character(tmp_path: Path) -> None:
    write(tmp_path / "a.pcapng", [(Frame(data=b"", stamp_ns=0), "é" * 40000)])
    assert read_capture(tmp_path / "a.pcapng")[0][1] == "é" * 32767


def test_a_comment_that_utf_8_has_not_is_still_written(tmp_path: Path) -> None:
    write(tmp_path / "a.pcapng", [(Frame(data=b"", stamp_ns=0), "a\udc80b")])
    assert read_capture(tmp_path / "a.pcapng")[0][1] == "a?b"


def test_options_that_others_write_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write(path, [])
    options = struct.pack("<HHQ", 4, 8, 0) + struct.pack("<HH4s", 1, 2, b"hi") + bytes(4) + b"junk"
    body = struct.pack("<IIIII", 0, 0, 9, 1, 1) + b"\xaa\0\0\0" + options
    size = struct.pack("<I", len(body) + 12)
    path.write_bytes(path.read_bytes() + struct.pack("<I", 6) + size + body + size)
    assert read_capture(path) == [(Frame(data=b"\xaa", stamp_ns=9), "hi")]


@pytest.mark.parametrize("octets", [b"", b"no capture at all", bytes(40)])
def test_a_file_that_is_no_capture(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "a").write_bytes(octets)
    with pytest.raises(ScriptError, match="a: no capture of ours; allowed: little-endian pcapng"):
        read_capture(tmp_path / "a")


def test_a_capture_cut_anywhere_is_damaged_or_shorter(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write(path, FRAMES[:1])
    octets = path.read_bytes()
    section, = struct.unpack_from("<I", octets, 4)
    interface, = struct.unpack_from("<I", octets, section + 4)
    for end in range(12, len(octets)):
        path.write_bytes(octets[:end])
        if end in (section, section + interface):
            assert read_capture(path) == []
        else:
            with pytest.raises(ScriptError, match="damaged capture"):
                read_capture(path)


@pytest.mark.parametrize("body", [b"", struct.pack("<IIIII", 0, 0, 0, 5, 5) + bytes(4),
                                  struct.pack("<IIIII", 0, 0, 0, 0, 0) + b"\x01\0",
                                  struct.pack("<IIIIIHH4s", 0, 0, 0, 0, 0, 1, 2, b"\xff\xff")])
def test_a_packet_block_that_lies(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.pcapng"
    write(path, [])
    size = struct.pack("<I", len(body) + 12)
    path.write_bytes(path.read_bytes() + struct.pack("<I", 6) + size + body + size)
    with pytest.raises(ScriptError, match="damaged capture"):
        read_capture(path)
