//go:build figures

package figures

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// userHZ is what /proc/stat counts in (proc_stat(5)): 100 on all of Go's ports.
const userHZ = 100

// watchStrangers returns a function that says how much of a processor those have used since
// who are neither this process nor of the given ones, in percent. What was taken from this
// machine as a virtual one is theirs, too.
func watchStrangers(pids ...int) func() float64 {
	before, began := strangers(pids), time.Now()
	return func() float64 {
		return max(0, 100*(strangers(pids)-before).Seconds()/time.Since(began).Seconds())
	}
}

func strangers(pids []int) time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, wait, irq, softirq, steal int64
	_, _ = fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal)
	used := time.Duration(user+nice+system+irq+softirq+steal) * time.Second / userHZ
	for _, pid := range slices.Concat(pids, []int{os.Getpid()}) {
		used -= processCPU(pid)
	}
	return used
}

// processCPU returns the CPU time that a process has used, and that of children it has
// waited for.
func processCPU(pid int) time.Duration {
	if pid == os.Getpid() {
		var self syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &self) != nil {
			return 0
		}
		return time.Duration(self.Utime.Nano() + self.Stime.Nano())
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	var utime, stime int64
	var name, state string
	var n [10]int64
	_, _ = fmt.Sscanf(string(stat), "%d %s %s %d %d %d %d %d %d %d %d %d %d %d %d", &n[0], &name, &state,
		&n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7], &n[8], &n[9], new(int64), &utime, &stime)
	return time.Duration(utime+stime) * time.Second / userHZ
}
