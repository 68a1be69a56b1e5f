//go:build !linux

package main

import "net"

// letNobodyIn would accept whoever is waiting at a listener that is about to be
// closed. Here they are reset.
func letNobodyIn(net.Listener) []net.Conn { return nil }
