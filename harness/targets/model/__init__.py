# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference target: a TCP/IP end that one can read, sans-IO, in stepped time.

The core gets octets and the present instant, and gives back octets and the instant at which it wants to be woken; it
knows neither a link nor a clock. `link` and `target` join it to the lab, `upper` is its socket API, `defects` has the
mistakes that it can be made with.
"""
