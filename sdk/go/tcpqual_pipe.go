// SPDX-License-Identifier: 0BSD

// Package tcpqualpipe puts a TCP stack behind tcpqual's pipe protocol: fill in a Stack and call its Serve.
//
// One file, Go 1.19 or later, nothing but Go's library. Copy it into a directory of your own. The protocol is described
// octet by octet in docs/reference/pipe-protocol.md of tcpqual.
//
// Every stack has Packet and State. A command whose function is nil is one that your stack does not offer, and the
// cases that need it are left out. A function fails with the Errno that an application would be told,
// Errno("ECONNREFUSED"), and with Again where a socket would have to wait: you will be asked again. Sockets are numbers
// of your own choice, but not 0.
//
// Standard output belongs to the protocol: Serve points os.Stdout at standard error, so fmt.Println does no harm.
package tcpqualpipe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

const (
	// Version is that of the protocol.
	Version = 1
	// Never is the deadline of a stack that waits for nothing.
	Never = math.MaxUint64

	longest = 1 << 20
)

// Errno is the errno name with which a call fails.
type Errno string

func (name Errno) Error() string { return string(name) }

// Again says that the call would have to wait.
const Again = Errno("EAGAIN")

// Greeting tells where on the link the stack stands, and the seed from which all its random numbers have to come.
type Greeting struct {
	Version     uint16
	Seed        uint64
	IPv4        [4]byte
	IPv4Prefix  uint8
	IPv4Gateway [4]byte
	IPv6        [16]byte
	IPv6Prefix  uint8
	IPv6Gateway [16]byte
}

// End is an address, of 4 or 16 octets, and a port.
type End struct {
	Address []byte
	Port    uint16
}

// Half is what Shutdown closes.
type Half uint8

// The halves of a connection.
const (
	Reading Half = 1
	Writing Half = 2
	Both    Half = 3
)

// Stack is your stack. Instants are nanoseconds since the process began, and come from tcpqual alone, by Now: use no
// other clock.
type Stack struct {
	Name, Version string
	Features      string // names of a profile's [features], with blanks between; none leaves them to the profile
	MTU           uint16
	IPv4, IPv6    bool
	MAC           []byte // six octets: packets are whole Ethernet frames; none: packets are IP packets

	Begin    func(greeting Greeting) // once, before everything else; or nil
	Packet   func(packet []byte)     // a packet has arrived; it is yours to keep
	Run      func()                  // do all that is due by now; or nil
	Deadline func() uint64           // when to run next, Never; or nil
	Woken    func() bool             // could a call that was told Again have an answer now? nil: always

	// The socket commands, in the order of their numbers.
	Socket      func(family int) (uint32, error)                    // family 4 or 6
	Option      func(socket uint32, name string, value int64) error // ENOPROTOOPT if unknown
	Listen      func(socket uint32, local End, backlog int) error
	Connect     func(socket uint32, local, remote End) error
	Connected   func(socket uint32) error
	Accept      func(socket uint32) (uint32, error)
	Send        func(socket uint32, octets []byte, urgent bool) (int, error)
	Recv        func(socket uint32, most int) ([]byte, error) // no octets: the end of the stream
	Shutdown    func(socket uint32, half Half) error
	Close       func(socket uint32, lingerS int) error // -1: no linger time
	Closed      func(socket uint32) error
	Abort       func(socket uint32) error           // the number is free afterwards
	Error       func(socket uint32) (string, error) // the errno name that waits, "" for none
	State       func(local, remote End) (string, error)
	Listening   func(local End) (bool, error)
	HalfOpen    func(port uint16) (int, error)
	Information func(socket uint32) (string, error) // "rto_us=1000000 send_mss=1460"

	sink io.Writer
	now  uint64
	sent int
}

// Now is the instant that it is, which is where the stack has to read the time; nothing else may.
func (stack *Stack) Now() uint64 { return stack.now }

// SendPacket sends a packet; call it from anything that tcpqual has called, and from one goroutine at a time.
func (stack *Stack) SendPacket(packet []byte) {
	stack.sent++
	stack.say('P', packet)
}

// Serve answers requests until there are no more; an error is one that was not understood.
func (stack *Stack) Serve() error {
	sink := bufio.NewWriterSize(os.Stdout, 1<<16)
	os.Stdout = os.Stderr
	stack.sink = sink
	source := bufio.NewReaderSize(os.Stdin, 1<<16)
	for {
		if source.Buffered() == 0 {
			if err := sink.Flush(); err != nil {
				return err
			}
		}
		var head [5]byte
		if _, err := io.ReadFull(source, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(head[:])
		if length < 1 || length > longest {
			return fmt.Errorf("a request of %d octets; allowed: 1 to %d", length, longest)
		}
		request := make([]byte, length-1)
		if source.Buffered() < len(request) {
			if err := sink.Flush(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(source, request); err != nil {
			return err
		}
		if err := stack.answer(head[4], &fields{rest: request}); err != nil {
			return err
		}
	}
}

func (stack *Stack) answer(kind byte, request *fields) error {
	switch kind {
	case 'H':
		stack.hello(request)
	case 'P':
		stack.Packet(request.rest)
	case 'A':
		stack.advance(request.number(8))
	case 'C':
		stack.result(request)
	default:
		return fmt.Errorf("a request of type %q", kind)
	}
	if request.cutOff {
		return fmt.Errorf("a request of type %q is cut off", kind)
	}
	stack.settle()
	stack.say('D', binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, stack.now), stack.deadline()))
	return nil
}

func (stack *Stack) say(kind byte, octets []byte) {
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(octets)+1))
	head[4] = kind
	stack.sink.Write(head[:]) // a bufio.Writer keeps its error for Flush
	stack.sink.Write(octets)
}

func (stack *Stack) deadline() uint64 {
	if stack.Deadline == nil {
		return Never
	}
	return stack.Deadline()
}

// settle lets the stack do all that is due at this instant.
func (stack *Stack) settle() {
	for stack.Run != nil && stack.deadline() <= stack.now {
		stack.Run()
	}
}

// advance lets time pass from timer to timer, up to the first that says something.
func (stack *Stack) advance(until uint64) {
	for stack.sent = 0; stack.sent == 0; {
		due := stack.deadline()
		if due > until {
			stack.now = until
			return
		}
		if due > stack.now {
			stack.now = due
		}
		if stack.Run != nil {
			stack.Run() // who counts ticks may name the next one as soon as it is this one
		}
		stack.settle()
		if stack.Woken == nil || stack.Woken() {
			return
		}
	}
}

func (stack *Stack) hello(request *fields) {
	var greeting Greeting
	greeting.Version = uint16(request.number(2))
	greeting.Seed = request.number(8)
	copy(greeting.IPv4[:], request.take(4))
	greeting.IPv4Prefix = uint8(request.number(1))
	copy(greeting.IPv4Gateway[:], request.take(4))
	copy(greeting.IPv6[:], request.take(16))
	greeting.IPv6Prefix = uint8(request.number(1))
	copy(greeting.IPv6Gateway[:], request.take(16))
	if request.cutOff {
		return
	}
	var commands uint32
	for number, offered := range []bool{
		stack.Socket != nil, stack.Option != nil, stack.Listen != nil, stack.Connect != nil, stack.Connected != nil,
		stack.Accept != nil, stack.Send != nil, stack.Recv != nil, stack.Shutdown != nil, stack.Close != nil,
		stack.Closed != nil, stack.Abort != nil, stack.Error != nil, stack.State != nil, stack.Listening != nil,
		stack.HalfOpen != nil, stack.Information != nil,
	} {
		if offered {
			commands |= 1 << number
		}
	}
	var flags byte
	for number, set := range []bool{stack.IPv4, stack.IPv6, stack.MAC != nil} {
		if set {
			flags |= 1 << number
		}
	}
	said := append(binary.BigEndian.AppendUint16(nil, Version), flags)
	said = binary.BigEndian.AppendUint16(said, stack.MTU)
	said = binary.BigEndian.AppendUint32(said, commands)
	mac := make([]byte, 6)
	copy(mac, stack.MAC)
	said = append(said, mac...)
	for _, each := range []string{stack.Name, stack.Version, stack.Features} {
		said = append(said, text(each)...)
	}
	stack.say('H', said)
	if stack.Begin != nil {
		stack.Begin(greeting)
	}
}

// result says what a command has come to.
func (stack *Stack) result(request *fields) {
	value, err := stack.command(request)
	if request.cutOff {
		return
	}
	if err == nil {
		stack.say('R', append(text(""), value...))
		return
	}
	name := Errno("EIO")
	errors.As(err, &name)
	stack.say('R', text(string(name)))
}

// command does what is asked for; its value is the fields of the result.
func (stack *Stack) command(request *fields) ([]byte, error) {
	op, socket := request.number(1), uint32(request.number(4))
	switch {
	case op == 1 && stack.Socket != nil:
		return count(stack.Socket(int(request.number(1))))
	case op == 2 && stack.Option != nil:
		value := int64(request.number(8))
		return nil, stack.Option(socket, request.text(), value)
	case op == 3 && stack.Listen != nil:
		local := request.end()
		return nil, stack.Listen(socket, local, int(request.number(2)))
	case op == 4 && stack.Connect != nil:
		local := request.end()
		return nil, stack.Connect(socket, local, request.end())
	case op == 5 && stack.Connected != nil:
		return nil, stack.Connected(socket)
	case op == 6 && stack.Accept != nil:
		return count(stack.Accept(socket))
	case op == 7 && stack.Send != nil:
		urgent := request.number(1) != 0
		taken, err := stack.Send(socket, request.rest, urgent)
		return count(uint32(taken), err)
	case op == 8 && stack.Recv != nil:
		most := request.number(4)
		if most > longest-16 {
			most = longest - 16
		}
		return stack.Recv(socket, int(most))
	case op == 9 && stack.Shutdown != nil:
		return nil, stack.Shutdown(socket, Half(request.number(1)))
	case op == 10 && stack.Close != nil:
		return nil, stack.Close(socket, int(int32(request.number(4))))
	case op == 11 && stack.Closed != nil:
		return nil, stack.Closed(socket)
	case op == 12 && stack.Abort != nil:
		return nil, stack.Abort(socket)
	case op == 13 && stack.Error != nil:
		return words(stack.Error(socket))
	case op == 14 && stack.State != nil:
		local := request.end()
		return words(stack.State(local, request.end()))
	case op == 15 && stack.Listening != nil:
		listens, err := stack.Listening(request.end())
		if listens {
			return []byte{1}, err
		}
		return []byte{0}, err
	case op == 16 && stack.HalfOpen != nil:
		found, err := stack.HalfOpen(uint16(request.number(2)))
		return count(uint32(found), err)
	case op == 17 && stack.Information != nil:
		return words(stack.Information(socket))
	}
	return nil, Errno("ENOSYS")
}

func count(number uint32, err error) ([]byte, error) {
	return binary.BigEndian.AppendUint32(nil, number), err
}

func words(value string, err error) ([]byte, error) {
	return text(value), err
}

func text(value string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(value))), value...)
}

// fields are taken from a request one after the other; what is not there any more is zero, and noted.
type fields struct {
	rest   []byte
	cutOff bool
}

func (request *fields) take(size int) []byte {
	if size > len(request.rest) {
		request.cutOff = true
		return make([]byte, size)
	}
	taken := request.rest[:size]
	request.rest = request.rest[size:]
	return taken
}

func (request *fields) number(size int) uint64 {
	var value uint64
	for _, octet := range request.take(size) {
		value = value<<8 | uint64(octet)
	}
	return value
}

func (request *fields) text() string {
	return string(request.take(int(request.number(2))))
}

func (request *fields) end() End {
	size := 16
	if request.number(1) == 4 {
		size = 4
	}
	address := request.take(size)
	return End{Address: address, Port: uint16(request.number(2))}
}
