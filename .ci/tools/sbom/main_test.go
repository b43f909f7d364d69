package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

func TestLicencesAreToldApart(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"The MIT License\n\nPermission is hereby granted,\n  free of charge, to any person", "MIT"},
		{"                Apache License\n          Version 2.0, January 2004", "Apache-2.0"},
		{"Licensed under the Apache License, Version 2.0 (the", "Apache-2.0"},
		{"Redistribution and use in source and binary forms, with …\n * Neither the name of X nor its\n * contributors may be used to endorse or\n * promote products derived from", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms, with or without", "BSD-2-Clause"},
		{"This work is released into the public domain with CC0 1.0.\n", "CC0-1.0"},
		{"GNU AFFERO GENERAL PUBLIC LICENSE", ""},
		{"", ""},
	} {
		got, err := identify(tt.text)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%.30q: got %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestOnlyWhatIsBundledIsListed(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "package-lock.json")
	put := func(text string) {
		if err := os.WriteFile(lock, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(`{"packages": {"": {"version": "1"}, "node_modules/@a/b": {"version": "1.0.0", "license": "MIT", "integrity": "sha512-AAE="},
		"node_modules/tool": {"version": "2.0.0", "license": "MIT", "dev": true}}}`)
	got, err := bundledPackages(lock)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v", got, err)
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{BOMRef: "main"}}
	bom.Components = &[]cyclonedx.Component{}
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: "main"}}
	add(bom, "@a/b", got["@a/b"])
	c := (*bom.Components)[0]
	if c.PackageURL != "pkg:npm/%40a/b@1.0.0" || (*c.Hashes)[0].Value != "0001" || (*(*bom.Dependencies)[0].Dependencies)[0] != c.PackageURL {
		t.Errorf("got %+v, %+v", c, *bom.Dependencies)
	}
	for _, text := range []string{`{"packages": {"node_modules/a": {"version": "1.0.0"}}}`, `{}`, `[`} {
		put(text)
		if _, err := bundledPackages(lock); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// A bill that leaves something out, or lists something else, is refused: this test's own
// program is the one it is held against.
func TestABillThatIsWrongIsRefused(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bom.json")
	for components, want := range map[string]string{
		`[]`:                                 "not listed: ",
		`[{"name": "evil", "version": "1"}]`: `evil 1 is listed, the program has ""`,
	} {
		if err := os.WriteFile(path, []byte(`{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": `+components+`}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := check(path, program, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", components, err, want)
		}
	}
}
