//go:build linux

package hostile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

// An attack is what the attacker's process is told.
type attack struct {
	Base   string         // of HTTP
	Media  netip.AddrPort // of ICE
	Tokens []string       // leaked ones, which may publish; each is used from an address of its own
	Offer  string
	Lasts  time.Duration

	HalfOpen  int // offers a second that nobody connects
	Datagrams int // a second
	Slow      int // bodies at a time that never end
	Guesses   int // wrong tokens a second, from the address of those who have right ones

	Floods     []string      // of HTTP/2, by their names
	Flooders   int           // connections of each at a time
	FloodPause time.Duration // of each, between two of its sends
	Paths      []string      // that they ask for
}

// A toll is what the attacker did, and how he was answered.
type toll struct {
	Offers, Guesses map[int]int // by status; 0: no answer
	Slow            map[int]int // likewise
	Datagrams       int
	Floods          map[string]floodToll
}

// The addresses of the attacker, all in 127/8: of offers 127.66.0.x, of datagrams 127.66.1.x,
// of slow bodies 127.66.3.x, of floods 127.66.4.x. Where his offers' candidates are, 127.66.2.1, nobody listens.
func attacker(group, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 66, byte(group), byte(n + 1)})
}

// run attacks until the time is over.
func (a attack) run() toll {
	ctx, cancel := context.WithTimeout(context.Background(), a.Lasts)
	defer cancel()
	var offers, guesses, slow tally
	var ufrag atomic.Pointer[string]
	var sent atomic.Int64
	var all sync.WaitGroup
	for i, token := range a.Tokens {
		client := clientFrom(attacker(0, i))
		all.Go(func() {
			a.every(ctx, a.HalfOpen/len(a.Tokens), func(n int) { a.halfOpen(ctx, client, token, n, &offers, &ufrag) })
			client.CloseIdleConnections()
		})
	}
	guesser := clientFrom(netip.MustParseAddr("127.0.0.1"))
	all.Go(func() {
		a.every(ctx, a.Guesses, func(n int) { a.guess(ctx, guesser, n, &guesses) })
		guesser.CloseIdleConnections()
	})
	for i := range a.Slow {
		all.Go(func() { a.slow(ctx, i, &slow) })
	}
	const sources = 8
	for i := range sources {
		all.Go(func() { sent.Add(a.flood(ctx, attacker(1, i), a.Datagrams/sources, &ufrag)) })
	}
	flooded := make([]floodToll, len(floods))
	for i, f := range floods {
		if slices.Contains(a.Floods, f.name) {
			all.Go(func() { flooded[i] = a.floodHTTP2(ctx, f, attacker(4, i)) })
		}
	}
	all.Wait()
	paid := toll{Offers: offers.counts(), Guesses: guesses.counts(), Slow: slow.counts(), Datagrams: int(sent.Load()), Floods: make(map[string]floodToll)}
	for i, f := range floods {
		paid.Floods[f.name] = flooded[i]
	}
	return paid
}

// every calls f so often a second until ctx is done, on a goroutine of its own each time, of
// which it waits for the last; but no more than a second's worth at a time.
func (a attack) every(ctx context.Context, perSecond int, f func(n int)) {
	if perSecond == 0 {
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, perSecond)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	began, n := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for due := int(time.Since(began).Seconds() * float64(perSecond)); n < due; n++ {
			turn := n
			select {
			case slots <- struct{}{}:
				running.Go(func() { defer func() { <-slots }(); f(turn) })
			default: // the server is that slow
			}
		}
	}
}

var ufragLine = regexp.MustCompile(`(?m)^a=ice-ufrag:(\S+)`)

// halfOpen offers, and does nothing more. It remembers the server's last ufrag.
func (a attack) halfOpen(ctx context.Context, client *http.Client, token string, n int, offers *tally, ufrag *atomic.Pointer[string]) {
	url := fmt.Sprintf("%s/whip/evil-%d/cam-%d", a.Base, n%150, n%1000)
	status, body := ask(ctx, client, "POST", url, token, a.Offer)
	offers.add(status)
	if m := ufragLine.FindStringSubmatch(body); status == http.StatusCreated && m != nil {
		ufrag.Store(&m[1])
	}
}

// guess tries a token.
func (a attack) guess(ctx context.Context, client *http.Client, n int, guesses *tally) {
	method, path := "POST", "/whip/mri-2/console"
	if n%2 == 0 {
		method, path = "GET", "/api/rooms"
	}
	status, _ := ask(ctx, client, method, a.Base+path, rand.Text(), "v=0")
	guesses.add(status)
}

// slow sends bodies a byte a second.
func (a attack) slow(ctx context.Context, n int, slow *tally) {
	for ctx.Err() == nil {
		slow.add(a.drip(ctx, n))
	}
}

// drip sends one body until the server has enough, and returns the status.
func (a attack) drip(ctx context.Context, n int) int {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: attacker(3, n%100).AsSlice()}}
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(a.Base, "http://"))
	if err != nil {
		return 0
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_, err = fmt.Fprintf(conn, "POST /whip/evil-slow/cam HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/sdp\r\nContent-Length: 8000\r\n\r\nv=0\r\n", a.Tokens[n%len(a.Tokens)])
	if err != nil {
		return 0
	}
	answered := make(chan int, 1)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		var status int
		_, _ = fmt.Fscanf(conn, "HTTP/1.1 %d", &status)
		answered <- status
	})
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case status := <-answered:
			return status
		case <-ticker.C:
			_, _ = conn.Write([]byte("x"))
		}
	}
}

// flood sends datagrams that look like STUN, DTLS, RTP and nothing, and returns how many.
func (a attack) flood(ctx context.Context, from netip.Addr, perSecond int, ufrag *atomic.Pointer[string]) (sent int64) {
	if perSecond == 0 {
		return 0
	}
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(a.Media))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 0
	}
	defer conn.Close()
	random := make([]byte, 1200)
	_, _ = rand.Read(random)
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	began := time.Now()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return sent
		case <-ticker.C:
		}
		for due := int(time.Since(began).Seconds() * float64(perSecond)); n < due; n++ {
			if _, err := conn.Write(datagram(n, random, ufrag.Load())); err == nil {
				sent++
			}
		}
	}
}

// datagram makes up the n-th one. ufrag is one of a session that is live, or nil.
func datagram(n int, random []byte, ufrag *string) []byte {
	b := append([]byte(nil), random[:100+(n*97)%1100]...)
	switch n % 5 {
	case 0: // STUN of nobody's
		return request(fmt.Sprintf("nobody%d:x", n), "guess")
	case 1: // STUN for a session, without its integrity
		if ufrag == nil {
			return request("nobody:x", "guess")
		}
		return request(*ufrag+":x", "guess")
	case 2:
		copy(b, []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0})
	case 3:
		b[0], b[1] = 0x80, 96
	}
	return b
}

func request(username, password string) []byte {
	m, err := stun.Build(stun.BindingRequest, stun.TransactionID, stun.NewUsername(username), stun.NewShortTermIntegrity(password), stun.Fingerprint)
	if err != nil {
		return nil
	}
	return m.Raw
}

// clientFrom returns a client whose requests come from an address.
func clientFrom(from netip.Addr) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	return &http.Client{
		Transport: &http.Transport{DialContext: d.DialContext, MaxConnsPerHost: 32, MaxIdleConnsPerHost: 32},
		Timeout:   5 * time.Second,
	}
}

// ask sends a request and returns the status and the body; 0 if there was no answer.
func ask(ctx context.Context, client *http.Client, method, url, token, body string) (int, string) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, ""
	}
	r.Header.Set("Content-Type", "application/sdp")
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(text)
}

// A tally counts statuses.
type tally struct {
	mu sync.Mutex
	n  map[int]int
}

func (t *tally) add(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[int]int)
	}
	t.n[status]++
}

func (t *tally) counts() map[int]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// attackVariable makes the test binary the attacker.
const attackVariable = "SIGHTLINE_HOSTILE_ATTACK"

// attackIfTold attacks if this is the attacker's process, and reports whether it is.
func attackIfTold() (bool, error) {
	text := os.Getenv(attackVariable)
	if text == "" {
		return false, nil
	}
	var a attack
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return true, errors.Join(errors.New(attackVariable), err)
	}
	return true, json.NewEncoder(os.Stdout).Encode(a.run())
}
