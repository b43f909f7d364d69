// Command sbom says what the gateway's binary is made of: it completes the bill of materials
// (CycloneDX) that cyclonedx-gomod has made of the binary with licences and with what the
// pages bundle, and writes the licences' texts, which have to go with the binary.
//
// It fails if a licence is missing or none that is known here: whoever adds a dependency
// learns of it before anybody ships it.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	"golang.org/x/mod/module"
)

func main() {
	var j job
	flag.StringVar(&j.binary, "binary", "", "the program")
	flag.StringVar(&j.bom, "bom", "", "what cyclonedx-gomod says of it; it is completed in place")
	flag.StringVar(&j.web, "web", "", "directory of package-lock.json and node_modules")
	flag.StringVar(&j.notices, "notices", "", "where to write the licences' texts")
	flag.StringVar(&j.cache, "modcache", "", "GOMODCACHE")
	flag.StringVar(&j.root, "goroot", "", "GOROOT")
	flag.Parse()
	if err := j.run(); err != nil {
		fmt.Fprintf(os.Stderr, "sbom: %v\n", err)
		os.Exit(1)
	}
}

// A job is one run, by its paths.
type job struct{ binary, bom, web, notices, cache, root string }

// A part is one that the binary is made of, with the licence that it comes under.
type part struct{ name, version, licence, text string }

func (j job) run() error {
	bom, err := readBOM(j.bom)
	if err != nil {
		return err
	}
	bundled, err := bundledPackages(filepath.Join(j.web, "package-lock.json"))
	if err != nil {
		return err
	}
	parts, err := j.addLicences(bom)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(bundled)) {
		p := bundled[name]
		text, err := licenceText(filepath.Join(j.web, "node_modules", name))
		if err != nil {
			return fmt.Errorf("npm package %s: %w", name, err)
		}
		add(bom, name, p)
		parts = append(parts, part{name, p.Version, p.License, text})
	}
	if err := writeBOM(j.bom, bom); err != nil {
		return err
	}
	if err := writeNotices(j.notices, parts); err != nil {
		return err
	}
	return check(j.bom, j.binary, bundled)
}

// addLicences says of each component of the binary what its licence is.
func (j job) addLicences(bom *cyclonedx.BOM) ([]part, error) {
	if bom.Components == nil {
		return nil, errors.New("the bill of materials has no components")
	}
	var parts []part
	for i := range *bom.Components {
		c := &(*bom.Components)[i]
		dir, err := j.directory(c.Name, c.Version)
		if err != nil {
			return nil, err
		}
		text, err := licenceText(dir)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Name, c.Version, err)
		}
		id, err := identify(text)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", c.Name, c.Version, err)
		}
		c.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{ID: id}}}
		parts = append(parts, part{c.Name, c.Version, id, text})
	}
	return parts, nil
}

// directory is where the sources of a module are; "std" is the standard library.
func (j job) directory(path, version string) (string, error) {
	if path == "std" {
		return j.root, nil
	}
	escaped, err := module.EscapePath(path)
	if err != nil {
		return "", err
	}
	v, err := module.EscapeVersion(version)
	if err != nil {
		return "", err
	}
	return filepath.Join(j.cache, escaped+"@"+v), nil
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[sc]e|copying)(\.(md|txt))?$`)

// licenceText returns the one licence at the root of a module or package, and its NOTICE
// if it has one (Apache License 2.0, section 4 (d)).
func licenceText(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var text, notice string
	for _, e := range entries {
		if e.IsDir() || !licenceFile.MatchString(e.Name()) && e.Name() != "NOTICE" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		if e.Name() == "NOTICE" {
			notice = "\n" + string(b)
		} else {
			text += string(b)
		}
	}
	if text == "" {
		return "", errors.New("has no file called LICENSE or COPYING")
	}
	return text + notice, nil
}

// licences are those that may be in the binary, by the sentences that only they have.
// The first that fits counts.
var licences = []struct{ id, sentence string }{
	{"Apache-2.0", "apache license version 2.0"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"MIT", "permission is hereby granted, free of charge"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
	{"BSD-3-Clause", "may be used to endorse or promote products derived from"},
	{"CC0-1.0", "released into the public domain with cc0 1.0"},
	{"BSD-2-Clause", "redistribution and use in source and binary forms"},
}

var spaces = regexp.MustCompile(`[\s*]+`)

// identify returns the SPDX id of a licence by its text.
func identify(text string) (string, error) {
	plain := strings.ReplaceAll(spaces.ReplaceAllString(strings.ToLower(text), " "), "license, version", "license version")
	for _, l := range licences {
		if strings.Contains(plain, l.sentence) {
			return l.id, nil
		}
	}
	return "", fmt.Errorf("has a licence that is not known here, and may forbid what we do: it begins %q", text[:min(len(text), 60)])
}

// A lockedPackage is one that package-lock.json names.
type lockedPackage struct {
	Version, Integrity, License string
	Dev                         bool
}

// bundledPackages returns the packages that the pages are built of, by name: all but those
// for development.
func bundledPackages(lock string) (map[string]lockedPackage, error) {
	b, err := os.ReadFile(lock)
	if err != nil {
		return nil, err
	}
	var document struct {
		Packages map[string]lockedPackage
	}
	if err := json.Unmarshal(b, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", lock, err)
	}
	out := make(map[string]lockedPackage)
	for path, p := range document.Packages {
		name, ok := strings.CutPrefix(path, "node_modules/")
		if !ok || p.Dev {
			continue // the pages themselves, or a tool
		}
		if p.License == "" || p.Version == "" {
			return nil, fmt.Errorf("%s: package %q must have a version and a licence", lock, name)
		}
		out[name] = p
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no package is bundled, want preact at least", lock)
	}
	return out, nil
}

// add lists a package, and that the program depends on it.
func add(bom *cyclonedx.BOM, name string, p lockedPackage) {
	purl := "pkg:npm/" + strings.Replace(name, "@", "%40", 1) + "@" + p.Version
	c := cyclonedx.Component{
		BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: name, Version: p.Version, PackageURL: purl,
		Scope: cyclonedx.ScopeRequired, Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: p.License}}},
	}
	if raw, ok := strings.CutPrefix(p.Integrity, "sha512-"); ok {
		if sum, err := base64.StdEncoding.DecodeString(raw); err == nil {
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA512, Value: hex.EncodeToString(sum)}}
		}
	}
	*bom.Components = append(*bom.Components, c)
	if bom.Dependencies == nil {
		bom.Dependencies = &[]cyclonedx.Dependency{}
	}
	for i, d := range *bom.Dependencies {
		if bom.Metadata != nil && bom.Metadata.Component != nil && d.Ref == bom.Metadata.Component.BOMRef {
			direct := []string{purl}
			if d.Dependencies != nil {
				direct = append(*d.Dependencies, purl)
			}
			(*bom.Dependencies)[i].Dependencies = &direct
		}
	}
	*bom.Dependencies = append(*bom.Dependencies, cyclonedx.Dependency{Ref: purl})
}

// check reads what was written as others will, and holds it against the program itself.
func check(path, binary string, bundled map[string]lockedPackage) error {
	bom, err := readBOM(path)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	want := map[string]string{"std": strings.Fields(info.GoVersion)[0]}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		want[m.Path] = m.Version
	}
	for name, p := range bundled {
		want[name] = p.Version
	}
	for _, c := range *bom.Components {
		switch {
		case want[c.Name] != c.Version:
			return fmt.Errorf("%s %s is listed, the program has %q", c.Name, c.Version, want[c.Name])
		case c.Licenses == nil || len(*c.Licenses) == 0 || c.PackageURL == "":
			return fmt.Errorf("%s is listed without its licence or package URL", c.Name)
		}
		delete(want, c.Name)
	}
	if len(want) > 0 {
		return fmt.Errorf("not listed: %v", slices.Sorted(maps.Keys(want)))
	}
	return nil
}

func readBOM(path string) (*cyclonedx.BOM, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bom := new(cyclonedx.BOM)
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(bom); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return bom, nil
}

func writeBOM(path string, bom *cyclonedx.BOM) error {
	return write(path, func(w io.Writer) error {
		return cyclonedx.NewBOMEncoder(w, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom)
	})
}

// writeNotices writes each licence once, under the names of all that come under it.
func writeNotices(path string, parts []part) error {
	names := make(map[string][]string)
	var texts []string
	for _, p := range parts {
		if names[p.text] == nil {
			texts = append(texts, p.text)
		}
		names[p.text] = append(names[p.text], fmt.Sprintf("%s %s (%s)", p.name, p.version, p.licence))
	}
	return write(path, func(w io.Writer) error {
		_, err := fmt.Fprint(w, "Sightline contains software of others, under the licences that follow.\n")
		for _, text := range texts {
			if err == nil {
				_, err = fmt.Fprintf(w, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 78), strings.Join(names[text], "\n"), strings.TrimSpace(text))
			}
		}
		return err
	})
}

func write(path string, content func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}
