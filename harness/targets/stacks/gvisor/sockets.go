// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/syserr"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"tcpqual/tcpqualpipe"
)

// socket is an endpoint as the application sees it.
type socket struct {
	endpoint tcpip.Endpoint
	protocol tcpip.NetworkProtocolNumber
	queue    *waiter.Queue
	entry    waiter.Entry
	options  []setting   // what was set, for those that are accepted
	closing  bool        // the application has closed it
	until    uint64      // how long close() lingers
	linger   tcpip.Timer // so that time stops there
}

// setting is an option that was set.
type setting struct {
	name  string
	value int64
}

// states are netstack's names that are not those of RFC 9293, 3.3.2; all that is not of a connection is closed.
var states = map[tcp.EndpointState]string{
	tcp.StateEstablished: "ESTABLISHED",
	tcp.StateConnecting:  "SYN-SENT",
	tcp.StateSynSent:     "SYN-SENT",
	tcp.StateSynRecv:     "SYN-RECEIVED",
	tcp.StateFinWait1:    "FIN-WAIT-1",
	tcp.StateFinWait2:    "FIN-WAIT-2",
	tcp.StateCloseWait:   "CLOSE-WAIT",
	tcp.StateClosing:     "CLOSING",
	tcp.StateLastAck:     "LAST-ACK",
	tcp.StateTimeWait:    "TIME-WAIT",
}

// errno is the errno name that the Sentry would tell an application.
func errno(err tcpip.Error) error {
	translated := syserr.TranslateNetstackError(err)
	if translated == nil {
		return nil
	}
	number := translated.ToLinux()
	if number == 0 {
		return nil
	}
	return tcpqualpipe.Errno(unix.ErrnoName(unix.Errno(number)))
}

func state(endpoint tcpip.Endpoint) tcp.EndpointState {
	return tcp.EndpointState(endpoint.State())
}

// kept gives the socket a number.
func (n *netstack) kept(s *socket) uint32 {
	s.entry = waiter.NewFunctionEntry(
		waiter.ReadableEvents|waiter.WritableEvents|waiter.EventErr|waiter.EventHUp,
		func(waiter.EventMask) { n.woken = true })
	s.queue.EventRegister(&s.entry)
	n.count++
	n.sockets[n.count] = s
	return n.count
}

// on does something with a socket, and what comes of it.
func (n *netstack) on(number uint32, do func(s *socket) error) error {
	s, ok := n.sockets[number]
	if !ok {
		return tcpqualpipe.Errno("EBADF")
	}
	defer n.settle()
	return do(s)
}

func (n *netstack) socket(family int) (uint32, error) {
	s := &socket{protocol: header.IPv4ProtocolNumber, queue: &waiter.Queue{}}
	if family == 6 {
		s.protocol = header.IPv6ProtocolNumber
	}
	endpoint, err := n.stack.NewEndpoint(tcp.ProtocolNumber, s.protocol, s.queue)
	if err != nil {
		return 0, errno(err)
	}
	s.endpoint = endpoint
	endpoint.SocketOptions().SetReuseAddress(true) // a port whose last connection is in TIME-WAIT may be had
	return n.kept(s), nil
}

func (n *netstack) listen(number uint32, local tcpqualpipe.End, backlog int) error {
	return n.on(number, func(s *socket) error {
		if err := s.endpoint.Bind(address(local)); err != nil {
			return errno(err)
		}
		return errno(s.endpoint.Listen(backlog + 1)) // as the Sentry does (sys_socket.go)
	})
}

func (n *netstack) connect(number uint32, local, remote tcpqualpipe.End) error {
	return n.on(number, func(s *socket) error {
		if err := s.endpoint.Bind(address(local)); err != nil {
			return errno(err)
		}
		err := s.endpoint.Connect(address(remote))
		if _, started := err.(*tcpip.ErrConnectStarted); started {
			return nil
		}
		return errno(err)
	})
}

func (n *netstack) connected(number uint32) error {
	return n.on(number, func(s *socket) error {
		switch state(s.endpoint) {
		case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
			return tcpqualpipe.Again
		}
		return errno(s.endpoint.LastError())
	})
}

func (n *netstack) accept(number uint32) (uint32, error) {
	var made uint32
	err := n.on(number, func(s *socket) error {
		endpoint, queue, err := s.endpoint.Accept(nil)
		if err != nil {
			return errno(err)
		}
		accepted := &socket{endpoint: endpoint, protocol: s.protocol, queue: queue}
		made = n.kept(accepted)
		for _, each := range s.options {
			if err := accepted.inherit(each); err != nil {
				return err
			}
		}
		return nil
	})
	return made, err
}

func (n *netstack) send(number uint32, octets []byte, urgent bool) (int, error) {
	var taken int64
	err := n.on(number, func(s *socket) error {
		if urgent {
			return tcpqualpipe.Errno("EOPNOTSUPP") // netstack sends none
		}
		var err tcpip.Error
		taken, err = s.endpoint.Write(bytes.NewReader(octets), tcpip.WriteOptions{})
		if _, full := err.(*tcpip.ErrWouldBlock); full {
			return nil
		}
		return errno(err)
	})
	return int(taken), err
}

func (n *netstack) recv(number uint32, most int) ([]byte, error) {
	octets := make([]byte, most)
	read := 0
	err := n.on(number, func(s *socket) error {
		room := tcpip.SliceWriter(octets)
		result, err := s.endpoint.Read(&room, tcpip.ReadOptions{})
		if err != nil {
			return errno(err)
		}
		read = result.Count
		s.endpoint.ModerateRecvBuf(read)
		return nil
	})
	return octets[:read], err
}

func (n *netstack) shutdown(number uint32, half tcpqualpipe.Half) error {
	return n.on(number, func(s *socket) error {
		var flags tcpip.ShutdownFlags
		if half&tcpqualpipe.Reading != 0 {
			flags |= tcpip.ShutdownRead
		}
		if half&tcpqualpipe.Writing != 0 {
			flags |= tcpip.ShutdownWrite
		}
		return errno(s.endpoint.Shutdown(flags))
	})
}

func (n *netstack) close(number uint32, lingerS int) error {
	return n.on(number, func(s *socket) error {
		wait := time.Duration(lingerS) * time.Second
		if lingerS >= 0 {
			s.endpoint.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true, Timeout: wait})
		}
		s.closing = true
		s.endpoint.Close()
		if lingerS > 0 {
			s.until = n.clock.now() + uint64(wait)
			s.linger = n.clock.AfterFunc(wait, func() { n.woken = true })
		}
		return s.closed(n.clock.now())
	})
}

func (n *netstack) closed(number uint32) error {
	return n.on(number, func(s *socket) error { return s.closed(n.clock.now()) })
}

// closed tells if close() is over, as far as it lingers.
func (s *socket) closed(now uint64) error {
	switch state(s.endpoint) {
	case tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		if now < s.until {
			return tcpqualpipe.Again
		}
	}
	return nil
}

// abort is close() with a linger time of 0; of what was closed before, the endpoint is let go of. In SYN-RECEIVED
// netstack does not survive that close() (resetConnectionLocked asks a sender that there is not yet), but it does Abort.
func (n *netstack) abort(number uint32) error {
	err := n.on(number, func(s *socket) error {
		if s.closing || state(s.endpoint) == tcp.StateSynRecv {
			s.endpoint.Abort()
		} else {
			s.endpoint.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: true})
			s.endpoint.Close()
		}
		if s.linger != nil {
			s.linger.Stop()
		}
		s.queue.EventUnregister(&s.entry)
		return nil
	})
	delete(n.sockets, number)
	return err
}

func (n *netstack) pending(number uint32) (string, error) {
	name := ""
	err := n.on(number, func(s *socket) error {
		if err := errno(s.endpoint.LastError()); err != nil {
			name = err.Error()
		}
		return nil
	})
	return name, err
}

func (n *netstack) state(local, remote tcpqualpipe.End) (string, error) {
	id := stack.TransportEndpointID{
		LocalAddress: tcpip.Address(local.Address), LocalPort: local.Port,
		RemoteAddress: tcpip.Address(remote.Address), RemotePort: remote.Port,
	}
	if found := n.find(id); found != nil {
		if name, known := states[state(found)]; known {
			return name, nil
		}
	}
	return "CLOSED", nil
}

func (n *netstack) listening(local tcpqualpipe.End) (bool, error) {
	id := stack.TransportEndpointID{LocalAddress: tcpip.Address(local.Address), LocalPort: local.Port}
	found := n.find(id)
	return found != nil && state(found) == tcp.StateListen, nil
}

// find is the endpoint with just this name, nil if there is none.
func (n *netstack) find(id stack.TransportEndpointID) tcpip.Endpoint {
	protocol := header.IPv4ProtocolNumber
	if len(id.LocalAddress) == header.IPv6AddressSize {
		protocol = header.IPv6ProtocolNumber
	}
	found, ok := n.stack.FindTransportEndpoint(protocol, tcp.ProtocolNumber, id, nic).(tcpip.Endpoint)
	if !ok || found.Info().(*stack.TransportEndpointInfo).ID != id {
		return nil // the stack also finds the listener that would take it
	}
	return found
}

func (n *netstack) halfOpen(port uint16) (int, error) {
	count := 0
	for _, each := range n.stack.RegisteredEndpoints() {
		endpoint, ok := each.(tcpip.Endpoint)
		if !ok || state(endpoint) != tcp.StateSynRecv {
			continue
		}
		if endpoint.Info().(*stack.TransportEndpointInfo).ID.LocalPort == port {
			count++
		}
	}
	return count, nil
}

func (n *netstack) information(number uint32) (string, error) {
	told := ""
	err := n.on(number, func(s *socket) error {
		var known tcpip.TCPInfoOption
		if err := s.endpoint.GetSockOpt(&known); err != nil {
			return errno(err)
		}
		told = fmt.Sprintf("rtt_us=%d rto_us=%d send_cwnd=%d", known.RTT.Microseconds(), known.RTO.Microseconds(),
			known.SndCwnd)
		return nil
	})
	return told, err
}

func address(end tcpqualpipe.End) tcpip.FullAddress {
	return tcpip.FullAddress{Addr: tcpip.Address(end.Address), Port: end.Port}
}
