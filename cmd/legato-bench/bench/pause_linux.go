package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// pause sleeps on the thread: the runtime's timers are up to a millisecond late
// where it waits for the network, and that would be measured as the server's.
func pause(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&t, nil) // who is woken early asks for the rest
}

// sharpen lets the calling thread wake within a microsecond of the time asked
// for; the default is 50. Where that is refused, it stays at that.
func sharpen() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0) }
