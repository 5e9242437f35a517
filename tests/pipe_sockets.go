// SPDX-License-Identifier: GPL-2.0-or-later

// No TCP: a stack whose socket commands answer with what they were asked, so that every field of the Go kit is seen to
// arrive and to go back; pipe_sockets.c is the same in C. What is wrong ends it.
package main

import (
	"bytes"
	"fmt"
	"os"

	pipe "tcpqual/tcpqualpipe"
)

var (
	own, peer = []byte{192, 0, 2, 1}, []byte{192, 0, 2, 2}
	stack     *pipe.Stack
	seed      uint64
	ticks     uint64
	waits     = 2
)

func assert(kept bool) {
	if !kept {
		panic("an assertion failed")
	}
}

func begin(g pipe.Greeting) {
	assert(g.Version == 1 && g.IPv4Prefix == 24 && g.IPv6Prefix == 64)
	assert(bytes.Equal(g.IPv4[:], own) && bytes.Equal(g.IPv4Gateway[:], peer))
	assert(g.IPv6[0] == 0x20 && g.IPv6[15] == 1 && g.IPv6Gateway[15] == 2)
	seed = g.Seed
	fmt.Println("what is printed does no harm")
}

// A tick each second; the third sends a packet.
func deadline() uint64 { return (ticks + 1) * 1_000_000_000 }

func run() {
	assert(stack.Now() == deadline())
	if ticks++; ticks == 3 {
		stack.SendPacket([]byte("tick"))
	}
}

func option(socket uint32, name string, value int64) error {
	if socket == 44 && name == "SO_RCVBUF" && value == -2 {
		return nil
	}
	return pipe.Errno("ENOPROTOOPT")
}

func listen(socket uint32, local pipe.End, backlog int) error {
	assert(socket == 66 && len(local.Address) == 16 && local.Address[15] == 1 && local.Port == 7777)
	if backlog == 300 {
		return nil
	}
	return fmt.Errorf("another has it: %w", pipe.Errno("EADDRINUSE"))
}

func connect(socket uint32, local, remote pipe.End) error {
	assert(socket == 44 && bytes.Equal(local.Address, own) && bytes.Equal(remote.Address, peer))
	assert(local.Port == 1000 && remote.Port == 2000)
	return nil
}

func connected(socket uint32) error {
	assert(socket == 44)
	if waits--; waits >= 0 {
		return pipe.Again
	}
	return pipe.Errno("ECONNREFUSED")
}

func send(socket uint32, octets []byte, urgent bool) (int, error) {
	assert(socket == 44 && len(octets) == 70000 && octets[0] == 'x' && octets[69999] == 'y')
	if urgent {
		return 0, pipe.Errno("EMSGSIZE")
	}
	return 3, nil
}

func recv(socket uint32, most int) ([]byte, error) {
	assert(socket == 44)
	if most == 1 {
		return nil, nil
	}
	return bytes.Repeat([]byte("r"), most), nil
}

func main() {
	stack = &pipe.Stack{
		Name: "sockets", Version: "0.1", MTU: 1280, IPv4: true, IPv6: true,
		Begin:    begin,
		Packet:   func(packet []byte) { stack.SendPacket(packet) },
		Run:      run,
		Deadline: deadline,
		Woken:    func() bool { return ticks == 5 },
		Socket: func(family int) (uint32, error) {
			if family == 4 {
				return 44, nil
			}
			return 66, nil
		},
		Option: option, Listen: listen, Connect: connect, Connected: connected,
		Accept: func(socket uint32) (uint32, error) { return socket + 1, nil },
		Send:   send, Recv: recv,
		Shutdown: func(socket uint32, half pipe.Half) error {
			if socket == 44 && half == pipe.Writing {
				return nil
			}
			return pipe.Errno("ENOTCONN")
		},
		Close: func(socket uint32, lingerS int) error {
			if lingerS == -1 {
				return nil
			}
			return pipe.Again
		},
		Closed: func(socket uint32) error { return pipe.Errno("ETIMEDOUT") },
		Abort:  func(socket uint32) error { return nil },
		Error:  func(socket uint32) (string, error) { return "EPIPE", nil },
		State: func(local, remote pipe.End) (string, error) {
			if local.Port == 1000 && remote.Port == 2000 {
				return "CLOSE-WAIT", nil
			}
			return "CLOSED", nil
		},
		Listening: func(local pipe.End) (bool, error) { return local.Port == 80, nil },
		HalfOpen:  func(port uint16) (int, error) { return int(port) * 2, nil },
		Information: func(socket uint32) (string, error) {
			return fmt.Sprintf("socket=%d seed=%d", socket, seed), nil
		},
	}
	if err := stack.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
