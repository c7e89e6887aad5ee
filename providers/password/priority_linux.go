package password

import "golang.org/x/sys/unix"

// lowerPriority makes the calling thread yield to the program's others. A
// failure costs nothing but the advantage.
func lowerPriority() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10) }
