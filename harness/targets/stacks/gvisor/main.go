// SPDX-License-Identifier: GPL-2.0-or-later

// Command gvisor is gVisor's netstack behind tcpqual's pipe: one interface, IPv4 and IPv6, in stepped time.
//
// netstack handles segments in a goroutine of its own, and timers in one each. Here timers are called by the main
// goroutine, and its processor is paused whenever that acts: it is let go on when the main goroutine has done what it
// was asked, and paused again, which netstack does when the processor's queue is empty. So there is never more than one
// goroutine at work, nothing is left to do when a request has been answered, and a run can be repeated.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"strings"

	"gvisor.dev/gvisor/pkg/bufferv2"
	cryptorand "gvisor.dev/gvisor/pkg/rand"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"tcpqual/tcpqualpipe"
)

const (
	nic = 1
	mtu = 1500
	ttl = 64
	// room is how many packets one request may draw; the harness takes no more either.
	room = 1 << 16
)

// version is that of the package which netstack came from; the build says it.
var version = "0"

// netstack is the stack with its one interface, and the sockets of its application.
type netstack struct {
	pipe    *tcpqualpipe.Stack
	stack   *stack.Stack
	link    *channel.Endpoint
	clock   *clock
	sockets map[uint32]*socket
	count   uint32
	woken   bool
}

func main() {
	defer tell()
	runtime.GOMAXPROCS(1) // also how many processors netstack starts
	n := &netstack{sockets: map[uint32]*socket{}}
	n.pipe = &tcpqualpipe.Stack{
		Name: "gvisor", Version: version, MTU: mtu, IPv4: true, IPv6: true,
		Begin: n.begin, Packet: n.packet, Run: n.run, Deadline: n.deadline, Woken: n.wasWoken,
		Socket: n.socket, Option: n.option, Listen: n.listen, Connect: n.connect, Connected: n.connected,
		Accept: n.accept, Send: n.send, Recv: n.recv, Shutdown: n.shutdown, Close: n.close, Closed: n.closed,
		Abort: n.abort, Error: n.pending, State: n.state, Listening: n.listening, HalfOpen: n.halfOpen,
		Information: n.information,
	}
	n.clock = &clock{now: n.pipe.Now}
	if err := n.pipe.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tell says of a panic last what it was and where, since the harness shows the last lines.
func tell() {
	what := recover()
	if what == nil {
		return
	}
	debug.PrintStack()
	fmt.Fprintf(os.Stderr, "panic: %v", what)
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	for told := 0; told < 3; {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "gvisor.dev/") {
			fmt.Fprintf(os.Stderr, " < %s:%d", path.Base(frame.Function), frame.Line)
			told++
		}
		if !more {
			break
		}
	}
	fmt.Fprintln(os.Stderr)
	os.Exit(2)
}

// begin makes the stack as runsc configures it (boot/loader.go): SACK, a receive buffer that grows, a TTL of 64, and
// Nagle's algorithm.
func (n *netstack) begin(greeting tcpqualpipe.Greeting) {
	secret := &source{rand.NewSource(int64(greeting.Seed)).(rand.Source64)}
	cryptorand.Reader = secret
	n.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		Clock:       n.clock,
		HandleLocal: true,
		RandSource:  secret,
		SecureRNG:   secret,
	})
	n.stack.Pause()
	sack, moderate, nagle := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.TCPDelayEnabled(true)
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &nagle} {
		must(n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option))
	}
	hops := tcpip.DefaultTTLOption(ttl)
	n.link = channel.New(room, mtu, "")
	must(n.stack.CreateNIC(nic, n.link))
	for _, each := range []struct {
		protocol         tcpip.NetworkProtocolNumber
		address, gateway []byte
		prefix           uint8
	}{
		{ipv4.ProtocolNumber, greeting.IPv4[:], greeting.IPv4Gateway[:], greeting.IPv4Prefix},
		{ipv6.ProtocolNumber, greeting.IPv6[:], greeting.IPv6Gateway[:], greeting.IPv6Prefix},
	} {
		must(n.stack.SetNetworkProtocolOption(each.protocol, &hops))
		own := tcpip.AddressWithPrefix{Address: tcpip.Address(each.address), PrefixLen: int(each.prefix)}
		must(n.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: each.protocol, AddressWithPrefix: own},
			stack.AddressProperties{}))
		n.stack.AddRoute(tcpip.Route{Destination: own.Subnet(), NIC: nic})
		everything := tcpip.AddressWithPrefix{Address: tcpip.Address(make([]byte, len(each.address)))}
		n.stack.AddRoute(tcpip.Route{
			Destination: everything.Subnet(), Gateway: tcpip.Address(each.gateway), NIC: nic})
	}
	n.settle()
}

func must(err tcpip.Error) {
	if err != nil {
		panic(err.String())
	}
}

// packet hands an IP packet to the stack.
func (n *netstack) packet(octets []byte) {
	protocol := header.IPv4ProtocolNumber
	switch header.IPVersion(octets) {
	case header.IPv4Version:
	case header.IPv6Version:
		protocol = header.IPv6ProtocolNumber
	default:
		return // no driver would know what to do with it
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: bufferv2.MakeWithData(octets)})
	n.link.InjectInbound(protocol, packet)
	packet.DecRef()
	n.settle()
}

// run calls the timers that are due, one after the other.
func (n *netstack) run() {
	for n.clock.expire() {
		n.settle()
	}
}

func (n *netstack) deadline() uint64 {
	if due, ok := n.clock.deadline(); ok {
		return due
	}
	return tcpqualpipe.Never
}

func (n *netstack) wasWoken() bool {
	woken := n.woken
	n.woken = false
	return woken
}

// settle lets netstack's processor do all that it has to do, and takes what the stack has sent.
func (n *netstack) settle() {
	n.stack.Resume()
	n.stack.Pause()
	for packet := n.link.Read(); !packet.IsNil(); packet = n.link.Read() {
		view := packet.ToView()
		n.pipe.SendPacket(view.AsSlice())
		view.Release()
		packet.DecRef()
	}
}

// source is where all random numbers come from.
type source struct{ rand.Source64 }

// Read fills a slice with random octets.
func (s *source) Read(octets []byte) (int, error) {
	for i := range octets {
		octets[i] = byte(s.Uint64() >> 32)
	}
	return len(octets), nil
}
