// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"container/heap"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// bootS is how long the stack has been up when its time begins: its instant 0 stands for "never" in places.
const bootS = 1

// clock is the stack's time: it is what the pipe says, and its timers expire when `expire` is called. It needs no lock,
// as there is never more than one goroutine at work.
type clock struct {
	now    func() uint64 // nanoseconds since the process began
	timers timers
	count  uint64
}

// timer is one of the clock's; index is its place in the heap, -1 if it is not set.
type timer struct {
	clock *clock
	due   uint64
	order uint64
	index int
	call  func()
}

// Now implements tcpip.Clock. The day is of no matter, but has to be the same in each run.
func (c *clock) Now() time.Time {
	return time.Unix(1_000_000_000, int64(c.now())).UTC()
}

// NowMonotonic implements tcpip.Clock.
func (c *clock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(bootS*time.Second + time.Duration(c.now()))
}

// AfterFunc implements tcpip.Clock.
func (c *clock) AfterFunc(wait time.Duration, call func()) tcpip.Timer {
	t := &timer{clock: c, index: -1, call: call}
	t.Reset(wait)
	return t
}

// Stop implements tcpip.Timer.
func (t *timer) Stop() bool {
	return t.unset()
}

// Reset implements tcpip.Timer.
func (t *timer) Reset(wait time.Duration) {
	c := t.clock
	t.unset()
	t.due = c.now()
	if wait > 0 {
		t.due += uint64(wait)
	}
	c.count++
	t.order = c.count
	heap.Push(&c.timers, t)
}

func (t *timer) unset() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

// deadline is when the first timer is due; ok is false if none is set.
func (c *clock) deadline() (due uint64, ok bool) {
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].due, true
}

// expire calls the first timer that is due by now, and returns false if none is.
func (c *clock) expire() bool {
	if len(c.timers) == 0 || c.timers[0].due > c.now() {
		return false
	}
	t := heap.Pop(&c.timers).(*timer)
	t.call()
	return true
}

// timers is a heap by instant, and where that is the same, in the order in which they were set.
type timers []*timer

func (h timers) Len() int { return len(h) }

func (h timers) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].order < h[j].order
}

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(each any) {
	t := each.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
