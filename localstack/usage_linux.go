package localstack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clockTick is the unit of processor time in /proc/PID/stat: USER_HZ, which is
// 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// runningUsage reads proc(5): fields 14 and 15 of stat, VmHWM of status.
func runningUsage(pid int) (cpu time.Duration, peakRSS int64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the command's name in parentheses, which may hold both.
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		cpu += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/%d/status: %w", pid, err)
		}
		return cpu, kib << 10, nil
	}
	return 0, 0, fmt.Errorf("/proc/%d/status has no VmHWM", pid)
}

func endedUsage(state *os.ProcessState) (cpu time.Duration, peakRSS int64, err error) {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, errors.New("the system tells no usage of an ended process")
	}
	return state.UserTime() + state.SystemTime(), usage.Maxrss << 10, nil
}
