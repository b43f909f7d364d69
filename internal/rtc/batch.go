package rtc

import (
	"sync"
	"sync/atomic"
)

// batchBytes is how much is sealed before it is sent: the bursts of some viewers, and little
// enough that the kernel finds it in the processor's cache.
const batchBytes = 128 << 10

// A batch gathers the sealed packets of bursts to several viewers, so that they leave by few
// system calls: packets of one size to one viewer are one message, which the kernel cuts
// where it can. It is a media.Batch.
type batch struct {
	socket   *socket
	messages messages
	buf      []byte // holds the messages, and the run behind them

	// The run is packets of one size, the last of which may be shorter, to one path.
	path   *path
	unsent *atomic.Uint64 // counts what the path had no room for, in packets
	run    int            // begins here in buf
	size   int            // 0: no run
	count  int
	short  bool // the last packet was shorter
}

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, batchBytes)} }}

func newBatch(s *socket) *batch {
	b := batches.Get().(*batch)
	b.socket = s
	return b
}

// Flush implements media.Batch.
func (b *batch) Flush() {
	b.send()
	b.socket, b.path, b.unsent = nil, nil, nil
	batches.Put(b)
}

// begin says where the packets that follow go, and what counts those that could not be sent.
func (b *batch) begin(p *path, unsent *atomic.Uint64) {
	if b.path != p || b.unsent != unsent {
		b.end()
		b.path, b.unsent = p, unsent
	}
}

// space returns where the next packet of at most n bytes is to be sealed.
func (b *batch) space(n int) []byte {
	if len(b.buf)+n > cap(b.buf) {
		b.send()
	}
	at := len(b.buf)
	return b.buf[at : at : at+n]
}

// packet takes the packet that lies in the space.
func (b *batch) packet(sealed []byte) {
	n := len(sealed)
	if b.size != 0 && (b.short || n > b.size || b.count == maxSegments || (b.count+1)*b.size > maxSegmented) {
		b.end()
	}
	if b.size == 0 {
		b.run, b.size = len(b.buf), n
	}
	b.short = n < b.size
	b.count++
	b.buf = b.buf[:len(b.buf)+n]
}

// end makes a message of the run.
func (b *batch) end() {
	if b.size == 0 {
		return
	}
	run, size := b.buf[b.run:], b.size
	b.size, b.count, b.short = 0, 0, false
	if to := b.path.udp; to != nil {
		if out := &b.socket.out; !b.messages.add(out, run, size, to, b.unsent) {
			b.post()
			b.messages.add(out, run, size, to, b.unsent)
		}
		return
	}
	for len(run) > 0 {
		n := min(size, len(run))
		if sent, err := b.path.tcp.Write(run[:n]); err != nil || sent == 0 { // pion tells no error where there is no room
			b.unsent.Add(1)
		}
		run = run[n:]
	}
}

// send sends everything.
func (b *batch) send() {
	b.end()
	b.post()
	b.buf = b.buf[:0]
}

// post sends the messages.
func (b *batch) post() {
	packets, bytes, full := b.messages.send(&b.socket.out)
	stats := &b.socket.stats
	stats.sent.Add(uint64(packets))
	stats.sentBytes.Add(uint64(bytes))
	stats.full.Add(uint64(full))
}
