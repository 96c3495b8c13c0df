package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/pflag"

	"github.com/lintel-dev/lintel/gateway"
)

// Settings is everything that a person can choose about `lintel run`. It is
// filled by a settingsReader and read-only from then on. In timeouts and byte
// limits, 0 means no limit.
type Settings struct {
	Manifests  string // directory, file or "-"; "" watches a Kubernetes API server
	Kubeconfig string // path; "" finds one as kubectl does, or the service account

	ControllerName        string
	IngressControllerName string
	GatewayClasses        []string // names; none means every class with our controller's name
	IngressClasses        []string // likewise
	WatchNamespaces       []string // none means all
	GatewayServices       bool     // that clients in Kubernetes reach Gateways by
	LeaderElection        bool     // of the replica that writes to the API server
	LeaseName             string
	LeaseNamespace        string // "" means the one that Lintel runs in

	HTTPPort          int // of Ingress; 0 turns it off
	HTTPSPort         int // likewise
	HTTP3             bool
	PublishAddresses  []string
	PublishService    string // namespace/name
	AddressPools      []gateway.AddressPool
	AnnounceInterface string // for addresses of pools; "" finds one
	NodeName          string
	HostPorts         string // bind or sk_lookup
	ShareSockets      bool
	SocketLB          string // off, self or node
	AdminAddress      string // host:port; "" turns it off
	AdminSocket       string // path; "" makes none

	ACME                   acmeIssuer // of the settings acme-*; without a solver there is none
	DNS                    dnsSettings
	Responder              responderSettings
	ACMEIssuers            []acmeIssuer
	ACMEResolvers          []string // none means public ones
	ACMEStorage            string   // directory
	DefaultIssuer          string   // "" means none
	CertManagerAnnotations bool
	SelfSignedUntilReady   bool

	LogLevel        string // debug, info, warn or error
	LogFormat       string // json or text
	AccessLog       bool
	AccessLogSample int    // one exchange in so many is logged, 1 or more; 5xx always
	ObserveRecords  int    // 0 keeps none
	FlowRecords     string // off, self or node

	TrustedProxies        []netip.Prefix
	DrainTimeout          time.Duration // more than 0
	ReadHeaderTimeout     time.Duration
	IdleTimeout           time.Duration
	ConnectTimeout        time.Duration
	ResponseHeaderTimeout time.Duration
	BodyStallTimeout      time.Duration
	MinBodyRate           int64
	UpstreamIdleTimeout   time.Duration
	UpstreamMaxAge        time.Duration
	StreamIdleTimeout     time.Duration
	UDPIdleTimeout        time.Duration // more than 0
	MaxHeaderBytes        int64         // more than 0
	MaxBodyBytes          int64

	ErrorCause                bool
	OutlierErrors             int // 0 turns ejection off
	SlowStart                 time.Duration
	MaxRequestsPerBackend     int // 0 means no limit
	MaxPendingPerBackend      int // likewise
	MaxConnectionsPerEndpoint int // likewise

	ExpressLane              bool
	ProxyProtocolFrom        []netip.Prefix
	MaxConnections           int   // of one socket; 0 means no limit
	MaxConnectionsPerAddress int   // likewise, of one client
	MaxUDPSessions           int   // likewise, of one port
	MaxConcurrentStreams     int   // 1 or more
	MemoryLimit              int64 // bytes; 0 means no limit, containerMemory that of the container
}

// settingsReader reads Settings from where they can be given. What comes first
// wins: flag, environment variable, configuration file, default.
type settingsReader struct {
	settings   Settings
	configFile string
	table      []setting
	flags      *pflag.FlagSet
}

// newSettingsReader returns a reader whose settings have their defaults.
func newSettingsReader() *settingsReader {
	r := &settingsReader{flags: pflag.NewFlagSet("settings", pflag.ContinueOnError)}
	r.flags.SortFlags = false
	r.flags.StringVar(&r.configFile, configName, "", configUsage)
	r.table = settingsTable(&r.settings)
	for i := range r.table {
		r.flags.Var(r.table[i].value, r.table[i].name, r.table[i].usage)
	}
	return r
}

// Flags returns the flags, for a command to add to its own.
func (r *settingsReader) Flags() *pflag.FlagSet { return r.flags }

// Read completes what the parsed flags left open: from environ, in the form of
// os.Environ, then from the configuration file. The error joins every mistake
// found, those in values that are overridden included.
func (r *settingsReader) Read(environ []string) (Settings, error) {
	environment, mistakes := r.readEnvironment(environ)
	if path, ok := environment[configName]; ok && !r.flags.Changed(configName) {
		r.configFile = path.text
	}
	var file map[string]given
	if r.configFile != "" {
		var err error
		file, err = r.readFile(r.configFile)
		mistakes = append(mistakes, err)
	}
	for _, s := range r.table {
		fromEnvironment, inEnvironment := environment[s.name]
		fromFile, inFile := file[s.name]
		if inEnvironment {
			mistakes = append(mistakes, fromEnvironment.check(s.value))
		}
		if inFile {
			mistakes = append(mistakes, fromFile.check(s.value))
		}
		switch {
		case r.flags.Changed(s.name):
		case inEnvironment:
			_ = s.value.Set(fromEnvironment.text) // checked above
		case inFile:
			_ = s.value.Set(fromFile.text) // likewise
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return Settings{}, err
	}
	err := r.settings.validate()
	return r.settings, err
}

// given is the text of a value and the place where it was given.
type given struct {
	text  string
	place string // "LINTEL_HTTP_PORT", or "lintel.yaml:3: httpPort"
}

func (g given) check(v settingValue) error {
	if err := v.Check(g.text); err != nil {
		return fmt.Errorf("%s: %q %w", g.place, g.text, err)
	}
	return nil
}

// validate finds settings that are fine alone but not together, and completes those that
// follow from others.
func (s *Settings) validate() error {
	switch {
	case s.Manifests != "" && s.Kubeconfig != "":
		return errors.New("manifests and kubeconfig are both set: choose one source of objects")
	case s.HTTPPort != 0 && s.HTTPPort == s.HTTPSPort:
		return fmt.Errorf("http-port and https-port are both %d: one port speaks one protocol", s.HTTPPort)
	case s.FlowRecords != flowsOff && s.ObserveRecords == 0:
		return fmt.Errorf("flow-records is %s and observe-records is 0: there is nowhere to keep them", s.FlowRecords)
	}
	if err := s.DNS.validate(); err != nil {
		return err
	}
	if err := s.Responder.validate(); err != nil {
		return err
	}
	return s.validateCertificates()
}
