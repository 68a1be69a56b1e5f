package main

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handshakeMax is the round trip to clients for whose handshakes a closing listener
// waits. Who comes meanwhile asks again after a second, and is refused.
const handshakeMax = 20 * time.Millisecond

// letNobodyIn shuts a listener and returns the connections that nobody accepted. The
// kernel completes handshakes by itself and would reset those that it completes
// between the last look and the end. So it ignores new ones first, and there is none
// left that could be completed then.
func letNobodyIn(l net.Listener) ([]net.Conn, error) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	// A kernel without filters lets some more in, who are accepted below.
	if err := raw.Control(func(fd uintptr) { _ = ignoreHandshakes(int(fd)) }); err != nil {
		return nil, err
	}
	time.Sleep(handshakeMax)
	var accepted []int
	var failed error
	err = raw.Control(func(fd uintptr) {
		accepted, failed = acceptAll(int(fd))
		// Accept may hold the file for a while yet.
		failed = errors.Join(failed, os.NewSyscallError("shutdown", unix.Shutdown(int(fd), unix.SHUT_RDWR)))
	})
	err = errors.Join(err, failed)
	var waiting []net.Conn
	for _, fd := range accepted {
		f := os.NewFile(uintptr(fd), "client")
		c, e := net.FileConn(f) // has a descriptor of its own
		err = errors.Join(err, e, f.Close())
		if e == nil {
			waiting = append(waiting, c)
		}
	}
	return waiting, err
}

// ignoreHandshakes makes a listener drop packets that begin one. What belongs to one
// that has begun gets through.
func ignoreHandshakes(fd int) error {
	const flags, syn = 13, 0x02 // of a TCP header, RFC 9293 section 3.1
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// acceptAll accepts until nobody is waiting.
func acceptAll(listener int) (accepted []int, err error) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			accepted = append(accepted, fd)
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EAGAIN:
			return accepted, nil
		default:
			return accepted, os.NewSyscallError("accept4", err)
		}
	}
}
