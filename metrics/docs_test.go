package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"sightline/internal/rtc"
)

var (
	row      = regexp.MustCompile("(?m)^\\| `(sightline_[a-z0-9_]+)` \\| (counter|gauge|histogram) \\| [^|]*\\|([^|]*)\\| [^|]+ \\|$")
	anywhere = regexp.MustCompile(`sightline_[a-z0-9_]+`)
	quoted   = regexp.MustCompile("`([a-z_]+)`")
)

// TestDocsNameEveryMetric holds docs/METRICS.md against what a scrape gives.
func TestDocsNameEveryMetric(t *testing.T) {
	raw, err := os.ReadFile("../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := string(raw)
	type metric struct {
		kind   string
		labels []string
	}
	documented := make(map[string]metric)
	for _, m := range row.FindAllStringSubmatch(docs, -1) {
		if _, twice := documented[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		var labels []string
		for _, l := range quoted.FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		documented[m[1]] = metric{m[2], labels}
	}

	families, err := registryOf(t, busy(), 10).Gather()
	if err != nil {
		t.Fatal(err)
	}
	exist := make(map[string]bool)
	for _, f := range families {
		name := f.GetName()
		exist[name] = true
		if f.GetType() == dto.MetricType_HISTOGRAM {
			exist[name+"_bucket"] = true
		}
		got, ok := documented[name]
		if !ok {
			t.Errorf("%s has no row in docs/METRICS.md", name)
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		if kind := strings.ToLower(f.GetType().String()); got.kind != kind || !slices.Equal(got.labels, labels) {
			t.Errorf("%s is documented as a %s of %v, and is a %s of %v", name, got.kind, got.labels, kind, labels)
		}
	}
	for name := range documented {
		if !exist[name] {
			t.Errorf("docs/METRICS.md has a row for %s, which is not there", name)
		}
	}
	for _, name := range anywhere.FindAllString(docs, -1) {
		if !exist[name] {
			t.Errorf("docs/METRICS.md speaks of %s, which is not there", name)
		}
	}
	for _, limit := range limits {
		if !strings.Contains(docs, "`"+limit+"`") {
			t.Errorf("docs/METRICS.md does not explain the limit %s", limit)
		}
	}
	for _, cause := range rtc.Ends() {
		if !strings.Contains(docs, "`"+string(cause)+"`") {
			t.Errorf("docs/METRICS.md does not explain the cause %s", cause)
		}
	}
}

// TestLimitsAreKeysOfTheConfiguration holds the labels of refusals against the manual.
func TestLimitsAreKeysOfTheConfiguration(t *testing.T) {
	raw, err := os.ReadFile("../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	keys, section := make(map[string]bool), ""
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(strings.TrimSpace(name), "]")
		} else if key, _, ok := strings.Cut(line, " = "); ok {
			keys[section+"."+key] = true
		}
	}
	for _, limit := range limits {
		if !keys[limit] {
			t.Errorf("config.toml has no %s", limit)
		}
	}
}

// TestEveryMetricIsDescribed holds Describe against Collect: a metric that only shows up
// in rare states is documented all the same.
func TestEveryMetricIsDescribed(t *testing.T) {
	families, err := registryOf(t, busy(), 10).Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != len(descs()) {
		t.Errorf("a busy gateway shows %d metrics of %d", len(families), len(descs()))
	}
}
