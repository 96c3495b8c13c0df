package main

import (
	"net"
	"os"
)

// tellReady says that we are ready, once we are: to the Lintel that started us in its
// place, or to systemd (Type=notify).
func (p *process) tellReady() {
	waiting := predecessor()
	p.loop.readiness.whenReady(func() {
		if waiting == nil {
			p.notify("READY=1")
			return
		}
		if _, err := waiting.Write([]byte{1}); err != nil {
			p.log.Warn("the program that started this one does not hear that it is ready", "error", err)
		}
		waiting.Close()
	})
}

// notify says words to the service manager, if there is one that wants to hear them
// (sd_notify(3)).
func (p *process) notify(words string) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(words))
		_ = conn.Close() // it was said, or not
	}
	if err != nil {
		p.log.Warn("cannot notify the service manager", "error", err)
	}
}
