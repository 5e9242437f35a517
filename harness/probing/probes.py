# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes in their order, and running them one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..lower.verdict import Inconclusive, Mismatch
from ..upper.base import NotApplicable
from ..wire.errors import TargetError
from . import behaviour, calls, lasting, nagle, opening
from .subject import Seen, Subject

Probe = Callable[[Subject], Iterator[Seen]]

PROBES: Final[dict[str, tuple[Probe, tuple[tuple[str, str], ...]]]] = {
    "IP families": (calls.families, (("features", "ipv4"), ("features", "ipv6"))),
    "socket API": (calls.features, ()),
    "options and headers": (opening.offers, (("fingerprint", "syn_ack_layouts"),)),
    "closed port": (opening.closed_port, (("limits", "closed_port_window"),)),
    "initial numbers": (opening.initial_numbers, (("limits", "isn_rate_per_s"),)),
    "active open": (opening.own_syn, (("features", "active_open"), ("limits", "syn_retries"))),
    "answers": (behaviour.behaviour, ()),
    "backlog": (behaviour.backlog, (("limits", "accept_backlog_extra"),)),
    "Nagle": (nagle.polarity, ((nagle.TABLE, "nagle_on"),)),
    "SYN,ACK unanswered": (opening.repeated_syn_ack, (("timers", "initial_rto_s"), ("limits", "synack_retries"))),
    "acknowledgements": (lasting.delayed_ack, (("timers", "delayed_ack_max_s"),)),
    "data unanswered": (lasting.repeated_data, (("timers", "rto_min_s"), ("limits", "data_retries"))),
    "FIN unanswered": (lasting.orphan, (("limits", "orphan_retries"),)),
    "challenge ACKs": (lasting.challenges, (("timers", "challenge_ack_interval_s"),)),
    "reassembly": (lasting.reassembly, (("timers", "reassembly_ipv4_s"), ("timers", "reassembly_ipv6_s"))),
    "FIN-WAIT-2": (lasting.fin_wait_2, (("timers", "fin_wait_2_s"),)),
    "TIME-WAIT": (lasting.time_wait, (("timers", "time_wait_s"),)),
    "keepalive": (lasting.keepalive, (("timers", "keepalive_time_s"), ("limits", "keepalive_probes"))),
}
"""By name: what measures, and for which values it is missed if it cannot."""


def probe(subject: Subject, say: Callable[[str], None]) -> Iterator[Seen]:
    """All that the probes see; `say` is told which one begins. A probe that cannot be made leaves its values unseen."""
    for name, (measure, values) in PROBES.items():
        say(name)
        try:
            yield from measure(subject)
        except (NotApplicable, Mismatch, Inconclusive, TargetError) as reason:
            why = str(reason).splitlines()[0]
            yield from (Seen(table=table, name=value, how=why) for table, value in values)
