//go:build !linux

package address

import (
	"context"
	"errors"
)

func (a *Announcer) session(_ context.Context, want Want) (Want, error) {
	return want, errors.New("addresses of pools need Linux")
}
