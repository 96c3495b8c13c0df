package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const environmentPrefix = "LINTEL_"

// environmentName returns the variable of a setting: http-port → LINTEL_HTTP_PORT.
func environmentName(name string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// readEnvironment returns the values by setting. A variable that is empty counts
// as given.
func (r *settingsReader) readEnvironment(environ []string) (map[string]given, []error) {
	names := map[string]string{environmentName(configName): configName}
	for _, s := range r.table {
		names[environmentName(s.name)] = s.name
	}
	values := map[string]given{}
	var mistakes []error
	for _, variable := range slices.Sorted(slices.Values(environ)) {
		key, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(key, environmentPrefix) || isServiceLink(key, text) {
			continue
		}
		if name, ok := names[key]; ok {
			values[name] = given{text: text, place: key}
			continue
		}
		mistakes = append(mistakes, fmt.Errorf("%s: unknown variable%s", key, suggest(key, names)))
	}
	return values, mistakes
}

// isServiceLink tells whether a variable is one that Kubernetes sets in every Pod
// of a namespace that has a Service called lintel or lintel-something. Those have
// our prefix by accident: LINTEL_SERVICE_HOST, LINTEL_PORT_80_TCP_ADDR, or
// LINTEL_HTTP_PORT=tcp://10.96.0.7:80 for a Service called lintel-http.
func isServiceLink(key, text string) bool {
	address := regexp.MustCompile(`^(tcp|udp|sctp)://`)
	link := regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)
	return link.MatchString(key) || strings.HasSuffix(key, "_PORT") && address.MatchString(text)
}
