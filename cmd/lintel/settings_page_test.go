package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// configurationPage is made from the table of settings and committed.
const configurationPage = "../../docs/configuration.md"

var writePage = flag.Bool("write-page", false, "write docs/configuration.md instead of comparing it")

func TestConfigurationPageIsCurrent(t *testing.T) {
	want := renderConfigurationPage()
	if *writePage {
		if err := os.WriteFile(configurationPage, []byte(want), 0o644); err != nil { //nolint:gosec // A public page.
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(configurationPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/configuration.md is not current: run make generate")
	}
}

const pageHead = `# Settings

<!-- Made from cmd/lintel/settings_table.go by make generate: edit that. -->

Every setting of ` + "`lintel run`" + ` can be given in three ways. What comes first wins:

1. a flag: ` + "`--http-port=8080`" + `
2. an environment variable: ` + "`LINTEL_HTTP_PORT=8080`" + `
3. a key of the configuration file that ` + "`--config FILE`" + ` or ` + "`LINTEL_CONFIG`" + ` names: ` + "`httpPort: 8080`" + `

A key, a variable with the prefix ` + "`LINTEL_`" + `, or a value that makes no sense is an error that ends the program with
exit code 1 (a flag: 2), before anything is served. Variables that Kubernetes itself sets for a Service called lintel
(` + "`LINTEL_SERVICE_HOST`, `LINTEL_PORT_80_TCP`" + ` and their like) are left alone.

Times carry their unit (` + "`500ms`, `30s`, `1m30s`" + `). Sizes are bytes, or have the suffix ` + "`Ki`, `Mi` or `Gi`" + `. Lists are
YAML lists in the file, and have commas everywhere else; a flag may also be repeated.
The settings are read once: to change one, start Lintel again. Objects and manifests are followed as they change.
` + "`lintel check`" + ` takes the same settings, since class names and ports decide what is a mistake.

`

const pageFile = `
## The file with every default

` + "```yaml" + `
`

// renderConfigurationPage returns docs/configuration.md.
func renderConfigurationPage() string {
	var page, file strings.Builder
	page.WriteString(pageHead)
	group := ""
	for _, s := range newSettingsReader().table {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&page, "## %s\n\n| Flag, variable, key | Default | Meaning |\n|---|---|---|\n", group)
		}
		preset := s.value.String()
		shown := "empty"
		if preset != "" {
			shown = "`" + preset + "`"
		}
		fmt.Fprintf(&page, "| `--%s`<br>`%s`<br>`%s` | %s | %s. |\n",
			s.name, environmentName(s.name), fileKey(s.name), shown, sentence(s.usage))
		fmt.Fprintf(&file, "%s: %s\n", fileKey(s.name), yamlValue(s, preset))
	}
	text := page.String() + pageFile + file.String() + "```\n"
	// A table ends with an empty line.
	return regexp.MustCompile(`\|\n## `).ReplaceAllString(text, "|\n\n## ")
}

// yamlValue writes a default as the configuration file has it.
func yamlValue(s setting, preset string) string {
	if s.value.Type() == "list" {
		return "[" + preset + "]"
	}
	return cmp.Or(preset, `""`)
}

// sentence begins with a capital letter and has the names of values in italics.
func sentence(usage string) string {
	text := regexp.MustCompile("`([^`]+)`").ReplaceAllString(usage, "*$1*")
	text = strings.ReplaceAll(text, "|", `\|`)
	first := strings.IndexFunc(text, unicode.IsLetter)
	return text[:first] + strings.ToUpper(text[first:first+1]) + text[first+1:]
}

// What the page shows as the file with every default is just that.
func TestConfigurationPageExample(t *testing.T) {
	_, example, _ := strings.Cut(renderConfigurationPage(), pageFile)
	fromFile, err := readSettings(t, strings.TrimSuffix(example, "```\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := readSettings(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(fromFile) != fmt.Sprint(defaults) {
		t.Errorf("got  %+v\nwant %+v", fromFile, defaults)
	}
}
