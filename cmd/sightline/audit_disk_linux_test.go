package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sightline/internal/audit"
	"sightline/internal/doortest"
)

// A disk that is full: a gateway in a mount namespace of its own, with a small one. It refuses
// sessions or goes on, as configured, says so, and writes on when there is room again.
func TestAuditLogOnAFullDisk(t *testing.T) {
	for _, mode := range []string{audit.Refuse, audit.Alarm} {
		t.Run(mode, func(t *testing.T) {
			disk := t.TempDir()
			path := filepath.Join(disk, "audit.log")
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", `mount --make-rprivate / && mount -t tmpfs -o size=256k,mode=700 tmpfs "$0" && exec "$1" serve`, disk, program)
			cmd.Env = append(os.Environ(), beSightline+"=1", "SIGHTLINE_HTTP_LISTEN=127.0.0.1:0", "SIGHTLINE_ICE_UDP_LISTEN=127.0.0.1:0",
				"SIGHTLINE_AUDIT_FILE="+path, "SIGHTLINE_AUDIT_ON_FAILURE="+mode)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			if os.Getuid() != 0 { // root of a user namespace may mount, too
				cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
			}
			c := killable(t, cmd)
			inside := fmt.Sprintf("/proc/%d/root", cmd.Process.Pid) // as the gateway sees it
			fill := filepath.Join(inside, disk, "fill")
			if err := fillDisk(fill); err != nil {
				t.Fatal(err)
			}
			at := doortest.At(t, c.base)
			enter := func() doortest.Response {
				return at.Do(t, "POST", "/api/rooms/mri-2/participants", `{"name": "Ada"}`, "Content-Type", "application/json")
			}
			// The log's last page may have room for some lines still.
			eventually(t, "the log fails", func() bool {
				enter()
				return strings.Contains(at.Do(t, "GET", "/metrics", "").Text, "\nsightline_audit_failed 1\n")
			})
			ready := at.Do(t, "GET", "/readyz", "")
			session := at.Post(t, "/whip/mri-2/console", "no offer")
			want := map[string][3]int{audit.Refuse: {503, 503, 503}, audit.Alarm: {201, 400, 200}}[mode]
			if got := [3]int{enter().StatusCode, session.StatusCode, ready.StatusCode}; got != want {
				t.Errorf("participant, session, /readyz: got %d, want %d", got, want)
			}
			if !strings.Contains(ready.Text, "the audit log can't be written") {
				t.Errorf("/readyz says %s", ready.Text)
			}
			eventually(t, "the gateway says why", func() bool { return strings.Contains(c.log(), "no space left on device") })
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the log is written again", func() bool {
				return strings.Contains(at.Do(t, "GET", "/metrics", "").Text, "\nsightline_audit_failed 0\n") && enter().StatusCode == http.StatusCreated
			})
			eventually(t, "all is safe", func() bool {
				return strings.Contains(at.Do(t, "GET", "/metrics", "").Text, "\nsightline_audit_waiting_events 0\n")
			})
			report, err := audit.Check{}.Verify(filepath.Join(inside, path))
			if err != nil || len(report.Problems) > 0 {
				t.Errorf("the log does not verify: %v, %v", err, report.Problems)
			}
			written := 0
			for _, e := range auditLines(t, filepath.Join(inside, path)) {
				if e.What == audit.Entered {
					written++
				}
			}
			// What the gateway says is read a moment after it has answered.
			eventually(t, fmt.Sprintf("%d have entered, as the audit log has it", written), func() bool {
				return strings.Count(c.log(), `msg="participant entered"`) == written
			})
		})
	}
}

// fillDisk writes until there is no room.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for b := make([]byte, 512); ; {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
