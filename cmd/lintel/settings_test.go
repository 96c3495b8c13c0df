package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"
)

// readSettings reads settings from arguments, environment and, if it is not
// empty, the text of a configuration file called lintel.yaml.
func readSettings(t *testing.T, file string, environ []string, args ...string) (Settings, error) {
	t.Helper()
	if file != "" {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("lintel.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", "lintel.yaml")
	}
	r := newSettingsReader()
	if err := r.Flags().Parse(args); err != nil {
		return Settings{}, err
	}
	return r.Read(environ)
}

func TestSettingsDefaults(t *testing.T) {
	got, err := readSettings(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{
		ControllerName: "lintel.dev/gateway-controller", IngressControllerName: "lintel.dev/ingress-controller",
		GatewayServices: true, LeaderElection: true, LeaseName: "lintel",
		HTTPPort: 80, HTTPSPort: 443, HTTP3: true, HostPorts: "bind", SocketLB: "self", AdminAddress: "127.0.0.1:9180",
		ACME: acmeIssuer{Directory: "letsencrypt"}, ACMEStorage: "/var/lib/lintel",
		Responder: responderSettings{TTL: 30 * time.Second},
		DNS:       dnsSettings{Owner: "default", Policy: "sync", LookUps: "transfer", MarkPrefix: "_%{record_type}-owner.", MarkWildcard: "_any", Interval: time.Minute},
		LogLevel:  "info", LogFormat: "json", AccessLog: true, AccessLogSample: 1, ObserveRecords: 1024, FlowRecords: "off",
		DrainTimeout: 25 * time.Second, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
		ConnectTimeout: 5 * time.Second, ResponseHeaderTimeout: 60 * time.Second, BodyStallTimeout: 60 * time.Second,
		UpstreamIdleTimeout: 60 * time.Second, MinBodyRate: 64, UpstreamMaxAge: time.Hour, MaxHeaderBytes: 65536,
		StreamIdleTimeout: time.Hour, UDPIdleTimeout: time.Minute, MaxUDPSessions: 8192,
		ExpressLane: true, MaxConnections: 32768, MaxConcurrentStreams: 128, MemoryLimit: containerMemory,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsPrecedence(t *testing.T) {
	const file = "httpPort: 1001\nhttpsPort: 1002\nlogLevel: debug\nnodeName: from-file\n"
	environ := []string{"LINTEL_HTTPS_PORT=2002", "LINTEL_LOG_LEVEL=warn", "HOME=/nowhere"}
	got, err := readSettings(t, file, environ, "--log-level=error")
	if err != nil {
		t.Fatal(err)
	}
	if got.HTTPPort != 1001 || got.HTTPSPort != 2002 || got.LogLevel != "error" || got.NodeName != "from-file" {
		t.Errorf("file < environment < flag does not hold: %+v", got)
	}
	if got.AdminAddress != "127.0.0.1:9180" {
		t.Errorf("the default is lost: %q", got.AdminAddress)
	}
}

func TestSettingsFileFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte("# settings\nhttpPort: 1001\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readSettings(t, "", []string{"LINTEL_CONFIG=" + path})
	if err != nil || got.HTTPPort != 1001 {
		t.Errorf("got port %d, %v", got.HTTPPort, err)
	}
}

// Each form of a value is read alike from all three places.
func TestSettingsValues(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}
	for _, tc := range []struct {
		name string
		args []string
		env  string
		file string
		want func(*Settings)
	}{
		{"list", []string{"--trusted-proxies", "10.1.2.3/8,192.0.2.1"}, "LINTEL_TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.1",
			"trustedProxies: [10.0.0.0/8, 192.0.2.1]", func(s *Settings) { s.TrustedProxies = networks }},
		{"repeated flag", []string{"--trusted-proxies", "10.0.0.0/8", "--trusted-proxies", "192.0.2.1"},
			"LINTEL_TRUSTED_PROXIES=10.0.0.0/8,192.0.2.1", "trustedProxies:\n- 10.0.0.0/8\n- 192.0.2.1\n",
			func(s *Settings) { s.TrustedProxies = networks }},
		{"switch", []string{"--access-log=off"}, "LINTEL_ACCESS_LOG=false", "accessLog: off",
			func(s *Settings) { s.AccessLog = false }},
		{"time", []string{"--idle-timeout", "90s"}, "LINTEL_IDLE_TIMEOUT=1m30s", "idleTimeout: 1m30s",
			func(s *Settings) { s.IdleTimeout = 90 * time.Second }},
		{"no limit", []string{"--idle-timeout", "0"}, "LINTEL_IDLE_TIMEOUT=0s", "idleTimeout: 0",
			func(s *Settings) { s.IdleTimeout = 0 }},
		{"size", []string{"--max-body-bytes", "1Mi"}, "LINTEL_MAX_BODY_BYTES=1048576", "maxBodyBytes: 1024Ki",
			func(s *Settings) { s.MaxBodyBytes = 1 << 20 }},
		{"number or none", []string{"--max-connections", "0"}, "LINTEL_MAX_CONNECTIONS=0", "maxConnections: 0",
			func(s *Settings) { s.MaxConnections = 0 }},
		{"memory in bytes", []string{"--memory-limit", "80Mi"}, "LINTEL_MEMORY_LIMIT=80Mi", "memoryLimit: 83886080",
			func(s *Settings) { s.MemoryLimit = 80 << 20 }},
		{"no limit of memory", []string{"--memory-limit", "0"}, "LINTEL_MEMORY_LIMIT=0", "memoryLimit: 0",
			func(s *Settings) { s.MemoryLimit = 0 }},
		{"empty turns off", []string{"--admin-address", ""}, "LINTEL_ADMIN_ADDRESS=", `adminAddress: ""`,
			func(s *Settings) { s.AdminAddress = "" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, err := readSettings(t, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			tc.want(&want)
			fromFlags, err := readSettings(t, "", nil, tc.args...)
			check := func(place string, got Settings, err error) {
				t.Helper()
				if err != nil {
					t.Errorf("%s: %v", place, err)
				} else if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
					t.Errorf("%s: %s", place, diff)
				}
			}
			check("flags", fromFlags, err)
			fromEnvironment, err := readSettings(t, "", []string{tc.env})
			check("environment", fromEnvironment, err)
			fromFile, err := readSettings(t, tc.file, nil)
			check("file", fromFile, err)
		})
	}
}

func TestSettingsMistakes(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		env  []string
		file string
		want string // every line of it must be in the error
	}{
		{"unknown key", nil, nil, "logLevel: info\nhtpPort: 80\n",
			"lintel.yaml:2: htpPort: unknown key (did you mean httpPort?)"},
		{"unknown key, nothing near", nil, nil, "colour: red\n", "lintel.yaml:1: colour: unknown key"},
		{"key in the style of flags", nil, nil, "http-port: 80\n", "lintel.yaml:1: http-port: unknown key (did you mean httpPort?)"},
		{"key twice", nil, nil, "nodeName: a\nnodeName: b\n", "nodeName"},
		{"Service without a namespace", nil, nil, "publishService: edge\n", "must be a namespace and a name, such as default/lintel"},
		{"null", nil, nil, "nodeName:\n", "lintel.yaml:1: nodeName: has no value: remove the key to get the default"},
		{"mapping for a value", nil, nil, "nodeName: {a: b}\n", "lintel.yaml:1: nodeName: must be a value or a list"},
		{"no mapping", nil, nil, "- a\n", "lintel.yaml:1: must be settings, each as key: value"},
		{"no YAML", nil, nil, "a: [\n", "read configuration file lintel.yaml: "},
		{"two documents", nil, nil, "httpPort: 80\n---\nhttpPort: 81\n", "lintel.yaml:2: a configuration file is one document"},
		{"no such file", []string{"--config", "/nowhere/x.yaml"}, nil, "", "read configuration file: open /nowhere/x.yaml"},
		{"unknown variable", nil, []string{"LINTEL_HTP_PORT=80"}, "",
			"LINTEL_HTP_PORT: unknown variable (did you mean LINTEL_HTTP_PORT?)"},
		{"unknown flag", []string{"--htp-port=80"}, nil, "", "unknown flag: --htp-port"},
		{"flag value", []string{"--http-port=99999"}, nil, "",
			`invalid argument "99999" for "--http-port" flag: must be a port, 0 to 65535`},
		{"variable value", nil, []string{"LINTEL_LOG_LEVEL=loud"}, "",
			`LINTEL_LOG_LEVEL: "loud" must be one of debug, info, warn, error`},
		{"file value", nil, nil, "\n\ndrainTimeout: 30\n",
			`lintel.yaml:3: drainTimeout: "30" must be a time with its unit, such as 500ms, 30s or 1m30s`},
		{"overridden values are checked too", []string{"--http-port=80"}, []string{"LINTEL_HTTP_PORT=x"}, "httpPort: y\n",
			"LINTEL_HTTP_PORT: \"x\" must be a port, 0 to 65535\nlintel.yaml:1: httpPort: \"y\" must be a port, 0 to 65535"},
		{"all at once", nil, []string{"LINTEL_ACCESS_LOG=maybe"}, "logFormat: xml\nfoo: 1\n",
			"LINTEL_ACCESS_LOG: \"maybe\" must be on or off\nlintel.yaml:1: logFormat: \"xml\" must be one of json, text\nlintel.yaml:2: foo: unknown key"},
		{"element of a list", nil, []string{"LINTEL_TRUSTED_PROXIES=10.0.0.0/8,ten"}, "",
			`LINTEL_TRUSTED_PROXIES: "10.0.0.0/8,ten" is no list: "ten" must be a network or an address, such as 10.0.0.0/8 or 192.0.2.1`},
		{"no drain timeout", []string{"--drain-timeout=0"}, nil, "", "must be more than 0"},
		{"negative time", []string{"--idle-timeout=-1s"}, nil, "", "must not be negative"},
		{"number beyond all", []string{"--max-connections=99999999999"}, nil, "", "must be 2147483647 or less"},
		{"streams beyond all", []string{"--max-concurrent-streams=99999999999"}, nil, "", "must be 2147483647 or less"},
		{"heads that nobody can send", []string{"--max-header-bytes=100"}, nil, "", "must be 1Ki or more"},
		{"memory that nothing runs in", nil, []string{"LINTEL_MEMORY_LIMIT=1Mi"}, "", `LINTEL_MEMORY_LIMIT: "1Mi" must be 16Mi or more`},
		{"huge size", []string{"--max-body-bytes=9999999999Gi"}, nil, "", "must be a number of bytes"},
		{"sample of none", []string{"--access-log-sample=0"}, nil, "", "must be a whole number, 1 or more"},
		{"controller name", []string{"--controller-name=lintel"}, nil, "", "must be a domain and a path, such as lintel.dev/gateway-controller"},
		{"admin address", []string{"--admin-address=9180"}, nil, "", "must be host:port, such as 127.0.0.1:9180 or :9180"},
		{"one port twice", []string{"--http-port=80", "--https-port=80"}, nil, "", "http-port and https-port are both 80"},
		{"two sources", []string{"--manifests=a", "--kubeconfig=b"}, nil, "", "manifests and kubeconfig are both set"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readSettings(t, tc.file, tc.env, tc.args...)
			if err == nil {
				t.Fatal("no error")
			}
			for line := range strings.SplitSeq(tc.want, "\n") {
				if !strings.Contains(err.Error(), line) {
					t.Errorf("got  %v\nwant %s", err, line)
				}
			}
		})
	}
}

// Kubernetes sets variables for Services, and one may be called lintel.
func TestSettingsIgnoreServiceLinks(t *testing.T) {
	got, err := readSettings(t, "", []string{
		"LINTEL_SERVICE_HOST=10.96.0.7", "LINTEL_SERVICE_PORT=80", "LINTEL_SERVICE_PORT_HTTP=80",
		"LINTEL_PORT=tcp://10.96.0.7:80", "LINTEL_PORT_80_TCP=tcp://10.96.0.7:80", "LINTEL_PORT_80_TCP_PROTO=tcp",
		"LINTEL_PORT_80_TCP_PORT=80", "LINTEL_PORT_80_TCP_ADDR=10.96.0.7",
		"LINTEL_HTTP_PORT=tcp://10.96.0.8:80", "LINTEL_HTTP_SERVICE_HOST=10.96.0.8",
	})
	if err != nil || got.HTTPPort != 80 {
		t.Errorf("got port %d, %v", got.HTTPPort, err)
	}
}

func TestUnknownFlagNamesTheNearest(t *testing.T) {
	cmd := &cobra.Command{Use: "run", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return nil }}
	cmd.Flags().AddFlagSet(newSettingsReader().Flags())
	cmd.SetFlagErrorFunc(explainFlagError)
	cmd.SetArgs([]string{"--htpp-port=80"})
	if err := cmd.Execute(); err == nil || err.Error() != "unknown flag: --htpp-port (did you mean --http-port?)" {
		t.Errorf("got %v", err)
	}
}
