//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Most of what a test here does is to wait: for a browser to start, for a timeout, for a picture that is watched for a
// while. So two of them run at a time, each in a run of this binary with namespaces of its own.
const atATime = 2

// alone are those that watch closely how evenly pictures and sound come, or that keep both processors of a small machine
// busy by themselves.
var alone = []string{
	"TestBadInput",
	"TestChromiumPlaysFFmpeg",
	"TestCluster",
	"TestFirefoxPlaysH264AndVP8",
	"TestGStreamerPublishesAndPlays",
	"TestHospitalCamerasDontTouchEachOther",
	"TestHospitalInFirefox",
	"TestJoinerOfALongGroupOfPicturesCatchesUp",
	"TestLobbyAndStationsAreAccessibleInEachState",
	"TestLossOnThePublishersPath",
	"TestLossOnTheViewersPath",
	"TestOBSPublishes",
	"TestPagesShowWhatIsLive",
	"TestPeopleMeet",
	"TestRemovedPublishersEnd",
	"TestTechnicianWatchesNineCamerasWithoutALeak",
}

// runAll runs the tests that the flags name, and returns the exit code.
func runAll(env []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	first, rest, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/")
	list, err := exec.Command(self, "-test.list", cmp.Or(first, ".")).Output() // names, one a line
	if err != nil {
		return 0, fmt.Errorf("list the tests: %w", err)
	}
	names := regexp.MustCompile(`(?m)^Test\w+$`).FindAllString(string(list), -1)
	if len(names) < 2 {
		return runInside(env, os.Stdout, self, os.Args[1:]...)
	}
	for _, name := range alone {
		if first == "" && !slices.Contains(names, name) {
			return 0, fmt.Errorf("there is no test %s, which is to run alone", name)
		}
	}
	if rest != "" {
		rest = "/" + rest
	}
	together := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(alone, name) })
	apart := slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(alone, name) })
	var mu sync.Mutex // guards what follows, and what is printed
	var code int
	var errs []error
	for _, s := range []struct {
		names []string
		n     int
	}{{together, atATime}, {apart, 1}} {
		queue := make(chan string, len(s.names))
		for _, name := range s.names {
			queue <- name
		}
		close(queue)
		var wg sync.WaitGroup
		for range s.n {
			wg.Go(func() {
				for name := range queue {
					var out bytes.Buffer
					c, err := runInside(env, &out, self, slices.Concat(os.Args[1:], []string{"-test.run", "^" + name + "$" + rest})...)
					text := strings.TrimSuffix(strings.TrimSuffix(out.String(), "PASS\n"), "FAIL\n") // of all it is said once, below
					mu.Lock()
					fmt.Print(text)
					if errs = append(errs, err); c != 0 { // -1: ended by a signal
						code = 1
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	fmt.Println(map[bool]string{true: "PASS", false: "FAIL"}[code == 0])
	return code, errors.Join(errs...)
}

// runInside runs this binary once more, in namespaces that end with it: the kernel kills what is left in a process
// namespace when its first process ends. It returns its exit code.
func runInside(env []string, out io.Writer, self string, args ...string) (int, error) {
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return 0, fmt.Errorf("run in new namespaces: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}
