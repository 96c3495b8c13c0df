package hostports

import (
	"fmt"
	"syscall"
)

// Conflict says that somebody else listens to what is wanted, who keeps it. It is
// syscall.EADDRINUSE.
type Conflict struct {
	Place  string // ":80/tcp"
	Holder string // "process 4711 (nginx)", as far as it is known
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("%s is in use by %s, which keeps it until it ends", c.Place, c.Holder)
}

// Is tells whether the error is target, too.
func (c *Conflict) Is(target error) bool { return target == syscall.EADDRINUSE }
