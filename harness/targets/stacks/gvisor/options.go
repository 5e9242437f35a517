// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"math"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"tcpqual/tcpqualpipe"
)

// bufferFactor is by how much the Sentry makes a buffer larger than the application asks, for what segments cost.
const bufferFactor = 2

// byNetstack are options that netstack itself hands on to what a listener accepts, or that count for its SYN,ACK alone.
var byNetstack = map[string]bool{"SO_RCVBUF": true, "SO_REUSEADDR": true, "TCP_MAXSEG": true, "TCP_USER_TIMEOUT": true,
	"TCP_DEFER_ACCEPT": true}

func (n *netstack) option(number uint32, name string, value int64) error {
	return n.on(number, func(s *socket) error {
		if err := s.set(name, value); err != nil {
			return err
		}
		s.options = append(s.options, setting{name, value})
		return nil
	})
}

// inherit sets an option of the listener's; to an application of netstack's nothing else is promised.
func (s *socket) inherit(each setting) error {
	if byNetstack[each.name] {
		return nil
	}
	return s.set(each.name, each.value)
}

// set is setsockopt(2), in the units of Linux.
func (s *socket) set(name string, value int64) error {
	endpoint, options := s.endpoint, s.endpoint.SocketOptions()
	seconds := time.Duration(value) * time.Second
	switch name {
	case "SO_KEEPALIVE":
		options.SetKeepAlive(value != 0)
	case "SO_REUSEADDR":
		options.SetReuseAddress(value != 0)
	case "SO_RCVBUF":
		options.SetReceiveBufferSize(sized(value, options.ReceiveBufferLimits), true)
	case "SO_SNDBUF":
		options.SetSendBufferSize(sized(value, options.SendBufferLimits), true)
	case "TCP_NODELAY":
		options.SetDelayOption(value == 0)
	case "TCP_CORK":
		options.SetCorkOption(value != 0)
	case "TCP_QUICKACK":
		options.SetQuickAck(value != 0)
	case "IP_RECVERR":
		options.SetIPv4RecvError(value != 0)
	case "IPV6_RECVERR":
		options.SetIPv6RecvError(value != 0)
	case "TCP_KEEPIDLE":
		idle := tcpip.KeepaliveIdleOption(seconds)
		return errno(endpoint.SetSockOpt(&idle))
	case "TCP_KEEPINTVL":
		interval := tcpip.KeepaliveIntervalOption(seconds)
		return errno(endpoint.SetSockOpt(&interval))
	case "TCP_KEEPCNT":
		return errno(endpoint.SetSockOptInt(tcpip.KeepaliveCountOption, int(value)))
	case "TCP_USER_TIMEOUT":
		limit := tcpip.TCPUserTimeoutOption(time.Duration(value) * time.Millisecond)
		return errno(endpoint.SetSockOpt(&limit))
	case "TCP_LINGER2":
		wait := tcpip.TCPLingerTimeoutOption(seconds)
		return errno(endpoint.SetSockOpt(&wait))
	case "TCP_DEFER_ACCEPT":
		wait := tcpip.TCPDeferAcceptOption(seconds)
		return errno(endpoint.SetSockOpt(&wait))
	case "TCP_MAXSEG":
		return errno(endpoint.SetSockOptInt(tcpip.MaxSegOption, int(value)))
	case "TCP_SYNCNT":
		return errno(endpoint.SetSockOptInt(tcpip.TCPSynCountOption, int(value)))
	case "TCP_WINDOW_CLAMP":
		return errno(endpoint.SetSockOptInt(tcpip.TCPWindowClampOption, int(value)))
	case "IP_TOS":
		return errno(endpoint.SetSockOptInt(tcpip.IPv4TOSOption, int(value)))
	case "IPV6_TCLASS":
		return errno(endpoint.SetSockOptInt(tcpip.IPv6TrafficClassOption, int(value)))
	case "IP_TTL":
		return errno(endpoint.SetSockOptInt(tcpip.IPv4TTLOption, int(value)))
	case "IPV6_UNICAST_HOPS":
		return errno(endpoint.SetSockOptInt(tcpip.IPv6HopLimitOption, int(value)))
	default:
		return tcpqualpipe.Errno("ENOPROTOOPT")
	}
	return nil
}

// sized is how large the Sentry makes a buffer that is asked to have that size.
func sized(value int64, limits func() (int64, int64)) int64 {
	least, greatest := limits()
	if value > greatest {
		value = greatest
	}
	value *= bufferFactor
	if value > math.MaxInt32 {
		return math.MaxInt32
	}
	if value < least {
		return least
	}
	return value
}
