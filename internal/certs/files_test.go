package certs

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sightline/internal/certs/certstest"
)

// A pair is a certificate as PEM.
type pair struct {
	chain, key []byte
	serial     string
}

// newPair makes a certificate for media.example.org.
func newPair(t *testing.T, notBefore, notAfter time.Time) pair {
	t.Helper()
	p := certstest.New(t, x509.Certificate{NotBefore: notBefore, NotAfter: notAfter, DNSNames: []string{"media.example.org"}}, nil)
	return pair{chain: p.Chain, key: p.Key, serial: p.Certificate.SerialNumber.String()}
}

// fresh makes one that is good for a year.
func fresh(t *testing.T) pair {
	return newPair(t, time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
}

func (p pair) write(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	put(t, certFile, p.chain)
	put(t, keyFile, p.key)
	return certFile, keyFile
}

// put puts a file in place at once.
func put(t *testing.T, file string, data []byte) {
	t.Helper()
	overwrite(t, file+".new", data)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// watch runs Files in a hurry until the test ends.
func watch(t *testing.T, certFile, keyFile string) (*Files, *journal) {
	t.Helper()
	log, said := newLog()
	f, err := NewFiles(certFile, keyFile, log)
	if err != nil {
		t.Fatal(err)
	}
	f.every = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			t.Logf("the log:\n%s", said)
		}
	})
	return f, said
}

func (f *Files) serial() string { return f.holder.pair.Load().Leaf.SerialNumber.String() }

// However a pair is replaced, the new one is in use soon after.
func TestFilesAreReadAgain(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, dir string, p pair){
		"written over": func(t *testing.T, dir string, p pair) {
			overwrite(t, filepath.Join(dir, "tls.crt"), p.chain)
			overwrite(t, filepath.Join(dir, "tls.key"), p.key)
		},
		"renamed into place, one after the other": func(t *testing.T, dir string, p pair) {
			certFile, keyFile := p.write(t, t.TempDir())
			for _, file := range []string{certFile, keyFile} {
				if err := os.Rename(file, filepath.Join(dir, filepath.Base(file))); err != nil {
					t.Fatal(err)
				}
			}
		},
		"with the same time stamps": func(t *testing.T, dir string, p pair) {
			for file, data := range map[string][]byte{"tls.crt": p.chain, "tls.key": p.key} {
				path := filepath.Join(dir, file)
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				overwrite(t, path, data)
				if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := fresh(t)
			f, said := watchPair(t, dir, first)
			if f.serial() != first.serial {
				t.Errorf("got %s, want %s", f.serial(), first.serial)
			}
			second := fresh(t)
			replace(t, dir, second)
			eventually(t, "the new certificate is in use", func() bool { return f.serial() == second.serial })
			eventually(t, "it is told", func() bool { return strings.Contains(said.String(), "read again") })
		})
	}
}

// A chain that is written bit by bit is not used before it is whole: each beginning of it, up to its last
// certificate, is one that can be read.
func TestAChainIsUsedOnceItIsWhole(t *testing.T) {
	dir := t.TempDir()
	first, second, authority := fresh(t), fresh(t), fresh(t)
	certFile, keyFile := first.write(t, dir)
	log, _ := newLog()
	f, err := NewFiles(certFile, keyFile, log)
	if err != nil {
		t.Fatal(err)
	}
	whole := append(append([]byte{}, second.chain...), authority.chain...)
	put(t, keyFile, second.key)
	for _, n := range []int{100, len(second.chain), len(second.chain) + 100, len(whole)} {
		overwrite(t, certFile, whole[:n])
		f.look()
		if f.serial() != first.serial {
			t.Fatalf("%d of %d bytes are in use as soon as they are seen", n, len(whole))
		}
	}
	f.look()
	if n := len(f.holder.pair.Load().Certificate); f.serial() != second.serial || n != 2 {
		t.Errorf("the whole chain, seen twice, is not in use: %d certificates", n)
	}
	if n := f.Snapshot().Failures; n != 0 {
		t.Errorf("%d failures, want none", n)
	}
}

func watchPair(t *testing.T, dir string, p pair) (*Files, *journal) {
	certFile, keyFile := p.write(t, dir)
	return watch(t, certFile, keyFile)
}

// As kubelet does it: the files are links through ..data, a link that is renamed to point
// at another folder; the old folder is removed.
func TestFilesOfAKubernetesSecretAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	project := func(version string, p pair) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		p.write(t, filepath.Join(dir, version))
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	first, second := fresh(t), fresh(t)
	project("..2026_01", first)
	for _, file := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := watch(t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	project("..2026_02", second)
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new certificate is in use", func() bool { return f.serial() == second.serial })
	if n := f.Snapshot().Failures; n != 0 {
		t.Errorf("%d failures, want none", n)
	}
}

// What can't be used leaves the old pair in use, is counted, and is told once.
func TestBrokenFilesLeaveTheOldPairInUse(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"half a file":    func(t *testing.T, dir string) { put(t, filepath.Join(dir, "tls.crt"), fresh(t).chain[:100]) },
		"empty":          func(t *testing.T, dir string) { put(t, filepath.Join(dir, "tls.crt"), nil) },
		"key of another": func(t *testing.T, dir string) { put(t, filepath.Join(dir, "tls.key"), fresh(t).key) },
		"too long":       func(t *testing.T, dir string) { put(t, filepath.Join(dir, "tls.crt"), make([]byte, 2<<20)) },
		"gone":           func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "tls.key")) },
		"has expired":    func(t *testing.T, dir string) { newPair(t, time.Unix(0, 0), time.Unix(1e9, 0)).write(t, dir) },
		"is not valid yet": func(t *testing.T, dir string) {
			newPair(t, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)).write(t, dir)
		},
		"a folder":          func(t *testing.T, dir string) { replaceByFolder(t, filepath.Join(dir, "tls.crt")) },
		"a link to nowhere": func(t *testing.T, dir string) { replaceByLink(t, filepath.Join(dir, "tls.crt")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := fresh(t)
			f, said := watchPair(t, dir, first)
			spoil(t, dir)
			before := f.Snapshot().Failures // it may have looked between the two files of a pair, and more than once
			eventually(t, "five failures are counted", func() bool { return f.Snapshot().Failures >= before+5 })
			if f.serial() != first.serial {
				t.Error("the old certificate is not in use any more")
			}
			n := strings.Count(said.String(), "level=ERROR") - strings.Count(said.String(), "does not match public key")
			if n != 1 && name != "key of another" {
				t.Errorf("the log has %d errors, want one", n)
			}
			_ = os.RemoveAll(filepath.Join(dir, "tls.crt"))
			second := fresh(t)
			second.write(t, dir)
			eventually(t, "a repaired pair is in use", func() bool { return f.serial() == second.serial })
		})
	}
}

func replaceByFolder(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func replaceByLink(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
}

// An expired pair at the start is used, because there is no better one, and told.
func TestExpiredFilesAtTheStartAreTold(t *testing.T) {
	dir := t.TempDir()
	f, said := watchPair(t, dir, newPair(t, time.Unix(0, 0), time.Unix(1e9, 0)))
	if !strings.Contains(said.String(), "has expired") {
		t.Error("the log does not say that the certificate has expired")
	}
	if s := f.Snapshot(); s.Certificates[0] != (Certificate{Name: "media.example.org", NotAfter: time.Unix(1e9, 0).UTC()}) {
		t.Errorf("got %+v", s)
	}
	good := fresh(t)
	good.write(t, dir)
	eventually(t, "the new certificate is in use", func() bool { return f.serial() == good.serial })
}

func TestCertificateThatEndsSoonIsToldTwiceADay(t *testing.T) {
	var h holder
	log, said := newLog()
	now := time.Now()
	made, err := parse(func() ([]byte, []byte) {
		p := newPair(t, now.AddDate(-1, 0, 0), now.AddDate(0, 0, 13))
		return p.chain, p.key
	}())
	if err != nil {
		t.Fatal(err)
	}
	h.pair.Store(made)
	for hour := range 24 {
		h.warn(log, now.Add(time.Duration(hour)*time.Hour))
	}
	if n := strings.Count(said.String(), "expires soon"); n != 2 {
		t.Errorf("told %d times in a day, want twice", n)
	}
	var far holder
	p := fresh(t)
	if made, err = parse(p.chain, p.key); err != nil {
		t.Fatal(err)
	}
	far.pair.Store(made)
	far.warn(log, now)
	if n := strings.Count(said.String(), "expires soon"); n != 2 {
		t.Error("a certificate that is good for a year is warned of")
	}
}
