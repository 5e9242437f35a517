# SPDX-License-Identifier: GPL-2.0-or-later
"""The changes that a kernel's sources need for virtual time, made to our copy of them.

Each is made at one line that every release since 6.1 has, and is no patch with its context, so that it also fits a
tree with changes of its own. A change whose effect a release already has is left out.

Why they are needed. With `time-travel=inf-cpu` the processor is infinitely fast: time passes only while everybody
waits. So a program that asks for the time until it has passed would ask for ever, and a program that gives way with
sched_yield() would get the processor back at once, since the scheduler sees that it has used none of it.

6.1 and 6.12 also have no room for the registers of processors with AMX, and start no program on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from ..wire.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change: `text` goes before, after or instead of the one place in the file at `path` that matches `anchor`.

    It is left out where the file already has a match of `unless`, and, if `optional`, where there is no such place.
    """

    path: str
    what: str
    anchor: str
    text: str
    where: Literal["before", "after", "instead"] = "before"
    unless: str = ""
    optional: bool = False


_TIME: Final = "arch/um/kernel/time.c"
_SYSCALL: Final = "arch/um/kernel/skas/syscall.c"

# What decides in both files whether the processor is infinitely fast.
_INFINITE: Final = "time_travel_mode == TT_MODE_INFCPU ||\n\t    time_travel_mode == TT_MODE_EXTERNAL"

# Newer releases than 6.12 count these ticks themselves, and read them in sched_clock().
EDITS: Final = (
    Edit(path="arch/um/Kconfig", what="an HZ that can be chosen",
         anchor=r"config HZ\n\tint\n", where="after", unless=r'config HZ\n\tint "',
         text='\tprompt "Ticks in a second"\n'),
    Edit(path=_TIME, what="a scheduler clock with ticks of its own",
         anchor=r"EXPORT_SYMBOL_GPL\(time_travel_mode\);\n", where="after", unless=r"\btt_extra_sched_jiffies\b",
         text="\n"
              "/* Ticks that only the scheduler sees: what sched_yield() is charged. */\n"
              "unsigned long tt_extra_sched_jiffies;\n"
              "\n"
              "unsigned long long notrace sched_clock(void);\n"
              "unsigned long long notrace sched_clock(void)\n"
              "{\n"
              "\tunsigned long ticks = jiffies - INITIAL_JIFFIES;\n"
              "\n"
              "\treturn (ticks + tt_extra_sched_jiffies) * (unsigned long long)TICK_NSEC;\n"
              "}\n"),
    Edit(path=_SYSCALL, what="a sched_yield() that gives way",
         anchor=r"\tif \(syscall >= 0 && syscall < __NR_syscalls\)", unless=r"\btt_extra_sched_jiffies\b",
         text=f"\tif (syscall == __NR_sched_yield &&\n\t    ({_INFINITE})) {{\n"
              "\t\textern unsigned long tt_extra_sched_jiffies;\n\n"
              "\t\ttt_extra_sched_jiffies++;\n"
              "\t}\n\n"),
    # Four units of the clock, so that an instant never depends on how many calls there were before it.
    Edit(path=_SYSCALL, what="system calls that take 1 us",
         anchor=r"\tif \(syscall >= 0 && syscall < __NR_syscalls\)",
         text="\t/*\n"
              "\t * Each call takes a microsecond, so that no loop of calls stops the clock. What an allocator\n"
              "\t * calls is free: when it does depends on how the memory happens to lie.\n"
              "\t */\n"
              f"\tif (({_INFINITE}) &&\n"
              "\t    syscall != __NR_brk && syscall != __NR_mmap && syscall != __NR_munmap &&\n"
              "\t    syscall != __NR_mremap && syscall != __NR_madvise && syscall != __NR_mprotect)\n"
              "\t\tum_ndelay(1024);\n\n"),
    # A new key is made of all that has happened before, such as how long another installation's imports took.
    Edit(path="drivers/char/random.c", what="random numbers that follow from the seed alone",
         anchor=r"static unsigned int crng_reseed_interval\(void\)\n{\n\tstatic bool early_boot = true;\n\n",
         where="after",
         text="\t/* About half a year: the key that was made at boot is kept. */\n"
              "\tif (IS_ENABLED(CONFIG_UML_TIME_TRAVEL_SUPPORT))\n\t\treturn UINT_MAX;\n\n"),
    # In octets: the most that a processor's extended state takes (11008 with AMX), and some to spare.
    Edit(path="arch/x86/um/user-offsets.c", what="room for the processor's registers",
         anchor=r"\tDEFINE_LONGS\(HOST_FP_SIZE, 2696\);\n", where="instead", optional=True,
         text="\tDEFINE_LONGS(HOST_FP_SIZE, 12288);\n"),
)

EDITED: Final = frozenset(edit.path for edit in EDITS)
"""The files that are changed, by their path in the tree."""


def edited(path: str, text: str, release: str) -> str:
    """The text of the file at `path` with every change that it needs.

    Raises UsageError if a change finds no place; the message names the file and the release.
    """
    for edit in EDITS:
        if edit.path != path or (edit.unless and re.search(edit.unless, text)):
            continue
        places = list(re.finditer(f"^{edit.anchor}", text, re.MULTILINE))
        if edit.optional and not places:
            continue
        if len(places) != 1:
            raise UsageError(f"{path} of {release}: {len(places) or 'no'} place{'s' if len(places) > 1 else ''} for "
                             f"{edit.what}; this release cannot be built for virtual time")
        start, end = places[0].span()
        start, end = {"before": (start, start), "after": (end, end), "instead": (start, end)}[edit.where]
        text = text[:start] + edit.text + text[end:]
    return text
