//go:build !unix

package main

import (
	"math"
	"net"
)

func openFiles() int { return math.MaxInt32 }

func unread(net.Conn) bool { return false }
