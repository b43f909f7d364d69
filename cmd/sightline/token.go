package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"sightline/internal/auth"
)

func (p *process) hashToken(context.Context) error {
	fs := p.flags("hash-token", "Makes a bearer token and prints it with the sha256 line for [[auth.tokens]]. Give the\n"+
		"token to its user: the gateway keeps only the hash.")
	read := fs.Bool("stdin", false, "hash the token on the first line of standard input instead of making one")
	if err := p.parse(fs); err != nil {
		return err
	}
	if !*read {
		token := auth.NewToken()
		fmt.Fprintf(p.stdout, "token  = %q\nsha256 = %q\n", token, auth.HashToken(token))
		return nil
	}
	const longest = 4096
	line, err := bufio.NewReader(io.LimitReader(p.stdin, longest+1)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the token: %w", err)
	}
	if len(line) > longest {
		return &usageError{fmt.Sprintf("hash-token: a token must have less than %d characters", longest)}
	}
	token := strings.TrimRight(line, "\r\n")
	if err := checkToken(token); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "sha256 = %q\n", auth.HashToken(token))
	return nil
}

func (p *process) token(context.Context) error {
	fs := p.flags("token", "Signs a JSON Web Token with the secret of the configuration (auth.jwt.secret_file, or\n"+
		"SIGHTLINE_AUTH_JWT_SECRET) and prints it. Lists are separated by commas or spaces.")
	file := p.configFlag(fs)
	sub := fs.String("sub", "", "`name` of its bearer: it stands in logs, and what it publishes is its own")
	scope := fs.String("scope", "", "`scopes`: "+names(auth.Scopes()))
	room := fs.String("room", "", "`globs` of the rooms that it is for, such as \"mri-*\"; left out: all")
	publishers := fs.String("publishers", "", "`globs` of publishers, or single tracks such as \"console/video\"; left out: all")
	role := fs.String("role", "", "`role` in the room, such as hospital or technician; left out: its bearer may say one")
	expires := fs.Duration("expires", 8*time.Hour, "how long it holds")
	id := fs.String("id", "", "`id` by which it can be revoked (jti); left out: a random one")
	if err := p.parse(fs); err != nil {
		return err
	}
	wrong := func(format string, args ...any) error {
		return &usageError{"token: " + fmt.Sprintf(format, args...)}
	}
	scopes := auth.ParseScopes(strings.Join(list(*scope), " "))
	switch {
	case *sub == "":
		return wrong("-sub must say who its bearer is")
	case len(scopes) == 0 || len(scopes) != len(list(*scope)):
		return wrong("-scope must be one or more of %s, got %q", names(auth.Scopes()), *scope)
	case *expires < time.Second:
		return wrong("-expires must be a second or more, got %s", *expires)
	}
	c, err := p.load(*file)
	if err != nil {
		return err
	}
	if *id == "" {
		*id = rand.Text()
	}
	token, err := auth.Mint(c.Auth.JWT, auth.Grant{
		Identity: auth.Identity{Name: *sub, ID: *id, Role: *role, Expires: time.Now().Add(*expires)},
		Scopes:   scopes, Rooms: list(*room), Publishers: list(*publishers),
	})
	if err != nil {
		return wrong("%v", err)
	}
	fmt.Fprintln(p.stdout, token)
	return nil
}

// list splits at commas and spaces; nil if there is nothing.
func list(text string) []string {
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	if len(parts) == 0 {
		return nil
	}
	return parts
}

func names(scopes []auth.Scope) string {
	var out []string
	for _, s := range scopes {
		out = append(out, string(s))
	}
	return strings.Join(out, " ")
}

// checkToken refuses what can't be sent as a bearer token (RFC 6750, section 2.1), or
// guessed too easily. The error does not repeat the token.
func checkToken(token string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/"
	if strings.Trim(strings.TrimRight(token, "="), letters) != "" {
		return &usageError{"hash-token: a token is made of letters, digits and -._~+/ with = at its end (RFC 6750)"}
	}
	if len(token) < 16 {
		return &usageError{fmt.Sprintf("hash-token: a token must have 16 characters or more, got %d: without -stdin a good one is made", len(token))}
	}
	return nil
}
