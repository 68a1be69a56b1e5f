package main

import (
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
// left that could be completed then. What fails leaves clients to be reset, no more.
func letNobodyIn(l net.Listener) (waiting []net.Conn) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) { _ = ignoreHandshakes(int(fd)) })
	time.Sleep(handshakeMax)
	var accepted []int
	_ = raw.Control(func(fd uintptr) {
		accepted = acceptAll(int(fd))
		// Accept may hold the file for a while yet.
		_ = unix.Shutdown(int(fd), unix.SHUT_RDWR)
	})
	for _, fd := range accepted {
		f := os.NewFile(uintptr(fd), "client")
		if c, err := net.FileConn(f); err == nil { // it has a descriptor of its own
			waiting = append(waiting, c)
		}
		_ = f.Close()
	}
	return waiting
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

// acceptAll accepts until nobody is waiting, or no more can be accepted.
func acceptAll(listener int) (accepted []int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			accepted = append(accepted, fd)
		case unix.EINTR, unix.ECONNABORTED:
		default:
			return accepted
		}
	}
}
