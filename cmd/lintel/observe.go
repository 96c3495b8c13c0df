package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lintel-dev/lintel/observe"
)

// maxRecordLine is more than a record has as JSON, in bytes.
const maxRecordLine = 256 << 10

// errReaderGone says that nobody reads our output any more, as with head and less.
var errReaderGone = errors.New("the reader has gone")

// observation is what `lintel observe` was asked for.
type observation struct {
	filters      map[string]*[]string // by parameter
	last, since  string
	follow       bool
	output       string
	client       *http.Client
	out, message io.Writer
}

func newObserveCommand() *cobra.Command {
	reader := newSettingsReader()
	o := &observation{filters: map[string]*[]string{}}
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Watch what passes through a running Lintel",
		Long: `Watch what passes through a running Lintel: every request that has ended, every stream of a
TCPRoute, TLSRoute or UDPRoute, and, where flow-records is on, every TCP connection as the kernel
saw it. With --last or --since the past is shown, as much as Lintel keeps (observe-records), and
with neither what is to come.
The values of a filter may be given several times or with commas between them: one has to fit,
and so do all filters. Names may have * in them. Lintel is asked at the admin address; on
Kubernetes: kubectl -n lintel exec ds/lintel -- /lintel observe.`,
		Example: `  lintel observe --namespace shop --status 5xx
  lintel observe --host '*.example.com' --last 20
  lintel observe --kind l4 --verdict reset,timeout --since 5m -f
  lintel observe --since 1m -o json | jq .seconds`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := adminOf(reader, "records")
			if err != nil {
				return err
			}
			o.client, o.out, o.message = client, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return o.run(cmd.Context(), cmd.Flags())
		},
	}
	o.addFlags(cmd.Flags())
	addAdminFlags(cmd, reader)
	return cmd
}

func (o *observation) addFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.BoolVarP(&o.follow, observe.ParamFollow, "f", false, "go on with what is to come; without --last and --since it is so anyway")
	flags.StringVar(&o.last, observe.ParamLast, "", "show the last `n` records that fit")
	flags.StringVar(&o.since, observe.ParamSince, "", "show records since a `time`: 5m ago, or a date as in RFC 3339")
	for _, f := range []struct{ name, usage string }{
		{observe.ParamKind, "`kinds`: l7 (requests), stream, l4 (connections, by the kernel)"},
		{observe.ParamNamespace, "`namespaces` of either end, of the Route or of the backend"},
		{observe.ParamPod, "`Pods` at either end, as name or namespace/name"},
		{observe.ParamService, "`Services` at either end, likewise"},
		{observe.ParamHost, "`hosts` of requests, server names of TLS"},
		{observe.ParamStatus, "`statuses` of responses: 404, 5xx, 500-503"},
		{observe.ParamVerdict, "`verdicts`: forwarded, answered, denied, failed, aborted; of l4 closed, reset, timeout, refused, aborted"},
	} {
		o.filters[f.name] = flags.StringSlice(f.name, nil, f.usage)
	}
	flags.StringVarP(&o.output, "output", "o", "compact", "`format`: compact or json")
}

// query returns the parameters of the URL. A mistake in one is found here, before anybody is
// asked.
func (o *observation) query(flags *pflag.FlagSet) (url.Values, error) {
	values := url.Values{}
	for name, given := range o.filters {
		if flags.Changed(name) {
			values[name] = *given
		}
	}
	past := false
	for name, value := range map[string]string{observe.ParamLast: o.last, observe.ParamSince: o.since} {
		if flags.Changed(name) {
			past = true
			values.Set(name, value)
		}
	}
	if o.follow || !past && !flags.Changed(observe.ParamFollow) {
		values.Set(observe.ParamFollow, "true")
	}
	if _, err := observe.ParseQuery(values, time.Now()); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	return values, nil
}

func (o *observation) run(ctx context.Context, flags *pflag.FlagSet) error {
	if o.output != "compact" && o.output != "json" {
		return fmt.Errorf("output %q must be compact or json", o.output)
	}
	query, err := o.query(flags)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lintel"+observePath+"?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("ask for records: %w", err)
	}
	response, err := o.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the Lintel that runs here: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, probeAnswerLimit))
		return fmt.Errorf("ask for records: %s: %s", response.Status, strings.TrimSpace(string(text)))
	}
	err = o.print(response.Body)
	if ctx.Err() != nil || errors.Is(err, errReaderGone) { // the person who asked has seen enough
		return nil
	}
	if err == nil && query.Has(observe.ParamFollow) {
		fmt.Fprintln(o.message, "lintel: the Lintel that was observed has ended")
	}
	return err
}

// print writes records until there are no more. The error is errReaderGone when whoever reads
// them has gone.
func (o *observation) print(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxRecordLine)
	for lines.Scan() {
		line := lines.Bytes()
		if o.output == "compact" {
			var r observe.Record
			if err := json.Unmarshal(line, &r); err != nil {
				return fmt.Errorf("read record: %w", err)
			}
			r.Time = r.Time.Local()
			line = []byte(r.Compact())
		}
		if _, err := o.out.Write(append(line, '\n')); err != nil {
			return errReaderGone
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	return nil
}
