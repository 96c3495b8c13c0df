package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lintel-dev/lintel/bpf/hostports"
)

// Looking for others who have bound our ports may fail, as while there are too many open files. That
// is no reason to receive no more, which ends when the looking does.
func TestLookingForOthersFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		looks := 0
		var log bytes.Buffer
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tellStarved(ctx, func() ([]hostports.Conflict, error) {
				if looks++; looks <= 2 {
					return nil, syscall.EMFILE
				}
				return []hostports.Conflict{{Place: ":80/tcp", Holder: "process 4711 (nginx)"}}, nil
			}, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		time.Sleep(5 * starvedInterval)
		synctest.Wait()
		select {
		case <-ended:
			t.Error("nothing is received any more")
		default:
		}
		if text := log.String(); strings.Count(text, "trying again") != 1 || !strings.Contains(text, "process 4711 (nginx)") {
			t.Errorf("the log says: %s", text)
		}
		end()
		<-ended
	})
}
