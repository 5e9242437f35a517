# SPDX-License-Identifier: GPL-2.0-or-later
"""The names that a profile may use, and the well-known settings each of them is called elsewhere.

A timer, limit or feature is named by what it is; its unit is the end of its name. The settings of Windows' registry
and of Linux's sysctls stand beside it, with the unit that they have there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

FEATURES: Final = "features"
TIMERS: Final = "timers"
LIMITS: Final = "limits"
POLICIES: Final = "policies"
TABLES: Final = (FEATURES, TIMERS, LIMITS, POLICIES)
ENDLESS: Final = float("inf")
"""The value of what a stack never stops doing."""


@dataclass(frozen=True, slots=True)
class Term:
    """One name of one of the profile's tables.

    `settings` are other names of the same thing, each with how many of its units make one of ours (1000 where ours are
    seconds and its are milliseconds). `allowed` are a policy's words. What may be `endless` can be stated as `inf`: the
    stack never stops.
    """

    table: str
    name: str
    meaning: str
    settings: tuple[tuple[str, float], ...] = ()
    allowed: tuple[str, ...] = ()
    endless: bool = False


def _same(*names: str) -> tuple[tuple[str, float], ...]:
    return tuple((name, 1) for name in names)


TERMS: Final = (
    Term(FEATURES, "ipv4", "speaks TCP over IPv4"),
    Term(FEATURES, "ipv6", "speaks TCP over IPv6"),
    Term(FEATURES, "active_open", "can open connections"),
    Term(FEATURES, "passive_open", "can accept connections"),
    Term(FEATURES, "simultaneous_open", "a SYN that meets its own SYN opens one connection (RFC 9293, 3.5)"),
    Term(FEATURES, "half_close", "the application can close one direction alone (RFC 9293, 3.6)"),
    Term(FEATURES, "abort", "the application can reset a connection (RFC 9293, 3.9.1.5)"),
    Term(FEATURES, "linger", "close can wait until everything is acknowledged (SO_LINGER)"),
    Term(FEATURES, "state_report", "tells the state of a connection when asked"),
    Term(FEATURES, "urgent", "sends and takes urgent data (RFC 6093)"),
    Term(FEATURES, "sack", "selective acknowledgement (RFC 2018)", _same("tcp_sack", "SackOpts")),
    Term(FEATURES, "timestamps", "the time stamp option (RFC 7323)", _same("tcp_timestamps")),
    Term(FEATURES, "window_scaling", "the window scale option (RFC 7323)", _same("tcp_window_scaling")),
    Term(FEATURES, "ecn", "takes part in ECN if the peer asks (RFC 3168)"),
    Term(FEATURES, "tail_loss_probe", "probes for a lost tail before the retransmission timer (RFC 8985)"),
    Term(FEATURES, "keepalive", "sends keepalive probes if the application asks (RFC 9293, 3.8.4)"),
    Term(FEATURES, "keepalive_settings", "the application can set idle time, interval and count of its keepalive"),
    Term(FEATURES, "keepalive_reset", "resets the connection that keepalive gives up"),
    Term(FEATURES, "user_timeout", "the application can set how long data may stay unacknowledged"),
    Term(FEATURES, "syn_cookies", "answers SYNs without a half-open entry once there is no room",
         _same("tcp_syncookies")),
    Term(FEATURES, "half_open_eviction", "a new SYN takes the place of the oldest half-open connection"),
    Term(FEATURES, "syn_attack_protection", "sheds half-open connections sooner under a SYN flood",
         _same("SynAttackProtect")),
    Term(FEATURES, "rfc5961_challenge_acks", "doubtful SYNs and resets draw a challenge ACK (RFC 5961)"),
    Term(FEATURES, "rfc1337", "resets do not end TIME-WAIT (RFC 1337)", _same("tcp_rfc1337")),
    Term(FEATURES, "time_wait_reopen", "a newer SYN opens a connection out of TIME-WAIT (RFC 6191)"),
    Term(FEATURES, "icmp_errors", "tells TCP of ICMP errors"),
    Term(FEATURES, "icmp_soft_errors", "hard ICMP errors do not end a synchronised connection (RFC 5927)"),
    Term(FEATURES, "path_mtu_discovery", "lowers the segment size when ICMP says so (RFC 1191, RFC 8201)"),
    Term(FEATURES, "ip_reassembly", "puts fragments together (RFC 791, RFC 8200)"),
    Term(FEATURES, "udp", "has UDP, and says by ICMP that a port is closed"),

    Term(TIMERS, "initial_rto_s", "retransmission time-out before there is a sample", (("TcpInitialRTT", 1000),)),
    Term(TIMERS, "rto_min_s", "least retransmission time-out", (("tcp_rto_min_us", 1e6),)),
    Term(TIMERS, "rto_max_s", "greatest retransmission time-out", (("tcp_rto_max_ms", 1000),)),
    Term(TIMERS, "probe_timeout_min_s", "the soonest after a segment that its repetition or a tail loss probe comes"),
    Term(TIMERS, "window_probe_max_s", "greatest time between probes of a closed window, where it is not rto_max_s"),
    Term(TIMERS, "delayed_ack_max_s", "how long an acknowledgement may be held back", (("TcpDelAckTicks", 10),)),
    Term(TIMERS, "keepalive_time_s", "idle time before the first keepalive probe",
         (("KeepAliveTime", 1000), ("tcp_keepalive_time", 1), ("TCP_KEEPIDLE", 1))),
    Term(TIMERS, "keepalive_interval_s", "time between unanswered keepalive probes",
         (("KeepAliveInterval", 1000), ("tcp_keepalive_intvl", 1), ("TCP_KEEPINTVL", 1))),
    Term(TIMERS, "fin_wait_2_s", "how long a closed socket waits for the peer's FIN",
         _same("tcp_fin_timeout", "TcpFinWait2Delay"), endless=True),
    Term(TIMERS, "time_wait_s", "how long TIME-WAIT lasts", _same("TcpTimedWaitDelay")),
    Term(TIMERS, "challenge_ack_interval_s", "least time between two challenge ACKs of a connection",
         (("tcp_invalid_ratelimit", 1000),)),
    Term(TIMERS, "syn_sent_s", "the longest stay in SYN-SENT, whatever syn_retries would take"),
    Term(TIMERS, "half_open_s", "the longest stay in SYN-RECEIVED, whatever synack_retries would take"),
    Term(TIMERS, "syn_attack_timeout_s", "life of a half-open connection under a SYN flood, if not as in peace"),
    Term(TIMERS, "reassembly_ipv4_s", "how long an IPv4 datagram's fragments wait for the rest",
         _same("ipfrag_time")),
    Term(TIMERS, "reassembly_ipv6_s", "how long an IPv6 packet's fragments wait for the rest",
         _same("ip6frag_time")),
    Term(TIMERS, "response_s", "how long an answer that is due at once may take"),
    Term(TIMERS, "tick_s", "the step in which timers are counted"),
    Term(TIMERS, "timer_rounding", "the part of its length by which a timer may be late"),

    Term(LIMITS, "syn_retries", "how often an unanswered SYN is repeated",
         _same("TcpMaxConnectRetransmissions", "tcp_syn_retries", "TCP_SYNCNT"), endless=True),
    Term(LIMITS, "syn_linear_timeouts", "repetitions of a SYN, on top of syn_retries, before the gaps begin to double",
         _same("tcp_syn_linear_timeouts")),
    Term(LIMITS, "synack_retries", "how often an unanswered SYN,ACK is repeated",
         _same("TcpMaxConnectResponseRetransmissions", "tcp_synack_retries"), endless=True),
    Term(LIMITS, "r1_retries", "repetitions of data before the network layer is told (R1)", _same("tcp_retries1")),
    Term(LIMITS, "data_retries", "repetitions of data before the connection is given up (R2; see data_give_up)",
         _same("TcpMaxDataRetransmissions", "tcp_retries2"), endless=True),
    Term(LIMITS, "orphan_retries", "the same after the application has closed", _same("tcp_orphan_retries"),
         endless=True),
    Term(LIMITS, "keepalive_probes", "unanswered keepalive probes before the connection is given up",
         _same("tcp_keepalive_probes", "TCP_KEEPCNT"), endless=True),
    Term(LIMITS, "keepalive_garbage_octets", "octets of no meaning that a keepalive probe carries"),
    Term(LIMITS, "syn_backlog", "half-open connections a listener has room for, whatever its backlog",
         _same("tcp_max_syn_backlog")),
    Term(LIMITS, "max_half_open", "half-open connections from which on the stack holds itself attacked",
         _same("TcpMaxHalfOpen")),
    Term(LIMITS, "half_open_retried", "the same, of those whose SYN,ACK has been repeated",
         _same("TcpMaxHalfOpenRetried")),
    Term(LIMITS, "max_connections", "connections at one time", _same("TcpNumConnections")),
    Term(LIMITS, "accept_backlog_extra", "connections a listener holds beyond the backlog it was given"),
    Term(LIMITS, "min_send_mss", "the least segment size that a peer's MSS option is heeded down to",
         _same("tcp_min_snd_mss")),
    Term(LIMITS, "isn_rate_per_s", "how fast the clock part of initial sequence numbers runs (RFC 9293, 3.4.1)"),
    Term(LIMITS, "closed_port_window", "the window in the reset of a closed port"),

    Term(POLICIES, "accept_backlog_overflow", "what a handshake meets that finds the accept queue full",
         allowed=("drop", "reset")),
    Term(POLICIES, "backlog_counts", "what takes up a listener's room: complete connections that nobody has "
         "accepted, or half-open ones as well", allowed=("complete", "half-open")),
    Term(POLICIES, "timer_lateness", "how late a timer may be: a part of its length (timer_rounding), or what a timer "
         "wheel of that tick_s makes of it", allowed=("part", "wheel")),
    Term(POLICIES, "sentinel", "by what the target proves that it is alive: the reset of a closed port, which is so "
         "where nothing is stated, or the reply to an ICMP echo request", allowed=("closed-port", "echo")),
    Term(POLICIES, "data_give_up", "what data_retries and orphan_retries count: repetitions, or the time these would "
         "take after the least time-out, measured from the first repetition on", allowed=("count", "time")),
    Term(POLICIES, "last_repetition", "what follows the last of them: one more time-out, or the end at the next tick",
         allowed=("time-out", "tick")),
)


@dataclass(frozen=True, slots=True)
class PinTerm:
    """One name of the table `[fingerprint]`: what the stack is known to do where the RFCs leave it free.

    `shape` is what its value is: a `count`, a `flag`, one of the words in `allowed`, or a list of `layouts`.
    """

    name: str
    meaning: str
    shape: str = "count"
    allowed: tuple[str, ...] = ()


PINS: Final = (
    PinTerm("ttl", "the TTL or hop limit of every segment, as it comes to the injector"),
    PinTerm("traffic_class", "the traffic class (IPv4: TOS) of every segment; its ECN bits where ECN is not agreed"),
    PinTerm("dont_fragment", "the DF bit of every segment over IPv4", "flag"),
    PinTerm("identification", "the identification over IPv4: `counted` goes up by one with each segment of a "
            "connection, and is 0 in what no connection sends (SYN,ACK, resets of closed ports)", "word", ("counted",)),
    PinTerm("mss", "the segment size offered in SYN and SYN,ACK"),
    PinTerm("window_scale", "the scale offered in SYN and SYN,ACK"),
    PinTerm("syn_window", "the window offered in a SYN of the target's own"),
    PinTerm("syn_ack_window", "the window offered in a SYN,ACK without time stamps"),
    PinTerm("syn_ack_window_with_timestamps", "the window offered in a SYN,ACK with them"),
    PinTerm("right_edge_octets", "how many octets of ours come before the right edge of the window that the opening "
            "offered is moved for the first time, rounding to the scale apart"),
    PinTerm("window_rounding", "whether room that is no multiple of the scale is told as more, `up`, or less, `down`; "
            "without a word of it as more", "word", ("up", "down")),
    PinTerm("reset_window", "the window in resets that no connection sends"),
    PinTerm("abort_window", "the window in resets that a connection sends; where it is pinned, they move no edge"),
    PinTerm("reset_timestamps", "the reset of a connection with time stamps has them", "flag"),
    PinTerm("ack_without_ack_bit", "the acknowledgement field where the ACK bit is not set"),
    PinTerm("syn_layouts", "order and padding of the options in a SYN of the target's own", "layouts"),
    PinTerm("syn_ack_layouts", "the same in a SYN,ACK, which has the one that uses most of what our SYN offered",
            "layouts"),
    PinTerm("layouts", "the same in all other segments; a reset that no connection sends has none", "layouts"),
    PinTerm("timestamp_hz", "how many time stamp units pass in a second; must divide a second into whole nanoseconds"),
    PinTerm("timestamp_aligned", "these units begin with those of the monotonic clock of the machine that runs "
            "the harness", "flag"),
    PinTerm("prompt_us", "how many microseconds after our last segment or the application's last call a SYN, FIN or "
            "data comes for which a case names no time; not looked at where time is real"),
    PinTerm("icmp_ttl", "the TTL or hop limit of ICMP messages"),
    PinTerm("icmp_traffic_class", "the traffic class (IPv4: TOS) of ICMP messages"),
    PinTerm("icmp_dont_fragment", "the DF bit of ICMP messages over IPv4", "flag"),
)


@cache
def by_name() -> dict[str, Term]:
    """The terms by their own names."""
    return {term.name: term for term in TERMS}


@cache
def by_setting() -> dict[str, tuple[Term, float]]:
    """The terms by the names of settings, with how many of the setting's units make one of ours."""
    return {setting: (term, per) for term in TERMS for setting, per in term.settings}


def names(table: str) -> tuple[str, ...]:
    """What may stand in a table."""
    return tuple(term.name for term in TERMS if term.table == table)


def suggestion(name: str, allowed: tuple[str, ...]) -> str:
    """The end of a message about an unknown name: what is meant, or what is allowed."""
    import difflib  # here alone, since it is only ever needed for a message

    if name in by_setting():
        return f"here it is called {by_setting()[name][0].name}"
    if name in by_name():
        return f"it belongs in [{by_name()[name].table}]"
    near = difflib.get_close_matches(name, allowed, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(allowed)}"
