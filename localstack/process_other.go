//go:build unix && !linux

package localstack

import "syscall"

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// stopped cannot be asked here; the signal is trusted.
func stopped(int) (bool, error) { return true, nil }
