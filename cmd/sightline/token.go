package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
	line, err := bufio.NewReader(io.LimitReader(p.stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimRight(line, "\r\n")
	if err := checkToken(token); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "sha256 = %q\n", auth.HashToken(token))
	return nil
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
