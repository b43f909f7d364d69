package forward

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sightline/internal/fault"
	"sightline/internal/httpapi"
)

// What is packed comes out as it was, but for what concerns one connection.
func TestRequestsArriveAsTheyWere(t *testing.T) {
	for _, body := range []string{"", "v=0", strings.Repeat("offer ", 20_000)} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "/whip/a%2Fb/c?label=M%20R&label=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{
			"Authorization": {"Bearer x"}, "Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Expect": {"100-continue"},
			"Cookie": {"a=b", "c=d"},
		}
		sent := httpapi.Arrival{Client: netip.MustParseAddr("2001:db8::1"), TLS: true, Base: "https://gateway.example", Request: "0123456789abcdef", Own: true}
		data, err := pack(r, []byte(body), sent)
		if err != nil {
			t.Fatal(err)
		}
		got, a, err := unpack(data, "node-a")
		if err != nil {
			t.Fatal(err)
		}
		if sent.Node = "node-a"; a != sent {
			t.Errorf("arrived as %+v, want %+v", a, sent)
		}
		var read bytes.Buffer
		if _, err := read.ReadFrom(got.Body); err != nil || read.String() != body {
			t.Errorf("a body of %d bytes (%v), want %d", read.Len(), err, len(body))
		}
		if got.URL.String() != r.URL.String() || got.Header.Get("Authorization") != "Bearer x" || len(got.Header.Values("Cookie")) != 2 {
			t.Errorf("%s %v", got.URL, got.Header)
		}
		for _, name := range []string{"Connection", "X-Hop", "Te", "Expect", "User-Agent"} {
			if v, ok := got.Header[name]; ok {
				t.Errorf("%s: %q is brought along", name, v)
			}
		}
	}
}

func TestBadMessagesAreRefused(t *testing.T) {
	request := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, data := range map[string][]byte{
		"nothing":            nil,
		"no kind":            []byte("x{}\n" + request),
		"no label":           []byte("p" + request),
		"no request":         []byte("p{}\n"),
		"base is a path":     []byte("p{\"base\": \"/x\"}\n" + request),
		"base is a script":   []byte("p{\"base\": \"javascript:x\"}\n" + request),
		"id with a line end": []byte("p{\"request\": \"a\\nb\"}\n" + request),
		"client is none":     []byte("p{\"client\": \"there\"}\n" + request),
		"not compressed":     []byte("z{}\n" + request),
		"too much":           deflate(append([]byte("{}\n"), bytes.Repeat([]byte("a"), maxRequest)...)),
		"too long":           append([]byte("p{}\n"), make([]byte, maxMessage)...),
	} {
		if _, _, err := unpack(data, "node-a"); fault.KindOf(err) != fault.BadRequest {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	for name, data := range map[string][]byte{"nothing": nil, "a request": []byte("p" + request), "status 099": []byte("pHTTP/1.1 099 X\r\n\r\n")} {
		if _, _, err := readResponse(data, "node-a"); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("p{\"base\": \"http://x\"}\nPOST /whip/a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"))
	f.Add(deflate([]byte("{}\nGET / HTTP/1.1\r\n\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, a, err := unpack(data, "n"); err == nil && (r.URL == nil || a.Node != "n" || a.Request != "" && strings.ContainsAny(a.Request, "\r\n ")) {
			t.Errorf("%v %+v", r, a)
		}
		_, _, _ = readResponse(data, "n")
		in := incoming{node: "n", block: func([]byte) error { return nil }}
		_ = in.take(data)
		_ = in.take(data)
	})
}

// A Host that is no name is no trouble: URLs begin with what the entry knows itself by.
func TestHostThatIsNoName(t *testing.T) {
	for _, host := range []string{"", "a b", "\xff", "xn--\xff", "[::1%25eth0]:80", "a/b"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "/api/rooms/mri-2", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		data, err := pack(r, nil, httpapi.Arrival{})
		if err != nil {
			t.Errorf("Host %q: %v", host, err)
			continue
		}
		if got, _, err := unpack(data, "b"); err != nil || got.URL.Path != "/api/rooms/mri-2" {
			t.Errorf("Host %q: %+v %v", host, got, err)
		}
	}
}
