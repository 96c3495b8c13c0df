// Package manifest reads API objects from YAML files, as an API server would take
// them: Lintel without a cluster, and the checks of lintel check.
package manifest
